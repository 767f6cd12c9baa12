"""Where an agent stands: its name to a number below 2**32, in about 8 bytes a name.

The names themselves stay where the numbers point; the roll holds the numbers only, in open-addressed tables
(linear probing, and on removal those that follow move up: no tombstones). A dict with its numbers takes 70
bytes a name, which is more than half of a small digest.

Names are parted among tables, so that growing stops us for one part of the names only: by mmh3, so that
equal names take equal memory in every process. Within a table they stand by `hash()`, which is keyed anew in
each process, so that nobody can choose names that collide.

Invariant: each number put in is found by its name, once; between a number and its home no gap.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterator

from mmh3 import hash as hash32

from protocol.names import AgentName

_PARTS = 64
_LEAST = 8


class Roll:
    """Numbers by name. `name_of` tells the name that belongs to a number it was given."""

    def __init__(self, name_of: Callable[[int], AgentName]) -> None:
        self._name_of = name_of
        self._tables: list[array[int] | None] = [None] * _PARTS  # A number + 1; 0 where nothing is.
        self._filled = [0] * _PARTS

    def __len__(self) -> int:
        return sum(self._filled)

    def __iter__(self) -> Iterator[int]:
        return (entry - 1 for table in self._tables if table is not None for entry in table if entry)

    @property
    def size_bytes(self) -> int:
        """Bytes of the tables."""
        return sum(len(table) * table.itemsize for table in self._tables if table is not None)

    def find(self, name: object) -> int | None:
        """The number of `name`."""
        table = self._tables[hash32(name) % _PARTS] if isinstance(name, str) else None
        if table is None:
            return None
        at = hash(name) % len(table)
        while entry := table[at]:
            if self._name_of(entry - 1) == name:
                return entry - 1
            at = at + 1 if at + 1 < len(table) else 0
        return None

    def add(self, name: AgentName, number: int) -> None:
        """Enter a name that is not there yet."""
        part = hash32(name) % _PARTS
        table = self._tables[part]
        self._filled[part] += 1
        if table is None or self._filled[part] * 3 > len(table) * 2:
            table = self._rebuild(part, self._filled[part] * 9 // 4)
        _enter(table, name, number + 1)

    def move(self, name: AgentName, number: int) -> None:
        """`name` stands elsewhere from now on."""
        table = self._table(hash32(name) % _PARTS)
        table[self._at(table, name)] = number + 1

    def remove(self, name: AgentName) -> None:
        """Forget a name that is there."""
        part = hash32(name) % _PARTS
        table = self._table(part)
        gap = at = self._at(table, name)
        table[gap] = 0
        size = len(table)
        while entry := table[at := (at + 1) % size]:
            home = hash(self._name_of(entry - 1)) % size
            if (at - home) % size >= (at - gap) % size:  # Its home is not behind the gap: it may move up.
                table[gap], table[at], gap = entry, 0, at
        self._filled[part] -= 1
        if self._filled[part] == 0:
            self._tables[part] = None
        elif size > _LEAST and self._filled[part] * 6 < size:
            self._rebuild(part, self._filled[part] * 9 // 4)

    def _table(self, part: int) -> array[int]:
        table = self._tables[part]
        assert table is not None, "only names that are there"
        return table

    def _at(self, table: array[int], name: AgentName) -> int:
        at = hash(name) % len(table)
        while self._name_of(table[at] - 1) != name:
            at = (at + 1) % len(table)
        return at

    def _rebuild(self, part: int, size: int) -> array[int]:
        old = self._tables[part] or ()
        table = self._tables[part] = array("I", bytes(4 * max(_LEAST, size)))
        for entry in old:
            if entry:
                _enter(table, self._name_of(entry - 1), entry)
        return table

    def check(self) -> None:
        """Assert the invariant at the head of this module."""
        for part, table in enumerate(self._tables):
            entries = [entry for entry in table or () if entry]
            assert len(entries) == self._filled[part]
            for entry in entries:
                assert self.find(self._name_of(entry - 1)) == entry - 1, "a number its name does not lead to"


def _enter(table: array[int], name: AgentName, entry: int) -> None:
    at = hash(name) % len(table)
    while table[at]:
        at = at + 1 if at + 1 < len(table) else 0
    table[at] = entry
