"""What may answer a question: look-ups in the index, whose columns are words and topics alike.

The first look-up finds memories that hold words of the question. Their topics make a second one, for
what the question did not say; and memories written next to the best come along (see `context`).
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from typing import NamedTuple

import msgspec
import numpy as np

from node.encoder.meaning import Meaning
from node.memory.search import Found
from node.memory.store import Store
from node.memory.topic_index import decode
from node.recall import context
from node.recall.context import NONE, Scores
from protocol.words import terms

LEAST = 32
"""Candidates read and ranked in the end, and one for each `TOKENS_A_CANDIDATE` of a budget if that is more:
not all of them are packed. More cost 20 us each."""
TOKENS_A_CANDIDATE = 20

POOL = 256
"""Memories by words whose scores count."""

NEAREST = 256
"""Memories taken by meaning."""

_AS_IF = 1_000  # Memories, for an asker that must not learn how many there are.
_READ_CHARS = 16_384
FEEDBACK_MOST = 128  # Of the second look-up: only scores, no texts.


class Reason(msgspec.Struct, frozen=True, kw_only=True):
    """Why a memory is a candidate: BM25 by the question's own words, and by those of the feedback, the
    cosine of its meaning (None where it has no vector), what its neighbours added, and all of it as one
    score.
    """

    path: str
    words: float
    feedback: float
    cosine: float | None
    neighbours: float
    links: float
    score: float


class Gathered(NamedTuple):
    """Candidates, best first, with their scores, the look-ups it took by stage, and what speaks for each."""

    found: list[Found]
    scores: list[float]
    hops: dict[str, int]
    signs: Signs


def gather(
    store: Store,
    wanted: Sequence[str],
    budget_tokens: int,
    visibilities: Collection[str] | None,
    meaning: Meaning | None = None,
) -> Gathered:
    """The memories that may answer, only those of `visibilities` if given; ties to the older.

    A topic is a column of the same index, so a question about a known topic is answered in the first hop.
    `meaning` is the question's beside the memories' vectors, where it is known.
    """
    hops = {"cache": 0, "sqlite": 0, "fts": 0, "vector": int(meaning is not None)}
    # How many memories are hidden from an asker must not show in its answer.
    size = store.count() if visibilities is None else None
    by_words = NONE
    if wanted:
        hops["fts"] += 1
        by_words = Scores.of(store.lookup.score(wanted, POOL, visibilities=visibilities))
    first = _fetched(store, by_words.best(context.FEEDBACK_MEMORIES), visibilities)
    feedback = NONE
    if expansion := _expansion(store, first, by_words, wanted):
        hops["fts"] += 1
        feedback = Scores.of(store.lookup.score(expansion, FEEDBACK_MOST, visibilities=visibilities))
    cosines, peak = NONE, 0.0
    if meaning is None:
        alone = context.with_feedback(by_words, feedback)
    else:
        near = np.array(meaning.nearest(NEAREST), np.int64)
        confidence = _confidence(store, first, wanted)
        alone, cosines, peak = context.with_meaning(
            by_words,
            feedback,
            meaning,
            near,
            confidence=confidence,
            size=size or _AS_IF,
            budget_tokens=budget_tokens,
        )
    scores = context.with_neighbours(alone, _beside(store, alone, visibilities), size, peak)

    beside = scores
    links = store.relations.linked(scores.best(context.LINKED_MEMORIES))
    scores = context.with_links(scores, links)
    best = scores.best(max(LEAST, budget_tokens // TOKENS_A_CANDIDATE))
    hops["sqlite"] += int(not by_words.holds(best))
    by_id = _fetched(store, best, visibilities)
    found = [by_id[at] for at in best if at in by_id]
    told = scores.at(np.array([one.id for one in found], np.int64)).tolist()
    return Gathered(found, told, hops, Signs(by_words, feedback, cosines, alone, beside, scores))


class Signs(NamedTuple):
    """Scores by words, by feedback, cosines by meaning, all as one, that with neighbours, and with links."""

    by_words: Scores
    feedback: Scores
    cosines: Scores
    alone: Scores
    beside: Scores
    together: Scores

    def reasons(self, found: Sequence[Found]) -> tuple[Reason, ...]:
        """Why each of these is a candidate."""
        ids = np.array([one.id for one in found], np.int64)
        words, feedback = self.by_words.at(ids), self.feedback.at(ids)
        cosines = self.cosines.at(ids, math.nan)
        alone, beside, together = self.alone.at(ids), self.beside.at(ids), self.together.at(ids)
        return tuple(
            Reason(
                path=one.path,
                words=float(words[at]),
                feedback=float(feedback[at]),
                cosine=None if math.isnan(cosines[at]) else float(cosines[at]),
                neighbours=float(beside[at] - alone[at]),
                links=float(together[at] - beside[at]),
                score=float(together[at]),
            )
            for at, one in enumerate(found)
        )


def _fetched(store: Store, ids: Sequence[int], visibilities: Collection[str] | None) -> dict[int, Found]:
    """By id, in the order of `ids`."""
    found = {one.id: one for one in store.lookup.fetch(ids, visibilities=visibilities)} if ids else {}
    return {at: found[at] for at in ids if at in found}


def _confidence(store: Store, first: Mapping[int, Found], wanted: Sequence[str]) -> float:
    """How much of what the question says, weighed by rarity, the best memory by words holds; 0..1."""
    singles = [term for term in wanted if " " not in term]
    if not first or not singles:
        return 0.0
    size, counts = store.count(), store.lookup.holders(singles)
    worth = {
        term: math.log1p((max(size, counts[term]) - counts[term] + 0.5) / (counts[term] + 0.5))
        for term in singles
    }
    best = next(iter(first.values()))
    held = frozenset(terms(f"{best.title} {best.text[:_READ_CHARS]}"))
    return sum(worth[term] for term in singles if term in held) / (sum(worth.values()) or 1.0)


def _beside(store: Store, scores: Scores, visibilities: Collection[str] | None) -> context.Beside | None:
    """Neighbours in the log: by number for the owner, where a gap is found empty later; by what may be seen
    for others, so that a gap tells nothing.
    """
    if visibilities is None:
        return None
    return context.Beside.of(store.lookup.neighbours(scores.best(LEAST), visibilities=visibilities))


def _expansion(
    store: Store, first: Mapping[int, Found], by_words: Scores, wanted: Sequence[str]
) -> list[str]:
    if not first:
        return []
    scores = by_words.at(np.array(list(first), np.int64)).tolist()
    topics = [
        (score, [one for one in decode(told.topics) if " " not in one[0]])
        for score, told in zip(scores, first.values(), strict=True)
    ]
    found = {term for _, told in topics for term, _ in told}.difference(wanted)
    return context.feedback_terms(topics, wanted, store.carriers(found), store.count())
