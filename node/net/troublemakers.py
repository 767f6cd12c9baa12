"""Members that send what no honest member sends: after a few of it they are shut out for a while.

Lies cost their receiver a signature to look at, and honest members send none; so whoever sends several is
not looked at again until the time is over. Members that are shut out stay members: what others say of them
is believed, and their own frames are believed again afterwards.

Invariant: at most `_LIMIT` of them are remembered, those last blamed.
"""

from __future__ import annotations

from collections import OrderedDict

from protocol.names import AgentName

SHUT_OUT_S = 60.0
"""So long nothing is taken from who is shut out. Higher spares more work, and punishes bad clocks more."""
_FORGIVEN = 4  # Lies within `_WINDOW_S` that have no consequence: a record may be damaged on its way, too.
_WINDOW_S = 60.0
_LIMIT = 1024


class _Standing:
    __slots__ = ("lies", "since", "until")

    def __init__(self, since: float) -> None:
        self.lies, self.since, self.until = 0, since, 0.0


class Troublemakers:
    """Kept up by a `Peer`."""

    def __init__(self) -> None:
        self._standings: OrderedDict[AgentName, _Standing] = OrderedDict()

    def counts(self, agent: AgentName) -> int:
        """How often it was blamed lately."""
        standing = self._standings.get(agent)
        return 0 if standing is None else standing.lies

    def blame(self, agent: AgentName, now: float) -> bool:
        """Count one lie of `agent`. Whether it is shut out from this one on."""
        standing = self._standings.setdefault(agent, _Standing(now))
        self._standings.move_to_end(agent)
        if len(self._standings) > _LIMIT:
            self._standings.popitem(last=False)
        if now - standing.since > _WINDOW_S:
            standing.since, standing.lies = now, 0
        standing.lies += 1
        if standing.lies <= _FORGIVEN:
            return False
        standing.until, standing.lies = now + SHUT_OUT_S, 0
        return True

    def is_shut_out(self, agent: AgentName, now: float) -> bool:
        """Whether nothing is taken from `agent` now."""
        standing = self._standings.get(agent)
        return standing is not None and now < standing.until
