"""Are they there? One probe each period, in shuffled order; who does not answer is asked for through others.

    Ping ->             due after ping_s x health
    PingRequest ->      to `helpers` others, and a second ping; due after the same time again
                        they ping, and answer Ack, or Nack to say that they at least are there
    nothing             we found it silent

Who was heard within silence_s is passed over: hearing is better than probing, so that a quiet full mesh
sends no pings at all. (SWIM: Das, Gupta, Motivala, 2002; with the local health of Lifeguard.)

Invariants, checked by `check()`:
 1. A member is probed by one probe at a time.
 2. At most `_ERRANDS` pings are under way for others, whatever they ask.
 3. An answer counts only from the one that was asked, and with the number that it was asked with.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from protocol.chance import Randomness, some_of
from protocol.effects import Effect, Route, Send
from protocol.health import LocalHealth
from protocol.membership import Member, Membership
from protocol.messages import Ack, Nack, Ping, PingRequest
from protocol.names import AgentName
from protocol.profile import Profile

_ERRANDS = 256
_NACK_SHARE = 0.8  # Of ping_s: a helper's answer, of whatever kind, must be there when ours is due.
_AT_ONCE = 4  # Probes a period in a full mesh, where whoever needs one was silent already.


class _Probe:
    __slots__ = ("agent", "due_at", "heard_before", "helpers", "incarnation", "nacks")

    def __init__(self, member: Member, due_at: float) -> None:
        self.agent, self.incarnation = member.agent, member.incarnation
        self.heard_before = member.heard_at
        self.due_at = due_at
        self.helpers: tuple[AgentName, ...] | None = None
        self.nacks: set[AgentName] = set()


class _Errand:
    __slots__ = ("agent", "back", "nack_at", "nonce")

    def __init__(self, agent: AgentName, back: Route, nonce: int, nack_at: float) -> None:
        self.agent, self.back, self.nonce, self.nack_at = agent, back, nonce, nack_at


class Prober:
    """The probes of one member, and those it makes for others. At `next_due` `tick` has something to do."""

    def __init__(
        self, members: Membership, health: LocalHealth, *, profile: Profile, rng: Randomness, now: float
    ) -> None:
        self.health = health
        self.sent = 0
        self._members, self._profile, self._rng = members, profile, rng
        self._probes: dict[int, _Probe] = {}
        self._errands: dict[int, _Errand] = {}
        self._turns: list[AgentName] = []
        self._probe_at = self.next_due = now + profile.probe_s

    def tick(
        self, now: float, company: Sequence[AgentName], *, at_once: bool
    ) -> tuple[list[Effect], list[Member]]:
        """Do what is due; also returns whom we found silent. `company` may be probed and may help; with
        `at_once` several of them in one period.
        """
        effects: list[Effect] = []
        silent: list[Member] = []
        for nonce, probe in list(self._probes.items()):
            if now >= probe.due_at:
                member = self._open(nonce, probe)
                if member is None:
                    continue
                if probe.helpers is None:
                    effects += self._ask_helpers(nonce, probe, member, company, now)
                else:
                    del self._probes[nonce]
                    missing = len(probe.helpers) - len(probe.nacks)
                    self.health.worsen(missing if probe.helpers else 1)
                    silent.append(member)
        for nonce, errand in list(self._errands.items()):
            if now >= errand.nack_at:
                del self._errands[nonce]
                effects.append(Send(errand.back, Nack(errand.nonce)))
        if now >= self._probe_at:
            period_s = self._profile.probe_s * self.health.factor
            self._probe_at = now + period_s * (0.9 + 0.2 * self._rng.random())
            for member in self._next(company, now, _AT_ONCE if at_once else 1):
                effects += self.probe(member, now)
        self._plan()
        return effects, silent

    def probe(self, member: Member, now: float) -> list[Effect]:
        """Ping `member`, unless it is being probed."""
        route = member.route
        if route is None or any(probe.agent == member.agent for probe in self._probes.values()):
            return []
        nonce = self._rng.getrandbits(48)
        self._probes[nonce] = probe = _Probe(member, now + self._profile.ping_s * self.health.factor)
        self.next_due = min(self.next_due, probe.due_at)
        self.sent += 1
        return [Send(route, Ping(nonce))]

    def _next(self, company: Sequence[AgentName], now: float, count: int) -> list[Member]:
        """Whose turn it is: the next ones that were not heard lately."""
        found: list[Member] = []
        renewed = False
        while len(found) < count:
            if not self._turns:
                if renewed:
                    break
                renewed, self._turns = True, some_of(self._rng, company, len(company))
                continue
            member = self._members.get(self._turns.pop())
            if member is None or not member.is_living or member in found:
                continue
            if now - member.heard_at > self._profile.silence_s:
                found.append(member)
        return found

    def _open(self, nonce: int, probe: _Probe) -> Member | None:
        """The member of a probe that is not answered yet; else the probe ends."""
        member = self._members.get(probe.agent)
        if member is None or not member.is_living or member.incarnation != probe.incarnation:
            del self._probes[nonce]
            return None
        if member.heard_at > probe.heard_before:
            self._settle(nonce)
            return None
        return member

    def _settle(self, nonce: int) -> None:
        del self._probes[nonce]
        self.health.improve()

    def _ask_helpers(
        self, nonce: int, probe: _Probe, member: Member, company: Sequence[AgentName], now: float
    ) -> list[Effect]:
        route = member.route
        assert route is not None, "it was pinged"
        others = [agent for agent in company if agent != probe.agent]
        helpers = [
            helper
            for agent in some_of(self._rng, others, self._profile.helpers)
            if (helper := self._members.get(agent)) is not None and helper.record is not None
        ]
        probe.helpers = tuple(helper.agent for helper in helpers)
        probe.due_at = now + self._profile.ping_s * self.health.factor
        request = PingRequest(nonce, probe.agent)
        asked = [Send(way, request) for helper in helpers if (way := helper.route) is not None]
        return [Send(route, Ping(nonce)), *asked]

    # -- messages

    def on_ping_request(self, request: PingRequest, back: Route, now: float) -> list[Effect]:
        """Ping for somebody else; a member we know no way to is a nack at once."""
        member = self._members.get(request.agent)
        route = None if member is None else member.route
        if member is None or route is None or len(self._errands) >= _ERRANDS:
            return [Send(back, Nack(request.nonce))]
        nonce = self._rng.getrandbits(48)
        nack_at = now + _NACK_SHARE * self._profile.ping_s
        self._errands[nonce] = _Errand(member.agent, back, request.nonce, nack_at)
        self.next_due = min(self.next_due, nack_at)
        return [Send(route, Ping(nonce))]

    def on_ack(self, sender: AgentName, ack: Ack, now: float) -> list[Effect]:
        """An answer: to a probe of ours, or on an errand, and then it is passed on."""
        probe = self._probes.get(ack.nonce)
        if probe is not None and (sender == probe.agent or sender in (probe.helpers or ())):
            member = self._members.get(probe.agent)
            if member is not None and member.incarnation == probe.incarnation:
                member.heard_at = now
            self._settle(ack.nonce)
            self._plan()
            return []
        errand = self._errands.get(ack.nonce)
        if errand is not None and sender == errand.agent:
            del self._errands[ack.nonce]
            self._plan()
            return [Send(errand.back, Ack(errand.nonce))]
        return []

    def on_nack(self, sender: AgentName, nack: Nack) -> None:
        """A helper is there, though it had no answer."""
        probe = self._probes.get(nack.nonce)
        if probe is not None and sender in (probe.helpers or ()):
            probe.nacks.add(sender)

    def _plan(self) -> None:
        due = min((probe.due_at for probe in self._probes.values()), default=math.inf)
        nack = min((errand.nack_at for errand in self._errands.values()), default=math.inf)
        self.next_due = min(self._probe_at, due, nack)

    def forgive(self, pause_s: float) -> None:
        """We slept for so long: nobody could answer in that time."""
        self.health.worsen()
        for probe in self._probes.values():
            probe.due_at += pause_s
            probe.heard_before += pause_s
        self._plan()

    def check(self) -> None:
        """Assert the invariants."""
        probed = [probe.agent for probe in self._probes.values()]
        assert len(probed) == len(set(probed)), "probed twice at once"
        assert len(self._errands) <= _ERRANDS
        due = [probe.due_at for probe in self._probes.values()]
        due += [errand.nack_at for errand in self._errands.values()]
        assert self.next_due <= min([self._probe_at, *due]), "due before it is looked at"
