"""Paths that are made up are never somebody else's."""

from __future__ import annotations

from pathlib import Path

import apsw
import pytest
from hypothesis import given
from hypothesis import strategies as st

from node.memory import Draft, Store
from node.memory.paths import Paths
from protocol.errors import StorageFailure
from protocol.names import AgentName

ALICE = AgentName("alice")


@given(
    st.integers(1, 10**7),
    st.lists(st.tuples(st.integers(-3, 12), st.sampled_from(["", "", "-2", "/below"])), max_size=8),
    st.lists(st.integers(-1, 12), max_size=20),
)
def test_no_order_of_chosen_and_made_paths_takes_one_twice(
    first: int, before: list[tuple[int, str]], chosen: list[int]
) -> None:
    connection = apsw.Connection("")
    connection.execute("CREATE TABLE head (path TEXT PRIMARY KEY) WITHOUT ROWID")
    paths, taken = Paths(connection), set()

    def take(path: str) -> None:
        connection.execute("INSERT INTO head VALUES (?)", (path,))  # Fails where it is there.
        taken.add(path)

    for path in {f"/memories/{max(first + ahead, 0):06d}{ending}" for ahead, ending in before}:
        take(path)
    for number, ahead in enumerate(chosen, first):
        path = f"/memories/{number + ahead:06d}"
        if ahead >= 0 and path not in taken:
            take(path)
        else:
            path = paths.make(number, taken.__contains__)
            take(path)
        paths.note(path)
    connection.close()


def test_a_path_made_does_not_look_up_what_is_known(tmp_path: Path) -> None:
    with Store.open(tmp_path / "a.db", ALICE) as store:
        store.remember(Draft(text="one"))
        asked: list[str] = []

        def trace(_cursor: apsw.Cursor, sql: str, _values: object) -> bool:
            asked.append(sql)
            return True

        store._connection.set_exec_trace(trace)
        store.remember(Draft(text="two"))

    assert [sql for sql in asked if "BETWEEN" in sql or "WHERE h.path" in sql] == []


def test_numbers_of_seven_digits_follow_those_of_six() -> None:
    connection = apsw.Connection("")
    connection.execute("CREATE TABLE head (path TEXT PRIMARY KEY) WITHOUT ROWID")
    connection.execute("INSERT INTO head VALUES ('/memories/1000001')")
    paths = Paths(connection)

    made = [paths.make(number, "/memories/1000001".__eq__) for number in range(999_998, 1_000_004)]

    assert made == [
        *("/memories/999998", "/memories/999999", "/memories/1000000", "/memories/1000001-2"),
        *("/memories/1000002", "/memories/1000003"),
    ]


@pytest.mark.parametrize("count", [1, 20])
def test_a_path_chosen_ahead_is_stepped_over_in_one_batch_and_later(tmp_path: Path, count: int) -> None:
    with Store.open(tmp_path / "a.db", ALICE) as store:
        store.remember(Draft(text="first of all"))
        drafts = [Draft(text=f"number {n} of these") for n in range(count)]
        chosen = Draft(text="chosen", path=f"/memories/{count + 6:06d}")
        store.remember_many([*drafts, chosen, *[Draft(text=f"then {n} of those") for n in range(8)]])
        for n in range(8):
            store.remember(Draft(text=f"and later {n} of others"))

        assert store.read(chosen.path or "").text == "chosen"
        assert store.count() == count + 18
        assert store.check().problems == ()


def test_a_batch_rolled_back_leaves_its_paths_free(tmp_path: Path) -> None:
    with Store.open(tmp_path / "a.db", ALICE) as store:
        store.remember(Draft(text="one"))
        pages = store._connection.pragma("page_count")
        store._connection.pragma("max_page_count", pages)
        with pytest.raises(StorageFailure):
            store.remember_many([Draft(text="two"), Draft(text="long " * 50_000)])
        store._connection.pragma("max_page_count", pages + 100_000)

        again = store.remember_many([Draft(text="two"), Draft(text="three")])

    assert [receipt.path for receipt in again] == ["/memories/000002", "/memories/000003"]
