"""The log: the past as it was, what changed since, and what was written in which order."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from node.memory import Draft, Store
from node.memory.log import _compared
from protocol.errors import InvalidInput, NotFound
from protocol.names import AgentName
from tests.support.clock import FakeClock

ALICE = AgentName("alice")
LINES = [f"line {n} of a text that goes on for a while" for n in range(40)]


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def store(tmp_path: Path, clock: FakeClock) -> Iterator[Store]:
    with Store.open(tmp_path / "alice.db", ALICE, clock=clock) as opened:
        yield opened


def test_a_memory_is_read_as_it_was_at_a_time(store: Store, clock: FakeClock) -> None:
    start = clock()
    store.remember(Draft(text="one", path="/a"))
    clock.advance(10)
    store.remember(Draft(text="two", path="/a", expires_at=clock() + 5))
    clock.advance(10)
    store.remember(Draft(text="three", path="/a"))
    clock.advance(10)
    store.forget("/a")

    assert store.read("/a", at=start).text == "one"
    assert store.read("/a", at=start + 9.9).text == "one"
    assert store.read("/a", at=start + 10).text == "two"
    assert store.read("/a", at=start + 25).text == "three"
    for nothing in (start - 1, start + 15, start + 30, start + 1_000):
        with pytest.raises(NotFound):
            store.read("/a", at=nothing)


@pytest.mark.parametrize("at", [float("nan"), -1.0, float("inf"), "now"])
def test_a_time_that_is_none_is_refused(store: Store, at: Any) -> None:
    with pytest.raises(InvalidInput, match="at"):
        store.read("/a", at=at)


def test_a_version_and_a_time_together_are_refused(store: Store) -> None:
    with pytest.raises(InvalidInput, match="at"):
        store.read("/a", 1, at=5.0)


def test_a_difference_is_whole_at_first_then_only_what_changed(store: Store) -> None:
    store.remember(Draft(text="\n".join(LINES), path="/a"))
    store.remember(Draft(text="\n".join([*LINES[:20], "a new line", *LINES[20:]]), path="/a"))

    first, second, third = store.diff("/a"), store.diff("/a", 1), store.diff("/a", 2)

    assert (first.form, first.text, first.version) == ("whole", store.read("/a").text, 2)
    assert second.form == "diff"
    assert "+a new line" in second.text.split("\n")
    assert len(second.text) < len(first.text) / 3
    assert (third.form, third.text) == ("unchanged", "")


def test_a_difference_after_a_life_that_ended_is_whole(store: Store) -> None:
    store.remember(Draft(text="one", path="/a"))
    store.forget("/a")
    store.remember(Draft(text="one more", path="/a"))

    assert store.diff("/a", 2).form == "whole"


@pytest.mark.parametrize("since", [-1, 3, True, "1"])
def test_a_version_that_is_not_there_yet_is_refused(store: Store, since: Any) -> None:
    store.remember(Draft(text="one", path="/a"))

    with pytest.raises(InvalidInput, match="since"):
        store.diff("/a", since)


@given(st.text("ab\n\r ", min_size=1), st.text("ab\n\r ", min_size=1))
def test_a_difference_is_shorter_than_the_text(before: str, after: str) -> None:
    compared = _compared(before, after, 1, 2)

    assert compared is None or 0 < len(compared) < len(after)


def test_changes_come_in_the_order_of_the_log_in_pages(store: Store, clock: FakeClock) -> None:
    for n in range(5):
        store.remember(Draft(text=f"text {n}", path=f"/{9 - n}", title=f"T{n}"))
        clock.advance(1)
    store.forget("/9")

    first = store.changes(limit=4)
    second = store.changes(first.cursor, limit=4)
    late = store.changes(since=clock() - 1)
    none = store.changes(second.cursor)

    assert [one.path for one in first.changes] == ["/9", "/8", "/7", "/6"]
    assert (first.more, second.more) == (True, False)
    assert [(one.path, one.forgotten) for one in second.changes] == [("/5", False), ("/9", True)]
    assert [one.path for one in late.changes] == ["/5", "/9"]
    assert (none.changes, none.cursor, none.more) == ((), second.cursor, False)


@pytest.mark.parametrize("cursor", [-1, True, "x", 1 << 63])
def test_a_cursor_that_is_none_is_refused(store: Store, cursor: Any) -> None:
    with pytest.raises(InvalidInput, match="cursor"):
        store.changes(cursor)
