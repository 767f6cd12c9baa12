"""A draft made ready to be written: all that can be worked out before it is the writer's turn."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from node.memory import topic_index
from node.memory.records import Draft, encode_metadata
from node.memory.sketch import sketch_of, sketches_of
from protocol.topics import Analysis, analyse

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
    sketch: int | None

    @property
    def terms(self) -> frozenset[str]:
        """The terms of its text."""
        return frozenset(self.words[1].split())


def prepare(draft: Draft) -> Prepared:
    """The parts of the row and of the index row; the draft must have passed `check_draft`."""
    found = analyse(draft.text, title=draft.title, tags=draft.tags)
    return _prepared(draft, found, sketch_of(draft.text, found.hashes))


def prepare_all(drafts: Sequence[Draft]) -> list[Prepared]:
    """`prepare` each, in less time."""
    found = [analyse(draft.text, title=draft.title, tags=draft.tags) for draft in drafts]
    sketches = sketches_of([draft.text for draft in drafts], [one.hashes for one in found])
    return list(map(_prepared, drafts, found, sketches))


def _prepared(draft: Draft, found: Analysis, sketch: int) -> Prepared:
    return Prepared(
        draft,
        msgspec.json.encode(draft.tags).decode() if draft.tags else "",
        encode_metadata(draft.metadata) if draft.metadata else "",
        (found.title, found.text, _indexed(found.topics)),
        found.topics,
        sketch,
    )


def bare(draft: Draft) -> Prepared:
    """As `prepare`, for a version that is overwritten at once: nothing for an index."""
    metadata = encode_metadata(draft.metadata) if draft.metadata else ""
    tags = msgspec.json.encode(draft.tags).decode() if draft.tags else ""
    return Prepared(draft, tags, metadata, ("", "", ""), "", None)


def _indexed(topics: str) -> str:
    """The heaviest topics as tokens of the index."""
    tokens: list[str] = []
    line, _, others = topics.partition("\n")
    while line:
        weight, _, term = line.partition(" ")
        if int(weight) < INDEXED_PERCENT:
            break
        tokens.append(topic_index.token(term))
        line, _, others = others.partition("\n")
    return " ".join(tokens)
