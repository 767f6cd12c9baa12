"""Bounds on a memory: a write beyond them is refused, alone, and forgetting never is."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from node.memory import Draft, Store
from node.memory.quota import Quota
from protocol.errors import InvalidInput, QuotaExceeded
from protocol.names import AgentName
from tests.support.settings import MakeConfig

ALICE = AgentName("alice")


def test_one_memory_too_many_is_refused_and_versions_are_not(tmp_path: Path) -> None:
    with Store.open(tmp_path / "a.db", ALICE, quota=Quota(max_memories=2)) as store:
        store.remember(Draft(text="one", path="/1"))
        store.remember(Draft(text="two", path="/2"))

        with pytest.raises(QuotaExceeded, match="max_memories: 2 of 2"):
            store.remember(Draft(text="three", path="/3"))
        with pytest.raises(QuotaExceeded):
            store.remember(Draft(text="three"))
        assert store.remember(Draft(text="one more", path="/1")).version == 2
        store.forget("/2")
        assert store.remember(Draft(text="three", path="/3")).stored
        assert store.count() == 2


def test_a_batch_that_would_pass_a_quota_writes_nothing(tmp_path: Path) -> None:
    with Store.open(tmp_path / "a.db", ALICE, quota=Quota(max_memories=3)) as store:
        store.remember(Draft(text="one", path="/1"))

        with pytest.raises(QuotaExceeded):
            store.remember_many([Draft(text=f"text {n}", path=f"/{n}") for n in range(1, 5)])

        assert store.read("/1").text == "one"
        assert store.count() == 1
        assert len(store.remember_many([Draft(text=f"text {n}", path=f"/{n % 3}") for n in range(9)])) == 9


def test_of_writers_in_one_group_only_those_beyond_the_quota_fail(tmp_path: Path) -> None:
    def write(n: int) -> bool:
        try:
            return store.remember(Draft(text=f"text {n}")).stored
        except QuotaExceeded:
            return False

    with Store.open(tmp_path / "a.db", ALICE, quota=Quota(max_memories=20)) as store:
        with ThreadPoolExecutor(8) as pool:
            stored = sum(pool.map(write, range(60)))

        assert stored == store.count() == 20


def test_a_file_that_would_grow_too_large_is_refused_and_forgetting_is_not(tmp_path: Path) -> None:
    bound = 600_000
    with Store.open(tmp_path / "a.db", ALICE, quota=Quota(max_file_bytes=bound)) as store:

        def fill() -> None:
            for n in range(1_000):
                store.remember(Draft(text=f"{n} " * 2_000, path=f"/{n}"))

        with pytest.raises(QuotaExceeded, match="max_file_bytes"):
            fill()
        assert store.count() > 10
        store.forget("/0")
        store.erase("/1")
        store.erase("/2")
        assert store.remember(Draft(text="small", path="/s")).stored

    assert (tmp_path / "a.db").stat().st_size <= bound * 1.1


@pytest.mark.parametrize("name", ["max_memories", "max_file_bytes"])
def test_a_bound_below_none_is_refused(make_config: MakeConfig, name: str) -> None:
    with pytest.raises(InvalidInput, match=name):
        make_config(host="h", **{name: -1})
