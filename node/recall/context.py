"""What surrounds a question's words: the company they keep, their meaning, what was written beside them.

Pure arithmetic over scores by position in the log (version ids). Three additions to BM25, each measured on
real questions:

- feedback: topics of the best few say what else the matter is called (Rocchio, 1971);
- meaning: cosines with the question, weighed by how well words alone answer it;
- neighbours: where scores of memories written one after the other go together, as in a conversation, a memory
  next to a good one is likely to be evidence too. How much they do is the autocorrelation of this question's
  scores, so that a store of unrelated notes is left alone.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

FEEDBACK_MEMORIES = 4
FEEDBACK_TERMS = 16
FEEDBACK_SHARE = 0.2  # At a budget of 1,000 tokens, in proportion to it, and at most half as much again:
_MOST_FEEDBACK = 0.3  # a small budget wants the best memory, a large one the rest of the matter as well.
_MEANING, _MEANING_GAIN, _LEAST_MEANING, _MOST_MEANING = 0.6, 0.5, 0.3, 0.9
_COSINE_SPREAD = 0.09  # Standard deviation of a question's cosines with memories, all-MiniLM-L6-v2.
_NEIGHBOUR_GAIN = 2.0
_NEIGHBOUR_CAP = 0.4  # Of a neighbour's score, at most; half of that for the next but one.

Ids = NDArray[np.int64]
Values = NDArray[np.float64]


class Scores(NamedTuple):
    """Version ids, ascending, and a score for each."""

    ids: Ids
    values: Values

    @classmethod
    def of(cls, pairs: Iterable[tuple[int, float]]) -> Self:
        """From (id, score) in any order, each id once."""
        ordered = sorted(pairs)
        return cls(
            np.array([at for at, _ in ordered], np.int64),
            np.array([score for _, score in ordered], np.float64),
        )

    def best(self, most: int) -> list[int]:
        """The ids with the highest scores, the highest first, ties to the lower id."""
        ids, values = self
        if len(ids) > most:
            edge = np.partition(values, len(values) - most)[len(values) - most]
            ids, values = ids[values >= edge], values[values >= edge]
        best: list[int] = ids[np.lexsort((ids, -values))[:most]].tolist()
        return best

    def at(self, ids: Ids, otherwise: float = 0.0) -> Values:
        """The scores of these ids."""
        if not len(self.ids):
            return np.full(len(ids), otherwise)
        places = np.searchsorted(self.ids, ids).clip(max=len(self.ids) - 1)
        return np.where(self.ids[places] == ids, self.values[places], otherwise)

    def holds(self, ids: Iterable[int]) -> bool:
        """Whether all of these have a score."""
        return bool(np.isin(np.fromiter(ids, np.int64), self.ids).all())

    def among(self, ids: Iterable[int]) -> Scores:
        """Only those of these ids."""
        kept = np.isin(self.ids, np.fromiter(ids, np.int64))
        return Scores(self.ids[kept], self.values[kept])


NONE = Scores(np.empty(0, np.int64), np.empty(0, np.float64))


class Beside(NamedTuple):
    """Pairs of memories that stand near each other in the log, each pair once: the second `steps` (1 or 2)
    behind the first.
    """

    firsts: Ids
    seconds: Ids
    steps: NDArray[np.int64]

    @classmethod
    def by_number(cls, ids: Ids) -> Self:
        """Each of these with whatever has the numbers next to it."""
        firsts = [np.union1d(ids, ids - step) for step in (1, 2)]
        steps = np.repeat([1, 2], [len(firsts[0]), len(firsts[1])])
        joined = np.concatenate(firsts)
        return cls(joined, joined + steps, steps)

    @classmethod
    def of(cls, neighbours: Mapping[int, tuple[Sequence[int], Sequence[int]]]) -> Self:
        """From up to two before and two after each memory, nearest first."""
        rows = {
            (min(at, other), max(at, other), step)
            for at, sides in neighbours.items()
            for side in sides
            for step, other in enumerate(side, 1)
        }
        columns = np.array(sorted(rows), np.int64).reshape(-1, 3)
        return cls(columns[:, 0], columns[:, 1], columns[:, 2])


def feedback_terms(
    best: Sequence[tuple[float, Iterable[tuple[str, int]]]],
    asked: Iterable[str],
    counts: Mapping[str, int],
    size: int,
) -> list[str]:
    """Terms that the best memories are about and the question did not say, most telling first.

    `best`: score and weighted topics of each, best first; `counts`: how many of `size` memories hold a term.
    Terms that only one memory holds find nothing new and are left out.
    """
    if not best or best[0][0] <= 0.0:
        return []
    known = frozenset(asked)
    weights: defaultdict[str, float] = defaultdict(float)
    for score, topics in best:
        for term, weight in topics:
            count = counts.get(term, 0)
            if count >= 2 and term not in known:
                idf = math.log1p((max(size, count) - count + 0.5) / (count + 0.5))
                weights[term] += score / best[0][0] * weight * idf
    return sorted(weights, key=lambda term: (-weights[term], term))[:FEEDBACK_TERMS]


def feedback_share(budget_tokens: int, *, by_meaning: bool) -> float:
    """What a score of the feedback counts beside one of the question.

    A small budget wants the best memory, a large one the rest of the matter as well; and where vectors say
    what else the matter is called, a small one needs no feedback at all.
    """
    share = FEEDBACK_SHARE * budget_tokens / 1000
    if by_meaning:
        share = FEEDBACK_SHARE * (budget_tokens - 500) / 500
    return min(_MOST_FEEDBACK, max(0.0, share))


def with_feedback(scores: Scores, feedback: Scores, share: float) -> Scores:
    """Scores of the question plus a share of those of the feedback."""
    return _summed(
        np.concatenate([scores.ids, feedback.ids]), np.concatenate([scores.values, share * feedback.values])
    )


def with_meaning(scores: Scores, cosines: Scores, confidence: float, size: int) -> Scores:
    """Scores by words and cosines by meaning as one, none below 0; whoever is in either is in the result.

    Both are brought to their usual spread and weighed by how well words alone answer (`confidence`, 0..1):
    where the best memory holds all that was asked they count for more, where it shares nothing for less.
    """
    count = max(size, len(scores.ids), 1)
    mean = float(scores.values.sum()) / count
    spread = math.sqrt(max(float((scores.values**2).sum()) / count - mean * mean, 1e-9))
    weight = min(_MOST_MEANING, max(_LEAST_MEANING, _MEANING + _MEANING_GAIN * (_MEANING - confidence)))
    ids = np.union1d(scores.ids, cosines.ids)
    words = (scores.at(ids) - mean) / spread
    meaning = cosines.at(ids, float(cosines.values.min())) / _COSINE_SPREAD
    mixed = (1.0 - weight) * words + weight * meaning
    return Scores(ids, mixed - mixed.min())


def with_neighbours(scores: Scores, beside: Beside, size: int | None) -> Scores:
    """Scores plus a share of the neighbours' in the log, as far as neighbours go together here.

    `size`: how many memories there are, those without a score count as 0; None for more than matter.
    """
    share = min(_NEIGHBOUR_CAP, _NEIGHBOUR_GAIN * autocorrelation(scores, beside, size))
    if share <= 0.0:
        return scores
    shares = share / beside.steps
    return _summed(
        np.concatenate([scores.ids, beside.seconds, beside.firsts]),
        np.concatenate(
            [scores.values, shares * scores.at(beside.firsts), shares * scores.at(beside.seconds)]
        ),
    )


def autocorrelation(scores: Scores, beside: Beside, size: int | None) -> float:
    """Of each score with the next one in the log, -1..1; 0 where there is nothing to correlate."""
    if len(scores.ids) < 2:
        return 0.0
    count = len(scores.ids) if size is None else max(size, len(scores.ids))
    expected = float(scores.values.sum()) ** 2 / count if size is not None else 0.0
    variance = float((scores.values**2).sum()) - expected
    next_ones = beside.steps == 1
    together = float((scores.at(beside.firsts[next_ones]) * scores.at(beside.seconds[next_ones])).sum())
    return (together - expected) / variance if variance > 0.0 else 0.0


def _summed(ids: Ids, values: Values) -> Scores:
    """One score for each id: the sum of those given."""
    distinct, places = np.unique(ids, return_inverse=True)
    return Scores(distinct, np.bincount(places, values, minlength=len(distinct)).astype(np.float64))
