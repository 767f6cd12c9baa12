"""A simulated mesh: the real engine and the real frames under a virtual clock and a seeded network.

Equal seeds and equal calls give equal runs, so that a failing one can be replayed. Subscribing takes
a network delay, as it does on sockets: who publishes at once is not heard.

One heap holds all that is to come: (time, number, action, its arguments). The number keeps the order of
equal times, and makes that nothing behind it is ever compared.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, ItemsView, Iterable
from random import Random
from typing import Any, Final

from node.net.peer import Hooks, Peer
from node.net.simconditions import Conditions, Network
from node.net.simmember import Participant, SimMember, SimTransport
from node.net.simwire import SharedDecoder
from node.net.transport import Received
from protocol.ask import AskTable
from protocol.digest import EMPTY, Announced, Digest
from protocol.effects import Route
from protocol.gossip import GossipEngine
from protocol.messages import Record, Records, Role, Welcome
from protocol.names import AgentName
from protocol.profile import Profile
from protocol.shortlist import Lead
from protocol.wire import WIRE_VERSION

__all__ = ["Conditions", "SimMember", "SimMesh", "SimTransport"]

_NOBODY: Final[dict[SimTransport, AgentName]] = {}
_MESH: Final = "sim"
_NUDGE_S: Final = 1e-6  # After a tick: a clock that drifts rounds, and may find that it came too early.


class SimMesh:
    """Members, a clock and a network. Times are seconds since the start of the simulation."""

    def __init__(
        self, *, seed: int = 0, profile: Profile | None = None, conditions: Conditions | None = None
    ) -> None:
        self.seed, self.now = seed, 0.0
        self.profile = profile or Profile.lan()
        self.members: dict[AgentName, SimMember] = {}
        self.frames = self.bytes = self.events = 0
        self._rng = Random(seed)
        self.network = Network(self._rng, conditions or Conditions())
        self.decoder = SharedDecoder()
        self._heap: list[tuple[float, int, Callable[..., None], tuple[Any, ...]]] = []
        self._numbered = 0
        self._routers: dict[str, SimMember] = {}
        self._hearers: dict[str, dict[SimTransport, AgentName]] = {}
        self._incarnations: dict[AgentName, int] = {}
        self._starts = 0

    @property
    def conditions(self) -> Conditions:
        """What the network does to frames from now on."""
        return self.network.conditions

    @conditions.setter
    def conditions(self, conditions: Conditions) -> None:
        self.network.conditions = conditions

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
        same_address: bool = False,
    ) -> SimMember:
        """Start a member, or start it again, that knows the addresses of `seeds`.

        One that starts again has a higher incarnation, and a new address unless it keeps the `same_address`.
        """
        agent = AgentName(name)
        before = self.members.get(agent)
        if before is not None:
            self._end(before)
        incarnation = self._incarnations.get(agent, 0) + 1
        self._incarnations[agent] = incarnation
        self._starts += 1
        place = before.transport.place if before is not None and same_address else f"{name}-{self._starts}"
        transport = SimTransport(self, agent, place)
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
        rng = Random(self._rng.getrandbits(64))
        addresses = [self.members[AgentName(seed)].transport.router_address for seed in seeds]
        engine = GossipEngine(
            record,
            mesh=_MESH,
            profile=self.profile,
            rng=rng,
            seeds=addresses,
            now=self.now,
        )
        asks = AskTable(first_request=self._rng.getrandbits(32))
        hooks = hooks or Hooks()
        hooks.on_incarnation = lambda incarnation: self._incarnations.__setitem__(agent, incarnation)
        member = self.attach(Peer(engine, asks, transport, hooks, decode=self.decoder), transport)
        member.rng = rng
        return member

    def attach(self, participant: Participant, transport: SimTransport) -> SimMember:
        """Let `participant` take part at its end of the network."""
        member = SimMember(participant, transport)
        self.members[member.agent] = member
        self._routers[transport.router_address] = member
        self._schedule_tick(member)
        return member

    def reseed(self, seed: int) -> None:
        """All that is drawn from now on, by the network and by every engine, depends on `seed` alone."""
        self.seed = seed
        self._rng.seed(seed)
        for member in self.members.values():
            if member.rng is not None:
                member.rng.seed(self._rng.getrandbits(64))

    def acquaint(self, *, progress: Callable[[int], None] = lambda _done: None) -> None:
        """Let every running member have heard every other one's own announcement, without the time it takes.

        The state of a mesh that has been up for long, for runs in which the start is not what is looked at.
        Costs 20 us a pair; `progress` is told how many members are done.
        """
        running = [member for member in self.members.values() if member.running]
        said = [(member.agent, Records((member.engine.record,))) for member in running]
        for done, member in enumerate(running):
            local = member.local(self.now)
            for sender, records in said:
                if sender != member.agent:
                    member.peer.perform(local, member.engine.on_message(local, sender, None, records))
            self._schedule_tick(member)
            progress(done + 1)

    def welcome(self) -> None:
        """Whoever has not joined is told that it has, the rest of `acquaint`: members look for lost ones at
        moments that are drawn then.
        """
        for member in self.members.values():
            if member.running and not member.engine.joined:
                local = member.local(self.now)
                seed = next(one for one in self.members.values() if one is not member)
                word, route = Welcome(_MESH, WIRE_VERSION, ()), Route(seed.transport.router_address)
                member.peer.perform(local, member.engine.on_message(local, seed.agent, route, word))
                self._schedule_tick(member)

    def learn(self, name: str, topics: Iterable[str]) -> None:
        """The member's topics are these from now on."""
        member = self.members[AgentName(name)]
        local = member.local(self.now)
        member.peer.perform(local, member.engine.set_digest(local, _digest(topics)))
        self._schedule_tick(member)

    def who_knows(self, name: str, topic: str, *, limit: int = 100) -> list[Lead]:
        """What this member would answer now."""
        member = self.members[AgentName(name)]
        return member.engine.directory.who_knows([topic], now=member.local(self.now), limit=limit)

    def crash(self, name: str) -> None:
        """The process is gone: nothing is said, nothing heard."""
        self._end(self.members[AgentName(name)])

    def stop(self, name: str, *, keeps_frames: bool = False) -> None:
        """The process is stopped for a while, as by SIGSTOP; `resume` lets it go on.

        What comes in meanwhile is lost; with `keeps_frames` it waits, up to `SimMember.queue_frames`.
        """
        member = self.members[AgentName(name)]
        member.running, member.keeps_frames = False, keeps_frames

    def resume(self, name: str) -> None:
        """Go on where `stop` left off, with what has been kept first."""
        member = self.members[AgentName(name)]
        if self._routers.get(member.transport.router_address) is not member:
            raise ValueError(f"{name} is not stopped but gone")
        member.running, member.keeps_frames = True, False
        self._work(member)
        self._schedule_tick(member)

    def slow(self, name: str, *, service_s: float, queue_frames: int | None = None) -> None:
        """Each frame takes the member so long from now on; 0 makes it quick again."""
        member = self.members[AgentName(name)]
        member.service_s = service_s
        if queue_frames is not None:
            member.queue_frames = queue_frames
        self._work(member)

    def skew(self, name: str, *, ahead_s: float = 0.0, drift: float = 0.0) -> None:
        """The member's clock jumps ahead, and runs 1 + `drift` times as fast from now on."""
        member = self.members[AgentName(name)]
        member.set_clock(self.now, ahead_s=ahead_s, drift=drift)
        member.tick_at = float("inf")
        self._schedule_tick(member)

    def leave(self, name: str) -> None:
        """A graceful end."""
        member = self.members[AgentName(name)]
        local = member.local(self.now)
        member.peer.perform(local, member.engine.leave(local))
        self._end(member)

    def partition(self, left: Iterable[str], right: Iterable[str]) -> None:
        """Nothing passes between the two groups until `heal`."""
        self.network.cut(left, right, mutual=True)

    def cut_one_way(self, senders: Iterable[str], receivers: Iterable[str]) -> None:
        """What `senders` say does not reach `receivers` until `heal`; the other way all is well."""
        self.network.cut(senders, receivers, mutual=False)

    def heal(self) -> None:
        """Every cut is mended."""
        self.network.cuts.clear()

    def _end(self, member: SimMember) -> None:
        member.running = member.keeps_frames = False
        member.inbox.clear()
        member.transport.close()
        if self._routers.get(member.transport.router_address) is member:
            del self._routers[member.transport.router_address]

    # -- time

    def run(self, *, seconds: float) -> None:
        """Let so much virtual time pass."""
        end, heap, pop = self.now + seconds, self._heap, heapq.heappop
        while heap and heap[0][0] <= end:
            self.now, _, action, arguments = pop(heap)
            self.events += 1
            action(*arguments)
        self.now = end

    def later(self, delay_s: float, action: Callable[..., None], *arguments: Any) -> None:
        """Do `action` after `delay_s`."""
        self._numbered += 1
        heapq.heappush(self._heap, (self.now + delay_s, self._numbered, action, arguments))

    def _schedule_tick(self, member: SimMember, least_s: float = 0.0) -> None:
        """A tick at the member's deadline, unless one as early is on its way; `least_s` from now at least."""
        if not member.running:
            return
        deadline = member.participant.next_deadline()
        if deadline == float("inf"):
            member.tick_at = deadline
            return
        due = max(self.now + least_s, member.due(deadline))
        if due < member.tick_at:
            member.tick_at = due
            self._numbered += 1
            heapq.heappush(self._heap, (due, self._numbered, self._tick, (member, due)))

    def _tick(self, member: SimMember, due: float) -> None:
        if member.tick_at != due:
            return  # An earlier one took its place.
        member.tick_at = float("inf")
        if not member.running:
            return
        member.participant.on_tick(member.local(self.now))
        self._schedule_tick(member, _NUDGE_S)

    # -- network

    def carry(self, sender: AgentName, receiver: SimMember, received: Received) -> None:
        """Take a frame on its way, if the conditions let it pass."""
        self.frames += 1
        self.bytes += len(received.frame)
        for delay_s in self.network.fate(self.now, sender, receiver.agent):
            self._numbered += 1
            heapq.heappush(
                self._heap,
                (self.now + delay_s, self._numbered, self._deliver, (sender, receiver, received)),
            )

    def hearers(self, address: str) -> ItemsView[SimTransport, AgentName]:
        """Who hears this publisher now, and under which name."""
        return self._hearers.get(address, _NOBODY).items()

    def hear(self, address: str, transport: SimTransport, name: AgentName) -> None:
        """For transports: what is published at `address` reaches `transport`, as from `name`."""
        self._hearers.setdefault(address, {})[transport] = name

    def unhear(self, address: str, transport: SimTransport, name: AgentName) -> None:
        """For transports: it does so no more."""
        hearers = self._hearers.get(address, _NOBODY)
        if hearers.get(transport) == name:
            del hearers[transport]
            if not hearers:
                del self._hearers[address]

    def listening_at(self, address: str) -> SimMember | None:
        """The member at this router address, or None where nobody takes frames."""
        member = self._routers.get(address)
        return member if member is not None and (member.running or member.keeps_frames) else None

    def _deliver(self, sender: AgentName, receiver: SimMember, received: Received) -> None:
        if self.network.cuts and not self.network.passes(sender, receiver.agent):
            return
        if receiver.running and not receiver.service_s and not receiver.inbox:
            receiver.participant.on_received(receiver.local(self.now), received)
            self._schedule_tick(receiver)
        elif receiver.running or receiver.keeps_frames:
            if len(receiver.inbox) >= receiver.queue_frames:
                receiver.overflowed += 1
                return
            receiver.inbox.append(received)
            if receiver.running and not receiver.working:
                receiver.working = True
                self.later(receiver.service_s, self._serve, receiver)

    def _work(self, member: SimMember) -> None:
        """Begin to handle what waits."""
        if member.inbox and not member.working:
            member.working = True
            self._serve(member)

    def _serve(self, member: SimMember) -> None:
        """One frame of those that wait, or all of them where none takes time."""
        while member.running and member.inbox:
            member.participant.on_received(member.local(self.now), member.inbox.popleft())
            if member.service_s:
                break
        self._schedule_tick(member)
        member.working = member.running and bool(member.inbox)
        if member.working:
            self.later(member.service_s, self._serve, member)

    # -- what should hold

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
