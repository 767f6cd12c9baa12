"""Who is in the mesh, and in which state: one table, one rule of precedence.

A claim (agent, incarnation, version, status) is news when it beats what we hold:
higher incarnation first; at equal incarnation dead and left beat suspect, suspect
beats alive; then the higher version. Only an agent itself raises its incarnation,
so a false rumour is refuted by the one it is about (SWIM: Das, Gupta, Motivala, 2002).

Invariants, checked by `check()`:
 1. (incarnation, version) of a member never goes back while it is remembered.
 2. A dead or left member turns alive only by a higher incarnation.
 3. The table holds at most `limit` members; when full, strangers are refused and counted.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import mmh3

from protocol.messages import SYNC_BUCKETS, SYNC_HASH_BYTES, Claim, Record, Status
from protocol.names import AgentName

_RANK: Final[dict[Status, int]] = {"alive": 0, "suspect": 1, "dead": 2, "left": 2}


class Member:
    """One agent as this node knows it. `record` may lag behind `version` until it has been pulled."""

    __slots__ = (
        "agent",
        "heard_at",
        "incarnation",
        "pinged_at",
        "record",
        "status",
        "status_since",
        "version",
    )

    def __init__(self, claim: Claim, now: float) -> None:
        self.agent = AgentName(claim.agent)
        self.incarnation, self.version, self.status = claim.incarnation, claim.version, claim.status
        self.status_since = now
        self.heard_at = now
        self.pinged_at: float | None = None
        self.record: Record | None = None

    @property
    def claim(self) -> Claim:
        """This member as we would tell others of it."""
        return Claim(self.agent, self.incarnation, self.version, self.status)

    @property
    def is_living(self) -> bool:
        """Alive, or only suspected."""
        return self.status in ("alive", "suspect")

    @property
    def is_backed(self) -> bool:
        """Living, and its newest record is held. Only backed members are compared by `Sync`: a rumour or a
        tombstone would be handed round for ever by those that forget it at different moments, and claims
        that are equal would hide that a record is missing on one side.
        """
        return self.is_living and not self.lacks_record

    @property
    def lacks_record(self) -> bool:
        """Whether a newer record exists than the one we hold."""
        return self.is_living and (
            self.record is None
            or (self.record.incarnation, self.record.version) < (self.incarnation, self.version)
        )


def precedence(claim: Claim) -> tuple[int, int, int]:
    """The rule at the head of this module as a key: of two claims about one agent the greater holds."""
    return claim.incarnation, _RANK[claim.status], claim.version


class Membership:
    """The table. The owner of the table is a member like the others."""

    def __init__(self, *, limit: int) -> None:
        self.limit = limit
        self.refused = 0
        self._members: dict[AgentName, Member] = {}

    def __len__(self) -> int:
        return len(self._members)

    def __iter__(self) -> Iterator[Member]:
        return iter(self._members.values())

    def get(self, agent: str) -> Member | None:
        """The member of this name, dead and left ones included; None where it is unknown or forgotten."""
        return self._members.get(AgentName(agent))

    def living(self) -> list[Member]:
        """Alive and suspect members, in the order they were first heard of."""
        return [member for member in self._members.values() if member.is_living]

    @property
    def living_count(self) -> int:
        """How many are alive or suspected, ourselves included."""
        return sum(member.is_living for member in self._members.values())

    def apply(self, claim: Claim, now: float) -> Member | None:
        """Take `claim` if it is news; the member it changed, or None.

        A stranger that is claimed dead or left stays a stranger: remembered, its tombstone would be
        handed back to those who have just forgotten theirs, and never go away.
        """
        member = self._members.get(AgentName(claim.agent))
        if member is None:
            if claim.status in ("dead", "left"):
                return None
            if len(self._members) >= self.limit:
                self.refused += 1
                return None
            member = self._members[AgentName(claim.agent)] = Member(claim, now)
            return member
        if precedence(claim) <= precedence(member.claim):
            return None
        if claim.status != member.status:
            member.status_since = now
        if claim.incarnation > member.incarnation:
            member.heard_at, member.pinged_at = now, None
            member.version = claim.version
        member.incarnation, member.status = claim.incarnation, claim.status
        member.version = max(member.version, claim.version)
        return member

    def adopt(self, member: Member) -> Member:
        """Put `member` in, whatever was held under its name; for the owner of the table."""
        self._members[member.agent] = member
        return member

    def forget(self, agent: AgentName) -> None:
        """Drop a member from the table; what comes later of it is news from a stranger."""
        self._members.pop(agent, None)

    def sync_hashes(self) -> bytes:
        """A hash over the claims of each bucket of backed agents, for `Sync`; order does not matter."""
        sums = [0] * SYNC_BUCKETS
        for member in self._members.values():
            if member.is_backed:
                sums[bucket_of(member.agent)] ^= _hash_of(member.claim)
        return b"".join(value.to_bytes(SYNC_HASH_BYTES, "big") for value in sums)

    def view(self) -> int:
        """One 63-bit hash over all claims of backed agents: equal views, equal hashes."""
        total = 0
        for member in self._members.values():
            if member.is_backed:
                total ^= _hash_of(member.claim)
        return total >> 1

    def in_buckets(self, buckets: frozenset[int]) -> list[Claim]:
        """Our claims about the agents of these buckets, backed ones and tombstones; no mere rumours."""
        return [
            member.claim
            for member in self._members.values()
            if (member.is_backed or not member.is_living) and bucket_of(member.agent) in buckets
        ]

    def check(self) -> None:
        """Assert the invariants that one moment can show."""
        assert len(self._members) <= self.limit
        for agent, member in self._members.items():
            assert agent == member.agent
            if member.record is not None:
                held = (member.record.incarnation, member.record.version)
                assert held <= (member.incarnation, member.version), f"{agent}: record newer than its claim"


def bucket_of(agent: str) -> int:
    """The bucket of `Sync` that an agent belongs to, 0 .. 31."""
    return mmh3.hash(agent, signed=False) % SYNC_BUCKETS


def _hash_of(claim: Claim) -> int:
    text = f"{claim.agent} {claim.incarnation} {claim.version} {_RANK[claim.status]}"
    return mmh3.hash64(text, signed=False)[0]
