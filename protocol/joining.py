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
from protocol.dissemination import portions
from protocol.effects import Effect, Halt, Route, Send
from protocol.errors import NameTaken, WireMismatch, WrongMesh
from protocol.messages import Announce, Hello, Records, Refusal, Welcome
from protocol.names import AgentName
from protocol.profile import Profile
from protocol.view import View
from protocol.wire import WIRE_VERSION

_WELCOME_MESSAGES = 8  # Of 96 KiB: 800 members with small digests and long names. The rest comes by `Sync`.


class Joining:
    """The hellos of one member, and its answers to those of others."""

    def __init__(
        self, view: View, *, mesh: str, profile: Profile, rng: Randomness, seeds: Sequence[str], now: float
    ) -> None:
        """`seeds` are router addresses; without any, we are the mesh."""
        self.joined = not seeds
        self.hello_at = now if seeds else now + profile.retry_s * rng.random()
        self._view, self._mesh, self._profile, self._rng = view, mesh, profile, rng
        self._seeds = [Route(seed) for seed in seeds if seed != view.record.router]
        self._ungreeted: list[Route] = []
        self._wait_s = profile.join_s

    def add_seed(self, address: str, now: float) -> None:
        """One more address to say hello to, now and whenever we look for lost members."""
        route = Route(address)
        if address != self._view.record.router and route not in self._seeds:
            self._seeds.append(route)
            self._ungreeted.append(route)
            self.hello_at = min(self.hello_at, now)
            if self._view.members.living_count == 1:
                self.joined = False  # Somebody is there already: alone, we are not the mesh.

    def greet(self, now: float, jitter: float) -> list[Effect]:
        """It is time for hellos; `jitter` is about 1."""
        hello = Hello(self._mesh, WIRE_VERSION, WIRE_VERSION, self._view.record)
        new, self._ungreeted = self._ungreeted, []
        if not self.joined:
            self.hello_at = now + self._wait_s
            self._wait_s = min(2 * self._wait_s, self._profile.retry_s)
            return [Send(seed, hello) for seed in self._seeds]
        self.hello_at = now + self._profile.retry_s * (self._rng.random() if new else jitter)
        living, gone = self._view.members.living(), self._view.members.gone.values()
        known = {member.record.router for member in living if member.record is not None}
        lost_seeds = [seed for seed in self._seeds if seed not in known and seed not in new]
        dead = [
            Route(member.record.router)
            for member in gone
            if member.status == "dead" and member.record is not None
        ]
        lost = [one_of(self._rng, group) for group in (lost_seeds, dead) if group]
        # All new ones, though somebody greeted us before: those who start at once and greet one of the
        # others each may be several meshes, until one of them looks for lost members.
        return [Send(route, hello) for route in [*new, *lost]]

    def on_hello(self, hello: Hello, sender: AgentName, back: Route, now: float) -> list[Effect]:
        """Take a newcomer in, or say why not."""
        view, record = self._view, hello.record
        if hello.mesh != self._mesh:
            return [Send(back, Refusal(WrongMesh.code, f"this is mesh {self._mesh}, not {hello.mesh}"))]
        if not hello.oldest <= WIRE_VERSION <= hello.newest:
            reason = f"this node speaks {WIRE_VERSION}, you {hello.oldest} to {hello.newest}"
            return [Send(back, Refusal(WireMismatch.code, reason))]
        if record.agent != sender or (sender == view.name and record.instance == view.record.instance):
            return []
        if view.is_taken(record, now):
            view.counters.name_conflicts += 1
            reason = f"another live node of mesh {self._mesh} is called {record.agent}"
            return [Send(back, Refusal(NameTaken.code, reason))]
        self.joined = True
        effects = view.learn(record, now, relay=True)
        member = view.members.get(sender)
        if member is not None and not member.is_living:
            # It does not know yet that it was given up; told so, it refutes by a higher incarnation.
            effects.append(Send(back, Announce((member.claim,))))
        known = [member.record for member in view.members.living() if member.record is not None]
        first, *more = portions(known)[:_WELCOME_MESSAGES]
        effects.append(Send(back, Welcome(self._mesh, WIRE_VERSION, first)))
        return effects + [Send(back, Records(part)) for part in more]

    def on_welcome(self, welcome: Welcome, sender: AgentName, now: float) -> list[Effect]:
        """We are in; `sender` told us of these."""
        if self.joined:
            return self._view.take_records(welcome.records, sender, now, relay=True)
        self.joined = True
        self.hello_at = now + self._profile.retry_s * self._rng.random()
        self._view.news.add(self._view.name, now)
        return self._view.take_records(welcome.records, sender, now, relay=False)

    def on_refusal(self, refusal: Refusal) -> list[Effect]:
        """We may not come in."""
        return [] if self.joined else [Halt(refusal.code, refusal.reason)]
