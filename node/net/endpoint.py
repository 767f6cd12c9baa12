"""A member of the mesh on this host, all but what it is for: name, sockets, engine, thread, commands.

A node puts a memory behind it, a librarian a catalogue. Starting order matters: the name is claimed
before anything is opened, sockets are bound before the others of this host are looked up, and
nothing is heard before the owner called `start`.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable, Iterable
from random import SystemRandom

import msgspec

from node.net.address import with_key
from node.net.config import MeshConfig
from node.net.control import Commands, ControlServer
from node.net.driver import Driver, now
from node.net.peer import Hooks, Peer, PeerStatistics
from node.net.register import Claim, Entry, Register
from node.net.trust import Trust
from node.net.zeromq import ZmqTransport
from protocol.ask import AskTable
from protocol.digest import Announced, Digest
from protocol.effects import Effect, Halt, Route
from protocol.errors import MeshError, NodeClosed, from_code
from protocol.gossip import GossipEngine
from protocol.keyring import newest
from protocol.messages import Charter, Record, Role
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
        topics: Iterable[Announced] = (),
    ) -> None:
        """`claim` is ours from here on. Raises `AddressInUse` where we cannot listen, `InvalidInput` too, and
        where we have no certificate for `role`.
        """
        self.agent, self.config = agent, config
        self.started_at, self._started = time.time(), now()
        self.refusal: MeshError | None = None
        self.on_refusal: Callable[[], object] = lambda: None
        self._claim = claim
        self._register = Register(config.folder)
        self._control_path = self._register.control_path(agent)
        self._keeping: threading.Thread | None = None
        try:
            self._trust = Trust(config, agent, role, now=now())
            self.role = self._trust.role
            transport = ZmqTransport(
                config.listen,
                keys=self._trust.keys,
                advertise=config.advertise,
                control_path=self._control_path,
            )
        except BaseException:
            claim.release()
            raise
        hooks.on_halt, hooks.on_charter = self._halt, self._keep
        self.on_charter: Callable[[], object] = lambda: None
        self._on_tick, hooks.on_tick = hooks.on_tick, self._tick
        epoch, key = newest(self._trust.gate.keys)
        rng = SystemRandom()
        record = Record(
            agent=agent,
            instance=instance,
            incarnation=incarnation,
            version=1,
            role=self.role,
            router=transport.router_address,
            publisher=transport.publisher_address,
            digest=Digest.of(topics if self.role == "agent" else (), key_epoch=epoch, key=key),
        )
        engine = GossipEngine(
            record,
            mesh=config.mesh,
            profile=config.gossip,
            rng=rng,
            seeds=(*config.seeds, *self._trust.credentials.seeds),
            now=now(),
            gate=self._trust.gate,
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
                router=self.address,
                publisher=record.publisher,
                control=self._control_path,
                started_at=self.started_at,
            )
        )
        for entry in self._register.some_running(_SEEDS, besides=self.agent, rng=SystemRandom()):
            self.driver.peer.engine.add_seed(now(), entry.router)
        self.driver.start()

    @property
    def address(self) -> str:
        """Where others reach us, with the key they have to expect: a seed for them."""
        return with_key(self.driver.transport.router_address, self._trust.keys.public)

    @property
    def expires_at(self) -> int:
        """When our certificate does, in seconds since 1970."""
        return self._trust.expires_at

    def _tick(self, moment: float) -> Iterable[Effect]:
        charter = self._trust.look(moment)
        effects = [] if charter is None else self.driver.peer.engine.set_charter(moment, charter)
        return [*effects, *self._on_tick(moment)]

    def _keep(self, charter: Charter) -> None:
        """It is written by a thread of its own: all members of this host may do so at once, in turn."""
        self._wait_until_kept()
        self._keeping = threading.Thread(target=self._trust.keep, args=(charter,), name="avm-charter")
        self._keeping.start()
        self.on_charter()

    def _wait_until_kept(self) -> None:
        if self._keeping is not None:
            self._keeping.join()

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
                    address=member.route or "",
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
            return None if member is None or not member.is_living else member.route

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
        self._wait_until_kept()
        self._claim.release()

    def _on_control(self, frame: bytes, route: Route) -> None:
        self._control.on_frame(frame, route)

    def _halt(self, halt: Halt) -> None:
        if self.refusal is None:
            self.refusal = from_code(halt.code, halt.reason)
            _log.error("the mesh refused us: %s", self.refusal)
            self.on_refusal()
