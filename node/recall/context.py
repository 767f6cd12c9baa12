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

from node.encoder.meaning import Meaning

FEEDBACK_MEMORIES = 4
FEEDBACK_TERMS = 8
FEEDBACK_SHARE = 0.2
"""What a score of the feedback counts beside one of the question's words."""
MEANING_SHARE = 0.74
"""What meaning counts, words the rest, in standard deviations of either."""
FEEDBACK_BESIDE_MEANING = 0.1
"""At most, in standard deviations: where words answer well the feedback says more of the same matter."""
_UNSURE, _SURE_WITHIN = 0.4, 0.4
"""At a budget of 500 tokens feedback counts from a confidence of the first on, and in full above both
together. From half of that at twice the budget: a small one wants the best memory, a large one the rest of
the matter."""
_TOWARDS_BEST = 0.3  # Of the best memory's vector, added to the question's.
_NEIGHBOUR_GAIN = 3.0
_NEIGHBOUR_CAP = 0.4  # Of a neighbour's score, at most; half of that for the next but one.
LINKED_MEMORIES = 4
"""The best so many pass some of their scores on over their links."""
_LINK_SHARE = 0.5  # Over a link of weight 1.
_DIFFUSE, _PEAKED = 3.5, 5.0
"""Standard deviations by which the nearest memory stands out: up to the first, neighbours count in full; from
the second on it alone is meant, and what stands beside it is only beside it."""

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


def with_feedback(scores: Scores, feedback: Scores) -> Scores:
    """Scores of the question plus a share of those of the feedback."""
    return _summed(
        np.concatenate([scores.ids, feedback.ids]),
        np.concatenate([scores.values, FEEDBACK_SHARE * feedback.values]),
    )


def with_meaning(
    words: Scores,
    feedback: Scores,
    meaning: Meaning,
    near: Ids,
    *,
    confidence: float,
    size: int,
    budget_tokens: int,
) -> tuple[Scores, Scores, float]:
    """Scores by words, by feedback and cosines by meaning as one, none below 0; whoever is in any is in it.

    All are brought to standard deviations among the `size` memories, of which those without a score have 0.
    The question is asked a second time, drawn towards the best memory so far. Also returned: the cosines, and
    by how many deviations the nearest memory stands out. `confidence`: how well words alone answer, 0..1.
    """
    ids = np.union1d(np.union1d(words.ids, feedback.ids), near)
    by_words = _deviations(words, ids, size)
    sure = min(1.0, max(0.0, (confidence - _UNSURE * 500 / budget_tokens) / _SURE_WITHIN))
    more = FEEDBACK_BESIDE_MEANING * sure * _deviations(feedback, ids, size)
    cosines, peak = _standing_out(meaning, ids)
    mixed = (1.0 - MEANING_SHARE) * by_words + MEANING_SHARE * cosines
    if len(ids):
        best = int(ids[np.lexsort((ids, -mixed))[0]])
        meaning = meaning.towards(best, _TOWARDS_BEST)
        cosines, _ = _standing_out(meaning, ids)
        mixed = (1.0 - MEANING_SHARE) * by_words + MEANING_SHARE * cosines + more
        mixed -= mixed.min()
    return Scores(ids, mixed), Scores(ids, meaning.cosines(ids).astype(np.float64)), peak


def _deviations(scores: Scores, ids: Ids, size: int) -> Values:
    count = max(size, len(scores.ids), 1)
    mean = float(scores.values.sum()) / count
    spread = math.sqrt(max(float((scores.values**2).sum()) / count - mean * mean, 1e-9))
    deviations: Values = (scores.at(ids) - mean) / spread
    return deviations if len(scores.ids) else np.zeros(len(ids))


def _standing_out(meaning: Meaning, ids: Ids) -> tuple[Values, float]:
    """Cosines in standard deviations, the mean for who has no vector yet, and the highest of them."""
    mean, spread = meaning.spread()
    cosines = meaning.cosines(ids).astype(np.float64)
    deviations = np.where(np.isnan(cosines), 0.0, (cosines - mean) / spread)
    return deviations, float(deviations.max(initial=0.0))


def with_neighbours(scores: Scores, beside: Beside | None, size: int | None, peak: float = 0.0) -> Scores:
    """Scores plus a share of the neighbours' in the log, as far as neighbours go together here.

    Without `beside` neighbours are those with the ids next to each other. `size`: how many memories there
    are, those without a score count as 0; None for more than matter. `peak`: by how many standard deviations
    the nearest in meaning stands out.
    """
    share = min(_NEIGHBOUR_CAP, _NEIGHBOUR_GAIN * autocorrelation(scores, beside, size))
    share *= min(1.0, max(0.0, (_PEAKED - peak) / (_PEAKED - _DIFFUSE)))
    if share <= 0.0:
        return scores
    beside = Beside.by_number(scores.ids) if beside is None else beside
    shares = share / beside.steps
    return _summed(
        np.concatenate([scores.ids, beside.seconds, beside.firsts]),
        np.concatenate(
            [scores.values, shares * scores.at(beside.firsts), shares * scores.at(beside.seconds)]
        ),
    )


def with_links(scores: Scores, links: Iterable[tuple[int, int, float]]) -> Scores:
    """Scores plus a share of those that are linked with them; `links`: from, to, weight."""
    rows = np.array(list(links), np.float64).reshape(-1, 3)
    if not len(rows):
        return scores
    passed_on = _LINK_SHARE * rows[:, 2] * scores.at(rows[:, 0].astype(np.int64))
    return _summed(
        np.concatenate([scores.ids, rows[:, 1].astype(np.int64)]),
        np.concatenate([scores.values, passed_on]),
    )


def autocorrelation(scores: Scores, beside: Beside | None, size: int | None) -> float:
    """Of each score with the next one in the log, -1..1; 0 where there is nothing to correlate.

    Without `beside` the next one is that with the next id.
    """
    if len(scores.ids) < 2:
        return 0.0
    count = len(scores.ids) if size is None else max(size, len(scores.ids))
    expected = float(scores.values.sum()) ** 2 / count if size is not None else 0.0
    variance = float((scores.values**2).sum()) - expected
    if beside is None:
        follows = np.diff(scores.ids) == 1
        together = float((scores.values[:-1][follows] * scores.values[1:][follows]).sum())
    else:
        next_ones = beside.steps == 1
        together = float((scores.at(beside.firsts[next_ones]) * scores.at(beside.seconds[next_ones])).sum())
    return (together - expected) / variance if variance > 0.0 else 0.0


def _summed(ids: Ids, values: Values) -> Scores:
    """One score for each id: the sum of those given."""
    distinct, places = np.unique(ids, return_inverse=True)
    return Scores(distinct, np.bincount(places, values, minlength=len(distinct)).astype(np.float64))
