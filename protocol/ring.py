"""Members in a ring by the hash of their names, so that everybody has a next one: a connected graph, always.

Random neighbours alone leave a small chance of a part that nobody hears; the ring leaves none, as each part
of it would have to end somewhere.

Invariant, checked by `check()`: the members in ascending order of (hash, name), each once.
"""

from __future__ import annotations

from bisect import bisect_left, insort

import mmh3

from protocol.names import AgentName


class Ring:
    """Finding a place takes log2(members) steps."""

    def __init__(self) -> None:
        self._order: list[tuple[int, AgentName]] = []

    def __len__(self) -> int:
        return len(self._order)

    def __contains__(self, agent: AgentName) -> bool:
        at = bisect_left(self._order, _place(agent))
        return at < len(self._order) and self._order[at][1] == agent

    def add(self, agent: AgentName) -> None:
        """Put it in its place; nothing happens where it stands there."""
        if agent not in self:
            insort(self._order, _place(agent))

    def remove(self, agent: AgentName) -> None:
        """Take it out; nothing happens where it is not in."""
        at = bisect_left(self._order, _place(agent))
        if at < len(self._order) and self._order[at][1] == agent:
            del self._order[at]

    def after(self, agent: AgentName) -> AgentName | None:
        """Who comes next, the first one after the last; None where nobody else is in."""
        return self._step(agent, 1)

    def before(self, agent: AgentName) -> AgentName | None:
        """Who comes before, the last one before the first; None where nobody else is in."""
        return self._step(agent, -1)

    def _step(self, agent: AgentName, step: int) -> AgentName | None:
        if agent not in self:
            return None
        at = bisect_left(self._order, _place(agent)) + step
        other = self._order[at % len(self._order)][1]
        return None if other == agent else other

    def check(self, agents: set[AgentName]) -> None:
        """Assert that it holds exactly `agents`, in order."""
        assert self._order == sorted(map(_place, agents)), "a ring of others, or out of order"


def hash_of(agent: str) -> int:
    """By this the ring is ordered, and neighbours are named in heartbeats: 32-bit mmh3 (x86, seed 0)."""
    return mmh3.hash(agent, signed=False)


def _place(agent: AgentName) -> tuple[int, AgentName]:
    return hash_of(agent), agent
