"""Who holds a term, and how often: lists read from the full-text index once and kept in the process.

FTS5's own bm25 calls a function for each row it ranks, ten times the cost of reading the row. So a term's
list is read whole (0.1 us an entry), kept as arrays, and scored in bulk by `node.memory.search`. What is
committed later is added to the lists at hand; a list that is not at hand is read again when it is asked for.

Invariants:
 1. A list at hand holds every live memory with its term, ascending by id; a dead one in it has length 0.
 2. Lists at hand take at most `most_bytes`, the least recently used out first.
 3. Whatever order commits and reads come in, the lists are those of a fresh read: a read holds the lock, and
    a commit that is told later adds only ids past the last one of a list.
"""

from __future__ import annotations

import threading
from collections import Counter, OrderedDict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

import apsw
import msgspec
import numpy as np
from numpy.typing import NDArray

MOST_BYTES = 16 << 20
"""Five bytes an entry: three million of them. Lower reads common words again more often."""

_HALVES = {"title": 4, "text": 2, "topics": 1}
"""What an occurrence counts in each column, in halves: a title twice a text, a topic half of it."""
_ORDER = ("title", "text", "topics")
_LIST = """
    (SELECT group_concat(8 * doc + CASE col WHEN 'text' THEN 2 WHEN 'title' THEN 4 ELSE 1 END)
     FROM (SELECT doc, col FROM occurrences WHERE {condition} LIMIT ?2))"""
_LISTS = f"SELECT asked.value, {_LIST.format(condition='term = asked.value')} FROM json_each(?1) asked"
_LIST_OF_MANY = f"SELECT ?1, {_LIST.format(condition='term >= ?1 AND term <= ?3')}"
_SIZES = "SELECT group_concat(id), group_concat(hex(sz), '') FROM words_docsize"
_NO_LIMIT = -1
_MOST_REMEMBERED = 4_096
_TOO_OFTEN = 4  # Occurrences in a memory, on average, with which a term's list is taken for too long.
_PAST_EVERY_CHARACTER = "\U0010ffff"
_MOST_HALVES = 255

Ids = NDArray[np.uint32]
Halves = NDArray[np.uint8]
Floats = NDArray[np.float32]


class Held(NamedTuple):
    """The live memories with a term: ids ascending, and how often each has it, in halves of an occurrence."""

    ids: Ids
    halves: Halves


_NOBODY = Held(np.empty(0, np.uint32), np.empty(0, np.uint8))


class _List:
    """`Held` with room to grow at its end, and the number of deaths that were taken out of it."""

    __slots__ = ("count", "deaths", "halves", "ids")

    def __init__(self, held: Held, deaths: int) -> None:
        self.ids, self.halves = held
        self.count = len(self.ids)
        self.deaths = deaths

    @property
    def held(self) -> Held:
        return Held(self.ids[: self.count], self.halves[: self.count])

    @property
    def size_bytes(self) -> int:
        return 5 * len(self.ids) + 512

    def append(self, at: int, halves: int) -> None:
        if self.count and at <= self.ids[self.count - 1]:
            return  # It was in the read already.
        if self.count == len(self.ids):
            room = self.count // 4 + 8
            self.ids = np.concatenate([self.ids, np.zeros(room, np.uint32)])
            self.halves = np.concatenate([self.halves, np.zeros(room, np.uint8)])
        self.ids[self.count], self.halves[self.count] = at, min(halves, _MOST_HALVES)
        self.count += 1


class Postings:
    """Of one store. From any thread; `committed` in the order of the commits."""

    def __init__(self, *, most_bytes: int = MOST_BYTES) -> None:
        self._most_bytes = most_bytes
        self._lock = threading.Lock()
        self._lists: OrderedDict[str, _List] = OrderedDict()
        self._bytes = 0
        self._lengths: NDArray[np.uint32] | None = None
        self._deaths = 0
        self._too_many: dict[str, int] = {}  # Terms that have more occurrences than so many.
        self._live = 0
        self._total = 0

    def read(self, connection: apsw.Connection, terms: Iterable[str], *, most: int) -> dict[str, Held | None]:
        """The lists of these terms; None for one that more than `most` memories hold, which is not read
        whole.

        A term of one character beyond ASCII stands for all that begin with it.
        """
        with self._lock:
            self._measure(connection)
            found = {term: self._at_hand(term, most) for term in terms}
            missing = [term for term, held in found.items() if held is None]
            if most >= 0:  # Reading so much of them again would find the same.
                missing = [
                    term
                    for term in missing
                    if term not in self._lists and self._too_many.get(term, -1) < most
                ]
            for term, entries in _entries(connection, missing, most):
                held = _NOBODY if entries is None else _merged(entries, most)
                found[term] = held
                if held is None:
                    self._remember_as_too_many(term, most)
                elif not stands_for_many(term):
                    self._keep(term, _List(held, self._deaths))
            return found

    def lengths(self, ids: Ids) -> Floats:
        """How many terms each of these memories has, all columns together; 0 for a dead one."""
        lengths = self._lengths
        assert lengths is not None, "read comes first"
        found: Floats = lengths.take(ids, mode="clip").astype(np.float32)
        return found

    @property
    def live(self) -> int:
        """Memories in the index, as of the last read."""
        return self._live

    @property
    def mean_length(self) -> float:
        """Terms of a memory."""
        return self._total / self._live if self._live else 1.0

    def committed(self, born: Mapping[int, Sequence[str]], gone: Sequence[int]) -> None:
        """A transaction put these rows (title, text, topics) into the index and took others out."""
        with self._lock:
            if self._lengths is None:
                return
            if born:
                self._reserve(max(born))
            for at, row in born.items():
                columns = [column.split(" ") if column else [] for column in row]
                self._set_length(at, sum(map(len, columns)))
                if self._lists:
                    self._add(at, columns)
            for at in gone:
                if at < len(self._lengths) and self._lengths[at]:
                    self._set_length(at, 0)
                    self._deaths += 1
                    self._too_many.clear()

    def _add(self, at: int, columns: Sequence[Sequence[str]]) -> None:
        found: Counter[str] = Counter()
        for name, column in zip(_ORDER, columns, strict=True):
            for term in column:
                found[term] += _HALVES[name]
        for term in found.keys() & self._lists.keys():
            known = self._lists[term]
            before = known.size_bytes
            known.append(at, found[term])
            self._bytes += known.size_bytes - before

    def _at_hand(self, term: str, most: int) -> Held | None:
        known = self._lists.get(term)
        if known is None:
            return None
        self._lists.move_to_end(term)
        if known.deaths != self._deaths:
            self._bury(known)
        return None if known.count > most >= 0 else known.held

    def _remember_as_too_many(self, term: str, most: int) -> None:
        if len(self._too_many) >= _MOST_REMEMBERED:
            self._too_many.clear()
        self._too_many[term] = most

    def _keep(self, term: str, made: _List) -> None:
        if made.size_bytes > self._most_bytes:
            return
        self._lists[term] = made
        self._bytes += made.size_bytes
        while self._bytes > self._most_bytes:
            _, dropped = self._lists.popitem(last=False)
            self._bytes -= dropped.size_bytes

    def _bury(self, known: _List) -> None:
        """Take the dead out, so that the list is the one a fresh read would give."""
        ids, halves = known.held
        alive = self.lengths(ids) > 0
        self._bytes -= known.size_bytes
        known.ids, known.halves = ids[alive], halves[alive]
        known.count, known.deaths = len(known.ids), self._deaths
        self._bytes += known.size_bytes

    def _measure(self, connection: apsw.Connection) -> None:
        """The lengths of all live memories, once."""
        if self._lengths is not None:
            return
        ((ids, sizes),) = connection.execute(_SIZES)
        self._lengths = np.zeros(1024, np.uint32)
        if ids is None:
            return
        numbers = _numbers(ids)
        self._reserve(int(numbers.max()))
        self._lengths[numbers] = _row_sizes(bytes.fromhex(sizes))
        self._live = int(np.count_nonzero(self._lengths))
        self._total = int(self._lengths.sum(dtype=np.int64))

    def _reserve(self, last: int) -> None:
        lengths = self._lengths
        assert lengths is not None
        if last >= len(lengths):
            grown = np.zeros(last + last // 8 + 1024, np.uint32)
            grown[: len(lengths)] = lengths
            self._lengths = grown

    def _set_length(self, at: int, length: int) -> None:
        lengths = self._lengths
        assert lengths is not None
        before = int(lengths[at])
        lengths[at] = length
        self._live += int(length > 0) - int(before > 0)
        self._total += length - before


def stands_for_many(term: str) -> bool:
    """One character of a script that is indexed in pairs finds the pairs that begin with it."""
    return len(term) == 1 and not term.isascii()


def _entries(
    connection: apsw.Connection, terms: Sequence[str], most: int
) -> Iterator[tuple[str, NDArray[np.int64] | None]]:
    """By term its occurrences, 8 * id + halves, more than `_TOO_OFTEN` times `most` at the most; None for
    none."""
    limit = _TOO_OFTEN * most + 1 if most >= 0 else _NO_LIMIT
    single = [term for term in terms if not stands_for_many(term)]
    if single:
        for term, joined in connection.execute(_LISTS, (msgspec.json.encode(single).decode(), limit)):
            yield term, None if joined is None else _numbers(joined)
    for term in terms:
        if stands_for_many(term):
            last = term + _PAST_EVERY_CHARACTER
            ((_, joined),) = connection.execute(_LIST_OF_MANY, (term, limit, last))
            yield term, None if joined is None else _numbers(joined)


def _numbers(joined: str) -> NDArray[np.int64]:
    return np.fromstring(joined, dtype=np.int64, sep=",")


def _merged(entries: NDArray[np.int64], most: int) -> Held | None:
    """One entry for each memory; None for more of them than `most`."""
    if len(entries) > _TOO_OFTEN * most >= 0:
        return None
    if np.any(entries[1:] < entries[:-1]):
        entries = np.sort(entries)
    ids, halves = entries >> 3, entries & 7
    starts = np.flatnonzero(np.append(True, ids[1:] != ids[:-1]))
    if len(starts) > most >= 0:
        return None
    if len(starts) < len(ids):
        ids, halves = ids[starts], np.minimum(np.add.reduceat(halves, starts), _MOST_HALVES)
    return Held(ids.astype(np.uint32), halves.astype(np.uint8))


def _row_sizes(packed: bytes) -> NDArray[np.int64]:
    """The sums of FTS5's records of sizes: for each row a variable-length number for each column."""
    given = np.frombuffer(packed, np.uint8)
    last = np.flatnonzero(given < 0x80)
    lengths = np.diff(last, prepend=-1)
    values = np.zeros(len(last), np.int64)
    for place in range(int(lengths.max(initial=0))):  # The last byte holds the lowest seven bits.
        has = lengths > place
        values[has] += (given[last[has] - place] & 0x7F).astype(np.int64) << (7 * place)
    sums: NDArray[np.int64] = values.reshape(-1, len(_ORDER)).sum(axis=1)
    return sums
