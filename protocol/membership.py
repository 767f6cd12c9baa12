"""Who is in the mesh, and in which state: one table, one rule of precedence.

A claim (agent, incarnation, version, status) is news when it beats what we hold:
higher incarnation first; at equal incarnation dead and left beat suspect, suspect
beats alive; then the higher version. Only an agent itself raises its incarnation,
so a false rumour is refuted by the one it is about (SWIM: Das, Gupta, Motivala, 2002).

Whatever is asked of the table often costs the same at ten members and at a hundred thousand: the hashes
of a sync, the number of the living, one of them at random, the suspects, the gone. They are kept up with each
change, so members are changed by the table's methods alone.

Invariants, checked by `check()`:
 1. (incarnation, version) of a member never goes back while it is remembered.
 2. A dead or left member turns alive only by a higher incarnation.
 3. The table holds at most `limit` members; when full, strangers are refused and counted.
 4. What is kept up with each change is what counting anew would give.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import takewhile
from typing import Final

import mmh3
import numpy as np

from protocol.effects import Route
from protocol.messages import MAX_SYNC_BUCKETS, SYNC_BUCKETS, SYNC_HASH_BYTES, Claim, Record, Status
from protocol.names import AgentName

_RANK: Final[dict[Status, int]] = {"alive": 0, "suspect": 1, "dead": 2, "left": 2}
_NOWHERE = -1
_A_BUCKET = 32  # Members in a bucket, about: as many claims answer for one of them that changed.


class Member:
    """One agent as this node knows it. `record` may lag behind `version` until it has been pulled."""

    __slots__ = (
        "agent",
        "bucket",
        "heard_at",
        "incarnation",
        "key",
        "place",
        "record",
        "share",
        "status",
        "status_since",
        "version",
    )

    def __init__(self, claim: Claim, now: float) -> None:
        self.agent = AgentName(claim.agent)
        self.incarnation, self.version, self.status = claim.incarnation, claim.version, claim.status
        self.status_since = now
        self.heard_at = now
        self.record: Record | None = None
        self.bucket = bucket_of(claim.agent, MAX_SYNC_BUCKETS)
        self.share = 0  # Of the hash of its bucket.
        self.place = _NOWHERE  # Among the living.
        self.key = ""  # Of its sockets, in hex, where it has one.

    @property
    def claim(self) -> Claim:
        """This member as we would tell others of it."""
        return Claim(self.agent, self.incarnation, self.version, self.status)

    @property
    def route(self) -> Route | None:
        """Where direct messages reach it; None while its record is not known."""
        return None if self.record is None else Route(self._keyed(self.record.router))

    @property
    def source(self) -> str:
        """Where it publishes; empty while its record is not known."""
        return "" if self.record is None else self._keyed(self.record.publisher)

    def _keyed(self, address: str) -> str:
        return f"{address}#{self.key}" if self.key else address

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
        self.suspects: dict[AgentName, Member] = {}
        self.gone: dict[AgentName, Member] = {}
        """Dead and left ones, those that went first in front."""
        self.rumours: dict[AgentName, Member] = {}
        """Living ones of whom we hold no record at all, the oldest in front."""
        self._members: dict[str, Member] = {}
        self._living: list[Member] = []
        self._crowds: dict[int, dict[AgentName, Member]] = {}
        self._sums = np.zeros(MAX_SYNC_BUCKETS, dtype=np.uint64)
        self._total = 0

    def __len__(self) -> int:
        return len(self._members)

    def __iter__(self) -> Iterator[Member]:
        return iter(self._members.values())

    def get(self, agent: str) -> Member | None:
        """The member of this name, dead and left ones included; None where it is unknown or forgotten."""
        return self._members.get(agent)

    def living(self) -> list[Member]:
        """Alive and suspect members, in the order they were first heard of. Walks the whole table."""
        return [member for member in self._members.values() if member.is_living]

    @property
    def living_count(self) -> int:
        """How many are alive or suspected, ourselves included."""
        return len(self._living)

    def one_of_the_living(self, chance: float) -> Member:
        """The living member at `chance` (0 .. 1, 1 excluded) of an order of no meaning; there must be one."""
        return self._living[int(chance * len(self._living))]

    def apply(self, claim: Claim, now: float) -> Member | None:
        """Take `claim` if it is news; the member it changed, or None.

        A stranger that is claimed dead or left stays a stranger: remembered, its tombstone would be
        handed back to those who have just forgotten theirs, and never go away.
        """
        member = self._members.get(claim.agent)
        if member is None:
            if claim.status in ("dead", "left"):
                return None
            if len(self._members) >= self.limit:
                self.refused += 1
                return None
            return self.adopt(Member(claim, now))
        held = (member.incarnation, _RANK[member.status], member.version)
        if precedence(claim) <= held:
            return None
        if claim.status != member.status or claim.incarnation > member.incarnation:
            member.status_since = now
            for index in (self.suspects, self.gone, self.rumours):
                index.pop(member.agent, None)  # In again at the end: these are ordered by time.
        if claim.incarnation > member.incarnation:
            member.heard_at = now
            member.version = claim.version
        member.incarnation, member.status = claim.incarnation, claim.status
        member.version = max(member.version, claim.version)
        self._settle(member)
        return member

    def keep(self, member: Member, record: Record) -> None:
        """Hold `record`, which is not older than the one we hold; the version moves on with it."""
        newest = max((record.incarnation, record.version), (member.incarnation, member.version))
        member.incarnation, member.version = newest
        member.record = record
        self._settle(member)

    def adopt(self, member: Member) -> Member:
        """Put `member` in, whatever was held under its name; for the owner of the table."""
        self.forget(member.agent)
        self._members[member.agent] = member
        self._settle(member)
        return member

    def retire(self, member: Member, now: float) -> None:
        """Its owner says goodbye; for the owner of the table."""
        member.status, member.status_since = "left", now
        self._settle(member)

    def forget(self, agent: AgentName) -> None:
        """Drop a member from the table; what comes later of it is news from a stranger."""
        member = self._members.pop(agent, None)
        if member is not None:
            self._weigh(member, 0)
            self._place(member, among_living=False)
            for index in (self.suspects, self.gone, self.rumours):
                index.pop(agent, None)
            crowd = self._crowds[member.bucket]
            crowd.pop(agent, None)
            if not crowd:
                del self._crowds[member.bucket]

    def outlived(self, now: float, tombstone_s: float, patience_s: float) -> list[Member]:
        """Tombstones older than `tombstone_s`, and rumours whose record nobody could give us within
        `patience_s`; both are kept in the order of time.
        """
        old = takewhile(lambda member: now - member.status_since > tombstone_s, self.gone.values())
        idle = takewhile(lambda member: now - member.heard_at > patience_s, self.rumours.values())
        return [*old, *idle]

    def sync_hashes(self, buckets: int = SYNC_BUCKETS) -> bytes:
        """A hash over the claims of each of `buckets` (a power of two, 1,024 at most) buckets of backed
        agents, for `Sync`; order does not matter.
        """
        sums = np.bitwise_xor.reduce(self._sums.reshape(-1, buckets), axis=0)
        hashes: bytes = sums.astype(f">u{SYNC_HASH_BYTES}").tobytes()
        return hashes

    @property
    def sync_buckets(self) -> int:
        """Into how many buckets a sync of ours divides the members: about 32 members to each."""
        wanted = 1 << max(0, (len(self._living) - 1) // _A_BUCKET).bit_length()
        return min(max(SYNC_BUCKETS, wanted), MAX_SYNC_BUCKETS)

    def view(self) -> int:
        """One 63-bit hash over all claims of backed agents: equal views, equal hashes."""
        return self._total >> 1

    def in_buckets(self, buckets: Iterable[int], of: int = SYNC_BUCKETS) -> list[Claim]:
        """Our claims about the agents of these buckets, backed ones and tombstones; no mere rumours."""
        return [
            member.claim
            for bucket in buckets
            for fine in range(bucket, MAX_SYNC_BUCKETS, of)
            for member in self._crowds.get(fine, {}).values()
            if member.is_backed or not member.is_living
        ]

    def _settle(self, member: Member) -> None:
        """Keep up what is kept up with each change."""
        agent, living = member.agent, member.is_living
        self._crowds.setdefault(member.bucket, {})[agent] = member
        self._weigh(member, _hash_of(member.claim) if member.is_backed else 0)
        self._place(member, among_living=living)
        for index, belongs in (
            (self.suspects, member.status == "suspect"),
            (self.gone, not living),
            (self.rumours, living and member.record is None),
        ):
            if not belongs:
                index.pop(agent, None)
            elif agent not in index:
                index[agent] = member

    def _weigh(self, member: Member, share: int) -> None:
        change = member.share ^ share
        if change:
            self._sums[member.bucket] ^= np.uint64(change)
            self._total ^= change
            member.share = share

    def _place(self, member: Member, *, among_living: bool) -> None:
        if among_living and member.place == _NOWHERE:
            member.place = len(self._living)
            self._living.append(member)
        elif not among_living and member.place != _NOWHERE:
            last = self._living.pop()
            if last is not member:
                self._living[member.place], last.place = last, member.place
            member.place = _NOWHERE

    def check(self) -> None:
        """Assert the invariants that one moment can show."""
        assert len(self._members) <= self.limit
        total, sums = 0, [0] * MAX_SYNC_BUCKETS
        for agent, member in self._members.items():
            assert agent == member.agent
            if member.record is not None:
                held = (member.record.incarnation, member.record.version)
                assert held <= (member.incarnation, member.version), f"{agent}: record newer than its claim"
            share = _hash_of(member.claim) if member.is_backed else 0
            total ^= share
            sums[member.bucket] ^= share
            assert agent in self._crowds[member.bucket]
            assert member.is_living == (member.place != _NOWHERE), f"{agent}: in the wrong place"
            assert not member.is_living or self._living[member.place] is member
            assert (agent in self.suspects) == (member.status == "suspect")
            assert (agent in self.gone) == (not member.is_living)
            assert (agent in self.rumours) == (member.is_living and member.record is None)
        assert (self._total, self._sums.tolist()) == (total, sums), "hashes that are not those of the members"
        assert len(self._living) == sum(member.is_living for member in self._members.values())
        assert sum(map(len, self._crowds.values())) == len(self._members)


def bucket_of(agent: str, buckets: int = SYNC_BUCKETS) -> int:
    """The bucket of `Sync` that an agent belongs to, 0 .. `buckets` - 1."""
    return mmh3.hash(agent, signed=False) % buckets


def _hash_of(claim: Claim) -> int:
    text = f"{claim.agent} {claim.incarnation} {claim.version} {_RANK[claim.status]}"
    return mmh3.hash64(text, signed=False)[0]
