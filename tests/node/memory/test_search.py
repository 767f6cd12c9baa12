"""The plan of a search, rare words first, and what it shows of a memory found."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from node.memory import Draft, Store
from node.memory.search import EXCERPT_CHARS, MAX_SCANNED, Plan, plan, window
from protocol.names import AgentName


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store.open(tmp_path / "alice.db", AgentName("alice"), clock=lambda: 1.0) as opened:
        yield opened


@pytest.mark.parametrize(
    ("counts", "expected"),
    [
        ([], Plan((), (), together=False)),
        ([("nobody", 0)], Plan((), (), together=False)),
        ([("b", 5), ("a", 5), ("rare", 1)], Plan(("rare", "a", "b"), (), together=False)),
        ([("the", 90_000), ("rare", 1), ("none", 0)], Plan(("rare",), ("the",), together=False)),
        ([("b", 3_000), ("a", 1_000), ("c", 3_000)], Plan(("a", "b"), ("c",), together=False)),
        ([("only", 90_000)], Plan(("only",), (), together=False)),
        (
            [("x", 90_000), ("y", 80_000), ("z", 70_000)],
            Plan(("z", "y"), ("x",), together=True),
        ),
    ],
    ids=["nothing", "unknown", "ties", "common-left-over", "up-to-the-bound", "one-common", "all-common"],
)
def test_rare_words_choose_and_common_ones_only_add(counts: list[tuple[str, int]], expected: Plan) -> None:
    assert plan(counts) == expected


@given(st.dictionaries(st.text("abc", min_size=1, max_size=3), st.integers(0, 10_000), max_size=8))
def test_every_known_word_is_in_the_plan_once_and_the_scan_is_bounded(counts: dict[str, int]) -> None:
    chosen = plan(list(counts.items()))

    assert sorted((*chosen.scored, *chosen.common)) == sorted(term for term, n in counts.items() if n)
    assert max((counts[term] for term in chosen.scored), default=0) <= min(
        (counts[term] for term in chosen.common), default=10_000
    )
    if len(chosen.scored) > 1 and not chosen.together:
        assert sum(counts[term] for term in chosen.scored) <= MAX_SCANNED


def test_a_rare_word_that_was_just_forgotten_does_not_silence_the_common_ones(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("node.memory.search.MAX_SCANNED", 20)
    store.remember_many([Draft(text=f"gossip number {n}") for n in range(40)])
    store.remember(Draft(text="a walrus", path="/walrus"))
    assert [hit.path for hit in store.search("walrus gossip")] == ["/walrus"]

    store.forget("/walrus")

    assert len(store.search("walrus gossip", limit=5)) == 5


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
