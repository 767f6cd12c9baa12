"""The plan of a search, rare words first, and what it shows of a memory found."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from node.memory import Draft, Store
from node.memory.prepared import prepare
from node.memory.records import Visibility
from node.memory.search import EXCERPT_CHARS, K1, MAX_SCANNED, B, parted, window
from node.memory.topic_index import token
from protocol.names import AgentName
from protocol.topics import query_terms


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store.open(tmp_path / "alice.db", AgentName("alice"), clock=lambda: 1.0) as opened:
        yield opened


@pytest.mark.parametrize(
    ("counts", "expected"),
    [
        ([], ([], [])),
        ([1, 5, 5], ([0, 1, 2], [])),
        ([1, 90_000], ([0, 1], [])),
        ([1, 1, 90_000], ([0, 1], [2])),
        ([10_000, 6_384, 1], ([0, 1], [2])),
        ([90_000], ([0], [])),
        ([70_000, 80_000, 90_000], ([0, 1], [2])),
    ],
    ids=["nothing", "few", "two-choose-anyhow", "common-left-over", "up-to-the-bound", "one", "all-common"],
)
def test_rare_words_choose_and_common_ones_only_add(
    counts: list[int], expected: tuple[list[int], list[int]]
) -> None:
    assert parted(counts) == expected


@given(st.lists(st.integers(1, 40_000), max_size=8).map(sorted))
def test_every_word_is_in_the_plan_once_and_the_scan_is_bounded(counts: list[int]) -> None:
    chosen, common = parted(counts)

    assert [*chosen, *common] == list(range(len(counts)))
    if len(chosen) > 2:
        assert sum(counts[at] for at in chosen) <= MAX_SCANNED


WORDS = ["walrus", "seal", "ice", "sea", "song", "night", "Café", "智能"]


@given(
    st.lists(
        st.tuples(
            st.lists(st.sampled_from(WORDS), min_size=1, max_size=12).map(" ".join),
            st.lists(st.sampled_from(WORDS), max_size=3).map(" ".join),
            st.sampled_from(["private", "listed", "mesh"]),
        ),
        min_size=1,
        max_size=12,
    ),
    st.lists(st.sampled_from(WORDS), min_size=1, max_size=4, unique=True),
)
def test_scores_are_those_of_bm25_worked_out_by_hand(
    memories: list[tuple[str, str, Visibility]], asked: list[str]
) -> None:
    with tempfile.TemporaryDirectory() as folder, Store.open(Path(folder) / "a.db", AgentName("a")) as store:
        store.search("walrus")  # What comes later is added to the lists at hand.
        for at, (text, title, visibility) in enumerate(memories):
            store.remember(Draft(text=text, title=title, path=f"/{at}", visibility=visibility))
        wanted = query_terms(" ".join(asked))

        found = store.lookup.score(wanted, 50)
        visible = store.lookup.score(wanted, 50, visibilities={"mesh"})
        expected = by_hand(
            [prepare(Draft(text=text, title=title)).words for text, title, _ in memories], wanted
        )

        assert dict(found) == pytest.approx(expected, rel=1e-4)
        assert found == sorted(found, key=lambda pair: (-pair[1], pair[0]))
        assert visible == [(at, score) for at, score in found if memories[at - 1][2] == "mesh"]


def by_hand(rows: list[tuple[str, str, str]], wanted: list[str]) -> dict[int, float]:
    """BM25 of memories 1, 2, … in plain Python."""
    columns = [[column.split() for column in row] for row in rows]
    lengths = [sum(map(len, row)) for row in columns]
    scores: dict[int, float] = {}
    for term in map(token, wanted):
        often = [
            sum(weight * column.count(term) for weight, column in zip((2, 1, 0.5), row, strict=True))
            for row in columns
        ]
        holders = sum(map(bool, often))
        worth = math.log1p((len(rows) - holders + 0.5) / (holders + 0.5))
        for at, (count, length) in enumerate(zip(often, lengths, strict=True), 1):
            if count:
                norm = K1 * (1 - B + B * length * len(rows) / sum(lengths))
                scores[at] = scores.get(at, 0.0) + worth * count * (K1 + 1) / (count + norm)
    return scores


def test_a_rare_word_that_was_just_forgotten_does_not_silence_the_common_ones(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("node.memory.search.MAX_SCANNED", 20)
    store.remember_many([Draft(text=f"gossip number {n}") for n in range(40)])
    store.remember(Draft(text="a walrus and a seal", path="/walrus"))
    assert [hit.path for hit in store.search("walrus seal gossip", limit=1)] == ["/walrus"]

    store.forget("/walrus")

    assert len(store.search("walrus seal gossip", limit=5)) == 5


def test_what_may_not_be_seen_does_not_silence_what_may(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("node.memory.search.MAX_SCANNED", 20)
    store.remember_many([Draft(text=f"gossip number {n}", visibility="mesh") for n in range(40)])
    store.remember(Draft(text="a walrus", visibility="private"))

    assert len(store.search("walrus gossip", limit=5, visibilities={"mesh"})) == 5
    assert store.search("walrus", visibilities={"mesh"}) == []


def test_common_words_that_are_never_together_are_found_apart(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("node.memory.search.MAX_SCANNED", 5)
    store.remember_many(
        [Draft(text=f"{word} number {n}") for n in range(20) for word in ("gossip", "walrus")]
    )

    assert len(store.search("gossip walrus", limit=10)) == 10


def test_a_word_remembered_since_it_was_asked_for_is_found(store: Store) -> None:
    store.remember_many([Draft(text=f"gossip number {n}") for n in range(40)])
    assert store.search("walrus") == []

    store.remember(Draft(text="a walrus"))

    assert len(store.search("walrus")) == 1


def test_a_window_shows_the_first_word_wanted_and_marks_its_cuts() -> None:
    text = "before " * 60 + "the walrus\nsings " + "after " * 60

    shown = window(text, frozenset({"walrus"}))

    assert shown.startswith("… ")
    assert shown.endswith(" …")
    assert "the walrus sings" in shown
    assert len(shown) <= EXCERPT_CHARS + 4


def test_a_window_on_a_short_text_is_the_text_on_one_line() -> None:
    assert window("The\n walrus   sings", frozenset({"walrus"})) == "The walrus sings"


@given(st.text(max_size=600), st.sets(st.sampled_from(["walrus", "a", "智能"])))
def test_a_window_on_any_text_is_one_short_line(text: str, wanted: set[str]) -> None:
    shown = window(text, frozenset(wanted))

    assert len(shown) <= EXCERPT_CHARS + 4
    assert len(shown.splitlines()) <= 1
