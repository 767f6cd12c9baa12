"""Runs one peer on real sockets and a real clock: waits, feeds, performs. One thread, one lock.

The lock guards the peer, its engine and its sockets. The thread holds it while it works and
not while it waits, so that a caller may take it and use the peer directly: a lookup in
the directory costs no hand-over to another thread.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeout

from node.net.peer import Peer
from node.net.transport import Received
from node.net.zeromq import ControlReceived, ZmqTransport
from protocol.ask import Outcome
from protocol.effects import Halt, Route
from protocol.errors import MeshError, NodeClosed, PeerRefused
from protocol.messages import Request
from protocol.names import AgentName

_log = logging.getLogger(__name__)

_LONGEST_WAIT_S = 5.0
_GRACE_S = 0.05  # Past its deadline, an ask is ended by its caller: the thread may be busy.

now = time.monotonic
"""The clock of everything that is driven here, in seconds."""


class Driver:
    """Starts at `start`, ends at `stop`; a peer is never driven twice."""

    def __init__(
        self, peer: Peer, transport: ZmqTransport, on_control: Callable[[bytes, Route], None] | None = None
    ) -> None:
        self.peer, self.transport = peer, transport
        self.lock = threading.RLock()
        self._on_control = on_control
        self._leaving = self._stopping = False
        self._pending: set[Future[Outcome]] = set()
        self._thread = threading.Thread(target=self._run, name=f"avm-{peer.engine.name}", daemon=True)

    def start(self) -> None:
        """Begin to gossip."""
        self._thread.start()

    def leave(self) -> None:
        """Say goodbye to the mesh, and end what we ask of it; commands are still answered.

        May be called twice.
        """
        with self.lock:
            if self._leaving:
                return
            self._leaving = True
            moment = now()
            self.peer.perform(moment, self.peer.engine.leave(moment))
            for future in self._pending:
                future.set_exception(NodeClosed("the node was closed before its peers answered"))
            self._pending.clear()

    def stop(self) -> None:
        """Leave, end the thread and close the sockets. May be called twice."""
        self.leave()
        self._stopping = True
        self.transport.wake()
        if self._thread.is_alive():
            self._thread.join()
        with self.lock:
            self.transport.close()

    def send(self, route: Route, frame: bytes) -> None:
        """A raw frame along `route`; from any thread. Nothing happens once we are stopping."""
        with self.lock:
            if not self._stopping:
                self.transport.send(route, frame)

    def ask(
        self,
        peers: Mapping[AgentName, Route],
        make: Callable[[int, AgentName], Request],
        *,
        timeout_s: float,
    ) -> PendingAsk:
        """Ask `peers` at once; the answers are collected while the caller goes on. From any thread."""
        pending = PendingAsk(self, timeout_s)
        with self.lock:
            if self._leaving:
                raise NodeClosed("the node is closed")
            self._pending.add(pending.future)
            try:
                self.peer.ask(now(), peers, make, timeout_s=timeout_s, done=pending.settle)
            except OverflowError as error:
                self._pending.discard(pending.future)
                raise PeerRefused(f"too much is asked at once: {error}") from None
        return pending

    def forget(self, future: Future[Outcome]) -> bool:
        """End a pending ask; False where it was ended already. The lock is held."""
        if future not in self._pending:
            return False
        self._pending.remove(future)
        return True

    def _run(self) -> None:
        try:
            while not self._stopping:
                self._round()
        finally:
            if not self._stopping:  # An error of ours: better an end than a member that hears nobody.
                self.peer.hooks.on_halt(Halt(MeshError.code, "the node's own thread failed; start it again"))

    def _round(self) -> None:
        with self.lock:
            timeout_s = min(self.peer.next_deadline() - now(), _LONGEST_WAIT_S)
        self.transport.wait(timeout_s)
        with self.lock:
            for received in self.transport.received():
                self._take(received)
            if not self._stopping:
                self.peer.on_tick(now())

    def _take(self, received: Received | ControlReceived) -> None:
        if self._stopping:
            return
        if isinstance(received, Received):
            self.peer.on_received(now(), received)
        elif self._on_control is not None:
            self._on_control(received.frame, received.route)


class PendingAsk:
    """Answers under way."""

    def __init__(self, driver: Driver, timeout_s: float) -> None:
        self.future: Future[Outcome] = Future()
        self._driver, self._deadline = driver, now() + timeout_s

    def wait(self) -> Outcome:
        """Until all answered or the deadline passed; `NodeClosed` where the node is closed before.

        Any thread but the driver's.
        """
        try:
            return self.future.result(max(0.0, self._deadline - now()) + _GRACE_S)
        except FutureTimeout:
            with self._driver.lock:
                self._driver.peer.expire(now())
        return self.future.result(0)

    def settle(self, outcome: Outcome) -> None:
        """The outcome is there. The driver's lock is held."""
        if self._driver.forget(self.future):
            self.future.set_result(outcome)
