"""A memory as a file: checked, copied while it is used, put back.

A copy is complete before it has its name: it is made beside its place, checked, flushed, and then renamed.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import apsw
import msgspec

from node.memory import database, schema
from node.memory.lock import OwnerLock
from protocol.errors import InvalidInput, MemoryUnusable, NotFound, StorageFailure
from protocol.names import AgentName

_MOST_TOLD = 20

_CHECKS = (
    (
        "paths whose latest version is not the last of the log",
        """SELECT count(*) FROM head h WHERE latest IS NOT
           (SELECT max(id) FROM versions v WHERE v.path = h.path GROUP BY v.path)""",
    ),
    (
        "paths of the log that are missing in head",
        "SELECT count(DISTINCT path) - (SELECT count(*) FROM head) FROM versions",
    ),
    (
        "versions whose number does not follow the one before",
        """SELECT count(*) FROM versions v LEFT JOIN versions p ON p.id = v.previous
           WHERE v.version IS NOT coalesce(p.version, 0) + 1
               OR p.path IS NOT NULL AND p.path IS NOT v.path""",
    ),
    (
        "paths that are live and forgotten at once",
        "SELECT count(*) FROM head h JOIN versions v ON v.id = h.latest WHERE h.live = v.forgotten",
    ),
    (
        "live memories that the index does not hold",
        "SELECT count(*) FROM head WHERE live AND latest NOT IN (SELECT id FROM words_docsize)",
    ),
    (
        "index entries of what is not live",
        "SELECT count(*) FROM words_docsize WHERE id NOT IN (SELECT latest FROM head WHERE live)",
    ),
    (
        "links to what is not live",
        """SELECT count(*) FROM links l WHERE
           NOT EXISTS (SELECT 1 FROM head WHERE path = l.path AND live)
           OR NOT EXISTS (SELECT 1 FROM head WHERE path = l.target AND live)""",
    ),
)


class Health(msgspec.Struct, frozen=True, kw_only=True):
    """What a check found: nothing, where `problems` is empty."""

    agent: str
    schema: int
    memories: int
    versions: int
    problems: tuple[str, ...]


class Copy(msgspec.Struct, frozen=True, kw_only=True):
    """A copy that was made and checked."""

    path: str
    file_bytes: int
    memories: int
    versions: int


def check(path: Path) -> Health:
    """Read every page and compare what is derived from the log with the log. Others may go on writing."""
    with _opened(path) as connection:
        return _checked(connection)


def backup(source: Path, target: Path, *, force: bool = False) -> Copy:
    """Copy a memory, as it is at one moment, to `target`, which must not exist unless `force`."""
    if target.exists() and not force:
        raise InvalidInput(str(target), "is there already", "name another file, or add --force")
    return _placed(source, target)


def restore(source: Path, target: Path, agent: AgentName, *, force: bool = False) -> Copy:
    """Make `source` the memory of `agent` at `target`; what is there is replaced only with `force`.

    Raises MemoryInUse while anybody has the memory open, MemoryUnusable where `source` is no sound memory of
    this agent.
    """
    if not source.is_file():
        raise NotFound(f"{source}: no such file")
    _check_owner(source, agent)
    target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    lock = OwnerLock(target)
    try:
        if target.exists():
            if not force:
                raise InvalidInput(
                    "force", f"is missing, and {agent} has a memory", "add --force to replace it"
                )
            _fold(target)
        return _placed(source, target)
    finally:
        lock.release()


def _placed(source: Path, target: Path) -> Copy:
    part = target.with_name(f".{target.name}.{os.getpid()}.part")
    try:
        with _opened(source) as connection:
            _copy(connection, part)
        with _opened(part) as copied:
            health = _checked(copied)
        if health.problems:
            raise MemoryUnusable(f"{source}: {health.problems[0]}; nothing was put in place")
        size = part.stat().st_size
        _flush(part)
        part.replace(target)
        _flush(target.parent)
    except OSError as error:
        raise StorageFailure(f"{target}: {error.strerror or error}") from error
    finally:
        for left in (part, *_beside(part)):
            with suppress(OSError):
                left.unlink(missing_ok=True)
    return Copy(path=str(target), file_bytes=size, memories=health.memories, versions=health.versions)


def _copy(connection: apsw.Connection, part: Path) -> None:
    part.parent.mkdir(parents=True, exist_ok=True)
    os.close(os.open(part, os.O_CREAT | os.O_TRUNC | os.O_RDWR, 0o600))
    copied = apsw.Connection(str(part))
    try:
        with copied.backup("main", connection, "main") as copying:
            copying.step(-1)  # At once: in steps it would begin anew after every write of the owner.
        copied.pragma("journal_mode", "delete")
    finally:
        copied.close()


def _checked(connection: apsw.Connection) -> Health:
    found = [row[0] for row in connection.execute(f"PRAGMA integrity_check({_MOST_TOLD})")]
    problems = [text for text in found if text != "ok"]
    number = connection.pragma("user_version")
    if not problems and number == schema.VERSION:
        for what, statement in _CHECKS:
            wrong: int = connection.execute(statement).get
            if wrong:
                problems.append(f"{wrong} {what}")
    return Health(
        agent=connection.execute("SELECT value FROM meta WHERE name = 'agent'").get,
        schema=number,
        memories=connection.execute("SELECT count(*) FROM head WHERE live").get,
        versions=connection.execute("SELECT count(*) FROM versions").get,
        problems=tuple(problems),
    )


def _check_owner(source: Path, agent: AgentName) -> None:
    with _opened(source) as connection:
        if connection.pragma("application_id") != schema.APPLICATION_ID:
            raise MemoryUnusable(f"{source}: a database, but no memory of an agent; give another file")
        number = connection.pragma("user_version")
        if number > schema.VERSION:
            raise MemoryUnusable(
                f"{source}: schema {number}, this program knows up to {schema.VERSION}; upgrade avm-mesh"
            )
        owner = connection.execute("SELECT value FROM meta WHERE name = 'agent'").get
        if owner != agent:
            raise MemoryUnusable(f"{source}: the memory of agent {owner!r}, not of {agent!r}")


def _fold(target: Path) -> None:
    """Leave nothing beside the file that is replaced: its log would be taken for that of the new one."""
    with suppress(apsw.Error), _opened(target, apsw.SQLITE_OPEN_READWRITE) as old:
        old.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_TRUNCATE)
    for left in _beside(target):
        left.unlink(missing_ok=True)


@contextmanager
def _opened(path: Path, flags: int = apsw.SQLITE_OPEN_READONLY) -> Iterator[apsw.Connection]:
    try:
        connection = database.connect(path, flags)
        try:
            yield connection
        finally:
            connection.close()
    except apsw.Error as error:
        raise database.translate(error, path) from error


def _beside(path: Path) -> list[Path]:
    return [path.with_name(path.name + ending) for ending in ("-wal", "-shm", "-journal")]


def _flush(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
