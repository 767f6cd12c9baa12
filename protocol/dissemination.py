"""What travels beyond heartbeats: news that is pushed once, records that are pulled once.

`News` collects whom there is something to tell about and makes the `Announce` of it after
the debounce; in a large mesh it is said once more with the next heartbeat. `Pulls` remembers
whose record is missing, asks one holder at a time, and asks elsewhere when that one does not
deliver.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence

from protocol.delta import delta_of
from protocol.effects import Effect, Publish, Route, Send
from protocol.gate import Gate, attested
from protocol.membership import Member, Membership
from protocol.messages import (
    MAX_MEMBERS_A_MESSAGE,
    MAX_RECENT,
    Announce,
    Claim,
    Delta,
    Get,
    Record,
    Suspicion,
)
from protocol.names import AgentName
from protocol.profile import Profile
from protocol.suspicion import Suspicions

_RECORDS_BYTES = 96 * 1024  # Of records in one message; the rest of a frame is envelope.
_LATER_S = 1e-3  # So that what is due is past, whatever was rounded.
_NEWS_A_MESSAGE = 128  # Claims of up to 93 bytes, each with up to 4 accusers of 66: 45 KiB at most.
_BESIDE_CLAIMS_BYTES = 64 * 1024  # Of records and deltas beside them.
_RECORD_ENVELOPE_BYTES = 848  # At most: names, addresses, numbers and signature around a digest.
_CERTIFICATE_BYTES = 336  # At most.
_DELTA_ENVELOPE_BYTES = 208  # At most: name, numbers and signature around the flips.


def portions(records: Sequence[Record], room_bytes: int = _RECORDS_BYTES) -> list[tuple[Record, ...]]:
    """Records grouped so that each group fits one frame beside the certificates of their owners; one empty
    group for none.
    """
    groups: list[tuple[Record, ...]] = []
    current: list[Record] = []
    room = room_bytes
    for record in records:
        size = record.digest.size_bytes + _RECORD_ENVELOPE_BYTES + _CERTIFICATE_BYTES
        if current and (size > room or len(current) == MAX_MEMBERS_A_MESSAGE):
            groups.append(tuple(current))
            current, room = [], room_bytes
        current.append(record)
        room -= size
    groups.append(tuple(current))
    return groups


def chunks(members: Sequence[Member], size: int = MAX_MEMBERS_A_MESSAGE) -> Iterator[Sequence[Member]]:
    """Members in groups of as many as one message names."""
    for start in range(0, len(members), size):
        yield members[start : start + size]


def answer_to(get: Get, members: Membership, gate: Gate, back: Route) -> list[Effect]:
    """The records of the living; of the gone, that they are gone."""
    held = [member for agent in get.agents if (member := members.get(agent)) is not None]
    found = [member.record for member in held if member.record is not None and member.is_living]
    gone = tuple(member.claim for member in held if not member.is_living)
    effects: list[Effect] = [Send(back, attested(part, gate)) for part in portions(found) if part]
    return [*effects, Send(back, Announce(gone))] if gone else effects


class News:
    """Whom to tell about, and when.

    For each of them it keeps the record that those who hear us should hold already: where that can be turned
    into the present one by a delta smaller than the record, the delta rides along.
    """

    def __init__(self, profile: Profile) -> None:
        self._profile = profile
        self._told: dict[AgentName, Record | None] = {}
        self._recent: dict[AgentName, None] = {}
        self.due_at = math.inf

    def add(self, agent: AgentName, now: float, base: Record | None = None) -> None:
        """Tell about `agent` with the next announcement; `base` is the record held before there was news,
        or the present one where only its status changed. None: nobody holds one.
        """
        self._told.setdefault(agent, base)
        self.due_at = min(self.due_at, now + self._profile.debounce_s)

    def take(self, members: Membership, suspicions: Suspicions, *, sparse: bool) -> list[Effect]:
        """The announcements that are due, as the members stand now. `sparse`: not all hear us directly, so
        only what is tiny rides along, as it comes to everybody several times.
        """
        told, self._told = self._told, {}
        self.due_at = math.inf
        if sparse:
            self._recent.update(dict.fromkeys(told))
        found = [member for agent in sorted(told) if (member := members.get(agent)) is not None]
        limit = self._profile.relay_bytes if sparse else self._profile.inline_bytes
        effects: list[Effect] = []
        for chunk in chunks(found, _NEWS_A_MESSAGE):
            bodies = [body for member in chunk if (body := _body(member, told[member.agent], limit))]
            first, *more = _parcels(bodies)
            effects.append(
                Publish(
                    Announce(
                        tuple(member.claim for member in chunk),
                        *first,
                        tuple(
                            Suspicion(member.agent, member.incarnation, accusers)
                            for member in chunk
                            if (accusers := suspicions.accusers_of(member.agent))
                        ),
                    )
                )
            )
            effects.extend(Publish(Announce((), *part)) for part in more)
        return effects

    def take_recent(self, members: Membership) -> tuple[Claim, ...]:
        """What was announced since this was last asked for, to be said again; the latest of it, if much."""
        recent, self._recent = list(self._recent)[-MAX_RECENT:], {}
        return tuple(member.claim for agent in recent if (member := members.get(agent)) is not None)


def _body(member: Member, base: Record | None, limit_bytes: int) -> Record | Delta | None:
    """What rides along with the claim of `member`: nothing where `base` is held still, or it is too large."""
    record = member.record
    if record is None or record is base or not member.is_backed:
        return None
    size = record.digest.size_bytes
    delta = None if base is None else delta_of(base, record, limit_bytes=min(limit_bytes, size - 1))
    return delta or (record if size <= limit_bytes else None)


def _parcels(bodies: Sequence[Record | Delta]) -> list[tuple[tuple[Record, ...], tuple[Delta, ...]]]:
    """Grouped so that each group fits a frame beside claims; one empty group for none."""
    records: list[Record] = []
    deltas: list[Delta] = []
    parcels = []
    room = _BESIDE_CLAIMS_BYTES
    for body in bodies:
        if isinstance(body, Record):
            size = body.digest.size_bytes + _RECORD_ENVELOPE_BYTES
        else:
            size = len(body.flips) + _DELTA_ENVELOPE_BYTES
        if size > room and (records or deltas):
            parcels.append((tuple(records), tuple(deltas)))
            records, deltas, room = [], [], _BESIDE_CLAIMS_BYTES
        room -= size
        if isinstance(body, Record):
            records.append(body)
        else:
            deltas.append(body)
    return [*parcels, (tuple(records), tuple(deltas))]


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
        self._asked_at.pop(agent, None)  # In again at the end: the order is that of time.
        self._asked_at[agent] = now
        if holder is not None:
            self._queue.setdefault(holder, set()).add(agent)

    def settle(self, agent: AgentName) -> None:
        """The record came, or is wanted no more."""
        self._asked_at.pop(agent, None)

    def overdue(self, now: float) -> list[AgentName]:
        """Agents whose record was asked for and did not come in time."""
        late = []
        for agent, asked_at in self._asked_at.items():
            if now - asked_at <= self._patience_s:
                break
            late.append(agent)
        return late

    @property
    def next_due(self) -> float:
        """When a record is overdue."""
        if not self._asked_at:
            return math.inf
        first = next(iter(self._asked_at.values()))
        return first + self._patience_s + _LATER_S

    def take(self) -> Iterable[Effect]:
        """One `Get` for each holder that is to be asked."""
        if not self._queue:
            return
        queue, self._queue = self._queue, {}
        for route, agents in queue.items():
            missing = sorted(agent for agent in agents if agent in self._asked_at)
            for start in range(0, len(missing), MAX_MEMBERS_A_MESSAGE):
                yield Send(route, Get(tuple(missing[start : start + MAX_MEMBERS_A_MESSAGE])))
