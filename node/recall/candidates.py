"""What may answer a question: one look-up in the index, whose columns are words and topics alike."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import msgspec

from node.memory.search import Found
from node.memory.store import Store

MOST = 64
"""Candidates taken from the index. More cost 20 us each in ranking; a budget of 4,000 tokens holds about 60
memories of usual length."""


class Gathered(msgspec.Struct, frozen=True):
    """Candidates, best by bm25 first, and the look-ups it took, by stage."""

    found: list[Found]
    hops: dict[str, int]


def gather(store: Store, wanted: Sequence[str], visibilities: Collection[str] | None) -> Gathered:
    """The memories that hold a term of the question in text, title or topics; only `visibilities` if given.

    A topic is a column of the same index, so a question about a known topic is answered in this one hop.
    """
    if not wanted:
        return Gathered([], {"cache": 0, "sqlite": 0, "fts": 0})
    found = store.find(wanted, MOST, visibilities=visibilities)
    return Gathered(found, {"cache": 0, "sqlite": 0, "fts": 1})
