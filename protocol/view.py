"""What one member holds of the mesh, and what follows when a claim or a record changes it.

    take_claim     what takes precedence is taken (membership); the gone are parted with, a suspicion is
                   opened or closed, a record that is now missing is wanted, and what is to be told on is news
    take_records   a record is first a claim that its owner lives; a newer one is kept, and
                   directory and overlay follow it
    claims about us (or of versions we never had) are not taken but refuted, by a higher incarnation

News is told on when its record is here, not before: who is told of a version asks the teller for it.
The engine (gossip.py) decides when to listen and whom to tell; here is what it believes.

Invariants, checked by `check()`:
 1. What membership.py, suspicion.py and overlay.py promise.
 2. Exactly the living agents whose record we hold, in an accepted format and key epoch, stand in the
    directory, and such librarians among the librarians; the dead are never a lead.
 3. Every living member whose record we lack is wanted.
 4. We are the only one who raises our incarnation, and it is stored before it is told.
"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from protocol.chance import Randomness
from protocol.delta import apply_delta
from protocol.digest import FORMAT, Digest
from protocol.directory import Directory
from protocol.dissemination import News, Pulls
from protocol.effects import (
    Blame,
    Effect,
    Expel,
    Halt,
    MemberChanged,
    RaiseIncarnation,
    Route,
    Send,
    Standing,
)
from protocol.errors import NotAdmitted
from protocol.gate import UNKNOWN, Gate, Open, attested, is_excused
from protocol.health import LocalHealth
from protocol.keyring import Keyring
from protocol.membership import Member, Membership
from protocol.messages import MAX_COUNTER, Certificate, Claim, Delta, Record, Suspicion
from protocol.names import AgentName
from protocol.overlay import Overlay
from protocol.profile import Profile
from protocol.statistics import Counters
from protocol.suspicion import Suspicions
from protocol.ways import Ways

_FORMATS = (FORMAT,)


class View:
    """Membership, directory, overlay, news and wants of one member: they change together, and only here."""

    def __init__(
        self,
        record: Record,
        *,
        profile: Profile,
        rng: Randomness,
        now: float,
        gate: Gate | None = None,
    ) -> None:
        self.name = AgentName(record.agent)
        self.gate: Gate = gate or Open()
        self.members = Membership(limit=profile.member_limit)
        self.directory = Directory(self.gate.keys)
        self.librarians: dict[AgentName, Route] = {}
        self.counters = Counters()
        self.news = News(profile)
        self.pulls = Pulls(patience_s=profile.want_s)
        self.suspicions = Suspicions(profile)
        self.health = LocalHealth()
        self.overlay = Overlay(self.name, self.members, profile=profile, rng=rng, now=now)
        self.ways = Ways(self.name, self.members, self.overlay, rng)
        self._silence_s = profile.silence_s
        self._untold: set[AgentName] = set()
        self.set_own(record, now)

    # -- ourselves

    @property
    def record(self) -> Record:
        """Our own record, as last announced or about to be."""
        record = self.own.record
        assert record is not None, "our own record is set at the start and never taken away"
        return record

    def set_own(self, record: Record, now: float) -> None:
        """We are what `record` says from now on, and sign it."""
        record = self.gate.sign(record, now)
        self.own = self.members.adopt(
            Member(Claim(record.agent, record.incarnation, record.version, "alive"), now)
        )
        self.own.key = self.gate.key_of(self.name)
        self.members.keep(self.own, record)
        self._list_own(now)

    def _list_own(self, now: float) -> None:
        """We are a lead for ourselves as for others: not by a digest whose key holds no more."""
        if self.record.role == "agent" and self.is_readable(self.record.digest):
            self.directory.put(self.name, self.record.digest, now=now)
        else:
            self.directory.remove(self.name)

    def set_keys(self, keys: Keyring, now: float) -> None:
        """From now on digests made with these keys are read; two of them, while members change over.

        Records stay, whatever their digest was made with: their owners are leads again when it can be read.
        """
        self.directory.set_keys(keys)
        if self.name not in self.directory:
            self._list_own(now)
        for member in self.members.living():
            if member.record is not None and member.agent not in self.directory and member is not self.own:
                self._enlist(member, member.record, member.heard_at)

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
        if claim.status in ("suspect", "dead"):
            self.health.worsen()  # Somebody missed our answers.
        base = self.record
        self.set_own(msgspec.structs.replace(base, incarnation=incarnation), now)
        self.news.add(self.name, now, base)
        effects: list[Effect] = [RaiseIncarnation(incarnation)]
        return effects if back is None else [*effects, Send(back, attested((self.record,), self.gate))]

    # -- the others

    def take_claim(
        self, claim: Claim, back: Route | None, now: float, *, relay: bool, signed: bool = False
    ) -> list[Effect]:
        """Believe `claim` if it is news. `back` leads to who made it, and may have the record; with `relay`
        it is told on. `signed`: by the member itself.
        """
        if not signed and (
            claim.incarnation > self.gate.latest(now) or self.gate.is_barred(AgentName(claim.agent))
        ):
            self.counters.claims_refused += 1
            return []
        if claim.agent == self.name:
            return self._take_claim_about_us(claim, back, now)
        known = self.members.get(claim.agent)
        before: Standing = "unknown" if known is None else known.status
        member = self.members.apply(claim, now)
        if member is None:
            return []
        agent = member.agent
        effects: list[Effect] = [MemberChanged(agent, before, member.status, member.version)]
        if member.status != "suspect":
            self.suspicions.close(agent)
        elif member.status_since == now or agent not in self.suspicions:
            self.suspicions.open(agent, since=now, members=self.members.living_count)
        if not member.is_living:
            effects += self._part_with(agent, now)
        elif before in ("dead", "left") and member.record is not None:
            effects += self._introduce(member, now)  # Back again: at its old address until it names another.
        else:
            self.directory.suspect(agent, member.status == "suspect")
        if member.lacks_record:
            self.pulls.want(agent, back or self.ways.to_anybody(besides=agent), now)
            if relay:
                self._untold.add(agent)
        elif relay:
            self.news.add(agent, now, member.record)
        return effects

    def accuse(self, member: Member, now: float) -> list[Effect]:
        """We found `member` silent ourselves: everybody is told, and it as well, so that it can refute."""
        agent = member.agent
        claim = Claim(agent, member.incarnation, member.version, "suspect")
        effects = self.take_claim(claim, None, now, relay=True)
        if self.suspicions.accuse(agent, self.name):
            self.news.add(agent, now, member.record)
        return effects

    def take_suspicions(self, suspicions: Iterable[Suspicion], now: float, *, relay: bool) -> None:
        """Count who else found a suspect of ours silent; accusers must be living members."""
        for suspicion in suspicions:
            member = self.members.get(suspicion.agent)
            if member is None or member.status != "suspect" or member.incarnation != suspicion.incarnation:
                continue
            for name in suspicion.accusers:
                accuser = self.members.get(name)
                if accuser is None or not accuser.is_living or accuser is member:
                    continue
                if self.suspicions.accuse(member.agent, accuser.agent) and relay:
                    self.news.add(member.agent, now, member.record)

    def take_deltas(
        self, deltas: Iterable[Delta], sender: AgentName, now: float, *, relay: bool
    ) -> list[Effect]:
        """Take what became of records we hold; of another base we pull the whole, by the claim beside it."""
        effects: list[Effect] = []
        for delta in deltas:
            member = self.members.get(delta.agent)
            if member is None or member.record is None or member is self.own:
                continue
            held = (member.record.incarnation, member.record.version)
            if held >= (delta.incarnation, delta.version):
                continue
            record = apply_delta(member.record, delta)
            if record is None:
                self.counters.deltas_refused += 1
            else:
                effects += self.take_records((record,), sender, now, relay=relay)
        return effects

    def take_records(
        self, records: Iterable[Record], sender: AgentName, now: float, *, relay: bool
    ) -> list[Effect]:
        """Take each record that is newer than the one we hold, and its owner's; of two processes with one
        name the one that is heard keeps it.
        """
        effects: list[Effect] = []
        for record in records:
            if record.agent == self.name:
                claim = Claim(record.agent, record.incarnation, record.version, "alive")
                effects += self._take_claim_about_us(claim, self.ways.to(sender), now)
                continue
            if not self._is_news(record):
                continue
            flaw = self.gate.flaw_of(record, now)
            if flaw:
                effects += self._doubt(record, flaw, sender, now, relay=relay)
            elif self.is_taken(record, now):
                self.counters.name_conflicts += 1
            else:
                effects += self.learn(record, now, relay=relay or record.agent != sender)
        return effects

    def _is_news(self, record: Record) -> bool:
        member = self.members.get(record.agent)
        held = None if member is None else member.record
        return held is None or (record.incarnation, record.version) > (held.incarnation, held.version)

    def _doubt(
        self, record: Record, flaw: str, sender: AgentName, now: float, *, relay: bool
    ) -> list[Effect]:
        """A record that is not taken. Where we lack its owner's certificate, `sender` is asked for both."""
        if flaw == UNKNOWN:
            claim = Claim(record.agent, record.incarnation, record.version, "alive")
            return self.take_claim(claim, self.ways.to(sender), now, relay=relay)
        self.counters.records_forged += 1
        return [] if is_excused(flaw) else [Blame(sender, f"a record of {record.agent}: {flaw}")]

    def admit(self, certificates: Iterable[Certificate], sender: AgentName, now: float) -> list[Effect]:
        """Hold these certificates, so far as they prove something."""
        effects: list[Effect] = []
        for certificate in certificates:
            flaw = self.gate.admit(certificate, now)
            if flaw:
                self.counters.certificates_refused += 1
            if flaw and not is_excused(flaw):
                effects.append(Blame(sender, f"a certificate of {certificate.agent}: {flaw}"))
        return effects

    def expel_lapsed(self, now: float) -> list[Effect]:
        """Part with whoever ceased to be a member."""
        effects: list[Effect] = []
        for agent, why in self.gate.lapsed(now):
            if agent == self.name:
                effects.append(Halt(NotAdmitted.code, f"our own certificate was {why}"))
                continue
            member = self.members.get(agent)
            if member is not None:
                effects += self.forget(member, now)
            effects.append(Expel(agent, why))
        return effects

    @property
    def charter_number(self) -> int:
        """Of the charter in force; 0 where there is none."""
        charter = self.gate.charter
        return 0 if charter is None else charter.number

    def learn(self, record: Record, now: float, *, relay: bool) -> list[Effect]:
        """Take a record that is newer than the one we hold, and is its owner's."""
        claim = Claim(record.agent, record.incarnation, record.version, "alive")
        effects = self.take_claim(claim, None, now, relay=relay, signed=True)
        member = self.members.get(record.agent)
        if member is None or not member.is_living:
            return effects
        held = member.record
        if held is not None and (record.incarnation, record.version) <= (held.incarnation, held.version):
            return effects
        self.members.keep(member, record)
        member.key = self.gate.key_of(member.agent)
        if not member.lacks_record:
            self.pulls.settle(member.agent)
            if relay or member.agent in self._untold:
                self._untold.discard(member.agent)
                self.news.add(member.agent, now, held)
        return effects + self._introduce(member, now)

    def want_from_holder(self, claim: Claim, holder: Route, now: float) -> None:
        """Ask `holder`, which has the record of what it claims, if that is the one we lack."""
        member = self.members.get(claim.agent)
        if member is None or not member.lacks_record:
            return
        if (claim.incarnation, claim.version) >= (member.incarnation, member.version):
            self.pulls.want(member.agent, holder, now)

    def forget(self, member: Member, now: float) -> list[Effect]:
        """Drop a member from the table; what comes later of it is news from a stranger."""
        self.members.forget(member.agent)
        self.gate.forget(member.agent)
        effects = self._part_with(member.agent, now)
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
        """Directory and overlay follow a member's record."""
        assert member.record is not None
        self._enlist(member, member.record, now)
        return self.overlay.introduce(member, now)

    def _enlist(self, member: Member, record: Record, now: float) -> None:
        agent, route = member.agent, member.route
        self.librarians.pop(agent, None)
        if record.role != "agent":
            self.directory.remove(agent)
            if record.role == "librarian" and route is not None:
                self.librarians[agent] = route
            return
        if self.is_readable(record.digest):
            self.directory.put(agent, record.digest, now=now)
            self.directory.suspect(agent, member.status == "suspect")
        else:
            self.counters.digests_unreadable += 1
            self.directory.remove(agent)

    def is_readable(self, digest: Digest) -> bool:
        """Whether we can look a topic up in it: we know its format and have the key of its epoch."""
        return digest.fmt in _FORMATS and digest.key_epoch in self.directory.keys

    def _part_with(self, agent: AgentName, now: float) -> list[Effect]:
        """A member is gone: no lead, nothing to pull, nobody to hear."""
        self.directory.remove(agent)
        self.librarians.pop(agent, None)
        self.pulls.settle(agent)
        self.suspicions.close(agent)
        self._untold.discard(agent)
        return self.overlay.part(agent, now)

    def check(self) -> None:
        """Assert the invariants at the head of this module."""
        self.members.check()
        agents = {
            member.agent: member.record.digest
            for member in self.members.living()
            if member.record is not None
            and member.record.role == "agent"
            and self.is_readable(member.record.digest)
        }
        if self.own.status == "left" and self.record.role == "agent" and self.is_readable(self.record.digest):
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
        self.suspicions.check(self.members.suspects)
        self.overlay.check(
            member.agent
            for member in self.members.living()
            if member.record is not None and member is not self.own
        )
