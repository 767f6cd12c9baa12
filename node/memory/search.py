"""Full-text search: BM25 over the terms of `protocol.words`, rare terms first.

A query becomes terms, each looked up by itself, so nothing a user writes is an operator. Terms choose the
candidates from the rarest on, as long as their lists together stay below `MAX_SCANNED` (two in any case); the
common ones left over only add to the scores of the best `RESCORED` of them. The lists come from
`node.memory.postings`; BM25 (Robertson and Zaragoza, 2009) is computed here, in bulk.

Where only some visibilities (or granted paths, see `node.memory.access`) are asked for, no other memory is
found; but how common a word is, and with it scores and order, is counted over all memories.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import apsw
import msgspec
import numpy as np
from numpy.typing import NDArray

from node.memory import access
from node.memory.postings import Floats, Held, Ids, Postings
from node.memory.records import Hit
from node.memory.topic_index import token
from protocol.words import first_place

MAX_SCANNED = 16_384
"""Entries that choose the candidates. Higher lets commoner words choose; each thousand costs 20 us."""

MAX_LISTED = 16_384
"""Memories that hold a term whose list is read; a commoner one tells next to nothing beside any other."""

RESCORED = 256
"""Of the best by rare terms, so many are looked at again for the common ones."""

EXCERPT_CHARS = 200
_LOOKED_THROUGH_CHARS = 65_536
K1, B = 1.2, 0.9
"""A stronger normalisation of length than the usual 0.75 finds more evidence on real questions."""

_VISIBLE_AT_ONCE = 256
_FETCH = """
    SELECT v.id, v.path, v.version, v.title, v.text, v.importance, v.written_at, h.topics, h.sketch, 0.0,
        v.visibility
    FROM versions v JOIN head h ON h.path = v.path AND h.latest = v.id AND h.live
    WHERE v.id IN (SELECT value FROM json_each(?)) ORDER BY v.id"""
_VISIBLE = f"""
    SELECT v.id FROM versions v
    WHERE v.id IN (SELECT value FROM json_each(?1)) AND {access.condition("v", "?2")}"""
_BESIDE = f"""
    (SELECT group_concat(id) FROM (
        SELECT p.id FROM versions p JOIN head h ON h.path = p.path AND h.latest = p.id AND h.live
        WHERE p.id {{near}} AND {access.condition("p", "?2")}
        ORDER BY p.id {{way}} LIMIT 2))"""
_NEIGHBOURS = f"""
    SELECT at.value, {_BESIDE.format(near="< at.value AND p.id >= at.value - ?3", way="DESC")},
        {_BESIDE.format(near="> at.value AND p.id <= at.value + ?3", way="ASC")}
    FROM json_each(?1) at"""
_NEAR = 64  # Versions looked through for a neighbour; beyond so many hidden ones there is none.

Scored = list[tuple[int, float]]
"""(version id, BM25), best first, ties to the older."""


class Found(msgspec.Struct, frozen=True):
    """A live memory that holds a term of the query; `score` is bm25, positive, within one query only."""

    id: int
    path: str
    version: int
    title: str
    text: str
    importance: float
    updated_at: float
    topics: str
    sketch: int | None
    score: float
    visibility: str


class Search:
    """Finds memories by words. May be used by several threads."""

    def __init__(self, postings: Postings) -> None:
        self._postings = postings

    def score(
        self,
        connection: apsw.Connection,
        wanted: Sequence[str],
        *,
        limit: int,
        visibilities: Iterable[str] | None = None,
    ) -> Scored:
        """The best `limit` for these query terms."""
        lists = self._lists(connection, wanted)
        scored, common = parted([len(held.ids) for held in lists])
        readable = None if visibilities is None else _json(visibilities)
        while scored:
            ids, scores = self._scores([lists[at] for at in scored])
            if common:
                ids, scores = self._rescored(ids, scores, max(limit, RESCORED), [lists[at] for at in common])
            ids, scores = _best_first(ids, scores, limit if readable is None else None)
            found = _visible(connection, ids, scores, limit, readable)
            if len(found) >= limit or not common:
                return found
            # Who holds the rare terms is hidden from the asker, or they are few: the answer must be that of
            # a memory that never held them, not an empty one.
            scored, common = [*scored, *common], []
        return []

    def find(
        self,
        connection: apsw.Connection,
        wanted: Sequence[str],
        *,
        limit: int,
        visibilities: Iterable[str] | None = None,
    ) -> list[Found]:
        """As `score`, with whole texts."""
        best = self.score(connection, wanted, limit=limit, visibilities=visibilities)
        found = {one.id: one for one in self.fetch(connection, [at for at, _ in best], None)}
        return [msgspec.structs.replace(found[at], score=score) for at, score in best if at in found]

    def holders(self, connection: apsw.Connection, wanted: Sequence[str]) -> dict[str, int]:
        """How many memories hold each of these terms; of one in very many, that it is at least so many."""
        lists = self._postings.read(connection, map(token, wanted), most=MAX_LISTED)
        return {
            term: MAX_LISTED if (held := lists[token(term)]) is None else len(held.ids) for term in wanted
        }

    def fetch(
        self, connection: apsw.Connection, ids: Iterable[int], visibilities: Iterable[str] | None
    ) -> list[Found]:
        """Those of these versions that are the latest of a live memory, with score 0, by id."""
        allowed = None if visibilities is None else frozenset(visibilities)
        rows = connection.execute(_FETCH, (msgspec.json.encode(list(ids)).decode(),))
        return [Found(*row) for row in rows if allowed is None or access.may_read(row[-1], row[1], allowed)]

    def neighbours(
        self, connection: apsw.Connection, ids: Iterable[int], visibilities: Iterable[str]
    ) -> dict[int, tuple[list[int], list[int]]]:
        """Up to two live versions of `visibilities` before and after each of these in the log, nearest first.

        What lies between and may not be seen does not count, so it does not show.
        """
        values = (msgspec.json.encode(list(ids)).decode(), _json(visibilities), _NEAR)
        return {
            at: (_ids(before), _ids(after)) for at, before, after in connection.execute(_NEIGHBOURS, values)
        }

    def _lists(self, connection: apsw.Connection, wanted: Sequence[str]) -> list[Held]:
        """Those of the terms that somebody holds, the rarest first, ties by term."""
        lists = self._postings.read(connection, map(token, wanted), most=MAX_LISTED)
        listed = sorted(
            (len(held.ids), term) for term, held in lists.items() if held is not None and len(held.ids)
        )
        if not listed and lists:  # All that was asked for is in very many memories.
            lists = self._postings.read(connection, lists, most=-1)
            listed = sorted(
                (len(held.ids), term) for term, held in lists.items() if held is not None and len(held.ids)
            )
        return [held for _, term in listed if (held := lists[term]) is not None]

    def _scores(self, lists: Sequence[Held]) -> tuple[Ids, Floats]:
        """BM25 of all who hold one of these terms."""
        ids = np.concatenate([held.ids for held in lists])
        worth = np.repeat([self._worth(held) for held in lists], [len(held.ids) for held in lists])
        gains = self._gains(ids, np.concatenate([held.halves for held in lists]), worth.astype(np.float32))
        if len(lists) == 1:
            return ids, gains
        sums = np.zeros(int(ids.max()) + 1, np.float32)
        np.add.at(sums, ids, gains)
        ids = np.flatnonzero(sums).astype(np.uint32)
        return ids, sums[ids]

    def _rescored(self, ids: Ids, scores: Floats, most: int, common: Sequence[Held]) -> tuple[Ids, Floats]:
        """The best `most` of them, with what the common terms add."""
        if len(ids) > most:
            edge = np.partition(scores, len(scores) - most)[len(scores) - most]
            ids, scores = ids[scores >= edge], scores[scores >= edge]
        for held in common:
            places = np.searchsorted(held.ids, ids).clip(max=len(held.ids) - 1)
            has = held.ids[places] == ids
            more = self._gains(ids[has], held.halves[places[has]], np.float32(self._worth(held)))
            scores[has] = scores[has] + more
        return ids, scores

    def _gains(self, ids: Ids, halves: NDArray[np.uint8], worth: Floats | np.float32) -> Floats:
        lengths = self._postings.lengths(ids)
        often = halves.astype(np.float32) / np.float32(2.0)
        norm: Floats = lengths * np.float32(K1 * B / self._postings.mean_length)
        norm += np.float32(K1 * (1.0 - B))
        gains: Floats = np.float32(K1 + 1.0) * often / (often + norm)
        gains *= worth
        gains[lengths == 0.0] = 0.0
        return gains

    def _worth(self, held: Held) -> float:
        """How telling a term is, by how few hold it."""
        count = len(held.ids)
        return float(np.log1p((max(self._postings.live, count) - count + 0.5) / (count + 0.5)))


def parted(counts: Sequence[int], most: int | None = None) -> tuple[list[int], list[int]]:
    """Which of the terms, given by the lengths of their lists from the rarest on, choose the candidates, and
    which only add: places in `counts`. The first two always choose, the next as long as all are at most
    `most`, or `MAX_SCANNED`.
    """
    most = MAX_SCANNED if most is None else most
    chosen, scanned = 0, 0
    for count in counts:
        scanned += count
        if chosen >= 2 and scanned > most:
            break
        chosen += 1
    return list(range(chosen)), list(range(chosen, len(counts)))


def hit(found: Found, wanted: Iterable[str], at: int | None = None) -> Hit:
    """What `search` shows of a memory found, around `at` or around its first word that is wanted."""
    return Hit(
        path=found.path,
        version=found.version,
        title=found.title,
        score=found.score,
        excerpt=window(found.text, frozenset(wanted), at),
    )


def window(text: str, wanted: frozenset[str], at: int | None = None) -> str:
    """At most `EXCERPT_CHARS` of `text` around `at`, or its first wanted word, on one line, cuts marked."""
    if at is None:
        at = first_place(text[:_LOOKED_THROUGH_CHARS], wanted) or 0
    start = max(0, at - EXCERPT_CHARS // 4)
    start = 0 if start < EXCERPT_CHARS // 4 else start
    piece = text[start : start + EXCERPT_CHARS]
    end = start + len(piece)
    if start and " " in piece[: EXCERPT_CHARS // 4]:
        piece = piece.partition(" ")[2]
    if end < len(text) and " " in piece[-EXCERPT_CHARS // 4 :]:
        piece = piece.rpartition(" ")[0]
    return f"{'… ' if start else ''}{' '.join(piece.split())}{' …' if end < len(text) else ''}"


def _best_first(ids: Ids, scores: Floats, most: int | None) -> tuple[Ids, Floats]:
    """Those with a score, the best first, ties to the older; at least the best `most`, if given."""
    least = np.float32(0.0)
    if most is not None and len(ids) > most:
        least = np.partition(scores, len(scores) - most)[len(scores) - most]
    kept = np.flatnonzero((scores >= least) & (scores > 0.0))
    ids, scores = ids[kept], scores[kept]
    order = np.lexsort((ids, -scores))
    return ids[order], scores[order]


def _visible(
    connection: apsw.Connection, ids: Ids, scores: Floats, limit: int, readable: str | None
) -> Scored:
    """The first `limit` of them that may be read."""
    if readable is None:
        return list(zip(ids[:limit].tolist(), scores[:limit].tolist(), strict=True))
    found: Scored = []
    for start in range(0, len(ids), _VISIBLE_AT_ONCE):
        part = ids[start : start + _VISIBLE_AT_ONCE].tolist()
        seen = frozenset(_visible_among(connection, part, readable))
        found += [
            (at, score)
            for at, score in zip(part, scores[start : start + _VISIBLE_AT_ONCE].tolist(), strict=True)
            if at in seen
        ]
        if len(found) >= limit:
            break
    return found[:limit]


def _visible_among(connection: apsw.Connection, ids: list[int], readable: str) -> list[int]:
    return [at for (at,) in connection.execute(_VISIBLE, (msgspec.json.encode(ids).decode(), readable))]


def _ids(joined: str | None) -> list[int]:
    return [int(one) for one in joined.split(",")] if joined else []


def _json(values: Iterable[str]) -> str:
    return msgspec.json.encode(sorted(values)).decode()
