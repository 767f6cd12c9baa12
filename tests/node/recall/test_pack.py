"""Packing: the best that fit, and never more than the budget."""

from __future__ import annotations

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from node.memory.sizes import Size
from node.recall import tokens
from node.recall.excerpt import MARK
from node.recall.fuse import Candidate
from node.recall.pack import pack
from node.recall.tokens import SEPARATOR

PIECES = st.sampled_from(
    [
        "The walrus sings.",
        "walrus",
        "人工智能改变世界。",
        "🎉👩🏽‍🚀",
        "x" * 400,
        "\n\n",
        "3.11 is out!",
        "sea\tice",
        "Ünï",
    ]
)
TEXTS = st.one_of(
    st.text(min_size=1, max_size=120),
    st.lists(PIECES, min_size=1, max_size=30).map(" ".join),
).filter(lambda text: bool(text.strip()))
TITLES = st.one_of(st.just(""), st.text(max_size=60), st.just("Walrus songs"), st.just("題" * 80))
CANDIDATES = st.lists(st.tuples(TITLES, TEXTS), min_size=1, max_size=6).map(
    lambda pairs: [candidate(f"/{at}", text, title=title) for at, (title, text) in enumerate(pairs)]
)


def candidate(path: str, text: str, *, title: str = "", cut: bool = False) -> Candidate:
    return Candidate(agent="a", path=path, version=1, title=title, text=text, score=1.0, cut=cut)


@settings(max_examples=200)
@given(CANDIDATES, st.integers(1, 200))
def test_the_joined_text_never_exceeds_the_budget(candidates: list[Candidate], budget_tokens: int) -> None:
    made = pack(candidates, ["walrus"], budget_tokens)

    assert tokens.count(made.text) == made.tokens <= budget_tokens
    assert [one.tokens for one in made.packed] == [tokens.count(one.text) for one in made.packed]
    assert made.packed == pack(candidates, ["walrus"], budget_tokens).packed


@given(CANDIDATES, st.integers(1, 200))
def test_something_is_quoted_where_a_word_of_the_best_fits(
    candidates: list[Candidate], budget_tokens: int
) -> None:
    first_word = candidates[0].text.split(maxsplit=1)[0]

    made = pack(candidates, ["walrus"], budget_tokens)

    assert made.text.strip() or tokens.count(first_word) > budget_tokens


def test_nothing_is_packed_of_nothing() -> None:
    made = pack([], ["walrus"], 100)

    assert (made.packed, made.text, made.tokens) == ([], "", 0)


def test_what_fits_is_quoted_whole_under_its_title_in_the_order_given() -> None:
    made = pack(
        [candidate("/b", "It sings.", title="Walrus"), candidate("/a", "The sea is cold.")], ["walrus"], 100
    )

    packed = made.packed
    assert made.text == f"Walrus\nIt sings.{SEPARATOR}The sea is cold."
    assert [one.by_words for one in packed] == [True, False]
    assert not any(one.cut for one in packed)


def test_a_title_that_begins_the_text_is_not_said_twice() -> None:
    made = pack([candidate("/a", "Walrus\nIt sings.", title="Walrus")], ["walrus"], 100)

    assert made.text == "Walrus\nIt sings."


def test_the_best_is_cut_at_a_sentence_rather_than_dropped_for_a_shorter_one() -> None:
    long = "Much came before. The walrus sings at night. " + "Much came after it, too. " * 20

    packed = pack([candidate("/long", long), candidate("/short", "Sea.")], ["walrus"], 10).packed

    assert packed[0].text == f"{MARK} The walrus sings at night. {MARK}"
    assert packed[0].cut


def test_what_no_longer_fits_is_skipped_and_gets_the_room_that_is_left() -> None:
    first = candidate("/first", "The walrus sings at night.")
    big = candidate("/big", "The walrus swims far. " + "Ice drifts along the coast of the north. " * 20)
    small = candidate("/small", "A seal is no walrus.")

    packed = pack([first, big, small], ["walrus"], 60).packed

    assert [one.candidate.path for one in packed] == ["/first", "/small", "/big"]
    assert [one.cut for one in packed] == [False, False, True]
    assert "The walrus swims far." in packed[2].text
    assert packed[2].text.endswith(MARK)


def test_texts_that_are_more_tokens_joined_than_apart_stay_within_the_budget() -> None:
    candidates = [candidate("/a", "walrus;]/"), candidate("/b", "A seal.")]
    apart = tokens.count("walrus;]/") + tokens.count(SEPARATOR) + tokens.count("A seal.")
    assert tokens.count(f"walrus;]/{SEPARATOR}A seal.") > apart

    assert [one.candidate.path for one in pack(candidates, ["walrus"], apart).packed] == ["/a"]
    assert len(pack(candidates, ["walrus"], apart + 1).packed) == 2


def test_the_room_between_texts_is_counted_before_the_next_is_chosen() -> None:
    candidates = [candidate("/a", "walrus"), candidate("/b", "The sea is cold"), candidate("/c", "Ice")]
    apart = tokens.count("walrus") + tokens.count("The sea is cold")

    assert [one.candidate.path for one in pack(candidates, ["walrus"], apart).packed] == ["/a", "/c"]


def test_near_duplicates_are_quoted_once() -> None:
    packed = pack(
        [
            candidate("/a", "The walrus sings."),
            candidate("/b", "the walrus SINGS"),
            candidate("/c", "A seal."),
        ],
        ["walrus"],
        100,
    ).packed

    assert [one.candidate.path for one in packed] == ["/a", "/c"]


def test_the_same_word_under_two_titles_is_two_memories() -> None:
    packed = pack(
        [candidate("/1", "done", title="Task 1"), candidate("/2", "done", title="Task 2")], ["task"], 100
    ).packed

    assert [one.text for one in packed] == ["Task 1\ndone", "Task 2\ndone"]


def test_an_excerpt_stays_one_though_it_fits() -> None:
    assert pack([candidate("/a", f"The walrus {MARK}", cut=True)], ["walrus"], 100).packed[0].cut


def test_sizes_that_were_counted_are_told_and_known_ones_are_not_counted_again() -> None:
    made = pack([msgspec.structs.replace(candidate("/a", "The walrus sings"), id=7)], ["walrus"], 100)
    ((at, size),) = made.counted
    known = msgspec.structs.replace(candidate("/a", "The walrus sings"), id=7, size=size)

    again = pack([known, candidate("/b", "A seal.")], ["walrus"], 100)

    assert (at, size) == (7, Size(tokens.count("The walrus sings"), tokens.count("The walrus sings") + 1))
    assert again.tokens == tokens.count(again.text)
    assert [number for number, _ in again.counted] == [0]


def test_memories_with_unlike_sketches_are_not_compared() -> None:
    text = "The old walrus sings through the long and cold night while all the seals listen in the dark."
    one = msgspec.structs.replace(candidate("/a", text), sketch=1)
    other = msgspec.structs.replace(candidate("/b", text), sketch=0x7F7F7F7F7F7F7F7F)

    assert len(pack([one, other], ["walrus"], 100).packed) == 2
    assert len(pack([one, msgspec.structs.replace(other, sketch=1)], ["walrus"], 100).packed) == 1
