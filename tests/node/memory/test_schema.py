"""Files of earlier schemas open, with all they hold; each schema has a maker of such a file here."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from pathlib import Path

import apsw
import pytest

from node.memory import Draft, Store
from node.memory.schema import APPLICATION_ID, MIGRATIONS, VERSION
from protocol.errors import MemoryUnusable
from protocol.names import AgentName

ALICE = AgentName("alice")
_VERSION = "INSERT INTO versions VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"


def schema_1(path: Path) -> None:
    """Two memories, one overwritten, one forgotten, as schema 1 kept them."""
    connection = apsw.Connection(str(path))
    connection.execute(MIGRATIONS[0])
    for name, value in (("agent", "alice"), ("instance", "42"), ("incarnation", "7")):
        connection.execute("INSERT INTO meta VALUES (?, ?)", (name, value))
    rows = [
        (1, "/a", 1, None, 10.0, 10.0, 0, "listed", 0.5, "Old", '["t"]', '{"k":1}', 5, "zebra"),
        (2, "/a", 2, 1, 10.0, 11.0, 0, "mesh", 0.5, "New", "", "", 4, "lion"),
        (3, "/b", 1, None, 12.0, 12.0, 0, "private", 1.0, "", "", "", 5, "tiger"),
        (4, "/b", 2, 3, 12.0, 13.0, 1, "private", 0.0, "", "", "", 0, ""),
    ]
    connection.executemany(_VERSION, rows)
    connection.execute("INSERT INTO head VALUES ('/a', 2, 1, 1, '40 lion'), ('/b', 4, 0, 0, '')")
    connection.execute("INSERT INTO words (rowid, title, text, topics) VALUES (2, 'new', 'lion', '')")
    connection.pragma("application_id", APPLICATION_ID)
    connection.pragma("user_version", 1)
    connection.close()


def schema_2(path: Path) -> None:
    """The same, upgraded to schema 2."""
    schema_1(path)
    connection = apsw.Connection(str(path))
    connection.execute(MIGRATIONS[1])
    connection.pragma("user_version", 2)
    connection.close()


def schema_3(path: Path) -> None:
    """The same, upgraded to schema 3."""
    schema_2(path)
    connection = apsw.Connection(str(path))
    connection.execute(MIGRATIONS[2])
    connection.pragma("user_version", 3)
    connection.close()


MAKERS: dict[int, Callable[[Path], None]] = {1: schema_1, 2: schema_2, 3: schema_3}


def test_every_earlier_schema_has_a_maker() -> None:
    assert sorted(MAKERS) == list(range(1, VERSION))


@pytest.mark.parametrize("number", MAKERS)
def test_a_file_of_an_earlier_schema_opens_with_all_it_holds(tmp_path: Path, number: int) -> None:
    path = tmp_path / "alice.db"
    MAKERS[number](path)

    for _ in range(2):
        with Store.open(path, ALICE) as store:
            assert store.read("/a").text == "lion"
            assert store.read("/a").expires_at is None
            assert (store.read("/a", 1).text, store.read("/a", 1).tags) == ("zebra", ("t",))
            assert store.read("/a", 1).metadata == {"k": 1}
            assert [one.forgotten for one in store.history("/b")] == [True, False]
            assert [hit.path for hit in store.search("lion")] == ["/a"]
            assert [term for term, _, _ in store.announced_topics()] == ["lion"]
            assert store.instance == 42
    with Store.open(path, ALICE) as store:
        assert store.next_incarnation() == 8
        assert store.remember(Draft(text="bear", path="/b")).version == 3
        assert store._connection.pragma("user_version") == VERSION


@pytest.mark.parametrize("number", MAKERS)
def test_an_upgrade_that_is_interrupted_leaves_the_file_as_it_was(
    tmp_path: Path, number: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "alice.db"
    MAKERS[number](path)
    broken = (*MIGRATIONS[:-1], f"{MIGRATIONS[-1]}; INSERT INTO nowhere VALUES (1);")
    with monkeypatch.context() as patch:
        patch.setattr("node.memory.schema.MIGRATIONS", broken)
        with pytest.raises(Exception, match="nowhere"):
            Store.open(path, ALICE)

    with sqlite3.connect(path) as connection:
        assert connection.execute("PRAGMA user_version").fetchone() == (number,)
    connection.close()
    with Store.open(path, ALICE) as store:
        assert store.read("/a").text == "lion"


def test_a_file_of_another_agent_is_not_upgraded(tmp_path: Path) -> None:
    path = tmp_path / "alice.db"
    MAKERS[1](path)

    with pytest.raises(MemoryUnusable, match="'alice'"):
        Store.open(path, AgentName("bob"))

    with sqlite3.connect(path) as connection:
        assert connection.execute("PRAGMA user_version").fetchone() == (1,)
    connection.close()
