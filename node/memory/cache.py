"""The memories read last, kept whole in the node's process.

A hit takes no lock: reading a dict and moving a key to its end are each one step under the interpreter's
lock, and a key evicted in between is a miss. Everything that changes the cache holds `_lock`.

Invariants:
 1. After `put` or `drop` returns, no older version of that path is ever found again.
    A reader that fetched an old version meanwhile cannot put it back: its stamp is out of date.
 2. At most `limit` entries, each of at most `MAX_ENTRY_CHARS` characters of text.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Mapping

from node.memory.records import Memory

MAX_ENTRY_CHARS = 16_384  # 1,024 entries then hold 16 MiB at the most, if they are all ASCII.
_STRIPES = 256


class Cache:
    """Path -> memory, least recently used out first."""

    def __init__(self, limit: int) -> None:
        self.entries: OrderedDict[str, Memory] = OrderedDict()
        self.limit = limit
        self.hits = 0
        self.misses = 0
        self._stamps = [0] * _STRIPES
        self._lock = threading.Lock()

    def stamp(self, path: str) -> int:
        """To be taken before the database is read, and handed to `fill` with what was found."""
        return self._stamps[hash(path) % _STRIPES]

    def fill(self, memory: Memory, stamp: int) -> None:
        """Keep what a reader found, unless its path was written since `stamp`."""
        if not self.limit or len(memory.text) > MAX_ENTRY_CHARS:
            return
        with self._lock:
            if self._stamps[hash(memory.path) % _STRIPES] == stamp:
                self._keep(memory)

    def put(self, memory: Memory) -> None:
        """Keep what was just committed."""
        with self._lock:
            self._stamps[hash(memory.path) % _STRIPES] += 1
            if self.limit and len(memory.text) <= MAX_ENTRY_CHARS:
                self._keep(memory)
            else:
                self.entries.pop(memory.path, None)

    def drop(self, path: str) -> None:
        """Forget a path that was just forgotten."""
        with self._lock:
            self._stamps[hash(path) % _STRIPES] += 1
            self.entries.pop(path, None)

    def take(self, changed: Mapping[str, Memory | None]) -> None:
        """`put` or, for None, `drop` each of what was just committed, in order."""
        with self._lock:
            stamps, entries, limit = self._stamps, self.entries, self.limit
            for path, memory in changed.items():
                stamps[hash(path) % _STRIPES] += 1
                if memory is None or not limit or len(memory.text) > MAX_ENTRY_CHARS:
                    entries.pop(path, None)
                else:
                    self._keep(memory)

    def clear(self) -> None:
        """Forget all, and take nothing back from readers under way."""
        with self._lock:
            self._stamps = [stamp + 1 for stamp in self._stamps]
            self.entries.clear()

    def _keep(self, memory: Memory) -> None:
        self.entries[memory.path] = memory
        self.entries.move_to_end(memory.path)
        if len(self.entries) > self.limit:
            self.entries.popitem(last=False)
