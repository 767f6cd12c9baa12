"""What is done for a memory while nobody asks."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path

import pytest

from node.housekeeper import Housekeeper
from node.memory import Draft, Store
from protocol.errors import StorageFailure
from protocol.names import AgentName


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store.open(tmp_path / "alice.db", AgentName("alice")) as opened:
        yield opened


def segments(store: Store) -> int:
    found: int = store._readers.get().execute("SELECT count(DISTINCT segid) FROM words_idx").get
    return found


def write(store: Store, count: int, start: int = 0) -> None:
    for n in range(start, start + count):
        store.remember(Draft(text=f"walrus {n} sleeps at hour {n * 7}", path=f"/{n}"))


def test_the_index_is_merged_when_nothing_was_written_for_a_round(store: Store) -> None:
    housekeeper = Housekeeper(store, lambda: None)
    write(store, 60)
    before = segments(store)

    housekeeper.tidy()
    after_one = segments(store)
    housekeeper.tidy()

    assert after_one == before > 2
    assert segments(store) <= 2
    assert len(store.search("walrus", 100)) == 60
    assert store.check().problems == ()


def test_merging_ends_as_soon_as_something_is_written(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    housekeeper = Housekeeper(store, lambda: None)
    write(store, 20)
    housekeeper.tidy()
    steps = []

    def step() -> bool:
        steps.append(True)
        write(store, 1, start=100)
        return True

    monkeypatch.setattr(store, "merge_index", step)
    housekeeper.tidy()

    assert len(steps) == 1


def test_what_is_merged_is_not_looked_at_again(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    housekeeper = Housekeeper(store, lambda: None)
    write(store, 20)
    housekeeper.tidy()
    housekeeper.tidy()
    steps: list[bool] = []
    monkeypatch.setattr(store, "merge_index", lambda: steps.append(True))

    housekeeper.tidy()

    assert steps == []


def test_a_trouble_that_stays_is_told_once(
    store: Store, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    rounds = []

    def fail() -> int:
        rounds.append(True)
        if len(rounds) == 5:
            housekeeper._closed.set()
        raise StorageFailure("the disk is full")

    housekeeper = Housekeeper(store, lambda: None, every_s=0.001)
    monkeypatch.setattr(store, "sweep", fail)
    with caplog.at_level(logging.WARNING):
        housekeeper._run()

    assert len(rounds) == 5
    assert len(caplog.records) == 1
