"""One member of a simulated mesh: its end of the network, its clock, and how fast it handles what comes in.

A member that is slow or stopped keeps what comes in up to a high-water mark, as sockets do; frames beyond
it are lost and counted.
"""

from __future__ import annotations

from collections import deque
from random import Random
from typing import TYPE_CHECKING, Protocol

from node.net.peer import Peer
from node.net.transport import Received, TransportStatistics
from protocol.effects import Route
from protocol.gossip import GossipEngine
from protocol.names import AgentName

if TYPE_CHECKING:
    from node.net.simnet import SimMesh

QUEUE_FRAMES = 1000  # What a ZeroMQ socket keeps unless it is told otherwise.


class Participant(Protocol):
    """What the simulator needs of whoever takes part: a `Peer`, or a listener of a test."""

    def on_received(self, now: float, received: Received, /) -> None:
        """A frame came in."""

    def on_tick(self, now: float, /) -> None:
        """A deadline has passed."""

    def next_deadline(self) -> float:
        """When `on_tick` is due."""


class SimTransport:
    """One member's end of the simulated network; see `node.net.transport.Transport`."""

    def __init__(self, mesh: SimMesh, agent: AgentName, place: str) -> None:
        self._mesh, self.agent, self.place = mesh, agent, place
        self.router_address = f"tcp://{place}:1"
        self.publisher_address = f"tcp://{place}:2"
        self.subscriptions: dict[AgentName, str] = {}
        self.member: SimMember | None = None
        """Whose end this is, once it takes part."""
        self._wanted: dict[AgentName, str] = {}
        self._refused = 0

    def publish(self, frame: bytes) -> None:
        """To whoever subscribes at this moment."""
        mesh, received = self._mesh, None
        for hearer, name in mesh.hearers(self.publisher_address):
            if received is None or received.publisher != name:
                received = Received(frame, publisher=name)
            if hearer.member is not None:
                mesh.carry(self.agent, hearer.member, received)

    def send(self, route: Route, frame: bytes) -> bool:
        """To the member that listens at `route`, which is also the way back."""
        receiver = self._mesh.listening_at(route)
        if receiver is None:
            self._refused += 1
            return False
        self._mesh.carry(self.agent, receiver, Received(frame, route=Route(self.router_address)))
        return True

    def subscribe(self, agent: AgentName, address: str) -> None:
        """Takes effect after one delay, unless something else was wanted in between."""
        self._drop(agent)
        self._wanted[agent] = address
        self._mesh.later(self._mesh.network.delay_s(), self._connect, agent, address)

    def unsubscribe(self, agent: AgentName) -> None:
        """At once."""
        self._wanted.pop(agent, None)
        self._drop(agent)

    def cut_off(self) -> None:
        """Nothing: who hears is not asked here."""

    def statistics(self) -> TransportStatistics:
        """See `node.net.transport.Transport`. What overflows here is counted where it does: `overflowed`."""
        return TransportStatistics(
            subscriptions=len(self.subscriptions),
            hearers=len(self._mesh.hearers(self.publisher_address)),
            queue_frames=QUEUE_FRAMES if self.member is None else self.member.queue_frames,
            refused=self._refused,
        )

    def close(self) -> None:
        """Hear nobody any more."""
        self._wanted.clear()
        for agent in list(self.subscriptions):
            self._drop(agent)

    def _connect(self, agent: AgentName, address: str) -> None:
        if self._wanted.get(agent) == address and agent not in self.subscriptions:
            self.subscriptions[agent] = address
            self._mesh.hear(address, self, agent)

    def _drop(self, agent: AgentName) -> None:
        address = self.subscriptions.pop(agent, None)
        if address is not None:
            self._mesh.unhear(address, self, agent)


class SimMember:
    """A member and its end of the network; `running` is false while it is crashed or stopped."""

    __slots__ = (
        "_local_since",
        "_rate",
        "_since",
        "agent",
        "inbox",
        "keeps_frames",
        "overflowed",
        "participant",
        "queue_frames",
        "rng",
        "running",
        "service_s",
        "tick_at",
        "transport",
        "working",
    )

    def __init__(self, participant: Participant, transport: SimTransport) -> None:
        self.participant, self.transport, self.agent = participant, transport, transport.agent
        self.running, self.keeps_frames = True, False
        self.inbox: deque[Received] = deque()
        self.working = False
        self.service_s = 0.0
        """Seconds that each frame takes; 0 handles them as they come."""
        self.queue_frames, self.overflowed = QUEUE_FRAMES, 0
        self.rng: Random | None = None
        """What its engine draws from, where it has one."""
        self.tick_at = float("inf")
        self._since, self._local_since, self._rate = 0.0, 0.0, 1.0
        transport.member = self

    @property
    def peer(self) -> Peer:
        """The member's peer. Raises `TypeError` where it is a mere listener."""
        if not isinstance(self.participant, Peer):
            raise TypeError(f"{self.agent} has no engine")
        return self.participant

    @property
    def engine(self) -> GossipEngine:
        """The member's engine."""
        return self.peer.engine

    # -- its clock

    def local(self, now: float) -> float:
        """The member's own time at the mesh's `now`."""
        return self._local_since + (now - self._since) * self._rate

    def due(self, local: float) -> float:
        """The mesh's time at which the member's clock shows `local`."""
        return self._since + (local - self._local_since) / self._rate

    def set_clock(self, now: float, *, ahead_s: float = 0.0, drift: float = 0.0) -> None:
        """From `now` on its clock is `ahead_s` (0 or more) further, and runs 1 + `drift` times as fast."""
        if ahead_s < 0.0 or drift <= -1.0:
            raise ValueError("a monotonic clock neither goes back nor stands still")
        self._local_since, self._since, self._rate = self.local(now) + ahead_s, now, 1.0 + drift
