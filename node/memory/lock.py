"""One owner per memory: a lock the system releases when the owner dies, however it dies.

Beside `x.db` stand `x.db.lock`, which is locked, and `x.db.owner`, which tells the owner's pid to whoever
finds it locked. Both may stay behind; only the lock counts.
"""

from __future__ import annotations

import os
from pathlib import Path

from filelock import FileLock, Timeout

from protocol.errors import MemoryInUse, MemoryUnusable


class OwnerLock:
    """Held from construction until `release`. Raises MemoryInUse where another store holds it."""

    def __init__(self, path: Path) -> None:
        self._owner = path.with_name(path.name + ".owner")
        self._lock = FileLock(path.with_name(path.name + ".lock"), mode=0o600, thread_local=False)
        try:
            self._lock.acquire(timeout=0)
        except Timeout:
            raise MemoryInUse(f"{path}: in use by {self._owner_told()}; stop that one first") from None
        except OSError as error:
            raise MemoryUnusable(f"{path}: {error.strerror or error}") from error
        try:
            self._owner.write_text(f"{os.getpid()}\n")
        except OSError as error:
            self._lock.release()
            raise MemoryUnusable(f"{path}: {error.strerror or error}") from error

    def release(self) -> None:
        """Let the next one in. Doing it twice does nothing."""
        if self._lock.is_locked:
            self._owner.unlink(missing_ok=True)
            self._lock.release()

    def _owner_told(self) -> str:
        try:
            pid = self._owner.read_text().strip()
        except OSError:
            pid = ""
        return f"process {pid}" if pid.isdecimal() else "another process"
