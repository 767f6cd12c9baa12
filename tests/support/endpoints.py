"""Members of the mesh with nothing behind them, and strangers that speak to them by raw sockets."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Protocol

import msgspec
import zmq

from node.net.address import split_key
from node.net.config import MeshConfig
from node.net.credentials import load_or_make
from node.net.endpoint import Endpoint
from node.net.peer import Hooks
from node.net.register import Register
from protocol import wire
from protocol.digest import Announced, Digest
from protocol.identity import Signer
from protocol.messages import Hello, Message, Record, Role, Welcome
from protocol.names import AgentName, check_agent_name
from protocol.wire import WIRE_VERSION
from tests.support.sockets import connect

Socket = zmq.Socket[bytes]


@contextmanager
def running(
    name: str,
    config: MeshConfig,
    *,
    role: Role = "agent",
    hooks: Hooks | None = None,
    commands: Mapping[str, Callable[..., Any]] | None = None,
    topics: tuple[str, ...] = (),
) -> Iterator[Endpoint]:
    """A member that knows `topics`, closed at the end."""
    agent = check_agent_name(name)
    endpoint = Endpoint(
        Register(config.folder).claim(agent),
        config,
        agent=agent,
        role=role,
        instance=int.from_bytes(agent.encode()[:7]),
        incarnation=1,
        hooks=hooks or Hooks(),
        commands=commands or {},
        topics=[Announced(topic, 1, 1.0) for topic in topics],
    )
    try:
        endpoint.start()
        yield endpoint
    finally:
        endpoint.close()


class Stranger:
    """A member by raw sockets: it says what it is told to, and answers nothing."""

    def __init__(
        self, context: zmq.Context[Socket], name: str, config: MeshConfig, role: Role = "agent"
    ) -> None:
        self.agent, self.role = AgentName(name), role
        self._context, self._connected = context, ""
        self.mesh = config.mesh
        self.credentials = load_or_make(config, self.agent, role)
        self.signer = Signer(self.credentials.sign_secret)
        self.router = context.socket(zmq.ROUTER)
        self.publisher = context.socket(zmq.XPUB)
        self.dealer = context.socket(zmq.DEALER)
        addresses = []
        for bound in (self.router, self.publisher):
            bound.setsockopt(zmq.CURVE_SERVER, 1)
            bound.setsockopt(zmq.CURVE_SECRETKEY, self.credentials.curve_secret)
            port = bound.bind_to_random_port("tcp://127.0.0.1")
            addresses.append(f"tcp://127.0.0.1:{port}")
        self.record = self.signed(self._record(*addresses))

    def _record(self, router: str, publisher: str) -> Record:
        epoch = self.credentials.charter.epochs[-1]
        return Record(
            agent=self.agent,
            instance=7,
            incarnation=1,
            version=1,
            role=self.role,
            router=router,
            publisher=publisher,
            digest=Digest.of([Announced("zebra", 1, 1.0)], key_epoch=epoch.number, key=epoch.key),
        )

    def signed(self, record: Record) -> Record:
        """As its owner says it."""
        return self.signer.sign(msgspec.structs.replace(record, signed_at=int(time.time())))

    def connect(self, address: str) -> None:
        """To this member and no other from now on, with our keys."""
        if self._connected:
            self.dealer.disconnect(self._connected)
        self._connected = split_key(address)[0]
        connect(self.dealer, address, (self.credentials.curve_key, self.credentials.curve_secret))

    @contextmanager
    def hearing(self, address: str) -> Iterator[Socket]:
        """A socket that hears what is published at this address with its key, by our keys."""
        with self._context.socket(zmq.SUB) as hearer:
            hearer.setsockopt(zmq.LINGER, 0)
            hearer.setsockopt(zmq.RECONNECT_IVL, 50)
            hearer.setsockopt(zmq.SUBSCRIBE, b"")
            connect(hearer, address, (self.credentials.curve_key, self.credentials.curve_secret))
            yield hearer

    def hello(self, **changed: Any) -> Hello:
        """How it introduces itself."""
        bare = Hello(self.mesh, WIRE_VERSION, WIRE_VERSION, self.record, self.credentials.certificate, 2**40)
        return msgspec.structs.replace(bare, **changed)

    def tell(self, message: Message, *, sender: str = "") -> None:
        """A direct message to whom we are connected to."""
        self.dealer.send(wire.encode(AgentName(sender) or self.agent, message))

    def publish(self, message: Message, *, sender: str = "") -> None:
        """To all who hear us."""
        self.publisher.send(wire.encode(AgentName(sender) or self.agent, message))

    def hear(self) -> Message:
        """The next answer on the connection we made, within 10 s."""
        assert self.dealer.poll(10_000), "no answer came"
        return wire.decode(self.dealer.recv())[1]

    def join(self) -> None:
        """Say hello, and be welcomed."""
        self.tell(self.hello())
        while not isinstance(self.hear(), Welcome):
            pass
        while self.dealer.poll(50):
            self.hear()


class Met(Protocol):
    """Whom a stranger comes to."""

    config: Any

    @property
    def address(self) -> str:
        """With its key."""


@contextmanager
def stranger(name: str, met: Met, *, joins: bool = True, role: Role = "agent") -> Iterator[Stranger]:
    """One that is connected to the router of `met`, with a certificate of its mesh; a member, if it joins."""
    context: zmq.Context[Socket] = zmq.Context()
    try:
        opened = Stranger(context, name, met.config, role)
        opened.connect(met.address)
        if joins:
            opened.join()
        yield opened
    finally:
        context.destroy(linger=0)
