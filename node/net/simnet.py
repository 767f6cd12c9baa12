"""A simulated mesh: the real engine and the real frames under a virtual clock and a seeded network.

Equal seeds and equal calls give equal runs, so that a failing one can be replayed. Subscribing takes
a network delay, as it does on sockets: who publishes at once is not heard.
"""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Callable, Iterable
from random import Random

import msgspec

from node.net.peer import Hooks, Peer
from node.net.transport import Received
from protocol.ask import AskTable
from protocol.digest import EMPTY, Announced, Digest
from protocol.directory import Lead
from protocol.effects import Route
from protocol.gossip import GossipEngine
from protocol.messages import Record, Role
from protocol.names import AgentName
from protocol.profile import Profile


class Conditions(msgspec.Struct, frozen=True, kw_only=True):
    """What the network does to frames. Delays in seconds, the others are shares (0..1) of frames."""

    delay_s: tuple[float, float] = (0.0002, 0.002)
    loss: float = 0.0
    duplication: float = 0.0


class SimTransport:
    """One member's end of the simulated network; see `node.net.transport.Transport`."""

    def __init__(self, mesh: SimMesh, agent: AgentName, place: str) -> None:
        self._mesh, self.agent = mesh, agent
        self.router_address = f"tcp://{place}:1"
        self.publisher_address = f"tcp://{place}:2"
        self.subscriptions: dict[AgentName, str] = {}
        self._wanted: dict[AgentName, str] = {}

    def publish(self, frame: bytes) -> None:
        """To whoever subscribes at this moment."""
        for hearer, name in self._mesh.subscribers_of(self.publisher_address):
            self._mesh.carry(self.agent, hearer, Received(frame, publisher=name))

    def send(self, route: Route, frame: bytes) -> bool:
        """To the member that listens at `route`, which is also the way back."""
        receiver = self._mesh.listening_at(route)
        if receiver is None:
            return False
        self._mesh.carry(self.agent, receiver, Received(frame, route=Route(self.router_address)))
        return True

    def subscribe(self, agent: AgentName, address: str) -> None:
        """Takes effect after one delay, unless something else was wanted in between."""
        self._wanted[agent] = address
        self.subscriptions.pop(agent, None)
        self._mesh.later(self._mesh.delay_s(), lambda: self._connect(agent, address))

    def unsubscribe(self, agent: AgentName) -> None:
        """At once."""
        self._wanted.pop(agent, None)
        self.subscriptions.pop(agent, None)

    def _connect(self, agent: AgentName, address: str) -> None:
        if self._wanted.get(agent) == address:
            self.subscriptions[agent] = address


class SimMember(msgspec.Struct, kw_only=True):
    """A member and its end of the network; `running` is false while crashed or stopped."""

    peer: Peer
    transport: SimTransport
    running: bool = True

    @property
    def engine(self) -> GossipEngine:
        """The member's engine."""
        return self.peer.engine


class SimMesh:
    """Members, a clock and a network. Times are seconds since the start of the simulation."""

    def __init__(
        self, *, seed: int = 0, profile: Profile | None = None, conditions: Conditions | None = None
    ) -> None:
        self.seed, self.now = seed, 0.0
        self.profile = profile or Profile.lan()
        self.conditions = conditions or Conditions()
        self.members: dict[AgentName, SimMember] = {}
        self.cut: set[frozenset[AgentName]] = set()
        self.frames = self.bytes = 0
        self._rng = Random(seed)
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._order = itertools.count()
        self._incarnations: dict[AgentName, int] = {}
        self._starts = itertools.count(1)

    # -- members

    def add(
        self,
        name: str,
        *,
        seeds: Iterable[str] = (),
        role: Role = "agent",
        hooks: Hooks | None = None,
        instance: int | None = None,
        topics: Iterable[str] = (),
    ) -> SimMember:
        """Start a member (or start it again, at a new address) that knows the addresses of `seeds`."""
        agent = AgentName(name)
        incarnation = self._incarnations.get(agent, 0) + 1
        self._incarnations[agent] = incarnation
        transport = SimTransport(self, agent, f"{name}-{next(self._starts)}")
        record = Record(
            agent=agent,
            instance=self._rng.getrandbits(62) if instance is None else instance,
            incarnation=incarnation,
            version=1,
            role=role,
            router=transport.router_address,
            publisher=transport.publisher_address,
            digest=_digest(topics) if topics else EMPTY,
        )
        addresses = [self.members[AgentName(seed)].transport.router_address for seed in seeds]
        engine = GossipEngine(
            record,
            mesh="sim",
            profile=self.profile,
            rng=Random(self._rng.getrandbits(64)),
            seeds=addresses,
            now=self.now,
        )
        asks = AskTable(first_request=self._rng.getrandbits(32))
        hooks = hooks or Hooks()
        hooks.on_incarnation = lambda incarnation: self._incarnations.__setitem__(agent, incarnation)
        member = SimMember(peer=Peer(engine, asks, transport, hooks), transport=transport)
        self.members[agent] = member
        self._schedule_tick(member)
        return member

    def learn(self, name: str, topics: Iterable[str]) -> None:
        """The member's topics are these from now on."""
        member = self.members[AgentName(name)]
        member.peer.perform(self.now, member.engine.set_digest(self.now, _digest(topics)))
        self._schedule_tick(member)

    def who_knows(self, name: str, topic: str, *, limit: int = 100) -> list[Lead]:
        """What this member would answer now."""
        return self.members[AgentName(name)].engine.directory.who_knows([topic], now=self.now, limit=limit)

    def crash(self, name: str) -> None:
        """The process is gone: nothing is said, nothing heard."""
        self.members[AgentName(name)].running = False

    def stop(self, name: str) -> None:
        """The process is stopped for a while, as by SIGSTOP; `resume` lets it go on."""
        self.members[AgentName(name)].running = False

    def resume(self, name: str) -> None:
        """Go on where `stop` left off; frames that came in between are lost."""
        member = self.members[AgentName(name)]
        member.running = True
        self._schedule_tick(member)

    def leave(self, name: str) -> None:
        """A graceful end."""
        member = self.members[AgentName(name)]
        member.peer.perform(self.now, member.engine.leave(self.now))
        member.running = False

    def partition(self, left: Iterable[str], right: Iterable[str]) -> None:
        """Nothing passes between the two groups until `heal`."""
        right = list(right)
        self.cut |= {frozenset({AgentName(a), AgentName(b)}) for a in left for b in right}

    def heal(self) -> None:
        """Every cut is mended."""
        self.cut.clear()

    # -- time

    def run(self, *, seconds: float) -> None:
        """Let so much virtual time pass."""
        end = self.now + seconds
        while self._events and self._events[0][0] <= end:
            self.now, _, action = heapq.heappop(self._events)
            action()
        self.now = end

    def later(self, delay_s: float, action: Callable[[], None]) -> None:
        """Do `action` after `delay_s`."""
        heapq.heappush(self._events, (self.now + delay_s, next(self._order), action))

    def _schedule_tick(self, member: SimMember) -> None:
        due = member.peer.next_deadline()
        if due != float("inf"):
            self.later(max(0.0, due - self.now), lambda: self._tick(member))

    def _tick(self, member: SimMember) -> None:
        if member.running and self.now >= member.peer.next_deadline():
            member.peer.on_tick(self.now)
            self._schedule_tick(member)

    # -- network

    def delay_s(self) -> float:
        """One network delay, drawn anew."""
        return self._rng.uniform(*self.conditions.delay_s)

    def carry(self, sender: AgentName, receiver: SimMember, received: Received) -> None:
        """Take a frame on its way, if the conditions let it pass."""
        self.frames += 1
        self.bytes += len(received.frame)
        copies = 2 if self._rng.random() < self.conditions.duplication else 1
        for _ in range(copies):
            if self._rng.random() >= self.conditions.loss:
                self.later(self.delay_s(), lambda: self._deliver(sender, receiver, received))

    def subscribers_of(self, address: str) -> list[tuple[SimMember, AgentName]]:
        """Who hears this publisher now, and under which name."""
        return [
            (member, name)
            for member in self.members.values()
            if member.running and address in member.transport.subscriptions.values()
            for name, heard in member.transport.subscriptions.items()
            if heard == address
        ]

    def listening_at(self, address: str) -> SimMember | None:
        """The running member at this router address, or None."""
        for member in self.members.values():
            if member.running and member.transport.router_address == address:
                return member
        return None

    def _deliver(self, sender: AgentName, receiver: SimMember, received: Received) -> None:
        agent = receiver.transport.agent
        if (
            receiver.running
            and self.members.get(agent) is receiver
            and frozenset({sender, agent}) not in self.cut
        ):
            receiver.peer.on_received(self.now, received)
            self._schedule_tick(receiver)

    def check(self) -> None:
        """Assert every running engine's invariants."""
        for member in self.members.values():
            if member.running:
                member.engine.check()
                member.peer.asks.check()

    def directories_are_equal(self) -> bool:
        """Whether every running member knows the same living agents at the same versions."""
        views = {
            frozenset(
                (m.agent, m.incarnation, m.version, m.lacks_record) for m in member.engine.members.living()
            )
            for member in self.members.values()
            if member.running
        }
        return len(views) <= 1


def _digest(topics: Iterable[str]) -> Digest:
    return Digest.of([Announced(topic, 1, 1.0) for topic in topics])
