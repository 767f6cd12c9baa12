"""Members of the mesh with nothing behind them, and strangers that speak to them by raw sockets."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import zmq

from node.net.config import MeshConfig
from node.net.endpoint import Endpoint
from node.net.peer import Hooks
from node.net.register import Register
from protocol import wire
from protocol.digest import Announced, Digest
from protocol.messages import Message, Record, Role
from protocol.names import AgentName, check_agent_name

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
        digest=Digest.of([Announced(topic, 1, 1.0) for topic in topics]),
    )
    try:
        endpoint.start()
        yield endpoint
    finally:
        endpoint.close()


def record_of(name: str, *, router: str, publisher: str, topics: tuple[str, ...] = ()) -> Record:
    """What a stranger says of itself."""
    return Record(
        agent=name,
        instance=7,
        incarnation=1,
        version=1,
        role="agent",
        router=router,
        publisher=publisher,
        digest=Digest.of([Announced(topic, 1, 1.0) for topic in topics]),
    )


class Stranger:
    """A member by raw sockets: it says what it is told to, and answers nothing."""

    def __init__(self, context: zmq.Context[Socket], name: str) -> None:
        self.agent = AgentName(name)
        self.router = context.socket(zmq.ROUTER)
        self.publisher = context.socket(zmq.XPUB)
        self.dealer = context.socket(zmq.DEALER)
        addresses = []
        for bound in (self.router, self.publisher):
            port = bound.bind_to_random_port("tcp://127.0.0.1")
            addresses.append(f"tcp://127.0.0.1:{port}")
        self.record = record_of(name, router=addresses[0], publisher=addresses[1], topics=("zebra",))

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


@contextmanager
def stranger(name: str, endpoint_address: str) -> Iterator[Stranger]:
    """One that is connected to the member at this router address."""
    context: zmq.Context[Socket] = zmq.Context()
    try:
        opened = Stranger(context, name)
        opened.dealer.connect(endpoint_address)
        yield opened
    finally:
        context.destroy(linger=0)
