"""What travels beyond heartbeats: news that is pushed once, records that are pulled once.

`News` collects whom there is something to tell about and makes the `Announce` of it after
the debounce. `Pulls` remembers whose record is missing, asks one holder at a time, and
asks elsewhere when that one does not deliver.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence

from protocol.effects import Effect, Publish, Route, Send
from protocol.membership import Member, Membership
from protocol.messages import MAX_MEMBERS_A_MESSAGE, Announce, Get, Record
from protocol.names import AgentName

_RECORDS_BYTES = 96 * 1024  # Of records in one message; the rest of a frame is envelope.
_BESIDE_CLAIMS_BYTES = 64 * 1024  # Of records beside as many claims as a message holds, 48 KiB at most.
_RECORD_ENVELOPE_BYTES = 768  # At most: names, addresses and numbers around a digest.


def portions(records: Sequence[Record], room_bytes: int = _RECORDS_BYTES) -> list[tuple[Record, ...]]:
    """Records grouped so that each group fits one frame; one empty group for none."""
    groups: list[tuple[Record, ...]] = []
    current: list[Record] = []
    room = room_bytes
    for record in records:
        size = record.digest.size_bytes + _RECORD_ENVELOPE_BYTES
        if current and (size > room or len(current) == MAX_MEMBERS_A_MESSAGE):
            groups.append(tuple(current))
            current, room = [], room_bytes
        current.append(record)
        room -= size
    groups.append(tuple(current))
    return groups


def chunks(members: Sequence[Member]) -> Iterator[Sequence[Member]]:
    """Members in groups of as many as one message names."""
    for start in range(0, len(members), MAX_MEMBERS_A_MESSAGE):
        yield members[start : start + MAX_MEMBERS_A_MESSAGE]


class News:
    """Whom to tell about, and when."""

    def __init__(self, *, debounce_s: float, inline_bytes: int) -> None:
        self._debounce_s, self._inline_bytes = debounce_s, inline_bytes
        self._agents: set[AgentName] = set()
        self.due_at = math.inf

    def add(self, agent: AgentName, now: float) -> None:
        """Tell about `agent` with the next announcement."""
        self._agents.add(agent)
        self.due_at = min(self.due_at, now + self._debounce_s)

    def take(self, members: Membership) -> list[Effect]:
        """The announcements that are due, as the members stand now; small records ride along."""
        told = [members.get(agent) for agent in sorted(self._agents)]
        self._agents.clear()
        self.due_at = math.inf
        effects: list[Effect] = []
        for chunk in chunks([member for member in told if member is not None]):
            small = [record for member in chunk if (record := self._small(member))]
            first, *more = portions(small, _BESIDE_CLAIMS_BYTES)
            effects.append(Publish(Announce(tuple(member.claim for member in chunk), first)))
            effects.extend(Publish(Announce((), part)) for part in more)
        return effects

    def _small(self, member: Member) -> Record | None:
        record = member.record
        if record is None or member.lacks_record or not member.is_living:
            return None
        return record if record.digest.size_bytes <= self._inline_bytes else None


class Pulls:
    """Whose record is wanted, since when, and from whom it is asked for next."""

    def __init__(self, *, patience_s: float) -> None:
        self._patience_s = patience_s
        self._asked_at: dict[AgentName, float] = {}
        self._queue: dict[Route, set[AgentName]] = {}

    def __contains__(self, agent: object) -> bool:
        return agent in self._asked_at

    def want(self, agent: AgentName, holder: Route | None, now: float) -> None:
        """Ask `holder` for the record of `agent`; with no holder `overdue` names it later."""
        self._asked_at[agent] = now
        if holder is not None:
            self._queue.setdefault(holder, set()).add(agent)

    def settle(self, agent: AgentName) -> None:
        """The record came, or is wanted no more."""
        self._asked_at.pop(agent, None)

    def overdue(self, now: float) -> list[AgentName]:
        """Agents whose record was asked for and did not come in time."""
        return [agent for agent, asked_at in self._asked_at.items() if now - asked_at > self._patience_s]

    def take(self) -> Iterable[Effect]:
        """One `Get` for each holder that is to be asked."""
        queue, self._queue = self._queue, {}
        for route, agents in queue.items():
            missing = sorted(agent for agent in agents if agent in self._asked_at)
            for start in range(0, len(missing), MAX_MEMBERS_A_MESSAGE):
                yield Send(route, Get(tuple(missing[start : start + MAX_MEMBERS_A_MESSAGE])))
