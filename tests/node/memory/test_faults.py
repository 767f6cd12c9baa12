"""Files that are no memory of this agent's: refused on one line that names the file, and left alone."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import apsw
import pytest

from node.memory import Draft, Store
from node.memory.schema import APPLICATION_ID, MIGRATIONS, VERSION
from protocol.errors import InvalidInput, MemoryInUse, MemoryUnusable, StorageFailure
from protocol.names import AgentName

ALICE, BOB = AgentName("alice"), AgentName("bob")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "alice.db"


def refused(path: Path, agent: AgentName = ALICE) -> str:
    """Open, expect to be refused, and tell what was said."""
    before = path.read_bytes() if path.is_file() else b""
    with pytest.raises(MemoryUnusable) as told:
        Store.open(path, agent)
    message = str(told.value)
    assert str(path) in message
    assert "\n" not in message
    assert not path.is_file() or path.read_bytes() == before
    log = path.with_name(path.name + "-wal")
    assert not log.exists() or log.stat().st_size == 0
    return message


def test_a_memory_of_another_agent_is_refused_and_both_are_named(path: Path) -> None:
    with Store.open(path, BOB) as store:
        store.remember(Draft(text="mine", path="/a"))

    message = refused(path)

    assert "'bob'" in message
    assert "'alice'" in message
    with Store.open(path, BOB) as store:
        assert store.read("/a").text == "mine"


def test_a_memory_of_a_newer_schema_is_refused_and_told_to_upgrade(path: Path) -> None:
    Store.open(path, ALICE).close()
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA journal_mode = delete")
        connection.execute(f"PRAGMA user_version = {VERSION + 1}")

    message = refused(path)

    assert f"schema {VERSION + 1}" in message
    assert "upgrade" in message


@pytest.mark.parametrize(
    "content", [b"just some text\n" * 500, b"x", b"\x00" * 8_192], ids=["text", "x", "zeros"]
)
def test_a_file_that_is_no_database_is_refused(path: Path, content: bytes) -> None:
    path.write_bytes(content)

    assert "not a database" in refused(path)


def test_a_database_of_another_program_is_refused_and_not_touched(path: Path) -> None:
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE notes (text)")

    assert "no memory of an agent" in refused(path)


@pytest.mark.parametrize("pragma", ["application_id = 7", "user_version = 3"])
def test_an_empty_database_marked_by_another_program_is_refused(path: Path, pragma: str) -> None:
    with closing(sqlite3.connect(path)) as connection:
        connection.execute(f"PRAGMA {pragma}")

    assert "no memory of an agent" in refused(path)


def test_a_damaged_memory_is_refused(path: Path) -> None:
    with Store.open(path, ALICE) as store:
        store.remember_many([Draft(text=f"note {n} " * 50) for n in range(100)])
    content = path.read_bytes()
    path.write_bytes(content[:4_096])

    assert "damaged" in refused(path)


def test_a_folder_is_refused(path: Path) -> None:
    path.mkdir()

    assert "directory" in refused(path)


def test_a_file_below_a_file_is_refused(path: Path) -> None:
    path.write_text("a file")

    with pytest.raises(MemoryUnusable, match="alice"):
        Store.open(path / "below.db", ALICE)


def test_an_empty_file_becomes_a_memory(path: Path) -> None:
    path.touch()

    with Store.open(path, ALICE) as store:
        store.remember(Draft(text="first"))
        assert store.count() == 1


def test_folders_are_made_and_a_new_file_is_for_its_owner_only(tmp_path: Path) -> None:
    path = tmp_path / "some" / "folder" / "alice.db"

    Store.open(path, ALICE).close()

    assert path.stat().st_mode & 0o077 == 0


def test_a_refused_file_is_not_kept_locked(path: Path) -> None:
    Store.open(path, BOB).close()
    refused(path)

    with Store.open(path, BOB) as store:
        assert store.count() == 0


def test_a_second_store_in_the_same_process_is_refused_until_the_first_is_closed(path: Path) -> None:
    with Store.open(path, ALICE) as store:
        with pytest.raises(MemoryInUse, match="in use by process"):
            Store.open(path, ALICE)
        assert store.remember(Draft(text="still mine")).stored

    with Store.open(path, ALICE) as store:
        assert store.count() == 1


def test_a_migration_that_fails_leaves_a_new_file_empty_and_the_next_start_succeeds(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as broken:
        broken.setattr("node.memory.schema.MIGRATIONS", (f"{MIGRATIONS[0]}; CREATE TABLE meta (again);",))
        with pytest.raises(StorageFailure, match="meta"):
            Store.open(path, ALICE)

    assert path.stat().st_size == 0
    with Store.open(path, ALICE) as store:
        assert store.remember(Draft(text="first")).stored


def test_a_file_carries_the_marks_of_a_memory(path: Path) -> None:
    Store.open(path, ALICE).close()

    with closing(apsw.Connection(str(path))) as connection:
        assert connection.pragma("application_id") == APPLICATION_ID
        assert connection.pragma("user_version") == VERSION
        assert connection.pragma("journal_mode") == "wal"


def test_the_instance_fits_the_wire(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("secrets.randbits", lambda bits: (1 << bits) - 1)

    with Store.open(path, ALICE) as store:
        assert store.instance == 2**63 - 1


@pytest.mark.parametrize(
    ("field", "knobs"),
    [
        ("durability", {"durability": "none"}),
        ("cache_entries", {"cache_entries": -1}),
        ("cache_entries", {"cache_entries": True}),
    ],
)
def test_a_bad_knob_is_named(path: Path, field: str, knobs: dict[str, Any]) -> None:
    with pytest.raises(InvalidInput) as told:
        Store.open(path, ALICE, **knobs)

    assert told.value.field == field
    Store.open(path, ALICE).close()
