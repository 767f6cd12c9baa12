"""Texts that are remembered already, word for word or nearly: asked by the writer before each write."""

from __future__ import annotations

from collections.abc import Sequence

import apsw
import msgspec

from node.memory.pending import Pending
from node.memory.prepared import Prepared
from node.memory.sketch import SIMILAR, SketchTable, similarity
from protocol.words import terms

MOST_COMPARED = 3
"""Candidates read and compared in full for one write, at 50 us each for a text of usual length."""

_SKETCHES = "SELECT latest, sketch FROM head WHERE live AND sketch IS NOT NULL ORDER BY latest"
_CANDIDATE = """
    SELECT v.path, v.text FROM versions v JOIN head h ON h.path = v.path AND h.latest = v.id
    WHERE v.id = ? AND h.live AND (h.expires_at IS NULL OR h.expires_at > ?)"""


class Likeness(msgspec.Struct, frozen=True):
    """Paths of live memories: those with the very text, and all whose text is nearly the same."""

    equal: tuple[str, ...] = ()
    similar: tuple[str, ...] = ()


class Similar:
    """Sketches of the live memories of one store; for the leader of a group.

    An entry may be out of date, or of a group that was rolled back: whatever it names is read and compared.
    """

    def __init__(self, connection: apsw.Connection, pending: Pending) -> None:
        self._connection, self._pending = connection, pending
        self._table: SketchTable | None = None
        self._loaded = 0
        self._expected: dict[int, list[int]] = {}

    def find(self, item: Prepared, now: float, entry: int = 0) -> Likeness | None:
        """Memories like the draft, the most alike first; None for none. `entry`: its own, if expected."""
        if entry and self._table is not None:
            expected = self._expected.get(entry)
            if expected is None:
                return None
            candidates = [at for at in map(self._table.id_of, expected) if at]
        else:
            candidates = [] if item.sketch is None else self._ready().like(item.sketch)
        return self._compare(item, candidates[:MOST_COMPARED], now) if candidates else None

    def expect(self, items: Sequence[Prepared]) -> int:
        """Look up at once what many drafts are like, one another too; the entry of the first of them."""
        table = self._ready()
        first = table.add_all([item.sketch or 0 for item in items])
        self._expected = table.like_each(first)
        return first

    def add(self, at: int, sketch: int, entry: int = 0) -> None:
        """A version was appended."""
        if self._table is None:
            return
        if entry:
            self._table.name(entry, at)
        else:
            self._table.add(at, sketch)

    def _ready(self) -> SketchTable:
        table = self._table
        if table is None or len(table) > 2 * self._loaded + 65_536:
            self._pending.settle()
            self._table = table = SketchTable(self._connection.execute(_SKETCHES))
            self._loaded = len(table)
        return table

    def _compare(self, item: Prepared, candidates: Sequence[int], now: float) -> Likeness | None:
        equal: list[str] = []
        near: list[str] = []
        for at in candidates:
            written = self._pending.born.get(at)
            if written is not None:
                path, other = written
                if other.draft.expires_at is not None and other.draft.expires_at <= now:
                    continue
                text = other.draft.text
            else:
                row = self._connection.execute(_CANDIDATE, (at, now)).fetchone()
                if row is None:
                    continue
                path, text = row
            if text == item.draft.text:
                equal.append(path)
            elif similarity(item.terms, frozenset(terms(text))) < SIMILAR:
                continue
            near.append(path)
        return Likeness(tuple(equal), tuple(near)) if near else None
