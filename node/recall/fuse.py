"""One score from several signs that a memory answers, and the test that two memories say the same.

Scores are calibrated and added, not ranks: on real questions that finds more evidence.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Callable, Iterable, Sequence

import mmh3
import msgspec

from node.memory.search import Found
from node.memory.sizes import Size
from node.memory.sketch import may_be_similar, sketch_of
from protocol.words import content_terms, terms

IMPORTANCE_SHARE = 0.10  # Between importance 0 and 1. Small: it decides between equals, never over words.
SPEAKER_SHARE = 0.16
"""Of the best score: what a memory gains that begins with a name and a colon, where the question names it."""
RECENCY_SHARE = 0.03
RECENCY_HALF_LIFE_S = 30 * 86_400.0
NEAR_DUPLICATE = 0.9  # Share of common terms from which two memories say the same.

_K1, _B = 1.2, 0.75
_TERMS_CHARS = 65_536
_SPEAKER = re.compile(r"\s*([^\W\d_][\w.'\u2019 -]{0,39}):\s")
_SHORT_CHARS = 80  # A text of few terms has a sketch of its very letters.
_TELLING = frozenset({"not", "no", "never", "without", "nor", "cannot", "don't", "doesn't", "isn't", "won't"})


class Candidate(msgspec.Struct, frozen=True, kw_only=True):
    """A memory, or an excerpt of one, that may be quoted.

    `by_topic`: its owner says that it has a term of the question as its topic; of our own, `topics` tell it,
    as they are at rest. `id` is of its version, 0 for another agent's; `sketch` as `node.memory.sketch`
    makes it; `size` with its title, where that is known.
    """

    agent: str
    path: str
    version: int
    title: str
    text: str
    score: float
    by_topic: bool = False
    topics: str = ""
    cut: bool = False
    id: int = 0
    sketch: int | None = None
    size: Size | None = None


def fuse(
    found: Sequence[Found],
    scores: Sequence[float],
    wanted: Sequence[str],
    *,
    agent: str,
    sizes: Callable[[int], Size | None] = lambda _: None,
) -> list[Candidate]:
    """Candidates by fused score, best first, ties by path; `scores` in the order of `found`.

    The score over the best one, plus small priors: for a speaker that the question names, for importance, for
    recency. `sizes`: of a version, where it is known. Age counts from the newest candidate, not from a
    clock, so equal stores give equal answers.
    """
    if not found:
        return []
    most = max(scores) or 1.0
    speakers = _Speakers(wanted)
    newest = max(memory.updated_at for memory in found)
    candidates = []
    for memory, told in zip(found, scores, strict=True):
        recency = math.exp2((memory.updated_at - newest) / RECENCY_HALF_LIFE_S)
        score = (
            told / most
            + SPEAKER_SHARE * speakers.has(memory.text)
            + IMPORTANCE_SHARE * memory.importance
            + RECENCY_SHARE * recency
        )
        candidates.append(
            Candidate(
                agent=agent,
                path=memory.path,
                version=memory.version,
                title=memory.title,
                text=memory.text,
                score=round(score, 6),
                topics=memory.topics,
                id=memory.id,
                sketch=memory.sketch,
                size=sizes(memory.id),
            )
        )
    return sorted(candidates, key=_best_first)


class _Speakers:
    """Whether what is told begins with the name of somebody the question is about, as in `Ann Lee: …`."""

    def __init__(self, wanted: Sequence[str]) -> None:
        self._asked = frozenset(wanted)
        self._known: dict[str, bool] = {}

    def has(self, text: str) -> bool:
        found = _SPEAKER.match(text)
        if found is None:
            return False
        name = found[1]
        known = self._known.get(name)
        if known is None:
            told = content_terms(name)
            known = self._known[name] = bool(told) and self._asked.issuperset(told)
        return known


def pool(candidates: Iterable[Candidate], wanted: Sequence[str]) -> list[Candidate]:
    """Candidates of several owners by one score, best first, ties by path, then agent.

    BM25 over the pooled texts (Robertson and Zaragoza, 2009): the scores their owners gave compare within
    one owner only, and decide here nothing but ties.
    """
    held = [(one, Counter(terms(f"{one.title}\n{one.text[:_TERMS_CHARS]}"))) for one in candidates]
    if not held:
        return []
    mean_length = sum(words.total() for _, words in held) / len(held) or 1.0
    worth = {}
    for term in dict.fromkeys(part for phrase in wanted for part in phrase.split(" ")):
        holders = sum(term in words for _, words in held)
        worth[term] = math.log1p((len(held) - holders + 0.5) / (holders + 0.5))
    ranked = []
    for one, words in held:
        norm = _K1 * (1.0 - _B + _B * words.total() / mean_length)
        score = sum(idf * (_K1 + 1.0) * words[term] / (words[term] + norm) for term, idf in worth.items())
        told = msgspec.structs.replace(
            one, score=round(score, 6), sketch=sketch_of(one.text, set(map(mmh3.hash, words)))
        )
        ranked.append((told, one.score))
    ranked.sort(key=lambda pair: (-pair[0].score, -pair[1], pair[0].path, pair[0].agent))
    return [one for one, _ in ranked]


def terms_of(text: str) -> frozenset[str]:
    """The terms by which `say_the_same` compares; of a long text those of its beginning."""
    return frozenset(terms(text[:_TERMS_CHARS]))


def may_say_the_same(one: Candidate, other: Candidate) -> bool:
    """Whether it is worth while to compare their terms."""
    if one.sketch is None or other.sketch is None or len(one.text) < _SHORT_CHARS > len(other.text):
        return True
    return may_be_similar(one.sketch, other.sketch)


def say_the_same(one: frozenset[str], other: frozenset[str]) -> bool:
    """Whether two memories are near-duplicates: nearly the same terms, no number and no negation apart."""
    smaller, larger = sorted((len(one), len(other)))
    if not larger:
        return False  # Signs and emoji give no terms to compare by.
    if smaller < NEAR_DUPLICATE * larger:
        return False
    if len(one & other) < NEAR_DUPLICATE * len(one | other):
        return False
    apart = one ^ other
    return apart.isdisjoint(_TELLING) and not any(any(map(str.isdigit, term)) for term in apart)


def _best_first(candidate: Candidate) -> tuple[float, str]:
    return -candidate.score, candidate.path
