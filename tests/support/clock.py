"""A clock that stands still until it is told."""

from __future__ import annotations


class FakeClock:
    """Called, it tells the time it was set to."""

    def __init__(self, now: float = 1_000_000.0) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now

    def advance(self, seconds: float) -> None:
        """Let time pass."""
        self.now += seconds
