# ruff: noqa: RUF001
"""Terms and topics: one normalisation for every script, and nothing that crashes it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.topics import MAX_QUERY_TERMS, MAX_TOPICS, extract, query_terms
from protocol.words import MAX_TERM_CHARS, content_terms, first_place, terms

TEXTS: list[tuple[str, set[str]]] = [
    ("Guido van Rossum created Python in Amsterdam.", {"guido van", "van rossum", "python", "amsterdam"}),
    ("The Bank of England raised its rates.", {"bank england", "bank", "rate"}),
    ("We met in New York. #travel #machine-learning", {"new york", "travel", "machin learn"}),
    ("asyncio.gather runs coroutines", {"asyncio.gather", "asyncio", "gather", "coroutin"}),
    ("HTTPServer and BaseHTTPRequestHandler", {"httpserver", "http", "server", "request", "handler"}),
    ("Set max_open_files in the config", {"max_open_files", "open", "file", "config"}),
    ("running runs runner", {"run", "runner"}),
    ("Le café est à côté de l'école", {"cafe", "ecol"}),
    ("Größe und Straße in München", {"gross", "strass", "munchen"}),
    ("El niño comió una manzana", {"nino", "manzana"}),
    ("Москва является столицей России", {"москва", "столицей"}),
    ("Η Αθήνα είναι πρωτεύουσα", {"αθήνα", "πρωτεύουσα"}),
    ("القاهرة عاصمة مصر", {"القاهرة", "عاصمة"}),
    ("ירושלים היא עיר", {"ירושלים", "עיר"}),
    ("हिन्दी एक भाषा है", {"हिन्दी", "भाषा"}),
    ("தமிழ் ஒரு மொழி", {"தமிழ்", "மொழி"}),
    ("人工智能改变世界", {"人工", "智能", "世界"}),
    ("日本語のテキスト", {"日本", "本語", "テキ"}),
    ("서울은 한국의 수도", {"서울", "한국"}),
    ("ภาษาไทย", {"ไท", "ทย"}),
    ("ພາສາລາວ", {"ລາ"}),
    ("ភាសាខ្មែរ", {"សាខ្"}),
    ("မြန်မာဘာသာ", {"မာဘာ"}),
    ("Tiếng Việt là ngôn ngữ", {"viet", "ngon"}),
    ("ﬁle ＡＢＣ", {"file", "abc"}),
]


@pytest.mark.parametrize(("text", "expected"), TEXTS, ids=[text[:24] for text, _ in TEXTS])
def test_a_text_has_the_topics_a_reader_would_name(text: str, expected: set[str]) -> None:
    found = {topic.term for topic in extract(text)}

    assert expected <= found


@pytest.mark.parametrize(("text", "expected"), TEXTS, ids=[text[:24] for text, _ in TEXTS])
def test_every_topic_of_a_text_is_asked_for_by_a_question_that_quotes_it(
    text: str, expected: set[str]
) -> None:
    asked = set(query_terms(text.replace("#", "")))

    assert {topic.term for topic in extract(text)} <= asked


def test_tags_weigh_most_then_names_then_title_words_then_words() -> None:
    found = extract("Ada Lovelace wrote notes", title="Engines", tags=["history"])

    weights = {topic.term: topic.weight for topic in found}
    assert weights["histori"] == 1.0
    assert weights["histori"] > weights["ada lovelac"] > weights["engin"] > weights["note"]


def test_topics_come_by_weight_then_by_term() -> None:
    found = extract("zebra apple mango Zurich #kiwi", title="Fruit salad")

    assert found == sorted(found, key=lambda topic: (-topic.weight, topic.term))


def test_words_everybody_uses_are_no_topics_or_light_ones() -> None:
    weights = {topic.term: topic.weight for topic in extract("The people have a good Kubernetes thing there")}

    assert "the" not in weights
    assert "have" not in weights
    assert weights["kubernet"] >= 3 * weights["peopl"]


def test_words_said_more_often_weigh_more() -> None:
    weights = {topic.term: topic.weight for topic in extract("gossip needs peers, gossip needs time, gossip")}

    assert weights["gossip"] > weights["peer"]


def test_stop_words_are_terms_and_no_content() -> None:
    assert terms("the cat is not here") == ["the", "cat", "is", "not", "here"]
    assert content_terms("the cat is not here") == ["cat"]


def test_a_question_of_stop_words_alone_asks_for_those() -> None:
    assert query_terms("to be or not to be") == ["to", "be", "or", "not"]


def test_case_accents_and_apostrophes_do_not_part_what_belongs_together() -> None:
    assert terms("Café") == terms("CAFE\u0301") == terms("cafe")
    assert terms("it’s John’s") == terms("it's John's")


def test_a_long_question_keeps_words_and_pairs() -> None:
    question = " ".join(f"w{chr(97 + n % 26)}{chr(97 + n // 26)}" for n in range(100))

    asked = query_terms(question)

    assert len(asked) == MAX_QUERY_TERMS
    assert any(" " in term for term in asked)
    assert sum(" " not in term for term in asked) >= MAX_QUERY_TERMS // 2


def test_nul_bytes_and_lone_surrogates_part_words_and_vanish() -> None:
    assert terms("alpha\x00beta\ud800gamma") == ["alpha", "beta", "gamma"]


@given(st.text(st.characters(exclude_categories=()), max_size=200))
def test_any_text_gives_terms_that_the_index_can_take(text: str) -> None:
    found = terms(text)

    for term in found:
        assert 0 < len(term) <= MAX_TERM_CHARS
        assert all(char.isalnum() or char in "_.'" or not char.isascii() for char in term)
        assert not any(char.isspace() for char in term)
        assert term.encode("utf-8")


@given(st.text(max_size=200), st.text(max_size=30), st.lists(st.text(max_size=20), max_size=3))
def test_any_text_gives_bounded_ordered_repeatable_topics(text: str, title: str, tags: list[str]) -> None:
    found = extract(text, title=title, tags=tags)

    assert found == extract(text, title=title, tags=tags)
    assert found == sorted(found, key=lambda topic: (-topic.weight, topic.term))
    assert len(found) <= MAX_TOPICS
    assert all(0.0 < topic.weight <= 1.0 for topic in found)


@given(st.text(max_size=300))
def test_any_question_asks_for_a_bounded_number_of_distinct_terms(question: str) -> None:
    asked = query_terms(question)

    assert len(asked) == len(set(asked)) <= MAX_QUERY_TERMS


@given(st.text(max_size=120), st.sampled_from(["walrus", "happi", "http", "server", "café", "智能"]))
def test_a_word_that_gives_a_term_is_found_wherever_it_stands(text: str, term: str) -> None:
    words = {"happi": "Happiness", "http": "HTTPServer", "server": "HTTPServer", "café": "CAFÉ"}
    (wanted,) = terms(term)[:1]
    told = f"{text} {words.get(term, term)}"

    at = first_place(told, frozenset({wanted}))

    assert at is not None
    assert at <= len(text) + 1
    assert (first_place(text, frozenset({wanted})) is None) == (wanted not in terms(text))
