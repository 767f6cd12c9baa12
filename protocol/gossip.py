"""The gossip engine: a message or a tick in, effects out. It runs on sockets and in the simulator alike.

One round, to read along:

    set_digest -> News.add          our record gets a new version, and is news
    on_tick    -> News.take         after the debounce the news is published: one `Announce`
    on_message -> View.take_claim   a peer hears it; what takes precedence over its table is taken
               -> View.learn        with the record: directory, subscription, news of its own to relay
               -> Pulls.want        without: the record is pulled by `Get` from whoever told

Lost frames are made good by heartbeats, which name the version, and by `Sync` with a random
member: pub/sub loses early and overflowing frames by design.

Up to 64 members hear each other directly; above that each hears a few neighbours (overlay.py), news is
told on by everybody who learns it, and the dead are found by probes (probing.py) instead of by silence.

What is believed of whom, and the invariants that `check()` asserts, stand in view.py; here is when we
speak, and how we answer.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import msgspec

from protocol.chance import Randomness
from protocol.chartering import Chartering
from protocol.digest import Digest
from protocol.dissemination import answer_to
from protocol.effects import Effect, MemberChanged, Publish, Route, Send
from protocol.gate import Gate
from protocol.hearing import Hearing
from protocol.joining import Joining
from protocol.membership import Member
from protocol.messages import (
    Ack,
    Announce,
    Charter,
    Chartered,
    Claim,
    Get,
    Gossip,
    Heartbeat,
    Hello,
    Nack,
    Neighbour,
    NeighbourReply,
    Ping,
    PingRequest,
    Record,
    Records,
    Refusal,
    Sync,
    SyncDiff,
    Unlink,
    Welcome,
)
from protocol.names import AgentName
from protocol.probing import Prober
from protocol.profile import Profile
from protocol.reconciling import Reconciler
from protocol.statistics import GossipStatistics
from protocol.view import View

_SIGNS = (Heartbeat, Ping, Ack, Sync, Neighbour)
"""What a member says unasked, and we answer with what is held against it, if it is."""


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
        gate: Gate | None = None,
    ) -> None:
        """`record` is ours, with the incarnation of this start; `seeds` are router addresses to try.

        `gate` tells members from strangers, and has the keys of the digests; without one all are believed.
        """
        self.mesh, self.profile = mesh, profile
        self.name = AgentName(record.agent)
        self._view = View(record, profile=profile, rng=rng, now=now, gate=gate)
        self.members, self.directory = self._view.members, self._view.directory
        self.librarians, self.counters = self._view.librarians, self._view.counters
        self.overlay, self.gate = self._view.overlay, self._view.gate
        self.prober = Prober(self.members, self._view.health, profile=profile, rng=rng, now=now)
        self._reconciler = Reconciler(self._view, profile=profile, now=now)
        self._chartering = Chartering(self._view, self._reconciler)
        self._joining = Joining(
            self._view, self._chartering, mesh=mesh, profile=profile, rng=rng, seeds=seeds, now=now
        )
        self._rng = rng
        self._news, self._pulls = self._view.news, self._view.pulls
        self._left = False
        self._hearing = Hearing(self._view, self.prober, self._reconciler, profile=profile, now=now)
        self._heartbeat_at = now

    # -- what the owner of the engine says and asks

    @property
    def record(self) -> Record:
        """Our own record, as last announced or about to be."""
        return self._view.record

    @property
    def charter_number(self) -> int:
        """Of the charter in force; 0 where there is none."""
        return self._view.charter_number

    @property
    def joined(self) -> bool:
        """Whether we are in the mesh, as far as we know."""
        return self._joining.joined

    def set_digest(self, now: float, digest: Digest) -> list[Effect]:
        """Our topics changed. An equal digest is no change; the new one is published after the debounce."""
        if digest == self.record.digest:
            return []
        base, version = self.record, self._view.own.version + 1
        self._view.set_own(msgspec.structs.replace(base, version=version, digest=digest), now)
        self._news.add(self.name, now, base)
        return [MemberChanged(self.name, "alive", "alive", version)]

    def set_charter(self, now: float, charter: Charter) -> list[Effect]:
        """Our owner has this charter; one that is not newer, or not the authority's, changes nothing."""
        return self._chartering.set(charter, now)

    def add_seed(self, now: float, address: str) -> None:
        """One more address to say hello to, now and whenever we look for lost members."""
        self._joining.add_seed(address, now)

    def leave(self, now: float) -> list[Effect]:
        """Say goodbye: the others drop us at once. Nothing is published after that."""
        if self._left:
            return []
        self._left = True
        self.members.retire(self._view.own, now)
        return [Publish(Announce((self._view.own.claim,)))]

    def statistics(self) -> GossipStatistics:
        """A frozen snapshot."""
        members, counters = self.members, self.counters
        return GossipStatistics(
            members=len(members),
            living=members.living_count,
            suspected=len(members.suspects),
            gone=len(members.gone),
            refused=members.refused,
            sparse=self.overlay.is_sparse,
            neighbours=len(self.overlay.links),
            heard=len(self.overlay.hears),
            health=self.prober.health.score,
            probes=self.prober.sent,
            counters=msgspec.structs.replace(counters),
        )

    def next_deadline(self) -> float:
        """When `on_tick` must be called next, in the time of `now`."""
        if self._left:
            return math.inf
        return min(
            self._heartbeat_at,
            self._hearing.alarm_at,
            self._reconciler.due_at,
            self._joining.hello_at,
            self._news.due_at,
            self._pulls.next_due,
            self.prober.next_due,
            self._view.suspicions.next_due,
        )

    # -- time

    def on_tick(self, now: float) -> list[Effect]:
        """Do what is due; may be called at any time."""
        if self._left:
            return []
        effects: list[Effect] = []
        self._hearing.forgive_pause(now, self.next_deadline())
        effects += self._hearing.listen(now)
        if now >= self._joining.hello_at:
            effects += self._joining.greet(now, self._jittered(1.0))
        if now >= self._heartbeat_at:
            effects += self._beat(now)
        effects += self._watch(now)
        if now >= self._reconciler.due_at:
            effects += self._reconciler.round(now, self._jittered(1.0))
        if now >= self._news.due_at:
            effects += self._news.take(self.members, self._view.suspicions, sparse=self.overlay.is_sparse)
        for agent in self._pulls.overdue(now):
            self._pulls.want(agent, self._view.ways.to_neighbour(besides=agent), now)
            # What nobody has may be a lie: told so, its owner outbids it. An owner that is gone cannot, and
            # nobody but us may believe that it came back: we look ourselves.
            member, route = self.members.get(agent), self._view.ways.to(agent)
            if member is not None and route is not None:
                effects.append(Send(route, Announce((member.claim,))))
                if now - member.heard_at > self.profile.silence_s:
                    effects += self.prober.probe(member, now)
        return [*effects, *self._pulls.take()]

    def _beat(self, now: float) -> list[Effect]:
        own, sparse = self._view.own, self.overlay.is_sparse
        profile = self.profile
        self._heartbeat_at = now + self._jittered(
            profile.sparse_heartbeat_s if sparse else profile.heartbeat_s
        )
        effects, silent = self.overlay.upkeep(now)
        for agent in silent:
            if (neighbour := self.members.get(agent)) is not None:
                effects += self.prober.probe(neighbour, now)
        recent = self._news.take_recent(self.members) if sparse else ()
        view, links = self.members.view(), self.overlay.link_hashes
        effects.append(Publish(Heartbeat(own.incarnation, own.version, view, links, recent)))
        effects += self._view.expel_lapsed(now)
        for old in self.members.outlived(now, profile.tombstone_s, 2 * profile.silence_s):
            effects += self._view.forget(old, now)
        return effects

    def _watch(self, now: float) -> list[Effect]:
        """Probe, accuse who was found silent, and give up those who did not refute in time."""
        effects: list[Effect] = []
        if now >= self.prober.next_due:
            sparse = self.overlay.is_sparse
            effects, silent = self.prober.tick(now, self.overlay.company, at_once=not sparse)
            for member in silent:
                effects += self._view.accuse(member, now)
                route = self._view.ways.to(member.agent)
                if route is not None:
                    effects.append(Send(route, Announce((member.claim,))))
        for agent in self._view.suspicions.due(now):
            if (suspect := self.members.get(agent)) is not None:
                claim = Claim(agent, suspect.incarnation, suspect.version, "dead")
                effects += self._view.take_claim(claim, None, now, relay=True)
        return effects

    # -- messages

    def on_message(self, now: float, sender: AgentName, route: Route | None, message: Gossip) -> list[Effect]:
        """Take a message of `sender`. `route` leads back to it; None where it was published, not sent."""
        if self._left or (sender == self.name and not isinstance(message, Hello | Refusal)):
            return []
        effects: list[Effect] = []
        member = self.members.get(sender)
        if member is not None and not _is_another(message, member):
            if member.is_living:
                member.heard_at = now
            if isinstance(message, _SIGNS) and (member.status != "alive" or _is_behind(message, member)):
                effects += self._confront(member, message, route)
        if route is None:
            self.overlay.heard(sender, now)
        effects += self._dispatch(now, sender, route, message)
        return [*effects, *self._pulls.take()]

    def _confront(self, member: Member, message: Gossip, route: Route | None) -> list[Effect]:
        """Tell a member what is held against it, so that it can refute; not what it refutes just now."""
        route = route or self._view.ways.to(member.agent)
        refuted = (
            isinstance(message, Heartbeat | Neighbour | Ack) and message.incarnation > member.incarnation
        )
        return [] if refuted or route is None else [Send(route, Announce((member.claim,)))]

    def _dispatch(self, now: float, sender: AgentName, route: Route | None, message: Gossip) -> list[Effect]:
        back = route if route is not None else self._view.ways.to(sender)
        # Published by its owner, news has reached all who hear the owner: in a full mesh that is everybody.
        relay = route is not None or self.overlay.relays
        match message:
            case Heartbeat():
                return self._on_heartbeat(message, sender, now)
            case Announce():
                return self._on_announce(message, sender, back, now, relay=relay)
            case Records():
                effects = self._view.admit(message.certificates, sender, now)
                return effects + self._view.take_records(
                    message.records, sender, now, relay=route is not None
                )
            case Hello() if back is not None:
                return self._joining.on_hello(message, sender, back, now)
            case Welcome() if back is not None:
                return self._on_welcome(message, sender, back, now)
            case Refusal():
                return self._joining.on_refusal(message, sender, now)
            case Get() if back is not None:
                return answer_to(message, self.members, self.gate, back)
            case Sync() if back is not None:
                return self._chartering.compare(message.charter, back) + self._reconciler.on_sync(
                    message, back
                )
            case Chartered():
                return self._chartering.on_chartered(message, sender, now)
            case SyncDiff() if back is not None:
                return self._reconciler.on_sync_diff(message, back, now)
            case Ping() if back is not None:
                own = self._view.own
                return [Send(back, Ack(message.nonce, own.incarnation, own.version))]
            case Ack():
                effects = self.prober.on_ack(sender, message, now)
                return effects + self._on_standing(sender, message.incarnation, message.version, back, now)
            case PingRequest() if back is not None:
                return self.prober.on_ping_request(message, back, now)
            case Nack():
                self.prober.on_nack(sender, message)
                return []
            case Neighbour() if back is not None:
                effects = self._on_standing(sender, message.incarnation, message.version, back, now)
                return effects + self.overlay.on_neighbour(sender, message, back, now)
            case NeighbourReply() if back is not None:
                effects = self.overlay.on_reply(sender, message, back, now)
                return [*effects, self._reconciler.meet(back)] if effects and message.accepted else effects
            case Unlink():
                return self.overlay.on_unlink(sender, now)
            case _:  # It has nobody to answer to.
                return []

    def _on_announce(
        self, news: Announce, sender: AgentName, back: Route | None, now: float, *, relay: bool
    ) -> list[Effect]:
        """Bodies first, so that a claim whose record rides along is not pulled."""
        effects = self._view.take_records(news.records, sender, now, relay=relay)
        effects += self._view.take_deltas(news.deltas, sender, now, relay=relay)
        for claim in news.claims:
            effects += self._view.take_claim(claim, back, now, relay=relay or claim.agent != sender)
        self._view.take_suspicions(news.suspicions, now, relay=self.overlay.relays)
        return effects

    def _on_standing(
        self, sender: AgentName, incarnation: int, version: int, back: Route | None, now: float
    ) -> list[Effect]:
        """A member itself says where it stands; (0, 0) is a helper's ack and says nothing."""
        if (incarnation, version) == (0, 0):
            return []
        member = self.members.get(sender)
        effects: list[Effect] = []
        if member is None or (member.incarnation, member.version) != (incarnation, version):
            relay = self.overlay.is_sparse
            claim = Claim(sender, incarnation, version, "alive")
            effects = self._view.take_claim(claim, back, now, relay=relay)
            member = self.members.get(sender)
        if member is not None and not member.lacks_record:
            self.directory.confirm(sender, now=now)
        return effects

    def _on_welcome(self, welcome: Welcome, sender: AgentName, back: Route, now: float) -> list[Effect]:
        if welcome.mesh != self.mesh:
            return []
        had_joined = self.joined
        effects = self._joining.on_welcome(welcome, sender, back, now)
        if had_joined:
            # We looked for lost members and found one: what each side holds of the other, dead ones
            # included, is settled now rather than at the next round.
            return [*effects, self._reconciler.meet(back)]
        self._reconciler.soon(now)
        return effects

    def _on_heartbeat(self, heartbeat: Heartbeat, sender: AgentName, now: float) -> list[Effect]:
        if self.members.get(sender) is None:
            return []
        route = self._view.ways.to(sender)
        effects = self._on_standing(sender, heartbeat.incarnation, heartbeat.version, route, now)
        for claim in heartbeat.recent:
            effects += self._view.take_claim(claim, route, now, relay=self.overlay.is_sparse)
        effects += self.overlay.on_links(sender, heartbeat.links, now)
        return effects + self._reconciler.mend(heartbeat.view, route, now)

    def _jittered(self, seconds: float) -> float:
        """Plus or minus a tenth, so that members do not fall into step."""
        return seconds * (0.9 + 0.2 * self._rng.random())

    def check(self) -> None:
        """Assert the invariants at the head of view.py and probing.py."""
        self._view.check()
        self.prober.check()


def _is_behind(message: Gossip, member: Member) -> bool:
    """Whether a member says less of itself than others said of it: a lie, or it lost its own count. It would
    be lacking for ever unless it is told, and outbids that.
    """
    if not isinstance(message, Heartbeat | Neighbour | Ack) or message.incarnation == 0:
        return False
    return (message.incarnation, message.version) < (member.incarnation, member.version)


def _is_another(message: Gossip, member: Member) -> bool:
    """Whether another process says hello under the member's name: the member itself was not heard by that."""
    held = member.record
    return isinstance(message, Hello) and held is not None and held.instance != message.record.instance
