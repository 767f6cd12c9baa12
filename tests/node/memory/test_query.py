# ruff: noqa: RUF001
"""Phrases and beginnings of words in a search, and that nothing a user writes breaks it."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from node.memory import Draft, Store
from node.memory.query import MAX_FORMS, Phrase, Query, begins_in, parse, place, shorter_stems
from protocol.errors import InvalidInput
from protocol.names import AgentName
from protocol.topics import query_terms
from protocol.words import terms

OPERATORS = [
    '"',
    '""',
    "*",
    "**",
    "“",
    "”",
    " AND ",
    " OR ",
    " NOT ",
    " NEAR(",
    ":",
    "^",
    "-",
    "+",
    "(",
    ")",
    ",",
]
HELD = ["deploy", "Kubernetes", "blue green", "智能", "é", "a", "{title}", "text:", "'", "\\", "\0", "\ud800"]
ANY_QUERY = st.one_of(
    st.text(st.characters(exclude_categories=()), max_size=40),
    st.lists(st.one_of(st.sampled_from(OPERATORS + HELD), st.text(max_size=5)), max_size=20).map("".join),
)


@pytest.fixture(scope="module")
def store() -> Iterator[Store]:
    with (
        tempfile.TemporaryDirectory() as folder,
        Store.open(Path(folder) / "a.db", AgentName("alice"), clock=lambda: 1.0) as opened,
    ):
        texts = {
            "/deployment": "The deployment",
            "/deployed": "We deployed it",
            "/deploying": "They are deploying",
            "/deploy": "Blue-green deployments, with Kubernetes",
            "/order": "A green, blue deployment",
            "/authentic": "authentic food",
            "/authentication": "authentication works",
            "/server": "HTTPServer started",
            "/lower": "the httpserver started",
            "/happy": "happy days",
            "/hamlet": "to be or not to be",
            "/dense": "人工智能改变世界",
            "/thai": "ภาษาไทย",
            "/cafe": "Le cafe\u0301 est ferme\u0301",
            "/option": "set max_open_files to 9",
        }
        opened.remember_many([Draft(text=text, path=path) for path, text in texts.items()])
        opened.remember(Draft(text="Nothing to see.", path="/tagged", tags=("authentication", "blue green")))
        opened.remember(Draft(text="Private deployment", path="/private", visibility="private"))
        yield opened


def paths(store: Store, query: str) -> set[str]:
    return {hit.path for hit in store.search(query, limit=50)}


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("deploy*", {"/deployment", "/deployed", "/deploying", "/deploy", "/order", "/private"}),
        ("Deployme*", {"/deployment", "/deploy", "/order", "/private"}),
        ("kuber*", {"/deploy"}),
        ("authentica*", {"/authentication", "/tagged"}),
        ("authenti*", {"/authentication", "/authentic", "/tagged"}),
        ("happy*", {"/happy"}),
        ("CAFÉ*", {"/cafe"}),
        ("max_op*", {"/option"}),
        ("httpserv*", {"/server", "/lower"}),
        ("serv*", {"/server"}),
        ("人工智*", {"/dense"}),
        ("智*", {"/dense"}),
        ("deploy* kuber*", {"/deploy"}),
        ("nothing-begins-zzz*", set()),
    ],
)
def test_a_beginning_finds_the_words_that_begin_so(store: Store, query: str, found: set[str]) -> None:
    assert paths(store, query) == found


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ('"blue green deployment"', {"/deploy"}),
        ("“blue green deployment”", {"/deploy"}),
        ('"green blue"', {"/order"}),
        ('"not to be"', {"/hamlet"}),
        ('"HTTPServer started"', {"/server", "/lower"}),
        ('"httpserver started"', {"/server", "/lower"}),
        ('"工智能改"', {"/dense"}),
        ('"智"', {"/dense"}),
        ('"ไทย"', {"/thai"}),
        ('"deployment" "blue green"', {"/deploy"}),
        (
            '"deployment" kubernetes zebra',
            {"/deployment", "/deployed", "/deploying", "/deploy", "/order", "/private"},
        ),
        ('"blue green" deploy*', {"/deploy"}),
        ('"blue green" authentic*', set()),
    ],
)
def test_a_phrase_is_its_words_side_by_side(store: Store, query: str, found: set[str]) -> None:
    assert paths(store, query) == found


def test_words_beside_a_phrase_only_rank(store: Store) -> None:
    assert store.search('"deployment" kubernetes')[0].path == "/deploy"
    assert store.search('"deployment" deployment private')[0].path == "/private"


def test_topics_that_stand_side_by_side_in_the_index_are_no_phrase(store: Store) -> None:
    assert "/tagged" in paths(store, "authentication blue")
    assert paths(store, '"authentication blue"') == set()


def test_only_what_may_be_seen_is_found_by_a_form(store: Store) -> None:
    for query in ("private*", '"private deployment"'):
        assert paths(store, query) == {"/private"}
        assert store.search(query, visibilities={"listed", "mesh"}) == []


def test_a_beginning_looks_past_the_best_for_words_that_begin_so(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("node.memory.forms._FIRST_READ", 2)
    with Store.open(tmp_path / "b.db", AgentName("bob")) as other:
        other.remember_many([Draft(text="authentic authentic authentic") for _ in range(1)])
        other.remember_many([Draft(text=f"authentic food, authentic {n}") for n in range(20)])
        other.remember(Draft(text="some words more about the authentication of users", path="/late"))

        assert [hit.path for hit in other.search("authentica*", limit=1)] == ["/late"]


def test_what_is_shown_is_around_the_form(store: Store, tmp_path: Path) -> None:
    before, after = "green words stand here. " * 40, "and more of them. " * 40
    with Store.open(tmp_path / "b.db", AgentName("bob")) as other:
        other.remember(Draft(text=f"{before}A Blue-green deployments day {after}"))

        for query in ('"blue green deployment"', "deployme*"):
            (hit,) = other.search(query)
            assert "Blue-green deployments day" in hit.excerpt


@pytest.mark.parametrize(
    ("text", "query"),
    [
        ("plain words", Query(("plain", "word", "plain word"))),
        ('"a b" c', Query(("c",), (Phrase("a b", (("a", "b"),)),))),
        ('say "hi', Query(("say", "hi", "say hi"))),
        ("*", Query(())),
        ("a*", Query(("a",))),
        ("foo*bar", Query(("foo", "bar", "foo bar"))),
        ("foo-*", Query(("foo",))),
        ("foo-bar*", Query(("foo",), (), ("bar",))),
        ("bar**, (baz*)", Query((), (), ("bar", "baz"))),
        ('"*"', Query(())),
        ('""', Query(())),
        ('"one*"', Query((), (Phrase("one*", (("one",),)),))),
        ("＂one two＂ ｆｏｏ＊", Query((), (Phrase("one two", (("one", "two"),)),), ("foo",))),
        ("foo* foo*", Query((), (), ("foo",))),
    ],
)
def test_a_query_is_read_as_written(text: str, query: Query) -> None:
    assert parse(text) == query


def test_forms_beyond_the_bound_are_words() -> None:
    asked = parse(" ".join(f"{letter}{letter}*" for letter in "abcdefghijkl"))

    assert len(asked.beginnings) == MAX_FORMS
    assert "ii" in asked.words


@given(ANY_QUERY)
@settings(max_examples=400, deadline=None)
def test_no_query_breaks_the_syntax(store: Store, query: str) -> None:
    if query and not query.isspace():
        store.search(query)
    else:
        with pytest.raises(InvalidInput, match="query: is empty"):
            store.search(query)


@given(st.text(st.characters(exclude_characters='"“”*＊＂', exclude_categories=()), max_size=60))
def test_without_quotes_and_stars_all_are_words(text: str) -> None:
    asked = parse(text)

    assert asked.is_plain
    assert list(asked.words) == query_terms(text)


@given(st.from_regex(r"[a-z]{2,16}", fullmatch=True), st.integers(2, 16))
def test_the_stem_of_a_word_begins_as_it_does_or_is_among_the_shorter_ones(word: str, length: int) -> None:
    beginning, (stem,) = word[:length], terms(word)

    assert stem.startswith(beginning) or stem in shorter_stems(beginning)


@pytest.mark.parametrize(
    "word",
    ["authentication", "universities", "happily", "organizations", "hopefulness", "skies", "formalizations"],
)
def test_english_words_are_found_by_every_beginning(tmp_path: Path, word: str) -> None:
    with Store.open(tmp_path / "a.db", AgentName("alice")) as opened:
        opened.remember(Draft(text=f"about {word} here", path="/it"))

        missed = [word[:at] for at in range(2, len(word) + 1) if not opened.search(f"{word[:at]}*")]

    assert missed == []


@given(st.text(max_size=40), st.sampled_from(["智能", "é", "foo", "a'b", "max_open"]))
def test_a_beginning_of_a_text_begins_in_it(text: str, beginning: str) -> None:
    assert begins_in(f"{text} {beginning}x", beginning) or beginning in ("智能", "é")


def test_shorter_stems_are_distinct_the_longest_first_and_for_ascii_only() -> None:
    found = shorter_stems("happy")

    assert found[:3] == ["happe", "happi", "happ"]
    assert len(found) == len(set(found))
    assert shorter_stems("приве") == []


@given(ANY_QUERY, st.text(max_size=80))
def test_a_place_is_in_the_text(query: str, text: str) -> None:
    at = place(parse(query), text)

    assert at is None or 0 <= at <= len(text)
