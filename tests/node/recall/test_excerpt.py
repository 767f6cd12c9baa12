# ruff: noqa: RUF001
"""Excerpts: whole sentences that answer, what is left out marked, never more than the budget."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from node.recall import tokens
from node.recall.excerpt import MARK, MAX_EXCERPTED_CHARS, cut, excerpt, sentences

TEXTS = st.one_of(
    st.text(min_size=1, max_size=300),
    st.lists(
        st.sampled_from(
            [
                "Walrus.",
                "The walrus sings!",
                "Is it 3.11?",
                "人工智能。",
                "改变世界！",
                "🎉🎉",
                "x" * 300,
                "\n",
                "a b c",
            ]
        ),
        min_size=1,
        max_size=40,
    ).map(" ".join),
)
STORY = "The sun shone. A ship sailed by. The walrus sings at night. Nobody listened. The end came soon."


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("One. Two! Three? Four", ["One.", "Two!", "Three?", "Four"]),
        (
            "Python 3.11 and node.memory stay whole. Yes...",
            ["Python 3.11 and node.memory stay whole.", "Yes..."],
        ),
        ("人工智能。改变世界！好", ["人工智能。", "改变世界！", "好"]),
        ("यह एक है। वह दो है।", ["यह एक है।", "वह दो है।"]),
        ("a line\nanother line\n\n- a third", ["a line", "another line", "- a third"]),
        ("", []),
        (" \n ", []),
    ],
)
def test_sentences_end_where_a_reader_ends_them(text: str, parts: list[str]) -> None:
    assert sentences(text) == parts


@given(TEXTS)
def test_no_character_but_white_space_is_lost_between_sentences(text: str) -> None:
    assert "".join("".join(sentences(text)).split()) == "".join(text.split())


@given(TEXTS, st.lists(st.sampled_from(["walrus", "sing", "人工", "a b"]), max_size=3), st.integers(1, 200))
def test_an_excerpt_never_exceeds_its_budget_and_is_repeatable(
    text: str, wanted: list[str], budget_tokens: int
) -> None:
    found = excerpt(text, wanted, budget_tokens)

    assert tokens.count(found) <= budget_tokens
    assert found == excerpt(text, wanted, budget_tokens)


@given(TEXTS, st.integers(1, 200))
def test_an_excerpt_is_empty_only_where_no_word_fits(text: str, budget_tokens: int) -> None:
    text = text.strip()
    first = text.split(maxsplit=1)[:1]

    found = excerpt(text, [], budget_tokens)

    assert found.strip() or not first or tokens.count(first[0]) > budget_tokens


def test_a_text_that_fits_is_quoted_as_it_is() -> None:
    assert excerpt(STORY, ["walrus"], tokens.count(STORY)) == STORY


def test_the_sentence_that_answers_is_taken_whole_and_both_cuts_are_marked() -> None:
    assert excerpt(STORY, ["walrus", "sing"], 10) == f"{MARK} The walrus sings at night. {MARK}"


def test_room_that_is_left_goes_to_the_neighbours_in_their_order() -> None:
    assert excerpt(STORY, ["walrus"], 14) == f"{MARK} A ship sailed by. The walrus sings at night. {MARK}"


def test_sentences_apart_are_joined_by_a_mark() -> None:
    assert (
        excerpt(STORY, ["ship", "listen"], 12) == f"{MARK} A ship sailed by. {MARK} Nobody listened. {MARK}"
    )


def test_where_no_sentence_fits_the_best_is_cut_at_a_word() -> None:
    assert excerpt(STORY, ["walrus"], 4) == f"The walrus {MARK}"


def test_a_part_of_the_best_is_taken_before_others_whole() -> None:
    text = "Sea. The walrus of the far north sings at night to nobody at all. Ice."

    assert excerpt(text, ["walrus", "sing"], 5) == f"The walrus of {MARK}"


def test_pairs_of_words_are_wanted_by_their_words() -> None:
    assert excerpt(STORY, ["walrus sing"], 10) == f"{MARK} The walrus sings at night. {MARK}"


@pytest.mark.parametrize(
    ("text", "budget_tokens", "piece"),
    [
        ("Hello world again", 3, "Hello world …"),
        ("Hello world again", 1, "Hello"),
        ("人工智能", 3, "人工…"),
        ("🎉🎉🎉", 2, ""),
    ],
)
def test_a_cut_is_marked_where_the_mark_fits(text: str, budget_tokens: int, piece: str) -> None:
    assert cut(text, budget_tokens) == piece


def test_of_an_endless_text_the_beginning_is_looked_at() -> None:
    text = "Early walrus. " + "Filler words go on. " * (MAX_EXCERPTED_CHARS // 20) + "Late walrus walrus."

    found = excerpt(text, ["walrus", "late"], 12)

    assert found.startswith("Early walrus.")
    assert found.endswith(MARK)
