"""Rows of the log as memories."""

from __future__ import annotations

from typing import Any

import msgspec

from node.memory.records import Memory
from protocol.names import AgentName

COLUMNS = """v.path, v.version, v.title, v.text, v.tags, v.importance, v.visibility, v.created_at,
    v.written_at, v.metadata, v.expires_at"""
"""Of `versions v`, as `memory_of` takes them."""

_decode_tags = msgspec.json.Decoder(tuple[str, ...]).decode
_decode_metadata = msgspec.json.Decoder(dict[str, object]).decode


def tags_of(encoded: str) -> tuple[str, ...]:
    """Tags from their column."""
    return _decode_tags(encoded) if encoded else ()


def memory_of(agent: AgentName, row: tuple[Any, ...]) -> Memory:
    """A memory from a row of `COLUMNS`."""
    path, version, title, text, tags, importance, visibility, created_at, written_at, metadata, expires_at = (
        row
    )
    return Memory(
        agent=agent,
        path=path,
        version=version,
        title=title,
        text=text,
        tags=_decode_tags(tags) if tags else (),
        importance=importance,
        visibility=visibility,
        created_at=created_at,
        updated_at=written_at,
        metadata=_decode_metadata(metadata) if metadata else {},
        expires_at=expires_at,
    )
