"""Folding the write-ahead log into the file, beside the writer and not in its way.

A thread with a connection of its own copies the log's pages whenever it has grown by `CHECKPOINT_PAGES`. What
is written meanwhile it leaves, and SQLite begins the log anew only when nothing is left: so the writer,
told by the thread, copies that little rest after its next commit. Should the thread not keep up, the writer
does all of it at `MOST_PAGES`: the log is never longer than that and one transaction, unless a reader
holds on to its beginning.

A copy that fails (a full disk) loses nothing, as the log keeps its pages: it is told once, and tried again.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import apsw

from node.memory import database

_log = logging.getLogger(__name__)

CHECKPOINT_PAGES = 6_000
"""Pages of 4 KiB by which the log grows before it is folded. Higher makes commits cheaper and the file beside
it larger, and the first start after a crash slower: it reads the log once."""
MOST_PAGES = 3 * CHECKPOINT_PAGES


class Checkpoints:
    """Of one writing connection. Its thread runs from the first time it is needed until `close`."""

    def __init__(self, connection: apsw.Connection, path: Path) -> None:
        self._connection, self._path = connection, path
        self._copying = threading.RLock()  # SQLite lets only one at it, and does not let the other wait.
        self._wanted = threading.Event()
        self._closed = False
        self._due = CHECKPOINT_PAGES
        self._is_almost_done = False
        self._thread: threading.Thread | None = None
        self.trouble = ""  # Why the log could not be folded, when it was last tried.
        connection.set_wal_hook(self._after_commit)

    def close(self) -> None:
        """End the thread. Doing it twice does nothing."""
        if self._closed:
            return
        self._closed = True
        self._connection.set_wal_hook(None)
        self._wanted.set()
        if self._thread is not None:
            self._thread.join()

    def _after_commit(self, connection: apsw.Connection, _name: str, pages: int) -> int:
        if self._is_almost_done or (pages >= MOST_PAGES and pages >= self._due):
            self._fold(connection, pages)
        elif pages >= self._due and not self._wanted.is_set():
            self._start()
        return apsw.SQLITE_OK

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Nothing is copied meanwhile, but by the caller."""
        with self._copying:
            yield

    def _start(self) -> None:
        self._wanted.set()
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="avm-checkpoint", daemon=True)
            self._thread.start()

    def _run(self) -> None:
        connection: apsw.Connection | None = None
        try:
            # Looked at on both sides of the wait: `clear` may undo the call by which `close` wakes us.
            while not self._closed and self._wanted.wait() and not self._closed:
                if connection is None:
                    connection = database.connect(self._path, apsw.SQLITE_OPEN_READWRITE)
                with self._copying:
                    self._copy(connection)
                self._is_almost_done = True
                self._wanted.clear()
        except apsw.Error as error:  # The connection could not even be opened: the writer does without.
            self._told(error)
        finally:
            if connection is not None:
                connection.close()

    def _fold(self, connection: apsw.Connection, pages: int) -> None:
        """By the writer, after a commit of its own."""
        if not self._copying.acquire(blocking=False):
            return
        try:
            self._is_almost_done = False
            # Where a reader holds on to a part, or the disk is full, it is tried again when there is more.
            self._due = CHECKPOINT_PAGES if self._copy(connection) else pages + CHECKPOINT_PAGES
        finally:
            self._copying.release()

    def _copy(self, connection: apsw.Connection) -> bool:
        """Whether all of the log is in the file."""
        try:
            pages, copied = connection.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_PASSIVE)
        except apsw.Error as error:
            self._told(error)
            return False
        self.trouble = ""
        return pages == copied

    def _told(self, error: apsw.Error) -> None:
        trouble = str(database.translate(error, self._path))
        if trouble != self.trouble:
            _log.warning("the log stays beside the file: %s", trouble)
        self.trouble = trouble
