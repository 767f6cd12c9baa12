"""Full-text search: bm25 over the terms of `protocol.topics`, rare terms first.

A query becomes terms, each quoted, so nothing a user writes is an operator. bm25 reads the whole list of
every term it scores, so a word that half of the memories hold would cost a scan. The plan therefore takes
terms from the rarest on, as long as their lists together stay below `MAX_SCANNED`, and scores the common
ones left over only within the best of what the rare ones found. A query of common words alone asks for the
memories that hold the two rarest of them together.

Where only some visibilities (or granted paths, see `node.memory.access`) are asked for, no other memory is
found; but how common a word is, and with it
scores and order, is counted over all memories.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterable, Sequence

import apsw
import msgspec

from node.memory import access
from node.memory.records import Hit
from node.memory.topic_index import count_among, token
from protocol.topics import terms

MAX_SCANNED = 4_096
"""Index entries a query may read for its scored terms. Higher lets commoner words choose the candidates;
each thousand costs about 0.1 ms."""

RESCORED = 24  # Of the best by rare terms, so many are looked at again for the common ones.
EXCERPT_CHARS = 200

_WEIGHTS = "2.0, 1.0, 0.5"  # title, text, topics
_COUNTS_KEPT = 8_192
_FIND = f"""
    SELECT v.id, v.path, v.version, v.title, v.text, v.importance, v.written_at, h.topics, -best.score
    FROM (SELECT words.rowid AS id, bm25(words, {_WEIGHTS}) AS score FROM words {{join}}
          WHERE words MATCH ? ORDER BY score, words.rowid LIMIT ?) best
    JOIN versions v ON v.id = best.id JOIN head h ON h.path = v.path
    ORDER BY best.score, best.id"""
_VISIBLE = f"JOIN versions seen ON seen.id = words.rowid AND {access.condition('seen', '?1')}"
_FIND_ALL = _FIND.format(join="")
_FIND_VISIBLE = _FIND.format(join=_VISIBLE)
_SCORE = f"""
    SELECT v.id, -best.score, v.length_chars
    FROM (SELECT words.rowid AS id, bm25(words, {_WEIGHTS}) AS score FROM words {{join}}
          WHERE words MATCH ? ORDER BY score, words.rowid LIMIT ?) best
    JOIN versions v ON v.id = best.id"""
_SCORE_ALL = _SCORE.format(join="")
_SCORE_VISIBLE = _SCORE.format(join=_VISIBLE)
_FETCH = """
    SELECT v.id, v.path, v.version, v.title, v.text, v.importance, v.written_at, h.topics, 0.0, v.visibility
    FROM versions v JOIN head h ON h.path = v.path AND h.latest = v.id AND h.live
    WHERE v.id IN (SELECT value FROM json_each(?)) ORDER BY v.id"""
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
    score: float

    def topics_among(self, wanted: Iterable[str]) -> int:
        """How many of the wanted terms are topics of it."""
        return count_among(self.topics, wanted)


class Plan(msgspec.Struct, frozen=True):
    """`scored` choose the candidates, all of them together where `together`; `common` only add to a score."""

    scored: tuple[str, ...]
    common: tuple[str, ...]
    together: bool


def plan(counts: Sequence[tuple[str, int]], most: int | None = None) -> Plan:
    """Which of the terms, given with the number of memories that hold each, choose the candidates.

    Terms that nobody holds are left out. Ties go by term. At most `most` entries are read, or `MAX_SCANNED`.
    """
    most = MAX_SCANNED if most is None else most
    known = sorted((count, term) for term, count in counts if count > 0)
    scored: list[str] = []
    scanned = 0
    for count, term in known:
        if scored and scanned + count > most:
            break
        scored.append(term)
        scanned += count
    if len(scored) == 1 and len(known) > 1 and scanned > most:
        scored.append(known[1][1])
        return Plan(tuple(scored), tuple(term for _, term in known[2:]), together=True)
    return Plan(tuple(scored), tuple(term for _, term in known[len(scored) :]), together=False)


class Search:
    """Finds memories by words; remembers how common the words are. May be used by several threads."""

    def __init__(self) -> None:
        self._counts: dict[str, tuple[int, int]] = {}  # term -> (memories that hold it, size when counted)

    def find(
        self,
        connection: apsw.Connection,
        wanted: Sequence[str],
        *,
        limit: int,
        visibilities: Iterable[str] | None = None,
    ) -> list[Found]:
        """The best `limit` for these query terms, best first; ties to the older."""
        size: int = connection.execute("SELECT coalesce(max(id), 0) FROM versions").get
        counts = {term: self._count(connection, term, size) for term in map(token, wanted)}
        while (chosen := plan(list(counts.items()))).scored:
            most = max(limit, RESCORED) if chosen.common else limit
            found = _match(connection, chosen.scored, most, visibilities, together=chosen.together)
            if chosen.together and len(found) < limit:
                found = _match(connection, chosen.scored, most, visibilities, together=False)
            if found or not chosen.common:
                return _add_common(found, chosen.common, counts, size)[:limit]
            # Whoever holds these terms is hidden from the asker, or was forgotten since they were counted.
            # The answer must be that of a memory that never held them, not an empty one.
            for term in chosen.scored:
                del counts[term]
        return []

    def score(
        self,
        connection: apsw.Connection,
        wanted: Sequence[str],
        *,
        limit: int,
        visibilities: Iterable[str] | None = None,
    ) -> list[tuple[int, float, int]]:
        """(id, score, length in characters) of the best `limit` by the rarer of these terms, no texts."""
        size: int = connection.execute("SELECT coalesce(max(id), 0) FROM versions").get
        counts = [(term, self._count(connection, term, size)) for term in map(token, wanted)]
        chosen = plan(counts, MAX_SCANNED // 2)
        if not chosen.scored or chosen.together:
            return []
        expression = _expression(chosen.scored, together=False)
        if visibilities is None:
            return list(connection.execute(_SCORE_ALL, (expression, limit)))
        return list(connection.execute(_SCORE_VISIBLE, (_json(visibilities), expression, limit)))

    def holders(self, connection: apsw.Connection, wanted: Sequence[str]) -> dict[str, int]:
        """How many memories hold each of these terms, as of lately."""
        size: int = connection.execute("SELECT coalesce(max(id), 0) FROM versions").get
        return {term: self._count(connection, token(term), size) for term in wanted}

    def fetch(
        self, connection: apsw.Connection, ids: Iterable[int], visibilities: Iterable[str] | None
    ) -> list[Found]:
        """Those of these versions that are the latest of a live memory, with score 0, by id."""
        allowed = None if visibilities is None else frozenset(visibilities)
        rows = connection.execute(_FETCH, (msgspec.json.encode(list(ids)).decode(),))
        return [
            Found(*row)
            for *row, visibility in rows
            if allowed is None or access.may_read(visibility, row[1], allowed)
        ]

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

    def _count(self, connection: apsw.Connection, term: str, size: int) -> int:
        """How many memories hold `term`; asked again after growth by an eighth, or by any if none did."""
        if _is_prefix(term):
            return 1
        known = self._counts.get(term)
        if known is not None and size - known[1] <= known[1] >> 3 and (known[0] or size == known[1]):
            return known[0]
        row = connection.execute("SELECT doc FROM vocabulary WHERE term = ?", (term,)).fetchone()
        count: int = 0 if row is None else row[0]
        if len(self._counts) >= _COUNTS_KEPT:
            self._counts.clear()
        self._counts[term] = (count, size)
        return count


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
        words = re.finditer(r"\w+", text[:65_536])
        at = next((word.start() for word in words if wanted.intersection(terms(word[0]))), 0)
    start = max(0, at - EXCERPT_CHARS // 4)
    start = 0 if start < EXCERPT_CHARS // 4 else start
    piece = text[start : start + EXCERPT_CHARS]
    end = start + len(piece)
    if start and " " in piece[: EXCERPT_CHARS // 4]:
        piece = piece.partition(" ")[2]
    if end < len(text) and " " in piece[-EXCERPT_CHARS // 4 :]:
        piece = piece.rpartition(" ")[0]
    return f"{'… ' if start else ''}{' '.join(piece.split())}{' …' if end < len(text) else ''}"


def _is_prefix(term: str) -> bool:
    """One character of a script that is indexed in pairs finds the pairs that begin with it."""
    return len(term) == 1 and not term.isascii()


def _match(
    connection: apsw.Connection,
    scored: Sequence[str],
    limit: int,
    visibilities: Iterable[str] | None,
    *,
    together: bool,
) -> list[Found]:
    return matching(connection, _expression(scored, together=together), limit, visibilities)


def matching(
    connection: apsw.Connection, expression: str, limit: int, visibilities: Iterable[str] | None
) -> list[Found]:
    """The best `limit` for an expression of FTS5, best first; ties to the older."""
    if visibilities is None:
        rows = connection.execute(_FIND_ALL, (expression, limit))
    else:
        rows = connection.execute(_FIND_VISIBLE, (_json(visibilities), expression, limit))
    return [Found(*row) for row in rows]


def _expression(scored: Sequence[str], *, together: bool) -> str:
    quoted = [f'"{term}"*' if _is_prefix(term) else f'"{term}"' for term in scored]
    return (" AND " if together else " OR ").join(quoted)


def _ids(joined: str | None) -> list[int]:
    return [int(one) for one in joined.split(",")] if joined else []


def _json(values: Iterable[str]) -> str:
    return msgspec.json.encode(sorted(values)).decode()


def _add_common(found: list[Found], common: Sequence[str], counts: dict[str, int], size: int) -> list[Found]:
    """Add to each score what the common terms are worth there: BM25 without length."""
    if not common:
        return found
    worth = {term: max(1e-6, math.log((size - counts[term] + 0.5) / (counts[term] + 0.5))) for term in common}
    scored: list[Found] = []
    for memory in found[:RESCORED]:
        held = Counter(terms(f"{memory.title} {memory.text[:16_384]}"))
        more = sum(worth[term] * 2.2 * held[term] / (held[term] + 1.2) for term in common if held[term])
        scored.append(msgspec.structs.replace(memory, score=memory.score + more))
    return sorted([*scored, *found[RESCORED:]], key=lambda memory: (-memory.score, memory.id))
