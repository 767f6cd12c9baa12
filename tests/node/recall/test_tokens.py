"""Counting tokens, and cutting a text where the tokens end."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from node.recall import tokens

TEXTS = st.one_of(
    st.text(max_size=200),
    st.text("人工智能改变世界。 a", max_size=80),
    st.text("🎉👩🏽‍🚀é\u0301 x", max_size=40),
    st.text("ab ", max_size=400),
    st.sampled_from(["x" * 2_000, "=" * 500, "word " * 300, "a\n\n\n\n\tb " * 50]),
)

TEXTS_TO_JOIN = st.one_of(
    st.text(min_size=1, max_size=40),
    st.text("ab1 .,;:'\"!?()[]{}<>/\\-_#*…—\u2019é漢🎉\n\t\x1c\u2028", min_size=1, max_size=20),
)


def test_tokens_are_those_of_the_named_encoding() -> None:
    assert tokens.ENCODING == "cl100k_base"
    assert [
        tokens.count(text) for text in ("", "hello world", "tiktoken is great!", "お誕生日おめでとう")
    ] == [
        0,
        2,
        6,
        9,
    ]


def test_counting_stops_at_the_limit() -> None:
    assert tokens.count_within("hello world", 2) == 2
    assert tokens.count_within("hello world", 1) is None
    assert tokens.count_within("", 0) == 0
    assert tokens.count_within("", -1) is None


@given(TEXTS, st.integers(-1, 60))
def test_a_cut_is_a_beginning_within_the_budget(text: str, budget_tokens: int) -> None:
    piece = tokens.cut_at(text, budget_tokens)

    assert text.startswith(piece)
    assert tokens.count(piece) <= max(0, budget_tokens)


def test_a_beginning_that_is_more_tokens_alone_than_within_its_text_is_cut_shorter() -> None:
    assert tokens.count("x?;") == 3
    assert tokens.cut_at("x?;\n\nh aC", 2) == "x"


@given(TEXTS)
def test_a_text_that_fits_is_not_cut(text: str) -> None:
    assert tokens.cut_at(text, tokens.count(text)) == text


@given(TEXTS, st.integers(1, 60))
def test_something_is_left_whenever_the_first_word_fits(text: str, budget_tokens: int) -> None:
    text = text.strip()
    first = text.split(maxsplit=1)[:1]

    piece = tokens.cut_at(text, budget_tokens)

    assert piece or not first or tokens.count(first[0]) > budget_tokens


@pytest.mark.parametrize(
    ("text", "budget_tokens", "piece"),
    [
        ("The unbelievably incomprehensible story", 2, "The"),
        ("The unbelievably incomprehensible story", 5, "The unbelievably"),
        ("Unbelievably", 1, "Un"),
        ("node.memory holds it", 2, "node.memory"),
        ("人工智能改变世界", 3, "人工"),
        ("🎉🎉", 2, ""),
        ("🎉🎉", 3, "🎉"),
        ("one two", 0, ""),
    ],
)
def test_a_cut_falls_between_words_where_one_fits(text: str, budget_tokens: int, piece: str) -> None:
    assert tokens.cut_at(text, budget_tokens) == piece


@given(st.lists(TEXTS_TO_JOIN, min_size=1, max_size=5))
def test_texts_joined_are_the_sum_of_their_parts(texts: list[str]) -> None:
    parts = [stripped for text in texts if (stripped := text.strip())]
    sizes = [(tokens.count(part), part) for part in parts]

    total = sum(tokens.count_before_separator(part, alone) for alone, part in sizes[:-1])

    assert total + sum(alone for alone, _ in sizes[-1:]) == tokens.count(tokens.SEPARATOR.join(parts))
