"""A member of the mesh on this host, all but what it is for: name, sockets, engine, thread, commands.

A node puts a memory behind it, a librarian a catalogue. Starting order matters: the name is claimed
before anything is opened, sockets are bound before the others of this host are looked up, and
nothing is heard before the owner called `start`.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable
from random import SystemRandom

import msgspec

from node.net.config import MeshConfig
from node.net.control import Commands, ControlServer
from node.net.driver import Driver, now
from node.net.peer import Hooks, Peer, PeerStatistics
from node.net.register import Claim, Entry, Register
from node.net.zeromq import ZmqTransport
from protocol.ask import AskTable
from protocol.digest import EMPTY, Digest
from protocol.effects import Halt, Route
from protocol.errors import MeshError, NodeClosed, from_code
from protocol.gossip import GossipEngine
from protocol.messages import Record, Role
from protocol.names import AgentName

_log = logging.getLogger(__name__)

_SEEDS = 5  # Members of this host to greet: a few, and always the oldest, so that all are connected.


class MemberInfo(msgspec.Struct, frozen=True, kw_only=True):
    """A member as this one sees it. `heard_s`: seconds since it was last heard, 0 for ourselves."""

    agent: str
    role: str
    status: str
    incarnation: int
    version: int
    topics: int
    digest_bytes: int
    error: float
    address: str
    heard_s: float


class Endpoint:
    """One running member. `close` says goodbye; until then a thread of its own gossips."""

    def __init__(
        self,
        claim: Claim,
        config: MeshConfig,
        *,
        agent: AgentName,
        role: Role,
        instance: int,
        incarnation: int,
        hooks: Hooks,
        commands: Commands,
        digest: Digest = EMPTY,
    ) -> None:
        """`claim` is ours from here on. Raises `AddressInUse` or `InvalidInput` where we cannot listen."""
        self.agent, self.config, self.role = agent, config, role
        self.started_at, self._started = time.time(), now()
        self.refusal: MeshError | None = None
        self.on_refusal: Callable[[], object] = lambda: None
        self._claim = claim
        self._register = Register(config.folder)
        self._control_path = self._register.control_path(agent)
        try:
            transport = ZmqTransport(
                config.listen, advertise=config.advertise, control_path=self._control_path
            )
        except BaseException:
            claim.release()
            raise
        hooks.on_halt = self._halt
        rng = SystemRandom()
        record = Record(
            agent=agent,
            instance=instance,
            incarnation=incarnation,
            version=1,
            role=role,
            router=transport.router_address,
            publisher=transport.publisher_address,
            digest=digest,
        )
        engine = GossipEngine(
            record, mesh=config.mesh, profile=config.gossip, rng=rng, seeds=config.seeds, now=now()
        )
        peer = Peer(engine, AskTable(first_request=rng.getrandbits(48)), transport, hooks)
        self.driver = Driver(peer, transport, self._on_control)
        self._control = ControlServer(commands, self.driver.send)

    def start(self) -> None:
        """Register, greet the others of this host, begin to gossip."""
        record = self.driver.peer.engine.record
        self._claim.publish(
            Entry(
                agent=self.agent,
                role=self.role,
                pid=os.getpid(),
                router=record.router,
                publisher=record.publisher,
                control=self._control_path,
                started_at=self.started_at,
            )
        )
        for entry in self._register.some_running(_SEEDS, besides=self.agent, rng=SystemRandom()):
            self.driver.peer.engine.add_seed(now(), entry.router)
        self.driver.start()

    def check(self) -> None:
        """Raise what the mesh refused us for, if it did, or `NodeClosed`."""
        if self.refusal is not None:
            raise self.refusal.with_traceback(None)  # It would keep the frames of all who were told before.

    def members(self) -> list[MemberInfo]:
        """All members we know, ourselves and the lately dead included, by name."""
        with self.driver.lock:
            engine, moment = self.driver.peer.engine, now()
            known = [
                MemberInfo(
                    agent=member.agent,
                    role=member.record.role if member.record else "agent",
                    status=member.status,
                    incarnation=member.incarnation,
                    version=member.version,
                    topics=member.record.digest.topics if member.record else 0,
                    digest_bytes=member.record.digest.size_bytes if member.record else 0,
                    error=member.record.digest.error if member.record else 0.0,
                    address=member.record.router if member.record else "",
                    heard_s=0.0 if member.agent == self.agent else max(0.0, moment - member.heard_at),
                )
                for member in engine.members
            ]
        return sorted(known, key=lambda info: info.agent)

    def statistics(self) -> PeerStatistics:
        """What we know of how we are doing."""
        with self.driver.lock:
            return self.driver.peer.statistics(now())

    @property
    def clock_shift_s(self) -> float:
        """By how much the system's clock was set since the start; below 0 where it was set back."""
        return (time.time() - self.started_at) - (now() - self._started)

    def route_to(self, agent: AgentName) -> Route | None:
        """Where direct messages for `agent` go; None where it is unknown or not living."""
        with self.driver.lock:
            member = self.driver.peer.engine.members.get(agent)
            if member is None or member.record is None or not member.is_living:
                return None
            return Route(member.record.router)

    def role_of(self, agent: AgentName) -> Role | None:
        """The role of a living member; None where it is unknown. The driver's lock is held."""
        member = self.driver.peer.engine.members.get(agent)
        if member is None or member.record is None or not member.is_living:
            return None
        return member.record.role

    def librarians(self) -> list[tuple[AgentName, Route]]:
        """The living librarians and where to ask them, by name."""
        with self.driver.lock:
            return sorted(self.driver.peer.engine.librarians.items())

    def agents(self) -> int:
        """How many living agents we hold a record of, ourselves included if we are one."""
        with self.driver.lock:
            return len(self.driver.peer.engine.directory)

    def close(self) -> None:
        """Say goodbye, finish the commands that run, free the name. May be called twice."""
        self.driver.leave()
        if self.refusal is None:
            self.refusal = NodeClosed("the node is closed")
        self._control.close()
        self.driver.stop()
        self._claim.release()

    def _on_control(self, frame: bytes, route: Route) -> None:
        self._control.on_frame(frame, route)

    def _halt(self, halt: Halt) -> None:
        if self.refusal is None:
            self.refusal = from_code(halt.code, halt.reason)
            _log.error("the mesh refused us: %s", self.refusal)
            self.on_refusal()
