"""How one thing becomes known: by how many, after how long. Read from the members, step by step."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Literal

import msgspec

from node.net.simnet import SimMember
from protocol.gossip import GossipEngine
from protocol.names import AgentName

Kind = Literal["change", "death", "arrival", "join"]


class Spread(msgspec.Struct, frozen=True, kw_only=True):
    """A spread that is over, or was when the run ended. Times in seconds since it began.

    `change`: a newer record; `death`: a crash; `arrival`: a newcomer; `join`: what a newcomer knows, from
    its first welcome. `curve` holds (seconds, share 0..1) wherever the share changed.
    """

    kind: Kind
    agent: str
    at_s: float
    to_99_s: float | None
    to_100_s: float | None
    curve: list[tuple[float, float]]


class Tracker:
    """Follows one spread. Whoever ends before it knows counts no more."""

    def __init__(
        self,
        kind: Kind,
        agent: AgentName,
        at_s: float,
        waiting: Iterable[SimMember],
        knows: Callable[[GossipEngine], bool],
    ) -> None:
        self.kind: Kind = kind
        self.agent, self.at_s = agent, at_s
        self._waiting = list(waiting)
        self._knows = knows
        self._known = 0
        self._to_99_s: float | None = None
        self._to_100_s: float | None = None
        self._curve: list[tuple[float, float]] = [(0.0, 0.0)]

    @property
    def is_over(self) -> bool:
        """Whether nobody is waited for."""
        return not self._waiting

    def look(self, now: float) -> None:
        """Who knows by now?"""
        knows = self._knows
        still = [member for member in self._waiting if _takes_part(member) and not knows(member.engine)]
        if len(still) == len(self._waiting):
            return
        gone = sum(not _takes_part(member) for member in self._waiting)
        self._known += len(self._waiting) - len(still) - gone
        self._waiting = still
        share = self._known / (self._known + len(still)) if self._known else float(not still)
        took_s = now - self.at_s
        self._curve.append((took_s, share))
        if share >= 0.99 and self._to_99_s is None:
            self._to_99_s = took_s
        if not still:
            self._to_100_s = took_s

    def result(self) -> Spread:
        """What is known of it now."""
        return Spread(
            kind=self.kind,
            agent=self.agent,
            at_s=round(self.at_s, 6),
            to_99_s=_rounded(self._to_99_s),
            to_100_s=_rounded(self._to_100_s),
            curve=[(round(took_s, 6), round(share, 6)) for took_s, share in self._curve],
        )


def of_change(kind: Kind, member: SimMember, at_s: float, others: Iterable[SimMember]) -> Tracker:
    """Until all `others` hold the record that `member` has now, or a newer one; where it ends before, until
    they know that.
    """
    record = member.engine.record
    wanted = (record.incarnation, record.version)

    def knows(engine: GossipEngine) -> bool:
        held = engine.members.get(member.agent)
        if held is None or not held.is_living:
            return not _takes_part(member)
        if held.record is None:
            return False
        return (held.record.incarnation, held.record.version) >= wanted

    return Tracker(kind, member.agent, at_s, (one for one in others if one is not member), knows)


def of_death(member: SimMember, at_s: float, others: Iterable[SimMember]) -> Tracker:
    """Until none of `others` counts among the living the incarnation that has just ended."""
    ended = member.engine.record.incarnation

    def knows(engine: GossipEngine) -> bool:
        held = engine.members.get(member.agent)
        return held is None or not held.is_living or held.incarnation > ended

    return Tracker("death", member.agent, at_s, (one for one in others if one is not member), knows)


def of_join(newcomer: SimMember, at_s: float, others: Iterable[SimMember]) -> Tracker:
    """Until `newcomer` holds the records of all that run; the waiting are those it does not know."""
    engine = newcomer.engine
    owners = {id(one.engine): one.agent for one in others if one is not newcomer}

    def knows(other: GossipEngine) -> bool:
        held = engine.members.get(owners[id(other)])
        return held is not None and held.is_living and not held.lacks_record

    return Tracker("join", newcomer.agent, at_s, (one for one in others if one is not newcomer), knows)


def _takes_part(member: SimMember) -> bool:
    return member.running or member.keeps_frames


def _rounded(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds, 6)
