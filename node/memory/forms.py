"""Searches with phrases and beginnings of words, see `node.memory.query`.

Their cost is that of the rarest thing asked for together: FTS5 skips through the longer lists. A beginning
alone reads all entries of the terms that begin so, as a common word alone does.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import apsw

from node.memory import query, search
from node.memory.query import Query
from node.memory.search import Found, Search
from node.memory.topic_index import decode, token
from protocol.topics import terms

_MOST_READ = 1_024  # Memories looked at for a word that begins so, before the search gives up.
_FIRST_READ = 64


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
    chosen = search.plan(list(counts.holders(connection, asked.words).items()))
    if chosen.scored and not chosen.together:
        wishes = " OR ".join(query.quote(token(term)) for term in chosen.scored)
        expression = f"({expression}) AND ({expression} OR {wishes})"
    unsure = [(one, shorter) for one, shorter in stems.items() if shorter]
    most = max(limit, _FIRST_READ) if unsure else limit
    while True:
        rows = search.matching(connection, expression, most, visibilities)
        found = [one for one in rows if all(_begins(one, *beginning) for beginning in unsure)]
        if len(found) >= limit or len(rows) < most or most >= _MOST_READ:
            return found[:limit]
        most = min(most * 4, _MOST_READ)


def _stems(connection: apsw.Connection, counts: Search, beginning: str) -> list[str]:
    """Those shorter stems that are in the index, as long as their lists together are short."""
    known = counts.holders(connection, query.shorter_stems(beginning))
    left, found = search.MAX_SCANNED, []
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
