"""What surrounds the words of a question: length, the company they keep, and what was written next to them.

Pure arithmetic over scores by position in the log (version ids). Three corrections of bm25, each measured on
real questions:

- a stronger length normalisation (b = 0.9) than the index applies (0.75);
- feedback: topics of the best few say what else the matter is called (Rocchio, 1971);
- neighbours: where scores of memories written one after the other go together, as in a conversation, a memory
  next to a good one is likely to be evidence too. How much they do is the autocorrelation of this question's
  scores, so that a store of unrelated notes is left alone.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence

_K1, _INDEX_B, _B = 1.2, 0.75, 0.9
FEEDBACK_MEMORIES = 4
FEEDBACK_TERMS = 16
FEEDBACK_SHARE = 0.2  # At a budget of 1,000 tokens, in proportion to it, and at most half as much again:
_MOST_FEEDBACK = 0.3  # a small budget wants the best memory, a large one the rest of the matter as well.
_MEANING, _MEANING_GAIN, _LEAST_MEANING, _MOST_MEANING = 0.6, 0.5, 0.3, 0.9
_COSINE_SPREAD = 0.09  # Standard deviation of a question's cosines with memories, all-MiniLM-L6-v2.
_NEIGHBOUR_GAIN = 2.0
_NEIGHBOUR_CAP = 0.4  # Of a neighbour's score, at most; half of that for the next but one.

Scores = dict[int, float]
Beside = tuple[Sequence[int], Sequence[int]]
"""What stands before and after a memory in the log, nearest first."""


def renormalised(scores: Mapping[int, float], lengths: Mapping[int, int], mean_length: float) -> Scores:
    """bm25 as if it had been computed with b = 0.9; `lengths` in any one unit, by the same keys."""
    found: Scores = {}
    for at, score in scores.items():
        relative = lengths[at] / mean_length if mean_length else 1.0
        index_norm = 1.0 + _K1 * (1.0 - _INDEX_B + _INDEX_B * relative)
        found[at] = score * index_norm / (1.0 + _K1 * (1.0 - _B + _B * relative))
    return found


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


def with_feedback(scores: Mapping[int, float], feedback: Mapping[int, float], share: float) -> Scores:
    """Scores of the question plus a share of those of the feedback."""
    found = dict(scores)
    for at, score in feedback.items():
        found[at] = found.get(at, 0.0) + share * score
    return found


def with_meaning(
    scores: Mapping[int, float], cosines: Mapping[int, float], confidence: float, size: int
) -> Scores:
    """Scores by words and cosines by meaning as one, none below 0; whoever is in either is in the result.

    Both are brought to their usual spread and weighed by how well words alone answer (`confidence`, 0..1):
    where the best memory holds all that was asked they count for more, where it shares nothing for less.
    """
    total = sum(scores.values())
    mean = total / max(size, len(scores), 1)
    spread = math.sqrt(
        max(sum(score * score for score in scores.values()) / max(size, len(scores), 1) - mean * mean, 1e-9)
    )
    floor = min(cosines.values())
    weight = min(_MOST_MEANING, max(_LEAST_MEANING, _MEANING + _MEANING_GAIN * (_MEANING - confidence)))
    mixed = {
        at: (1.0 - weight) * (scores.get(at, 0.0) - mean) / spread
        + weight * cosines.get(at, floor) / _COSINE_SPREAD
        for at in {**scores, **cosines}
    }
    least = min(mixed.values())
    return {at: score - least for at, score in mixed.items()}


def with_neighbours(scores: Mapping[int, float], beside: Mapping[int, Beside], size: int | None) -> Scores:
    """Scores plus a share of the neighbours' in the log, as far as neighbours go together here.

    `beside`: up to two before and after each one that has a score; `size`: how many memories there are, those
    without a score count as 0; None for more than matter.
    """
    share = min(_NEIGHBOUR_CAP, _NEIGHBOUR_GAIN * autocorrelation(scores, beside, size))
    found = dict(scores)
    if share <= 0.0:
        return found
    for at, score in scores.items():
        for side in beside.get(at, ()):
            for neighbour, worth in zip(side, (share, share / 2), strict=False):
                found[neighbour] = found.get(neighbour, 0.0) + worth * score
    return found


def autocorrelation(scores: Mapping[int, float], beside: Mapping[int, Beside], size: int | None) -> float:
    """Of each score with the next one in the log, -1..1; 0 where there is nothing to correlate."""
    if len(scores) < 2:
        return 0.0
    expected = sum(scores.values()) ** 2 / max(size, len(scores)) if size is not None else 0.0
    variance = sum(score * score for score in scores.values()) - expected
    together = sum(
        score * scores.get(after[0], 0.0)
        for at, score in scores.items()
        if (after := beside[at][1] if at in beside else ())
    )
    return (together - expected) / variance if variance > 0.0 else 0.0
