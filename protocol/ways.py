"""Whom to ask, and where: the way to a member, and ways to somebody who is likely to know."""

from __future__ import annotations

from typing import Final

from protocol.chance import Randomness, one_of
from protocol.effects import Route
from protocol.membership import Membership
from protocol.names import AgentName
from protocol.overlay import Overlay

_TRIES: Final = 8  # Draws of a member that has a record, before all are looked through.


class Ways:
    """From one member to the others."""

    def __init__(self, own: AgentName, members: Membership, overlay: Overlay, rng: Randomness) -> None:
        self._own, self._members, self._overlay, self._rng = own, members, overlay, rng

    def to(self, agent: AgentName) -> Route | None:
        """Where direct messages reach `agent`; None while its record is not known."""
        member = self._members.get(agent)
        return None if member is None else member.route

    def to_anybody(self, *, besides: AgentName | None = None) -> Route | None:
        """To a random living member that is neither we nor `besides`; None where there is none."""
        passed_over = (self._own, besides)
        if self._members.living_count < 2:
            return None
        for _ in range(_TRIES):
            member = self._members.one_of_the_living(self._rng.random())
            route = member.route
            if route is not None and member.agent not in passed_over:
                return route
        routes = [
            route
            for member in self._members.living()
            if (route := member.route) is not None and member.agent not in passed_over
        ]
        return one_of(self._rng, routes) if routes else None

    def to_reserve(self) -> Route | None:
        """To one of the reserve, which is as random as any and to which we have a connection already; in a
        full mesh to anybody.
        """
        reserve = self._overlay.reserve
        return self.to(one_of(self._rng, reserve)) if reserve else self.to_anybody()

    def to_neighbour(self, *, besides: AgentName) -> Route | None:
        """To a neighbour, who was heard lately and tells on what it holds; in a full mesh to anybody."""
        links = [agent for agent in self._overlay.links if agent != besides]
        return self.to(one_of(self._rng, links)) if links else self.to_anybody(besides=besides)
