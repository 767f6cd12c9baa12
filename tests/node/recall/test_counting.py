"""Sizes that were counted ahead are those that a recall would count."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from node.memory import Draft, Store
from node.recall import recall, tokens
from node.recall.counting import AT_ONCE, count_some
from node.recall.pack import block_of
from protocol.names import AgentName


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store.open(tmp_path / "alice.db", AgentName("alice")) as opened:
        yield opened


def test_all_live_versions_are_counted_in_steps(store: Store) -> None:
    tokens.count("The counter is loaded.")
    store.remember_many([Draft(text=f"Walrus {n} sings.", title=f"Song {n % 3}") for n in range(AT_ONCE + 5)])
    store.forget(store.browse(limit=1)[0].path)

    steps = [count_some(store), count_some(store), count_some(store)]

    assert steps == [True, False, False]
    for one in store.lookup.fetch(range(1, store.last_id + 1)):
        size = store.sizes.get(one.id)
        assert size is not None
        assert size.alone == tokens.count(block_of(one.title, one.text))
    assert store.sizes.get(1) is None


def test_nothing_is_counted_before_the_counter_is_needed(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("node.recall.tokens.is_loaded", lambda: False)
    store.remember(Draft(text="The walrus sings."))

    assert not count_some(store)
    assert store.sizes.get(1) is None


def test_an_answer_is_the_same_whether_its_sizes_were_known_or_not(store: Store) -> None:
    store.remember_many([Draft(text=f"The walrus number {n} sings (loudly). " * (n + 1)) for n in range(20)])
    unknown = recall(store, "walrus songs", 150)

    while count_some(store):
        pass

    assert recall(store, "walrus songs", 150) == unknown
