"""The latest version at a path, as the writer needs it before it appends the next."""

from __future__ import annotations

from collections.abc import Collection

import apsw
import msgspec

from node.memory.prepared import Prepared
from node.memory.records import Visibility

_COLUMNS = """v.id, v.version, v.created_at, h.live, h.announced, h.topics, v.visibility, v.importance,
    v.title, v.tags, v.metadata, v.text, h.expires_at"""
_HEAD = f"SELECT {_COLUMNS} FROM head h JOIN versions v ON v.id = h.latest WHERE h.path = ?"
_HEADS = f"""
    SELECT h.path, {_COLUMNS} FROM json_each(?) asked
    CROSS JOIN head h ON h.path = asked.value JOIN versions v ON v.id = h.latest"""


class Head(msgspec.Struct, frozen=True):
    """The latest version at a path."""

    id: int
    version: int
    created_at: float
    live: int
    announced: int
    topics: str
    visibility: Visibility
    importance: float
    title: str
    tags: str
    metadata: str
    text: str
    expires_at: float | None


def head_at(connection: apsw.Connection, path: str) -> Head | None:
    """The latest version there, a tombstone too; None where there never was one."""
    row = connection.execute(_HEAD, (path,)).fetchone()
    return None if row is None else Head(*row)


def heads_at(connection: apsw.Connection, paths: Collection[str]) -> dict[str, Head]:
    """Those of the paths that have one."""
    if not paths:
        return {}
    asked = msgspec.json.encode(list(paths)).decode()
    return {path: Head(*row) for path, *row in connection.execute(_HEADS, (asked,))}


def says_the_same(head: Head, item: Prepared) -> bool:
    """Whether writing the draft would change nothing."""
    draft = item.draft
    return (
        head.text == draft.text
        and head.title == draft.title
        and head.tags == item.tags
        and head.visibility == draft.visibility
        and head.importance == draft.importance
        and head.metadata == item.metadata
        and head.expires_at == draft.expires_at
    )
