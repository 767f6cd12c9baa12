"""Copies of a memory: complete before they have their name, checked, and put back only where they belong."""

from __future__ import annotations

from pathlib import Path

import apsw
import pytest

from node.memory import Draft, Store
from node.memory.backup import restore
from protocol.errors import InvalidInput, MemoryInUse, MemoryUnusable, NotFound, StorageFailure
from protocol.names import AgentName

ALICE, BOB = AgentName("alice"), AgentName("bob")


def fill(store: Store) -> None:
    store.remember_many([Draft(text=f"note {n} of walruses", path=f"/n/{n}") for n in range(30)])
    store.remember(Draft(text="changed", path="/n/0"))
    store.forget("/n/1")
    store.relations.link("/n/2", "/n/3", "related", 0.5)


def test_a_copy_made_while_the_memory_is_used_is_put_back_whole(tmp_path: Path) -> None:
    copy, elsewhere = tmp_path / "copy.bak", tmp_path / "other" / "alice.db"
    with Store.open(tmp_path / "alice.db", ALICE) as store:
        fill(store)
        made = store.backup(copy)
        store.remember(Draft(text="after the copy", path="/late"))

    restored = restore(copy, elsewhere, ALICE)

    assert (made.memories, made.versions) == (restored.memories, restored.versions) == (29, 32)
    with Store.open(elsewhere, ALICE) as store:
        assert store.check().problems == ()
        assert store.read("/n/0", 1).text == "note 0 of walruses"
        assert len(store.search("walruses", 100)) == 28
        assert len(store.relations.links("/n/2")) == 1
        with pytest.raises(NotFound):
            store.read("/late")
    assert copy.stat().st_mode & 0o777 == 0o600
    assert {file.name for file in tmp_path.iterdir()} <= {"alice.db", "alice.db.lock", "copy.bak", "other"}


def test_what_is_there_is_replaced_only_when_told(tmp_path: Path) -> None:
    copy, path = tmp_path / "copy.bak", tmp_path / "alice.db"
    with Store.open(path, ALICE) as store:
        fill(store)
        store.backup(copy)
        with pytest.raises(InvalidInput, match="already"):
            store.backup(copy)
        store.remember(Draft(text="later", path="/late"))
        with pytest.raises(MemoryInUse):
            restore(copy, path, ALICE, force=True)

    with pytest.raises(InvalidInput, match="force"):
        restore(copy, path, ALICE)
    with Store.open(path, ALICE) as store:
        assert store.read("/late").text == "later"
    restore(copy, path, ALICE, force=True)
    with Store.open(path, ALICE) as store:
        assert store.count() == 29


def test_what_is_no_sound_memory_of_the_agent_is_not_put_in_place(tmp_path: Path) -> None:
    copy, path = tmp_path / "copy.bak", tmp_path / "x.db"
    with Store.open(tmp_path / "alice.db", ALICE) as store:
        fill(store)
        store.backup(copy)

    with pytest.raises(MemoryUnusable, match="'alice'"):
        restore(copy, path, BOB)
    with pytest.raises(NotFound):
        restore(tmp_path / "none", path, ALICE)
    whole = copy.read_bytes()
    for broken in (b"no database " * 100, whole[: len(whole) // 2]):
        copy.write_bytes(broken)
        with pytest.raises(MemoryUnusable):
            restore(copy, path, ALICE)
    copy.write_bytes(whole)
    with apsw.Connection(str(copy)) as connection:
        connection.execute("PRAGMA user_version = 99")
    connection.close()
    with pytest.raises(MemoryUnusable, match="upgrade"):
        restore(copy, path, ALICE)

    assert not path.exists()
    assert not list(tmp_path.glob(".*part*"))


def test_a_copy_to_where_nothing_can_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with Store.open(tmp_path / "alice.db", ALICE) as store, pytest.raises(StorageFailure):
        store.backup(tmp_path / "file" / "copy")


@pytest.mark.parametrize(
    ("damage", "told"),
    [
        ("UPDATE head SET latest = 1 WHERE path = '/n/0'", "not the last"),
        ("DELETE FROM head WHERE path = '/n/5'", "missing in head"),
        ("UPDATE head SET live = 0 WHERE path = '/n/5'", "live and forgotten"),
        ("DELETE FROM words WHERE rowid = 6", "index does not hold"),
        ("INSERT INTO words (rowid, title, text, topics) VALUES (999, '', 'x', '')", "index entries"),
        ("INSERT INTO links VALUES ('/n/2', '/none', 'k', 1.0)", "links to"),
    ],
)
def test_a_check_finds_what_does_not_agree_with_the_log(tmp_path: Path, damage: str, told: str) -> None:
    with Store.open(tmp_path / "alice.db", ALICE) as store:
        fill(store)
        assert store.check().problems == ()

        store._connection.execute(damage)

        assert any(told in problem for problem in store.check().problems)
