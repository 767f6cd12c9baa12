"""What one member holds of the mesh, and what follows when a claim or a record changes it.

    take_claim     what takes precedence is taken (membership); the gone are parted with,
                   a record that is now missing is wanted, and what is to be relayed is news
    take_records   a record is first a claim that its owner lives; a newer one is kept, and
                   directory and subscription follow it
    claims about us (or of versions we never had) are not taken but refuted, by a higher incarnation

The engine (gossip.py) decides when to listen and whom to tell; here is what it believes.

Invariants, checked by `check()`:
 1. What membership.py promises.
 2. Exactly the living agents whose record we hold stand in the directory, and such librarians among
    the librarians; the dead are never a lead.
 3. Every living member whose record we lack is wanted.
 4. We are the only one who raises our incarnation, and it is stored before it is told.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Protocol

import msgspec

from protocol.directory import Directory
from protocol.dissemination import News, Pulls
from protocol.effects import (
    Effect,
    MemberChanged,
    RaiseIncarnation,
    Route,
    Send,
    Standing,
    Subscribe,
    Unsubscribe,
)
from protocol.membership import Member, Membership
from protocol.messages import MAX_COUNTER, Claim, Record, Records
from protocol.names import AgentName
from protocol.profile import Profile


class Randomness(Protocol):
    """The part of `random.Random` that the engine uses; handed in, so that a run can be replayed."""

    def random(self) -> float:
        """Uniform in [0, 1)."""

    def getrandbits(self, k: int, /) -> int:
        """`k` random bits."""


class Counters(msgspec.Struct):
    """What was refused or made good, since the start."""

    name_conflicts: int = 0
    records_refused: int = 0
    refutations: int = 0
    syncs_differing: int = 0
    pings: int = 0


class View:
    """Membership, directory, news and wants of one member: they change together, and only here."""

    def __init__(self, record: Record, *, profile: Profile, rng: Randomness, now: float) -> None:
        self.name = AgentName(record.agent)
        self.members = Membership(limit=profile.member_limit)
        self.directory = Directory()
        self.librarians: dict[AgentName, Route] = {}
        self.counters = Counters()
        self.news = News(debounce_s=profile.debounce_s, inline_bytes=profile.inline_bytes)
        self.pulls = Pulls(patience_s=profile.want_s)
        self._silence_s = profile.silence_s
        self._rng = rng
        self._heard: dict[AgentName, str] = {}
        self.set_own(record, now)

    # -- ourselves

    @property
    def record(self) -> Record:
        """Our own record, as last announced or about to be."""
        record = self.own.record
        assert record is not None, "our own record is set at the start and never taken away"
        return record

    def set_own(self, record: Record, now: float) -> None:
        """We are what `record` says from now on."""
        own = Member(Claim(record.agent, record.incarnation, record.version, "alive"), now)
        own.record = record
        self.members.forget(self.name)
        self.own = self.members.adopt(own)
        if record.role == "agent":
            self.directory.put(self.name, record.digest, now=now)

    def _take_claim_about_us(self, claim: Claim, back: Route | None, now: float) -> list[Effect]:
        """Refute what is said of us by a higher incarnation, to all who hear us and to who said it."""
        own = self.own
        if claim.incarnation < own.incarnation:
            return []
        if claim.incarnation == own.incarnation and claim.status == "alive" and claim.version <= own.version:
            return []
        if claim.incarnation >= MAX_COUNTER:  # Nothing could refute it; a lie, or a broken peer.
            self.counters.records_refused += 1
            return []
        incarnation = claim.incarnation + 1
        self.counters.refutations += 1
        self.set_own(msgspec.structs.replace(self.record, incarnation=incarnation), now)
        self.news.add(self.name, now)
        effects: list[Effect] = [RaiseIncarnation(incarnation)]
        return effects if back is None else [*effects, Send(back, Records((self.record,)))]

    # -- the others

    def take_claim(self, claim: Claim, back: Route | None, now: float, *, relay: bool) -> list[Effect]:
        """Believe `claim` if it is news. `back` leads to who made it, and may have the record; with `relay`
        it is told on.
        """
        if claim.agent == self.name:
            return self._take_claim_about_us(claim, back, now)
        known = self.members.get(claim.agent)
        before: Standing = "unknown" if known is None else known.status
        member = self.members.apply(claim, now)
        if member is None:
            return []
        effects: list[Effect] = [MemberChanged(member.agent, before, member.status, member.version)]
        if not member.is_living:
            effects += self._part_with(member.agent)
        elif before in ("dead", "left") and member.record is not None:
            effects += self._introduce(member, now)  # Back again: at its old address until it names another.
        else:
            self.directory.suspect(member.agent, member.status == "suspect")
        if member.lacks_record:
            self.pulls.want(member.agent, back or self.any_route(besides=member.agent), now)
        if relay:
            self.news.add(member.agent, now)
        return effects

    def take_records(
        self, records: Iterable[Record], sender: AgentName, now: float, *, relay: bool
    ) -> list[Effect]:
        """Take each record that is newer than the one we hold; of two processes with one name the one that
        is heard keeps it.
        """
        effects: list[Effect] = []
        for record in records:
            if record.agent == self.name:
                claim = Claim(record.agent, record.incarnation, record.version, "alive")
                effects += self._take_claim_about_us(claim, self.route_to(sender), now)
            elif self.is_taken(record, now):
                self.counters.name_conflicts += 1
            else:
                effects += self.learn(record, now, relay=relay or record.agent != sender)
        return effects

    def learn(self, record: Record, now: float, *, relay: bool) -> list[Effect]:
        """Take a record that is newer than the one we hold."""
        claim = Claim(record.agent, record.incarnation, record.version, "alive")
        effects = self.take_claim(claim, None, now, relay=relay)
        member = self.members.get(record.agent)
        if member is None or not member.is_living:
            return effects
        held = member.record
        if held is not None and (record.incarnation, record.version) <= (held.incarnation, held.version):
            return effects
        if (record.incarnation, record.version) > (member.incarnation, member.version):
            member.version = record.version  # A suspect's newer record: its status stands, its version moves.
        member.record = record
        if not member.lacks_record:
            self.pulls.settle(member.agent)
        return effects + self._introduce(member, now)

    def want_from_holder(self, claim: Claim, holder: Route, now: float) -> None:
        """Ask `holder`, which has the record of what it claims, if that is the one we lack."""
        member = self.members.get(claim.agent)
        if member is None or not member.lacks_record:
            return
        if (claim.incarnation, claim.version) >= (member.incarnation, member.version):
            self.pulls.want(member.agent, holder, now)

    def forget(self, member: Member) -> list[Effect]:
        """Drop a member from the table; what comes later of it is news from a stranger."""
        effects = self._part_with(member.agent)
        self.members.forget(member.agent)
        return [*effects, MemberChanged(member.agent, member.status, "forgotten", member.version)]

    def is_taken(self, record: Record, now: float) -> bool:
        """Whether the name belongs to another process that was heard lately.

        Not where what we hold of that process is already older than what is said of the name: it was
        started again, and we heard of that before its record came.
        """
        member = self.members.get(record.agent)
        if member is None or member.record is None or member.record.instance == record.instance:
            return False
        if member is self.own:
            return True
        is_current = member.is_living and member.record.incarnation == member.incarnation
        return is_current and now - member.heard_at <= self._silence_s

    def _introduce(self, member: Member, now: float) -> list[Effect]:
        """Directory and subscription follow a member's record."""
        record = member.record
        assert record is not None
        if record.role == "agent":
            self.directory.put(member.agent, record.digest, now=now)
            self.directory.suspect(member.agent, member.status == "suspect")
            self.librarians.pop(member.agent, None)
        else:
            self.directory.remove(member.agent)
            self.librarians[member.agent] = Route(record.router)
        if self._heard.get(member.agent) == record.publisher:
            return []
        self._heard[member.agent] = record.publisher
        return [Subscribe(member.agent, record.publisher)]

    def _part_with(self, agent: AgentName) -> list[Effect]:
        """A member is gone: no lead, nothing to pull, nobody to hear."""
        self.directory.remove(agent)
        self.librarians.pop(agent, None)
        self.pulls.settle(agent)
        return [] if self._heard.pop(agent, None) is None else [Unsubscribe(agent)]

    # -- whom to ask

    def route_to(self, agent: AgentName) -> Route | None:
        """Where direct messages reach `agent`; None while its record is not known."""
        member = self.members.get(agent)
        return None if member is None or member.record is None else Route(member.record.router)

    def any_route(self, *, besides: AgentName | None = None) -> Route | None:
        """To a random living member that is neither we nor `besides`; None where there is none."""
        routes = [
            Route(member.record.router)
            for member in self.members
            if member.record is not None
            and member.is_living
            and member is not self.own
            and member.agent != besides
        ]
        return self.one_of(routes) if routes else None

    def one_of(self, routes: Sequence[Route]) -> Route:
        """Each as likely as the others."""
        return routes[int(self._rng.random() * len(routes))]

    def check(self) -> None:
        """Assert the invariants at the head of this module."""
        self.members.check()
        agents = {
            member.agent: member.record.digest
            for member in self.members.living()
            if member.record is not None and member.record.role == "agent"
        }
        if self.own.status == "left" and self.record.role == "agent":
            agents[self.name] = self.record.digest
        self.directory.check(agents)
        assert set(self.librarians) == {
            member.agent
            for member in self.members.living()
            if member is not self.own and member.record is not None and member.record.role == "librarian"
        }
        for member in self.members:
            assert member is self.own or member.lacks_record == (member.agent in self.pulls), (
                f"{member.agent}: wanted and lacking do not agree"
            )
            assert member.is_living or member.agent not in self._heard, f"{member.agent}: still heard"
