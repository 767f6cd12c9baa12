"""The gossip engine: a message or a tick in, effects out. It runs on sockets and in the simulator alike.

One round, to read along:

    set_digest -> News.add          our record gets a new version, and is news
    on_tick    -> News.take         after the debounce the news is published: one `Announce`
    on_message -> View.take_claim   a peer hears it; what takes precedence over its table is taken
               -> View.learn        with the record: directory, subscription, news of its own to relay
               -> Pulls.want        without: the record is pulled by `Get` from whoever told

Lost frames are made good by heartbeats, which name the version, and by `Sync` with a random
member: pub/sub loses early and overflowing frames by design.

What is believed of whom, and the invariants that `check()` asserts, stand in view.py; here is when we
speak, and how we answer.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import msgspec

from protocol import antientropy, liveness
from protocol.digest import Digest
from protocol.dissemination import portions
from protocol.effects import (
    Effect,
    Halt,
    MemberChanged,
    Publish,
    Route,
    Send,
)
from protocol.errors import NameTaken, WireMismatch, WrongMesh
from protocol.membership import Member
from protocol.messages import (
    Ack,
    Announce,
    Claim,
    Get,
    Gossip,
    Heartbeat,
    Hello,
    Ping,
    Record,
    Records,
    Refusal,
    Sync,
    SyncDiff,
    Welcome,
)
from protocol.names import AgentName
from protocol.profile import Profile
from protocol.view import Randomness, View
from protocol.wire import WIRE_VERSION


class GossipEngine:
    """One member's view of the mesh, and the rules by which it changes."""

    def __init__(
        self,
        record: Record,
        *,
        mesh: str,
        profile: Profile,
        rng: Randomness,
        seeds: Sequence[str],
        now: float,
    ) -> None:
        """`record` is ours, with the incarnation of this start; `seeds` are router addresses to try."""
        self.mesh, self.profile = mesh, profile
        self.name = AgentName(record.agent)
        self._view = View(record, profile=profile, rng=rng, now=now)
        self.members, self.directory = self._view.members, self._view.directory
        self.librarians, self.counters = self._view.librarians, self._view.counters
        self.joined = not seeds
        self._rng = rng
        self._seeds = [Route(seed) for seed in seeds if seed != record.router]
        self._news, self._pulls = self._view.news, self._view.pulls
        self._left = False
        self._ticked_at = now
        self._heartbeat_at = now
        self._sync_at = now + profile.heartbeat_s
        self._join_wait_s = profile.join_s
        self._hello_at = now if seeds else now + profile.retry_s

    # -- what the owner of the engine says and asks

    @property
    def record(self) -> Record:
        """Our own record, as last announced or about to be."""
        return self._view.record

    def set_digest(self, now: float, digest: Digest) -> list[Effect]:
        """Our topics changed. An equal digest is no change; the new one is published after the debounce."""
        if digest == self.record.digest:
            return []
        version = self._view.own.version + 1
        self._view.set_own(msgspec.structs.replace(self.record, version=version, digest=digest), now)
        self._news.add(self.name, now)
        return [MemberChanged(self.name, "alive", "alive", version)]

    def add_seed(self, now: float, address: str) -> None:
        """One more address to say hello to, now and whenever we look for lost members."""
        route = Route(address)
        if address != self.record.router and route not in self._seeds:
            self._seeds.append(route)
            self._hello_at = min(self._hello_at, now)

    def leave(self, now: float) -> list[Effect]:
        """Say goodbye: the others drop us at once. Nothing is published after that."""
        if self._left:
            return []
        self._left = True
        self._view.own.status, self._view.own.status_since = "left", now
        return [Publish(Announce((self._view.own.claim,)))]

    def next_deadline(self) -> float:
        """When `on_tick` must be called next, in the time of `now`."""
        if self._left:
            return math.inf
        return min(self._heartbeat_at, self._sync_at, self._hello_at, self._news.due_at)

    # -- time

    def on_tick(self, now: float) -> list[Effect]:
        """Do what is due; may be called at any time."""
        if self._left:
            return []
        effects: list[Effect] = []
        self._forgive_own_pause(now)
        if now >= self._hello_at:
            effects += self._greet(now)
        if now >= self._heartbeat_at:
            self._heartbeat_at = now + self._jittered(self.profile.heartbeat_s)
            own = self._view.own
            effects.append(Publish(Heartbeat(own.incarnation, own.version, self.members.view())))
            effects += self._watch(now)
        if now >= self._sync_at:
            self._sync_at = now + self._jittered(self.profile.sync_s)
            partner = self._view.any_route()
            if partner is not None:
                effects.append(self._sync_with(partner))
        if now >= self._news.due_at:
            effects += self._news.take(self.members)
        return [*effects, *self._pulls.take()]

    def _forgive_own_pause(self, now: float) -> None:
        pause_s = now - self._ticked_at
        self._ticked_at = now
        if pause_s > self.profile.silence_s / 2 + self.profile.heartbeat_s:
            liveness.forgive(self.members, pause_s)

    def _greet(self, now: float) -> list[Effect]:
        hello = Hello(self.mesh, WIRE_VERSION, WIRE_VERSION, self.record)
        if not self.joined:
            self._hello_at = now + self._join_wait_s
            self._join_wait_s = min(2 * self._join_wait_s, self.profile.retry_s)
            return [Send(seed, hello) for seed in self._seeds]
        self._hello_at = now + self._jittered(self.profile.retry_s)
        known = {member.record.router for member in self.members.living() if member.record is not None}
        lost_seeds = [seed for seed in self._seeds if seed not in known]
        dead = [
            Route(member.record.router)
            for member in self.members
            if member.status == "dead" and member.record is not None
        ]
        return [Send(self._view.one_of(group), hello) for group in (lost_seeds, dead) if group]

    def _watch(self, now: float) -> list[Effect]:
        """Act on who is silent, and ask elsewhere for records that did not come."""
        effects: list[Effect] = []
        for member, verdict in liveness.verdicts(self.members, self._view.own, self.profile, now):
            match verdict:
                case "ping" if (route := self._view.route_to(member.agent)) is not None:
                    member.pinged_at = now
                    self.counters.pings += 1
                    effects.append(Send(route, Ping(self._rng.getrandbits(48))))
                case "suspect" | "dead":
                    claim = Claim(member.agent, member.incarnation, member.version, verdict)
                    effects += self._view.take_claim(claim, None, now, relay=True)
                case _:
                    effects += self._view.forget(member)
        for agent in self._pulls.overdue(now):
            self._pulls.want(agent, self._view.any_route(besides=agent), now)
        return effects

    # -- messages

    def on_message(self, now: float, sender: AgentName, route: Route | None, message: Gossip) -> list[Effect]:
        """Take a message of `sender`. `route` leads back to it; None where it was published, not sent."""
        if self._left or (sender == self.name and not isinstance(message, Hello | Refusal)):
            return []
        member = self.members.get(sender)
        if member is not None and member.is_living and not _is_another(message, member):
            member.heard_at, member.pinged_at = now, None
        effects = self._dispatch(now, sender, route, message)
        return [*effects, *self._pulls.take()]

    def _dispatch(self, now: float, sender: AgentName, route: Route | None, message: Gossip) -> list[Effect]:
        back = route if route is not None else self._view.route_to(sender)
        # Published by its owner, news has reached all who hear the owner: in a full mesh that is everybody.
        relay = route is not None
        match message:
            case Heartbeat():
                return self._on_heartbeat(message, sender, now)
            case Announce():
                effects = self._view.take_records(message.records, sender, now, relay=relay)
                for claim in message.claims:
                    effects += self._view.take_claim(claim, back, now, relay=relay or claim.agent != sender)
                return effects
            case Records():
                return self._view.take_records(message.records, sender, now, relay=True)
            case Hello() if back is not None:
                return self._on_hello(message, sender, back, now)
            case Welcome() if back is not None:
                return self._on_welcome(message, sender, back, now)
            case Refusal():
                return [] if self.joined else [Halt(message.code, message.reason)]
            case Get() if back is not None:
                return self._on_get(message, back)
            case Sync() if back is not None:
                differences = antientropy.diffs(message, self.members)
                self.counters.syncs_differing += bool(differences)
                return [Send(back, difference) for difference in differences]
            case SyncDiff() if back is not None:
                return self._on_sync_diff(message, back, now)
            case Ping() if back is not None:
                return [Send(back, Ack(message.nonce))]
            case _:  # An ack did its work by being heard; the rest has nobody to answer to.
                return []

    def _on_get(self, get: Get, back: Route) -> list[Effect]:
        """The records of the living; of the gone, that they are gone."""
        held = [member for agent in get.agents if (member := self.members.get(agent)) is not None]
        found = [member.record for member in held if member.record is not None and member.is_living]
        gone = tuple(member.claim for member in held if not member.is_living)
        effects: list[Effect] = [Send(back, Records(part)) for part in portions(found) if part]
        return [*effects, Send(back, Announce(gone))] if gone else effects

    def _on_hello(self, hello: Hello, sender: AgentName, back: Route, now: float) -> list[Effect]:
        record = hello.record
        if hello.mesh != self.mesh:
            return [Send(back, Refusal(WrongMesh.code, f"this is mesh {self.mesh}, not {hello.mesh}"))]
        if not hello.oldest <= WIRE_VERSION <= hello.newest:
            reason = f"this node speaks {WIRE_VERSION}, you {hello.oldest} to {hello.newest}"
            return [Send(back, Refusal(WireMismatch.code, reason))]
        if record.agent != sender or (sender == self.name and record.instance == self.record.instance):
            return []
        if self._view.is_taken(record, now):
            self.counters.name_conflicts += 1
            reason = f"another live node of mesh {self.mesh} is called {record.agent}"
            return [Send(back, Refusal(NameTaken.code, reason))]
        self.joined = True
        effects = self._view.learn(record, now, relay=True)
        member = self.members.get(sender)
        if member is not None and not member.is_living:
            # It does not know yet that it was given up; told so, it refutes by a higher incarnation.
            effects.append(Send(back, Announce((member.claim,))))
        known = [member.record for member in self.members.living() if member.record is not None]
        first, *more = portions(known)
        effects.append(Send(back, Welcome(self.mesh, WIRE_VERSION, first)))
        return effects + [Send(back, Records(part)) for part in more]

    def _on_welcome(self, welcome: Welcome, sender: AgentName, back: Route, now: float) -> list[Effect]:
        if welcome.mesh != self.mesh:
            return []
        if self.joined:
            # We looked for lost members and found one: what each side holds of the other, dead ones
            # included, is settled now rather than at the next round.
            return [*self._view.take_records(welcome.records, sender, now, relay=True), self._sync_with(back)]
        self.joined = True
        self._hello_at = now + self._jittered(self.profile.retry_s)
        self._sync_at = now + self.profile.heartbeat_s
        self._news.add(self.name, now)
        return self._view.take_records(welcome.records, sender, now, relay=False)

    def _on_heartbeat(self, heartbeat: Heartbeat, sender: AgentName, now: float) -> list[Effect]:
        member = self.members.get(sender)
        if member is None:
            return []
        effects: list[Effect] = []
        route = self._view.route_to(sender)
        if member.status != "alive" and heartbeat.incarnation == member.incarnation and route is not None:
            effects.append(Send(route, Announce((member.claim,))))
        claim = Claim(sender, heartbeat.incarnation, heartbeat.version, "alive")
        effects += self._view.take_claim(claim, route, now, relay=False)
        if not member.lacks_record:
            self.directory.confirm(sender, now=now)
        return effects

    def _on_sync_diff(self, diff: SyncDiff, back: Route, now: float) -> list[Effect]:
        newer = antientropy.newer_here(diff, self.members)
        effects: list[Effect] = []
        for claim in diff.claims:
            effects += self._view.take_claim(claim, back, now, relay=True)
            self._view.want_from_holder(claim, back, now)
        return effects + [Send(back, message) for message in antientropy.tell(newer)]

    def _sync_with(self, route: Route) -> Effect:
        return Send(route, Sync(self.members.sync_hashes()))

    def _jittered(self, seconds: float) -> float:
        """Plus or minus a tenth, so that members do not fall into step."""
        return seconds * (0.9 + 0.2 * self._rng.random())

    def check(self) -> None:
        """Assert the invariants at the head of view.py."""
        self._view.check()


def _is_another(message: Gossip, member: Member) -> bool:
    """Whether another process says hello under the member's name: the member itself was not heard by that."""
    held = member.record
    return isinstance(message, Hello) and held is not None and held.instance != message.record.instance
