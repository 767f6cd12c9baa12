"""Hello and welcome: how a member comes into a mesh, and how the parts of one find each other again.

    newcomer                       any member
    Hello(mesh, versions, record)  ->      wrong mesh, no common version, or the name is another's: Refusal
                                   <-  Welcome(records), more in Records; the rest comes by Sync

A member that has joined goes on saying hello, from time to time, to a seed that is none of its members and to
one that died: after a partition one such word is enough, also where everybody was started again meanwhile.
The first one after the start comes at a random moment, so that the hellos of a mesh that was started at once
are spread over the whole interval: somebody says one every retry_s / members.

Invariants:
 1. Only who has not joined is stopped by a refusal.
 2. A hello says who one is, never who another is.
"""

from __future__ import annotations

from collections.abc import Sequence

from protocol.chance import Randomness, one_of
from protocol.chartering import Chartering
from protocol.dissemination import portions
from protocol.effects import Blame, Effect, Halt, Route, Send
from protocol.errors import NameTaken, WireMismatch, WrongMesh
from protocol.gate import UNKNOWN, attested
from protocol.messages import Announce, Certificate, Hello, Record, Refusal, Welcome
from protocol.names import AgentName
from protocol.profile import Profile
from protocol.view import View
from protocol.wire import WIRE_VERSION

_WELCOME_MESSAGES = 8  # Of 96 KiB: 800 members with small digests and long names. The rest comes by `Sync`.


class Joining:
    """The hellos of one member, and its answers to those of others."""

    def __init__(
        self,
        view: View,
        chartering: Chartering,
        *,
        mesh: str,
        profile: Profile,
        rng: Randomness,
        seeds: Sequence[str],
        now: float,
    ) -> None:
        """`seeds` are router addresses; without any, we are the mesh."""
        self.joined = not seeds
        self.hello_at = now if seeds else now + profile.retry_s * rng.random()
        self._view, self._chartering = view, chartering
        self._mesh, self._profile, self._rng = mesh, profile, rng
        self._seeds = [Route(seed) for seed in seeds if seed != view.own.route]
        self._ungreeted: list[Route] = []
        self._wait_s = profile.join_s

    def add_seed(self, address: str, now: float) -> None:
        """One more address to say hello to, now and whenever we look for lost members."""
        route = Route(address)
        if route != self._view.own.route and route not in self._seeds:
            self._seeds.append(route)
            self._ungreeted.append(route)
            self.hello_at = min(self.hello_at, now)
            if self._view.members.living_count == 1:
                self.joined = False  # Somebody is there already: alone, we are not the mesh.

    def greet(self, now: float, jitter: float) -> list[Effect]:
        """It is time for hellos; `jitter` is about 1."""
        view = self._view
        hello = Hello(
            self._mesh, WIRE_VERSION, WIRE_VERSION, view.record, view.gate.certificate, view.charter_number
        )
        new, self._ungreeted = self._ungreeted, []
        if not self.joined:
            self.hello_at = now + self._wait_s
            self._wait_s = min(2 * self._wait_s, self._profile.retry_s)
            return [Send(seed, hello) for seed in self._seeds]
        self.hello_at = now + self._profile.retry_s * (self._rng.random() if new else jitter)
        living, gone = self._view.members.living(), self._view.members.gone.values()
        known = {member.route for member in living}
        lost_seeds = [seed for seed in self._seeds if seed not in known and seed not in new]
        dead = [route for member in gone if member.status == "dead" and (route := member.route) is not None]
        lost = [one_of(self._rng, group) for group in (lost_seeds, dead) if group]
        # All new ones, though somebody greeted us before: those who start at once and greet one of the
        # others each may be several meshes, until one of them looks for lost members.
        return [Send(route, hello) for route in [*new, *lost]]

    def on_hello(self, hello: Hello, sender: AgentName, back: Route, now: float) -> list[Effect]:
        """Take a newcomer in, or say why not; a stranger is told nothing."""
        view, record = self._view, hello.record
        flaw = self._flaw_of(hello, sender, now)
        if flaw:
            view.counters.certificates_refused += 1
            return [Blame(sender, f"a hello: {flaw}")]
        if hello.mesh != self._mesh:
            return [self._refusal(back, WrongMesh.code, f"this is mesh {self._mesh}, not {hello.mesh}")]
        if not hello.oldest <= WIRE_VERSION <= hello.newest:
            reason = f"this node speaks {WIRE_VERSION}, you {hello.oldest} to {hello.newest}"
            return [self._refusal(back, WireMismatch.code, reason)]
        if record.agent != sender or (sender == view.name and record.instance == view.record.instance):
            return []
        if view.is_taken(record, now):
            view.counters.name_conflicts += 1
            reason = f"another live node of mesh {self._mesh} is called {record.agent}"
            return [self._refusal(back, NameTaken.code, reason)]
        self.joined = True
        effects = view.learn(record, now, relay=True)
        member = view.members.get(sender)
        if member is not None and not member.is_living:
            # It does not know yet that it was given up; told so, it refutes by a higher incarnation.
            effects.append(Send(back, Announce((member.claim,))))
        known = [member.record for member in view.members.living() if member.record is not None]
        first, *more = portions(known)[:_WELCOME_MESSAGES]
        welcome = Welcome(self._mesh, WIRE_VERSION, first, self._certificates(first), view.charter_number)
        effects.append(Send(back, welcome))
        effects += [Send(back, attested(part, view.gate)) for part in more]
        return effects + self._chartering.compare(hello.charter, back)

    def _flaw_of(self, hello: Hello, sender: AgentName, now: float) -> str:
        """Why who says hello is a stranger."""
        gate, certificate = self._view.gate, hello.certificate
        if gate.certificate is None:
            return ""
        if certificate is None or certificate.agent != sender:
            return UNKNOWN
        return gate.admit(certificate, now) or gate.flaw_of(hello.record, now)

    def _certificates(self, records: Sequence[Record]) -> tuple[Certificate, ...]:
        """Of these, and ours first, which whoever comes to us needs to believe the rest."""
        gate = self._view.gate
        own = () if gate.certificate is None else (gate.certificate,)
        others = (record for record in records if record.agent != self._view.name)
        return own + gate.certificates_of(others)

    def _refusal(self, back: Route, code: str, reason: str) -> Effect:
        return Send(back, Refusal(code, reason, self._view.gate.certificate))

    def on_welcome(self, welcome: Welcome, sender: AgentName, back: Route, now: float) -> list[Effect]:
        """We are in; `sender` told us of these."""
        effects = self._view.admit(welcome.certificates, sender, now)
        gate = self._view.gate
        if gate.certificate is not None and not gate.key_of(sender):
            return effects  # Whoever welcomes us must be a member.
        effects += self._chartering.compare(welcome.charter, back)
        if self.joined:
            return effects + self._view.take_records(welcome.records, sender, now, relay=True)
        self.joined = True
        self.hello_at = now + self._profile.retry_s * self._rng.random()
        self._view.news.add(self._view.name, now)
        return effects + self._view.take_records(welcome.records, sender, now, relay=False)

    def on_refusal(self, refusal: Refusal, sender: AgentName, now: float) -> list[Effect]:
        """We may not come in, if a member says so."""
        gate, certificate = self._view.gate, refusal.certificate
        if gate.certificate is not None and (
            certificate is None or certificate.agent != sender or gate.admit(certificate, now)
        ):
            return [Blame(sender, f"a refusal: {UNKNOWN}")]
        return [] if self.joined else [Halt(refusal.code, refusal.reason)]
