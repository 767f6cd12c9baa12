"""Texts that are remembered already, word for word or nearly: asked by the writer before each write."""

from __future__ import annotations

import apsw
import msgspec

from node.memory.prepared import Prepared
from node.memory.sketch import SIMILAR, SketchTable, similarity
from protocol.topics import terms

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


_UNLIKE = Likeness()


class Similar:
    """Sketches of the live memories of one store; for the leader of a group.

    An entry may be out of date, or of a group that was rolled back: whatever it names is read and compared.
    """

    def __init__(self, connection: apsw.Connection) -> None:
        self._connection = connection
        self._table: SketchTable | None = None
        self._loaded = 0

    def find(self, item: Prepared, now: float) -> Likeness:
        """Memories like the draft, the most alike first."""
        table = self._table
        if table is None or len(table) > 2 * self._loaded + 65_536:
            self._table = table = SketchTable(self._connection.execute(_SKETCHES))
            self._loaded = len(table)
        candidates = [] if item.sketch is None else table.like(item.sketch)
        if not candidates:
            return _UNLIKE
        equal: list[str] = []
        near: list[str] = []
        for at in candidates[:MOST_COMPARED]:
            row = self._connection.execute(_CANDIDATE, (at, now)).fetchone()
            if row is None:
                continue
            path, text = row
            if text == item.draft.text:
                equal.append(path)
            elif similarity(item.terms, frozenset(terms(text))) < SIMILAR:
                continue
            near.append(path)
        return Likeness(tuple(equal), tuple(near))

    def add(self, at: int, sketch: int) -> None:
        """A version was appended."""
        if self._table is not None:
            self._table.add(at, sketch)
