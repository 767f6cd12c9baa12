"""What may answer a question: look-ups in the index, whose columns are words and topics alike.

The first look-up finds memories that hold words of the question. Their topics make a second one, for
what the question did not say; and memories written next to the best come along (see `context`).
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence

import msgspec

from node.memory.search import Found
from node.memory.store import Store
from node.memory.topic_index import decode
from node.recall import context
from protocol.topics import terms

MOST = 64
"""Candidates taken from the first look-up and ranked in the end. More cost 20 us each; a budget of
4,000 tokens holds about 60 memories of usual length."""

NEAREST = 128
"""Memories taken by meaning."""

_AS_IF = 1_000  # Memories, for an asker that must not learn how many there are.
_READ_CHARS = 16_384
FEEDBACK_MOST = 128  # Of the second look-up: only scores, no texts.


class Reason(msgspec.Struct, frozen=True, kw_only=True):
    """Why a memory is a candidate, and where it came: bm25 by the question's own words, what feedback and
    neighbours added, the cosine of its meaning (None where it was not among the nearest), all of it together.
    """

    path: str
    words: float
    feedback: float
    cosine: float | None
    neighbours: float
    score: float


class Gathered(msgspec.Struct, frozen=True):
    """Candidates, best first, the look-ups it took by stage, and a reason for each candidate."""

    found: list[Found]
    hops: dict[str, int]
    reasons: list[Reason]


def gather(
    store: Store,
    wanted: Sequence[str],
    budget_tokens: int,
    visibilities: Collection[str] | None,
    near: Sequence[tuple[int, float]] | None = None,
) -> Gathered:
    """The memories that may answer, only those of `visibilities` if given; ties to the older.

    A topic is a column of the same index, so a question about a known topic is answered in the first hop.
    `near`: (version id, cosine) of the memories nearest in meaning, the nearest first.
    """
    hops = {"cache": 0, "sqlite": 0, "fts": 0, "vector": int(near is not None)}
    # How many memories are hidden from an asker must not show in its answer.
    size = store.count() if visibilities is None else None
    first: list[Found] = []
    if wanted:
        hops["fts"] += 1
        first = store.find(wanted, MOST, visibilities=visibilities)
    by_id = {memory.id: memory for memory in first}
    mean_length = sum(len(memory.text) for memory in first) / max(1, len(first))
    scores = context.renormalised(
        {memory.id: memory.score for memory in first},
        {memory.id: len(memory.text) for memory in first},
        mean_length,
    )
    by_words = scores
    if expansion := _expansion(store, by_id, scores, wanted):
        hops["fts"] += 1
        more = store.score(expansion, FEEDBACK_MOST, visibilities=visibilities)
        feedback = context.renormalised(
            {at: score for at, score, _ in more}, {at: length for at, _, length in more}, mean_length
        )
        share = context.feedback_share(budget_tokens, by_meaning=bool(near))
        scores = context.with_feedback(scores, feedback, share)
    with_feedback = scores
    if near and visibilities is not None:  # What is hidden must not lend weight to what is not.
        by_id |= {one.id: one for one in store.fetch([at for at, _ in near], visibilities=visibilities)}
        near = [(at, cosine) for at, cosine in near if at in by_id]
    if near:
        confidence = _confidence(store, first, scores, wanted)
        scores = context.with_meaning(scores, dict(near), confidence, size or _AS_IF)
    alone = scores
    scores = context.with_neighbours(scores, _beside(store, scores, visibilities), size)

    best = sorted(scores, key=lambda at: (-scores[at], at))[:MOST]
    missing = [at for at in best if at not in by_id]
    if missing:
        hops["sqlite"] += 1
        by_id |= {memory.id: memory for memory in store.fetch(missing, visibilities=visibilities)}
    found = [msgspec.structs.replace(by_id[at], score=scores[at]) for at in best if at in by_id]
    cosines = dict(near or ())
    reasons = [
        Reason(
            path=one.path,
            words=by_words.get(one.id, 0.0),
            feedback=with_feedback.get(one.id, 0.0) - by_words.get(one.id, 0.0),
            cosine=cosines.get(one.id),
            neighbours=scores[one.id] - alone.get(one.id, 0.0),
            score=scores[one.id],
        )
        for one in found
    ]
    return Gathered(found, hops, reasons)


def _confidence(store: Store, first: Sequence[Found], scores: context.Scores, wanted: Sequence[str]) -> float:
    """How much of what the question says, weighed by rarity, the best memory by words holds; 0..1."""
    singles = [term for term in wanted if " " not in term]
    if not first or not singles:
        return 0.0
    size, counts = store.count(), store.holders(singles)
    worth = {
        term: math.log1p((max(size, counts[term]) - counts[term] + 0.5) / (counts[term] + 0.5))
        for term in singles
    }
    best = max(first, key=lambda memory: (scores.get(memory.id, 0.0), -memory.id))
    held = frozenset(terms(f"{best.title} {best.text[:_READ_CHARS]}"))
    return sum(worth[term] for term in singles if term in held) / (sum(worth.values()) or 1.0)


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
