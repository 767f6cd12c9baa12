"""A draft made ready to be written: all that can be worked out before it is the writer's turn."""

from __future__ import annotations

import msgspec

from node.memory import topic_index
from node.memory.records import Draft, encode_metadata
from node.memory.sketch import sketch_of
from protocol.topics import analyse

INDEXED_PERCENT = 80
"""Topics from this weight on stand in the column `topics`: tags, titles, names of several words. The lighter
ones are words of the text, where the same look-up finds them; to index them twice costs a write 25 us."""


class Prepared(msgspec.Struct, frozen=True):
    """A checked draft with all that can be worked out before it is this writer's turn."""

    draft: Draft
    tags: str
    metadata: str
    words: tuple[str, str, str]
    topics: str
    terms: frozenset[str]
    sketch: int | None


def prepare(draft: Draft) -> Prepared:
    """The parts of the row and of the index row; the draft must have passed `check_draft`."""
    found = analyse(draft.text, title=draft.title, tags=draft.tags)
    distinct = frozenset(found.text)
    return Prepared(
        draft,
        msgspec.json.encode(draft.tags).decode() if draft.tags else "",
        encode_metadata(draft.metadata) if draft.metadata else "",
        (
            " ".join(found.title),
            " ".join(found.text),
            " ".join([topic_index.token(term) for term, weight in found.topics if weight >= INDEXED_PERCENT]),
        ),
        topic_index.encode(found.topics),
        distinct,
        sketch_of(draft.text, distinct),
    )


def bare(draft: Draft) -> Prepared:
    """As `prepare`, for a version that is overwritten at once: nothing for an index."""
    metadata = encode_metadata(draft.metadata) if draft.metadata else ""
    tags = msgspec.json.encode(draft.tags).decode() if draft.tags else ""
    return Prepared(draft, tags, metadata, ("", "", ""), "", frozenset(), None)
