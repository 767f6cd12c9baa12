"""How well we ourselves are: who answers late may be late only because we are.

    worse    a probe failed, a helper said nothing, something was said of us that we refuted, we paused
    better   a probe was answered

(Lifeguard: Dadgar, Phillips, Currey, 2018.)

Invariant: the score stays within 0 .. `WORST`, so that our timeouts are lengthened at most 9 times.
"""

from __future__ import annotations

WORST = 8


class LocalHealth:
    """A score from 0 (well) to `WORST`."""

    def __init__(self) -> None:
        self.score = 0

    @property
    def factor(self) -> int:
        """What our timeouts, and the time between our probes, are multiplied by: 1 where we are well."""
        return self.score + 1

    def worsen(self, by: int = 1) -> None:
        """Something spoke against us."""
        self.score = min(WORST, self.score + by)

    def improve(self) -> None:
        """An answer came in time."""
        self.score = max(0, self.score - 1)
