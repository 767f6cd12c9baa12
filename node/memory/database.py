"""Connections to the file: their settings, one reader for each thread, and what SQLite's errors mean here."""

from __future__ import annotations

import os
import threading
import weakref
from pathlib import Path
from typing import Any, Literal

import apsw

from protocol.errors import InvalidInput, MemoryUnusable, MeshError, NodeClosed, StorageFailure

Durability = Literal["normal", "full"]
"""`normal` survives the end of the process, however it comes; `full` also a loss of power: one fsync each."""

WRITER_CACHE_KIB = 4_096
READER_CACHE_KIB = 512
_BUSY_MS = 5_000
_SMALLEST_BYTES = 512  # SQLite takes a shorter file for an empty one and would write over it.


def translate(error: apsw.Error, path: Path) -> MeshError:
    """An error of SQLite as one of ours, on one line, with the file's name."""
    match error:
        case apsw.NotADBError():
            return _no_database(path)
        case apsw.CorruptError():
            return MemoryUnusable(f"{path}: the database is damaged ({error})")
        case apsw.FullError():
            return StorageFailure(f"{path}: no room left on the disk; nothing was written")
        case apsw.CantOpenError():
            return MemoryUnusable(f"{path}: cannot be opened")
        case apsw.ReadOnlyError():
            return StorageFailure(f"{path}: cannot be written to")
        case apsw.ConnectionClosedError():
            return NodeClosed(f"{path}: the memory was closed")
        case _:
            return StorageFailure(f"{path}: {error}")


def _no_database(path: Path) -> MemoryUnusable:
    return MemoryUnusable(f"{path}: not a database; give another file")


def open_writer(path: Path, durability: Durability) -> apsw.Connection:
    """The connection that writes; a new file can be read by its owner only."""
    if durability not in {"normal", "full"}:
        raise InvalidInput("durability", f"{durability!r} is none", "use normal or full")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))
        size = path.stat().st_size
    except OSError as error:
        raise MemoryUnusable(f"{path}: {error.strerror or error}") from error
    if 0 < size < _SMALLEST_BYTES and not path.with_name(path.name + "-journal").exists():
        raise _no_database(path)
    connection = connect(path, apsw.SQLITE_OPEN_READWRITE)
    connection.pragma("cache_size", -WRITER_CACHE_KIB)
    connection.pragma("temp_store", "memory")
    return connection


def tune_writer(connection: apsw.Connection, durability: Durability) -> None:
    """What may be set only when the file is known to be ours, as it changes the file."""
    connection.pragma("journal_mode", "wal")
    connection.pragma("synchronous", "full" if durability == "full" else "normal")
    connection.pragma("wal_autocheckpoint", 0)  # That is the task of `node.memory.checkpoint`.


def connect(path: Path, flags: int) -> apsw.Connection:
    """A connection with the settings that all of them share."""
    connection = apsw.Connection(str(path), flags=flags)
    connection.set_busy_timeout(_BUSY_MS)
    # Otherwise a SQLite built with STAT4 prepares a join anew for every value bound: 15 us a read.
    connection.config(apsw.SQLITE_DBCONFIG_ENABLE_QPSG, 1)
    return connection


class Readers:
    """A connection for each thread that reads, closed when its thread ends or all are."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._mine = threading.local()
        self._all: weakref.WeakSet[apsw.Connection] = weakref.WeakSet()
        self._lock = threading.Lock()
        self._closed = False

    def get(self) -> apsw.Connection:
        """This thread's connection. Raises NodeClosed after `close`."""
        connection: apsw.Connection | None = getattr(self._mine, "connection", None)
        if connection is None or self._closed:
            connection = self._open()
        return connection

    def rows(self, statement: str, values: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
        """All rows of one statement, read by this thread's connection."""
        try:
            return list(self.get().execute(statement, values))
        except apsw.Error as error:
            raise translate(error, self._path) from error

    def close(self) -> None:
        """Close all; a statement under way in another thread ends first."""
        with self._lock:
            self._closed = True
            for connection in list(self._all):
                connection.close()

    def _open(self) -> apsw.Connection:
        with self._lock:
            if self._closed:
                raise NodeClosed(f"{self._path}: the memory was closed")
            connection = connect(self._path, apsw.SQLITE_OPEN_READONLY)
            connection.pragma("cache_size", -READER_CACHE_KIB)
            self._all.add(connection)
        self._mine.connection = connection
        return connection
