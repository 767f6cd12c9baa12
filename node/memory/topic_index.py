"""What a memory's topics look like at rest, and how many memories carry each of those that are announced.

At rest they are one text, in `head.topics`: lines of `weight term`, weight in percent. Those of a private
memory stand there, too, for its owner's recall; `head.announced` tells them apart. They are counted at the
first question and the counts kept up to date from then on, so that a write pays for them only when somebody
wants them.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from heapq import nsmallest
from itertools import chain

Weighted = tuple[str, int]
Carried = tuple[str, bool]
"""Topics of a memory as one text, and whether they are announced."""


def decode(encoded: str) -> list[Weighted]:
    """The topics of such a text."""
    if not encoded:
        return []
    return [(term, int(weight)) for weight, _, term in (line.partition(" ") for line in encoded.split("\n"))]


class Wanted:
    """Terms that are looked for among the topics of many memories."""

    def __init__(self, wanted: Iterable[str]) -> None:
        self._lines = [f" {term}\n" for term in dict.fromkeys(wanted)]

    def __len__(self) -> int:
        return len(self._lines)

    def count_among(self, encoded: str) -> int:
        """How many of the terms are topics of a text made by `encode`; without decoding it."""
        lines = f"{encoded}\n"
        return sum(_is_whole(lines, line) for line in self._lines if line in lines)


def _is_whole(lines: str, line: str) -> bool:
    """Whether the term is a topic somewhere in there: the second word of a pair is none by itself."""
    at = lines.find(line)
    while at > 0 and not lines[at - 1].isdigit():
        at = lines.find(line, at + 1)
    return at > 0


def token(term: str) -> str:
    """A term as it stands in the index: a pair of words is one token there."""
    return term.replace(" ", "_")


def count(encoded: Iterable[str]) -> Counter[str]:
    """By topic, how many of these texts made by `encode` carry it."""
    found: Counter[str] = Counter()
    for line, number in _count_lines(encoded):
        found[line.partition(" ")[2]] += number
    return found


def most(counts: Mapping[str, int], limit: int) -> list[tuple[str, int]]:
    """The topics that most memories carry, with how many do; ties by topic."""
    return nsmallest(limit, counts.items(), key=lambda item: (-item[1], item[0]))


def _count_lines(encoded: Iterable[str]) -> Iterable[tuple[str, int]]:
    """A memory carries a topic once, so equal lines can be counted before they are parsed: that is faster."""
    return Counter(chain.from_iterable(map(_lines, encoded))).items()


def _lines(encoded: str) -> list[str]:
    return encoded.split("\n") if encoded else []


class TopicCounts:
    """By topic, the memories that carry it and the sum of its weights, those announced apart from the others.

    Its owner serialises the calls.
    """

    def __init__(self, announced: Iterable[str], others: Iterable[str]) -> None:
        self._counts: defaultdict[str, int] = defaultdict(int)
        self._weights: defaultdict[str, int] = defaultdict(int)
        for line, number in _count_lines(announced):
            weight, _, term = line.partition(" ")
            self._counts[term] += number
            self._weights[term] += number * int(weight)
        self._others = count(others)

    def add(self, encoded: str, announced: bool) -> None:
        for term, weight in decode(encoded):
            if not announced:
                self._others[term] += 1
                continue
            self._counts[term] += 1
            self._weights[term] += weight

    def remove(self, encoded: str, announced: bool) -> None:
        for term, weight in decode(encoded):
            if not announced:
                self._others[term] -= 1
                if not self._others[term]:
                    del self._others[term]
                continue
            self._counts[term] -= 1
            self._weights[term] -= weight
            if not self._counts[term]:
                del self._counts[term], self._weights[term]

    def listing(self) -> list[tuple[str, int, float]]:
        """Of those announced: (term, memories that carry it, its mean weight there 0..1), by term."""
        weights = self._weights
        return [(term, n, weights[term] / (100 * n)) for term, n in sorted(self._counts.items())]

    def among(self, topics: Iterable[str]) -> dict[str, int]:
        """By each of these topics, the memories that carry it, announced or not."""
        announced, others = self._counts.get, self._others.get
        return {topic: announced(topic, 0) + others(topic, 0) for topic in topics}

    def all(self) -> dict[str, int]:
        """By topic, the memories that carry it, announced or not."""
        counts = dict(self._counts)
        for term, number in self._others.items():
            counts[term] = counts.get(term, 0) + number
        return counts
