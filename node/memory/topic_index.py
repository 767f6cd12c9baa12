"""What a memory's topics look like at rest, and how many memories carry each of those that are announced.

At rest they are one text, in `head.topics`: lines of `weight term`, weight in percent. Those of a private
memory stand there, too, for its owner's recall; `head.announced` tells them apart. The counts are made from
the announced ones at the first question and kept up to date from then on, so that a write pays for them only
when somebody wants them.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence

Weighted = tuple[str, int]


def encode(topics: Sequence[Weighted]) -> str:
    """Topics as one text."""
    return "\n".join([f"{weight} {term}" for term, weight in topics])


def decode(encoded: str) -> list[Weighted]:
    """The topics of a text made by `encode`."""
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
