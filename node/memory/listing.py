"""Memories without a question: by path, by age, by what they are about."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from node.memory import topic_index
from node.memory.database import Readers
from node.memory.records import MAX_PAGE, Summary, check_count, check_prefix
from node.memory.rows import tags_of
from protocol.errors import InvalidInput

_SHOWN = "v.id, v.path, v.version, v.title, v.tags, v.written_at, v.length_chars"
_BROWSE = f"""
    SELECT {_SHOWN} FROM head h JOIN versions v ON v.id = h.latest
    WHERE h.path >= ? AND h.path > ? AND h.path < ? AND h.live ORDER BY h.path LIMIT ?"""
_TIMELINE = f"""
    SELECT {_SHOWN} FROM versions v CROSS JOIN head h ON h.path = v.path AND h.latest = v.id
    WHERE v.id < ? AND v.path >= ? AND v.path < ? AND h.live ORDER BY v.id DESC LIMIT ?"""
_TOPICS = "SELECT topics FROM head WHERE path >= ? AND path < ? AND live"
_PAST_EVERY_PATH = "\U0010ffff"
_PAST_EVERY_PLACE = (1 << 63) - 1


class TopicCount(msgspec.Struct, frozen=True, kw_only=True):
    """A topic and how many memories carry it."""

    topic: str
    memories: int


class Listing:
    """Lists the live memories of one store, in any thread; what expired must have been buried before."""

    def __init__(self, readers: Readers) -> None:
        self._readers = readers

    def browse(self, prefix: str, limit: int, after: str) -> list[Summary]:
        """Those whose path begins with `prefix`, by path, from the first one past `after`."""
        check_prefix(prefix)
        check_count("limit", limit, MAX_PAGE)
        rows = self._readers.rows(_BROWSE, (prefix, after, prefix + _PAST_EVERY_PATH, limit))
        return list(map(_summary, rows))

    def timeline(self, prefix: str, limit: int, before: int | None) -> list[Summary]:
        """The latest written first, from the first one before that place in the log."""
        check_prefix(prefix)
        check_count("limit", limit, MAX_PAGE)
        if before is None:
            before = _PAST_EVERY_PLACE
        elif not isinstance(before, int) or isinstance(before, bool) or not 0 < before <= _PAST_EVERY_PLACE:
            raise InvalidInput("before", f"{before!r} is no place", "use the place of the last one shown")
        rows = self._readers.rows(_TIMELINE, (before, prefix, prefix + _PAST_EVERY_PATH, limit))
        return list(map(_summary, rows))

    def topics(self, prefix: str, limit: int) -> list[TopicCount]:
        """What most memories below `prefix` are about, private ones too; ties by topic. Reads all of them."""
        rows = self._readers.rows(_TOPICS, (check_prefix(prefix), prefix + _PAST_EVERY_PATH))
        return most_of(topic_index.count(encoded for (encoded,) in rows), limit)


def most_of(counts: Mapping[str, int], limit: int) -> list[TopicCount]:
    """The `limit` topics that most memories carry."""
    check_count("limit", limit, MAX_PAGE)
    return [TopicCount(topic=term, memories=number) for term, number in topic_index.most(counts, limit)]


def _summary(row: tuple[Any, ...]) -> Summary:
    place, path, version, title, tags, updated_at, chars = row
    return Summary(
        place=place,
        path=path,
        version=version,
        title=title,
        tags=tags_of(tags),
        updated_at=updated_at,
        length_chars=chars,
    )
