"""Searches with phrases and beginnings of words, see `node.memory.query`.

Their cost is that of the rarest thing asked for together: FTS5 skips through the longer lists. A beginning
alone reads all entries of the terms that begin so, as a common word alone does.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import apsw
import msgspec

from node.memory import access, query, search
from node.memory.query import Query
from node.memory.search import Found, Search
from node.memory.topic_index import decode, token
from protocol.words import terms

_MOST_READ = 1_024  # Memories looked at for a word that begins so, before the search gives up.
_FIRST_READ = 64
_MOST_SCANNED = 4_096  # Entries that bm25 is worked out for, at 0.5 us each.
_FIND = """
    SELECT v.id, v.path, v.version, v.title, v.text, v.importance, v.written_at, h.topics, h.sketch,
        -best.score, v.visibility
    FROM (SELECT words.rowid AS id, bm25(words, 2.0, 1.0, 0.5) AS score FROM words {join}
          WHERE words MATCH ? ORDER BY score, words.rowid LIMIT ?) best
    JOIN versions v ON v.id = best.id JOIN head h ON h.path = v.path
    ORDER BY best.score, best.id"""
_VISIBLE = f"JOIN versions seen ON seen.id = words.rowid AND {access.condition('seen', '?1')}"
_FIND_ALL = _FIND.format(join="")
_FIND_VISIBLE = _FIND.format(join=_VISIBLE)


def find(
    connection: apsw.Connection,
    counts: Search,
    asked: Query,
    *,
    limit: int,
    visibilities: Iterable[str] | None = None,
) -> list[Found]:
    """The best `limit` that have all phrases and beginnings asked for, best first; ties to the older."""
    stems = {one: _stems(connection, counts, one) for one in asked.beginnings}
    demands = [query.phrase_expression(phrase) for phrase in asked.phrases]
    demands += [query.beginning_expression(one, shorter) for one, shorter in stems.items()]
    expression = " AND ".join(f"({demand})" for demand in demands)
    held = sorted((count, term) for term, count in counts.holders(connection, asked.words).items() if count)
    chosen, _ = search.parted([count for count, _ in held], _MOST_SCANNED)
    if chosen:
        wishes = " OR ".join(query.quote(token(held[at][1])) for at in chosen)
        expression = f"({expression}) AND ({expression} OR {wishes})"
    unsure = [(one, shorter) for one, shorter in stems.items() if shorter]
    most = max(limit, _FIRST_READ) if unsure else limit
    while True:
        rows = _matching(connection, expression, most, visibilities)
        found = [one for one in rows if all(_begins(one, *beginning) for beginning in unsure)]
        if len(found) >= limit or len(rows) < most or most >= _MOST_READ:
            return found[:limit]
        most = min(most * 4, _MOST_READ)


def _matching(
    connection: apsw.Connection, expression: str, limit: int, visibilities: Iterable[str] | None
) -> list[Found]:
    """The best `limit` for an expression of FTS5, best first; ties to the older."""
    if visibilities is None:
        rows = connection.execute(_FIND_ALL, (expression, limit))
    else:
        readable = msgspec.json.encode(sorted(visibilities)).decode()
        rows = connection.execute(_FIND_VISIBLE, (readable, expression, limit))
    return [Found(*row) for row in rows]


def _stems(connection: apsw.Connection, counts: Search, beginning: str) -> list[str]:
    """Those shorter stems that are in the index, as long as their lists together are short."""
    known = counts.holders(connection, query.shorter_stems(beginning))
    left, found = _MOST_SCANNED, []
    for stem, count in known.items():
        if 0 < count <= left:
            found.append(stem)
            left -= count
    return found


def _begins(found: Found, beginning: str, stems: Sequence[str]) -> bool:
    """Whether a word of it begins so, and not only has a stem that such a word might have.

    How a tag was written does not stand in the index: there the stem is enough.
    """
    if query.begins_in(found.title, beginning) or query.begins_in(found.text, beginning):
        return True
    topics = {term for term, _ in decode(found.topics)}
    if any(term.startswith(beginning) for term in topics):
        return True
    tagged = topics.intersection(stems)
    return bool(tagged) and not tagged.issubset(terms(f"{found.title}\n{found.text}"))
