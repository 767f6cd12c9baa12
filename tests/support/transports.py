"""Two networks behind one face, so that one set of tests runs over both: sockets, and the simulation."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable
from typing import Protocol

from node.net.simnet import SimMesh, SimTransport
from node.net.transport import Received, Transport
from protocol.names import AgentName
from tests.support.sockets import OpenTransport

_STEP_S = 0.01
_STEPS = 1000


class World(Protocol):
    """Members that only listen. `received` is what came in for each, in order."""

    received: dict[str, list[Received]]

    def member(self, name: str) -> Transport:
        """One more."""

    def step(self) -> None:
        """Let a moment pass, and take in what came."""

    def close(self) -> None:
        """End it all."""


def until(world: World, condition: Callable[[], object], again: Callable[[], object] = lambda: None) -> None:
    """Step on until `condition`; `again` is done before each step, as for frames that may be lost."""
    for _ in range(_STEPS):
        if condition():
            return
        again()
        world.step()
    raise AssertionError(f"still not so after {_STEPS} steps")


class SimWorld:
    """In virtual time."""

    def __init__(self) -> None:
        self.received: dict[str, list[Received]] = defaultdict(list)
        self._mesh = SimMesh(seed=1)

    def member(self, name: str) -> Transport:
        """See `World`."""
        transport = SimTransport(self._mesh, AgentName(name), name)
        self._mesh.attach(_Listener(self.received[name]), transport)
        return transport

    def step(self) -> None:
        """See `World`."""
        self._mesh.run(seconds=_STEP_S)

    def close(self) -> None:
        """Nothing is open."""


class _Listener:
    def __init__(self, received: list[Received]) -> None:
        self._received = received

    def on_received(self, _now: float, received: Received) -> None:
        self._received.append(received)

    def on_tick(self, _now: float) -> None:
        """Never due."""

    def next_deadline(self) -> float:
        return float("inf")


class ZmqWorld:
    """On sockets of this host."""

    def __init__(self) -> None:
        self.received: dict[str, list[Received]] = defaultdict(list)
        self._transports: dict[str, OpenTransport] = {}

    def member(self, name: str) -> Transport:
        """See `World`."""
        self._transports[name] = OpenTransport()
        return self._transports[name]

    def step(self) -> None:
        """See `World`."""
        for name, transport in self._transports.items():
            transport.wait(0)
            self.received[name] += [one for one in transport.received() if isinstance(one, Received)]
        time.sleep(_STEP_S / 10)

    def close(self) -> None:
        """Close the sockets."""
        for transport in self._transports.values():
            transport.close()
