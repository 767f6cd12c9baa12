"""How long a suspect has to refute: the shorter, the more others found it silent themselves.

    longest   suspicion_s x log10(members, 10 at least)
    least     longest x suspicion_least
    after C confirmations of the K wanted: longest - (longest - least) x log(C + 1) / log(K + 1)

One slow accuser thus cannot bury a member that lives, and several in agreement bury the dead quickly
(Lifeguard: Dadgar, Phillips, 2018). An accuser counts once; the first is no confirmation.

Invariants, checked by `check()`:
 1. least <= the time given <= longest; another accuser never makes it longer.
 2. At most K + 1 accusers are kept.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

from protocol.names import AgentName
from protocol.profile import Profile


class Suspicion:
    """Of one member, in one incarnation."""

    __slots__ = ("accusers", "given_s", "least_s", "longest_s", "since", "wanted")

    def __init__(self, *, since: float, members: int, profile: Profile) -> None:
        """`members` living ones, ourselves and the suspect included."""
        self.since = since
        self.longest_s = profile.suspicion_s * math.log10(max(10, members))
        self.least_s = self.longest_s * profile.suspicion_least
        self.wanted = max(0, min(profile.confirmations, members - 3))
        self.accusers: list[AgentName] = []
        self.given_s = self.longest_s

    def accuse(self, accuser: AgentName) -> bool:
        """`accuser` found it silent as well; False where that is known, or enough did."""
        if accuser in self.accusers or len(self.accusers) > self.wanted:
            return False
        self.accusers.append(accuser)
        if self.wanted:
            shorter = math.log(len(self.accusers)) / math.log(self.wanted + 1)
            self.given_s = self.longest_s - (self.longest_s - self.least_s) * shorter
        return True

    @property
    def dead_at(self) -> float:
        """From then on it is dead, unless it refutes."""
        return self.since + self.given_s


class Suspicions:
    """All that are open. Nobody had long enough before `next_due`."""

    def __init__(self, profile: Profile) -> None:
        self._profile = profile
        self._open: dict[AgentName, Suspicion] = {}
        self.next_due = math.inf

    def __contains__(self, agent: object) -> bool:
        return agent in self._open

    def open(self, agent: AgentName, *, since: float, members: int) -> None:
        """`agent` is suspected from now on; of a new incarnation anew."""
        self._open[agent] = suspicion = Suspicion(since=since, members=members, profile=self._profile)
        self.next_due = min(self.next_due, suspicion.dead_at)

    def close(self, agent: AgentName) -> None:
        """It refuted, died, left or was forgotten."""
        self._open.pop(agent, None)

    def accuse(self, agent: AgentName, accuser: AgentName) -> bool:
        """Whether the accusation counts: it is the accuser's first, and not enough were there."""
        suspicion = self._open.get(agent)
        if suspicion is None or not suspicion.accuse(accuser):
            return False
        self.next_due = min(self.next_due, suspicion.dead_at)
        return True

    def accusers_of(self, agent: AgentName) -> tuple[AgentName, ...]:
        """Who accused, the first in front."""
        suspicion = self._open.get(agent)
        return () if suspicion is None else tuple(suspicion.accusers)

    def due(self, now: float) -> list[AgentName]:
        """Who had long enough."""
        if now < self.next_due:
            return []
        late = [agent for agent, suspicion in self._open.items() if now >= suspicion.dead_at]
        waiting = (suspicion.dead_at for suspicion in self._open.values() if suspicion.dead_at > now)
        self.next_due = min(waiting, default=math.inf)
        return late

    def forgive(self, pause_s: float) -> None:
        """We slept for so long: nobody could refute in that time."""
        for suspicion in self._open.values():
            suspicion.since += pause_s

    def check(self, suspects: Iterable[AgentName]) -> None:
        """Assert the invariants, and that exactly `suspects` are suspected."""
        assert set(self._open) == set(suspects), "not those that are suspected"
        for suspicion in self._open.values():
            assert suspicion.dead_at >= self.next_due, "due before it is looked at"
            assert len(suspicion.accusers) <= suspicion.wanted + 1
            given_s = suspicion.dead_at - suspicion.since
            assert suspicion.least_s - 1e-6 <= given_s <= suspicion.longest_s + 1e-6
