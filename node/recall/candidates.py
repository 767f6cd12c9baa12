"""What may answer a question: look-ups in the index, whose columns are words and topics alike.

The first look-up finds memories that hold words of the question. Their topics make a second one, for
what the question did not say; and memories written next to the best come along (see `context`).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

import msgspec

from node.memory.search import Found
from node.memory.store import Store
from node.memory.topic_index import decode
from node.recall import context

MOST = 64
"""Candidates taken from the first look-up and ranked in the end. More cost 20 us each; a budget of
4,000 tokens holds about 60 memories of usual length."""

FEEDBACK_MOST = 128  # Of the second look-up: only scores, no texts.


class Gathered(msgspec.Struct, frozen=True):
    """Candidates, best first, and the look-ups it took, by stage."""

    found: list[Found]
    hops: dict[str, int]


def gather(
    store: Store, wanted: Sequence[str], budget_tokens: int, visibilities: Collection[str] | None
) -> Gathered:
    """The memories that may answer, only those of `visibilities` if given; ties to the older.

    A topic is a column of the same index, so a question about a known topic is answered in the first hop.
    """
    hops = {"cache": 0, "sqlite": 0, "fts": 0}
    if not wanted:
        return Gathered([], hops)
    hops["fts"] += 1
    first = store.find(wanted, MOST, visibilities=visibilities)
    if not first:
        return Gathered([], hops)
    mean_length = sum(len(memory.text) for memory in first) / len(first)
    scores = context.renormalised(
        {memory.id: memory.score for memory in first},
        {memory.id: len(memory.text) for memory in first},
        mean_length,
    )
    by_id = {memory.id: memory for memory in first}

    expansion = _expansion(store, by_id, scores, wanted)
    if expansion:
        hops["fts"] += 1
        more = store.score(expansion, FEEDBACK_MOST, visibilities=visibilities)
        feedback = context.renormalised(
            {at: score for at, score, _ in more}, {at: length for at, _, length in more}, mean_length
        )
        scores = context.with_feedback(scores, feedback, budget_tokens)
    # How many memories are hidden from an asker must not show in its answer.
    size = store.count() if visibilities is None else None
    scores = context.with_neighbours(scores, _beside(store, scores, visibilities), size)

    best = sorted(scores, key=lambda at: (-scores[at], at))[:MOST]
    missing = [at for at in best if at not in by_id]
    if missing:
        hops["sqlite"] += 1
        by_id |= {memory.id: memory for memory in store.fetch(missing, visibilities=visibilities)}
    found = [msgspec.structs.replace(by_id[at], score=scores[at]) for at in best if at in by_id]
    return Gathered(found, hops)


def _beside(
    store: Store, scores: context.Scores, visibilities: Collection[str] | None
) -> Mapping[int, context.Beside]:
    """Neighbours in the log: by number for the owner, where a gap is found empty later; by what may be seen
    for others, so that a gap tells nothing.
    """
    if visibilities is None:
        return {at: ((at - 1, at - 2), (at + 1, at + 2)) for at in scores}
    best = sorted(scores, key=lambda at: (-scores[at], at))[:MOST]
    return store.neighbours(best, visibilities=visibilities)


def _expansion(
    store: Store, by_id: dict[int, Found], scores: context.Scores, wanted: Sequence[str]
) -> list[str]:
    best = sorted(scores, key=lambda at: (-scores[at], at))[: context.FEEDBACK_MEMORIES]
    topics = [
        (scores[at], [(term, weight) for term, weight in decode(by_id[at].topics) if " " not in term])
        for at in best
    ]
    terms = {term for _, found in topics for term, _ in found}.difference(wanted)
    return context.feedback_terms(topics, wanted, store.holders(sorted(terms)), store.count())
