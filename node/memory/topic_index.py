"""What a memory's topics look like at rest, and how many memories carry each of those that are announced.

At rest they are one text, in `head.topics`: lines of `weight term`, weight in percent. Those of a private
memory stand there, too, for its owner's recall; `head.announced` tells them apart. The counts are made from
the announced ones at the first question and kept up to date from then on, so that a write pays for them only
when somebody wants them.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable

Weighted = tuple[str, int]


def decode(encoded: str) -> list[Weighted]:
    """The topics of such a text."""
    if not encoded:
        return []
    return [(term, int(weight)) for weight, _, term in (line.partition(" ") for line in encoded.split("\n"))]


def count_among(encoded: str, wanted: Iterable[str]) -> int:
    """How many of the wanted terms are topics of such a text; without decoding it."""
    lines = f"{encoded}\n"
    found = 0
    for term in wanted:
        at = lines.find(f" {term}\n")
        while at > 0 and not lines[at - 1].isdigit():  # The second word of a pair is no topic by itself.
            at = lines.find(f" {term}\n", at + 1)
        found += at > 0
    return found


def token(term: str) -> str:
    """A term as it stands in the index: a pair of words is one token there."""
    return term.replace(" ", "_")


class TopicCounts:
    """By topic, the memories that carry it and the sum of its weights. Its owner serialises the calls."""

    def __init__(self, encoded: Iterable[str]) -> None:
        self._counts: defaultdict[str, int] = defaultdict(int)
        self._weights: defaultdict[str, int] = defaultdict(int)
        for topics in encoded:
            self.add(topics)

    def add(self, encoded: str) -> None:
        for term, weight in decode(encoded):
            self._counts[term] += 1
            self._weights[term] += weight

    def remove(self, encoded: str) -> None:
        for term, weight in decode(encoded):
            self._counts[term] -= 1
            self._weights[term] -= weight
            if not self._counts[term]:
                del self._counts[term], self._weights[term]

    def listing(self) -> list[tuple[str, int, float]]:
        """(term, memories that carry it, its mean weight there 0..1), by term."""
        weights = self._weights
        return [(term, n, weights[term] / (100 * n)) for term, n in sorted(self._counts.items())]
