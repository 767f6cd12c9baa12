"""Which texts go to the model next: pure, no clock, no sockets.

1. A query is never behind bulk work that has not begun.
2. Within a kind, who came first is served first; within a request, texts of like length go together, so
   that little is padded.
3. A batch costs at most `budget_tokens`, counted with its padding, unless it is a single text.
4. What waits is bounded: a request that would pass `max_texts` or `max_bytes` is not taken.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import Generic, NamedTuple, TypeVar

J = TypeVar("J")


class Piece(NamedTuple, Generic[J]):
    """One text of a job: `place` is where it stands in the job's request."""

    job: J
    place: int
    text: str
    tokens: int


class Queue(Generic[J]):
    """Texts of jobs that wait for the model."""

    def __init__(self, *, max_texts: int, max_bytes: int) -> None:
        self._max_texts, self._max_bytes = max_texts, max_bytes
        self._queries: deque[Piece[J]] = deque()
        self._bulk: deque[Piece[J]] = deque()
        self._bytes = 0

    def __len__(self) -> int:
        return len(self._queries) + len(self._bulk)

    def has_room(self, texts: Sequence[str]) -> bool:
        """Whether these may wait, too."""
        size = sum(map(len, texts))
        return len(self) + len(texts) <= self._max_texts and self._bytes + size <= self._max_bytes

    def add(self, job: J, texts: Sequence[str], tokens: Sequence[int], *, urgent: bool) -> None:
        """Let a job's texts wait."""
        line = self._queries if urgent else self._bulk
        for place in sorted(range(len(texts)), key=tokens.__getitem__):
            line.append(Piece(job, place, texts[place], tokens[place]))
            self._bytes += len(texts[place])

    def next_batch(self, budget_tokens: int) -> list[Piece[J]]:
        """The texts to encode together; empty where none wait."""
        line = self._queries or self._bulk
        batch: list[Piece[J]] = []
        longest = 0
        while line:
            longest = max(longest, line[0].tokens)
            if batch and longest * (len(batch) + 1) > budget_tokens:
                break
            piece = line.popleft()
            self._bytes -= len(piece.text)
            batch.append(piece)
        return batch
