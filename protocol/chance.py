"""Chance that was handed in, so that a run can be replayed, and what is drawn by it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, TypeVar

T = TypeVar("T")


class Randomness(Protocol):
    """The part of `random.Random` that the engine uses."""

    def random(self) -> float:
        """Uniform in [0, 1)."""

    def getrandbits(self, k: int, /) -> int:
        """`k` random bits."""


def one_of(rng: Randomness, choices: Sequence[T]) -> T:
    """Each as likely as the others; there must be one."""
    return choices[int(rng.random() * len(choices))]


def some_of(rng: Randomness, choices: Sequence[T], count: int) -> list[T]:
    """Up to `count` different ones, in random order (Durstenfeld, 1964)."""
    left = list(choices)
    chosen: list[T] = []
    while left and len(chosen) < count:
        at = int(rng.random() * len(left))
        left[at], left[-1] = left[-1], left[at]
        chosen.append(left.pop())
    return chosen
