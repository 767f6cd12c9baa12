"""Vectors beside the log: the queue, what supersedes what, another model, erasure, a restart."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from node.memory import Draft, Store
from node.memory.vectors import Pending, Vectors
from protocol.names import AgentName

ALICE = AgentName("alice")


def unit(count: int) -> Vectors:
    drawn = np.random.default_rng(count).normal(size=(count, 384)).astype(np.float32)
    found: Vectors = drawn / np.linalg.norm(drawn, axis=1, keepdims=True)
    return found


def pending(store: Store, limit: int = 100) -> Pending:
    found = store.vectors.pending(limit)
    assert found is not None
    return found


def stored(store: Store) -> dict[int, np.ndarray[tuple[int], np.dtype[np.float32]]]:
    return {at: row for ids, rows in store.vectors.stored() for at, row in zip(ids, rows, strict=True)}


def test_the_log_is_the_queue_and_ends_where_all_is_embedded(tmp_path: Path) -> None:
    with Store.open(tmp_path / "a.db", ALICE) as store:
        store.vectors.use("m")
        for n in range(5):
            store.remember(Draft(text=f"text {n}", path=f"/{n}", title="About" if n == 3 else ""))

        first = pending(store, 3)
        store.vectors.add(first, unit(3))
        second = pending(store, 3)
        vectors = unit(2)
        store.vectors.add(second, vectors)

        assert (first.texts, second.texts) == (["text 0", "text 1", "text 2"], ["About\ntext 3", "text 4"])
        assert store.vectors.pending(3) is None
        np.testing.assert_allclose(stored(store)[second.ids[0]], vectors[0], atol=0.002)


def test_what_was_overwritten_or_forgotten_loses_its_vector(tmp_path: Path) -> None:
    with Store.open(tmp_path / "a.db", ALICE) as store:
        store.vectors.use("m")
        store.remember_many([Draft(text="a", path="/a"), Draft(text="b", path="/b")])
        both = pending(store)
        store.vectors.add(both, unit(2))
        store.remember(Draft(text="a, changed", path="/a"))
        store.forget("/b")

        after = pending(store)
        store.vectors.add(after, unit(1))

        assert after.texts == ["a, changed"]
        assert sorted(after.superseded) == sorted(both.ids)
        assert list(stored(store)) == after.ids
        assert store._connection.execute("SELECT count(*) FROM vectors").get == 1


def test_vectors_stay_over_a_restart_and_go_with_their_model(tmp_path: Path) -> None:
    with Store.open(tmp_path / "a.db", ALICE) as store:
        store.vectors.use("m")
        store.remember(Draft(text="a", path="/a"))
        store.vectors.add(pending(store), unit(1))
    with Store.open(tmp_path / "a.db", ALICE) as store:
        store.vectors.use("m")
        assert store.vectors.pending(9) is None
        assert len(stored(store)) == 1

        store.vectors.use("another")

        assert stored(store) == {}
        assert pending(store).texts == ["a"]


def test_erasing_takes_the_vector_as_well(tmp_path: Path) -> None:
    with Store.open(tmp_path / "a.db", ALICE) as store:
        store.vectors.use("m")
        store.remember(Draft(text="a secret", path="/a"))
        store.vectors.add(pending(store), unit(1))

        store.erase("/a")

        assert store._connection.execute("SELECT count(*) FROM vectors").get == 0
