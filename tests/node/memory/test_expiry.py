"""Memories with an end: from that moment on they are in no answer, and then they are buried."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from node.housekeeper import Housekeeper
from node.memory import Draft, Store
from node.recall.recall import recall
from protocol.errors import InvalidInput, NotFound
from protocol.names import AgentName
from tests.support.clock import FakeClock

ALICE = AgentName("alice")


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def store(tmp_path: Path, clock: FakeClock) -> Iterator[Store]:
    with Store.open(tmp_path / "alice.db", ALICE, clock=clock) as opened:
        yield opened


def test_what_expired_is_in_no_answer_from_that_moment_on(store: Store, clock: FakeClock) -> None:
    store.remember(Draft(text="The zebra code is 7.", path="/z", expires_at=clock() + 60))
    store.remember(Draft(text="The lion stays.", path="/l"))
    clock.advance(59.9)
    assert store.read("/z").expires_at == 1_000_060.0
    assert [hit.path for hit in store.search("zebra")] == ["/z"]
    assert store.announced_topics()[-1][0] == "zebra"

    clock.advance(0.1)

    with pytest.raises(NotFound):
        store.read("/z")
    assert [one.path for one in store.browse()] == ["/l"]
    assert store.search("zebra") == []
    assert recall(store, "zebra", 100).items == ()
    assert "zebra" not in {term for term, _, _ in store.announced_topics()}
    assert store.count() == 1
    with pytest.raises(NotFound):
        store.forget("/z")


@pytest.mark.parametrize(
    "ask", ["read", "browse", "search", "recall", "topics", "count", "forget", "history"]
)
def test_each_way_to_ask_hides_what_expired_even_if_it_is_the_first_to_ask(
    store: Store, clock: FakeClock, ask: str
) -> None:
    store.remember(Draft(text="zebra", path="/z", expires_at=clock() + 60))
    clock.advance(60)

    match ask:
        case "read" | "forget":
            with pytest.raises(NotFound):
                getattr(store, ask)("/z")
        case "history":
            assert [one.forgotten for one in store.history("/z")] == [True, False]
        case _:
            answers: dict[str, Any] = {
                "browse": store.browse,
                "search": lambda: store.search("zebra"),
                "recall": lambda: recall(store, "zebra", 50).items,
                "topics": store.announced_topics,
                "count": store.count,
            }
            assert not answers[ask]()


def test_a_sweep_buries_in_order_and_is_done_once(store: Store, clock: FakeClock) -> None:
    store.remember_many(
        [Draft(text=f"note {n}", path=f"/{n}", expires_at=clock() + n) for n in range(1, 1_200)]
    )
    clock.advance(1_100)
    assert store.sweep() == 1_100
    assert store.sweep() == 0
    assert store.count() == 99
    assert [one.forgotten for one in store.history("/1")] == [True, False]
    clock.advance(1_000)
    assert store.sweep() == 99


def test_a_write_where_something_expired_begins_a_new_life(store: Store, clock: FakeClock) -> None:
    store.remember(Draft(text="same", path="/a", expires_at=clock() + 10))
    clock.advance(10)

    receipt = store.remember(Draft(text="same", path="/a"))

    assert (receipt.stored, receipt.version) == (True, 3)
    assert store.read("/a").created_at == clock()
    assert store.read("/a").expires_at is None


def test_a_new_version_sets_the_end_anew(store: Store, clock: FakeClock) -> None:
    store.remember(Draft(text="one", path="/a", expires_at=clock() + 10))
    store.remember(Draft(text="one", path="/a", expires_at=clock() + 20))
    store.remember(Draft(text="one", path="/b", expires_at=clock() + 10))
    store.remember(Draft(text="one", path="/b"))
    clock.advance(15)

    assert store.read("/a").version == 2
    assert store.read("/b").version == 2
    clock.advance(5)
    assert [one.path for one in store.browse()] == ["/b"]


def test_the_end_outlives_a_restart(tmp_path: Path, clock: FakeClock) -> None:
    with Store.open(tmp_path / "a.db", ALICE, clock=clock) as store:
        store.remember(Draft(text="one", path="/a", expires_at=clock() + 10))
        store.remember(Draft(text="two", path="/b", expires_at=clock() + 20))
    clock.advance(10)

    with Store.open(tmp_path / "a.db", ALICE, clock=clock) as store:
        assert [one.path for one in store.browse()] == ["/b"]
        clock.advance(10)
        assert store.browse() == []


@pytest.mark.parametrize("when", [0.0, 1_000_000.0, -1.0, math.nan, math.inf, 1e300, True, "tomorrow"])
def test_an_end_that_is_past_or_no_time_is_refused(store: Store, when: Any) -> None:
    with pytest.raises(InvalidInput, match="expires_at"):
        store.remember(Draft(text="x", path="/x", expires_at=when))
    with pytest.raises(InvalidInput, match=r"drafts\[1\]\.expires_at"):
        store.remember_many([Draft(text="y"), Draft(text="x", path="/x", expires_at=when)])

    assert store.count() == 0


def test_the_housekeeper_buries_and_tells(store: Store, clock: FakeClock) -> None:
    told: list[bool] = []
    housekeeper = Housekeeper(store, lambda: told.append(True))
    store.remember(Draft(text="one", path="/a", expires_at=clock() + 10))

    housekeeper.tidy()
    assert told == []
    clock.advance(10)
    housekeeper.tidy()

    assert told == [True]
    housekeeper.close()
