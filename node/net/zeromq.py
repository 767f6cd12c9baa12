"""Frames over ZeroMQ. The only module that imports zmq.

    XPUB    bound     what we publish
    SUB     a member  what it publishes: a source with a name, that can be dropped
    ROUTER  bound     direct frames in, and the replies to them out
    DEALER  an address  direct frames out, and the replies to them in; the least recently used is closed
    ROUTER  bound, ipc  commands of the same user on this host

ZeroMQ's descriptors are edge-triggered, and sending may swallow an edge, also where it fails: a socket
that was sent on is looked at again before we wait (`_unsure`), and a readable one is drained
up to a bound and looked at again. There are no REQ sockets: they stick after a timeout.

What peers can make us hold is bounded: frames by their size and by `_QUEUED` for each connection, those we
open by `_DEALERS` and by the members, those they open by the descriptors that the system gives us.
"""

from __future__ import annotations

import contextlib
import logging
import math
import selectors
import socket
import sys
import time
from collections import OrderedDict
from collections.abc import Iterator
from typing import Any

import msgspec
import zmq

from node.net.address import split_address
from node.net.transport import Received
from protocol.effects import Route
from protocol.errors import AddressInUse, InvalidInput, NodeClosed, PeerSilent
from protocol.names import AgentName
from protocol.wire import MAX_FRAME_BYTES

_log = logging.getLogger(__name__)

Socket = zmq.Socket[bytes]

MAX_CONTROL_FRAME_BYTES = 64 * 1024 * 1024
_DEALERS = 128  # Open connections we made for direct frames; each costs two descriptors.
_DRAIN = 64  # Frames taken from one socket before the others have their turn.
_QUEUED = 256  # Frames that wait in one connection, each way: 32 MiB of the largest. Beyond, they are lost.
_SOCKETS = 8192  # ZeroMQ's own default of 1,023 is less than the members a mesh may have.
_SUBSCRIPTION_BYTES = 512  # Ours is empty; a handshake needs some 100 bytes, 500 with keys.
_CONNECT_S = 5.0  # For a command to be taken; a node that lives does so in a millisecond.
_GOODBYE_MS = 200  # At closing, so long for the last frames published.


class ControlReceived(msgspec.Struct, frozen=True):
    """One command of this host's user; `route` leads back."""

    frame: bytes
    route: Route


class ZmqTransport:
    """Binds on construction; `AddressInUse` where it cannot. One lock guards its sockets: its owner's.

    `wait` is called by one thread; every other method by whoever holds the owner's lock.
    """

    def __init__(self, listen: str, *, advertise: str = "", control_path: str = "") -> None:
        """`listen`: `tcp://host:port`, port 0 for any; the publisher takes the port after it, or any.

        `advertise`: the host that others reach us at, where it is not the one we listen on.
        `control_path`: where commands come in; none where empty.
        """
        host, port = split_address(listen)
        self._context = zmq.Context(io_threads=1)
        self._context.set(zmq.MAX_SOCKETS, _SOCKETS)
        self._selector = selectors.DefaultSelector()
        self._waker, self._alarm = socket.socketpair()
        self._waker.setblocking(False)
        self._alarm.setblocking(False)
        self._subscriptions: dict[AgentName, tuple[str, Socket]] = {}
        self._dealers: OrderedDict[str, Socket] = OrderedDict()
        self._unsure: set[Any] = set()
        self._ready: list[tuple[selectors.SelectorKey, int]] = []
        self._readers: dict[Any, Any] = {}
        try:
            self._router = self._open(zmq.ROUTER)
            self._router.setsockopt(zmq.ROUTER_MANDATORY, 1)
            self._publisher = self._open(zmq.XPUB, limit_bytes=_SUBSCRIPTION_BYTES)
            self.router_address = self._bind(self._router, host, port, advertise)
            self.publisher_address = self._bind(self._publisher, host, port + 1 if port else 0, advertise)
            self._control: Socket | None = None
            if control_path:
                self._control = self._open(zmq.ROUTER, limit_bytes=MAX_CONTROL_FRAME_BYTES)
                self._bind_control(self._control, control_path)
        except BaseException:
            self.close()
            raise
        self._selector.register(self._alarm, selectors.EVENT_READ, None)
        self._watch(self._router, lambda: self._receive_routed(self._router, "router:"))
        self._watch(self._publisher, self._receive_subscriptions)
        if self._control is not None:
            self._watch(self._control, self._receive_control)

    # -- sending

    def publish(self, frame: bytes) -> None:
        """See `Transport`. A subscriber over its high-water mark loses the frame."""
        self._publisher.send(frame, zmq.NOBLOCK)
        self._touched(self._publisher)

    def send(self, route: Route, frame: bytes) -> bool:
        """See `Transport`."""
        kind, _, rest = route.partition(":")
        sent_on: Socket | None = None
        try:
            if kind == "router":
                sent_on = self._router
                sent_on.send_multipart((bytes.fromhex(rest), frame), zmq.NOBLOCK)
            elif kind == "control" and self._control is not None:
                sent_on = self._control
                sent_on.send_multipart((bytes.fromhex(rest), frame), zmq.NOBLOCK)
            else:
                sent_on = self._dealer_to(route)
                sent_on.send(frame, zmq.NOBLOCK)
        except zmq.ZMQError as error:  # Full, gone, or no address at all: a lost frame, as any other.
            _log.debug("could not send to %s: %s", route, error)
            return False
        finally:
            if sent_on is not None:
                self._touched(sent_on)
        return True

    def subscribe(self, agent: AgentName, address: str) -> None:
        """See `Transport`."""
        known = self._subscriptions.get(agent)
        if known is not None and known[0] == address:
            return
        self.unsubscribe(agent)
        try:
            subscriber = self._connected(zmq.SUB, address)
        except zmq.ZMQError as error:  # No such address, or no descriptors left: `Sync` has to do.
            _log.warning("cannot subscribe to %s at %s: %s", agent, address, error)
            return
        subscriber.setsockopt(zmq.SUBSCRIBE, b"")
        self._subscriptions[agent] = (address, subscriber)
        self._watch(subscriber, lambda: self._receive_published(subscriber, agent))

    def unsubscribe(self, agent: AgentName) -> None:
        """See `Transport`."""
        known = self._subscriptions.pop(agent, None)
        if known is not None:
            self._unwatch(known[1])
            known[1].close(0)

    # -- waiting

    def wait(self, timeout_s: float) -> None:
        """Wait up to `timeout_s` for something to come in; the one method that needs no lock."""
        self._ready = self._selector.select(0 if self._unsure else max(0.0, timeout_s))

    def received(self) -> Iterator[Received | ControlReceived]:
        """What came in; every socket gives up to a bound of frames, so that each has its turn."""
        receivers = {key.data for key, _ in self._ready if key.data is not None}
        if len(receivers) < len(self._ready):
            with contextlib.suppress(BlockingIOError):
                self._alarm.recv(4096)
        receivers |= self._unsure
        self._unsure, self._ready = set(), []
        for receiver in receivers:
            yield from receiver()

    def wake(self) -> None:
        """Make `wait` return soon; from any thread, without the lock."""
        with contextlib.suppress(BlockingIOError, OSError):
            self._waker.send(b"!")

    def close(self) -> None:
        """Close every socket; what was published last has a moment to leave. May be called twice."""
        for sock in list(self._readers):
            self._unwatch(sock)
        self._selector.close()
        for alarm in (self._waker, self._alarm):
            alarm.close()
        self._context.destroy(linger=_GOODBYE_MS)

    @property
    def connections(self) -> tuple[int, int]:
        """How many members we hear, and how many connections we opened for direct frames."""
        return len(self._subscriptions), len(self._dealers)

    # -- inside

    def _open(self, kind: int, limit_bytes: int = MAX_FRAME_BYTES) -> Socket:
        opened: Socket = self._context.socket(kind)
        opened.setsockopt(zmq.LINGER, 0)
        opened.setsockopt(zmq.MAXMSGSIZE, limit_bytes)
        opened.setsockopt(zmq.SNDHWM, _QUEUED)
        opened.setsockopt(zmq.RCVHWM, _QUEUED)
        opened.setsockopt(zmq.RECONNECT_IVL, 100)
        opened.setsockopt(zmq.RECONNECT_IVL_MAX, 5000)
        opened.setsockopt(zmq.HEARTBEAT_IVL, 10_000)  # Finds connections whose other end is gone unsaid.
        opened.setsockopt(zmq.HEARTBEAT_TIMEOUT, 30_000)
        return opened

    def _connected(self, kind: int, address: str) -> Socket:
        """A socket of ours to `address`. Raises `ZMQError`, and leaves nothing open then."""
        opened = self._open(kind)
        try:
            if "[" in address:
                opened.setsockopt(zmq.IPV6, 1)
            opened.connect(address)
        except zmq.ZMQError:
            opened.close(0)
            raise
        return opened

    def _bind_control(self, bound: Socket, path: str) -> None:
        try:
            bound.bind(f"ipc://{path}")
        except zmq.ZMQError as error:
            raise InvalidInput(
                "runtime_dir", f"cannot listen on {path} ({error.strerror})", "use a local folder of your own"
            ) from None

    def _bind(self, bound: Socket, host: str, port: int, advertise: str) -> str:
        try:
            if host.startswith("["):
                bound.setsockopt(zmq.IPV6, 1)
            bound.bind(f"tcp://{host}:{port or '*'}")
        except zmq.ZMQError as error:
            if error.errno == zmq.EADDRINUSE:
                raise AddressInUse(
                    f"listen: tcp://{host}:{port} belongs to another process; "
                    "choose another port, or port 0 for any that is free"
                ) from None
            raise InvalidInput(
                "listen",
                f"cannot listen on tcp://{host}:{port} ({error.strerror})",
                "use an address of this host",
            ) from None
        _, actual = split_address(bound.getsockopt_string(zmq.LAST_ENDPOINT))
        return f"tcp://{advertise or host}:{actual}"

    def _dealer_to(self, address: str) -> Socket:
        dealer = self._dealers.get(address)
        if dealer is not None:
            self._dealers.move_to_end(address)
            return dealer
        dealer = self._connected(zmq.DEALER, address)
        self._dealers[address] = dealer
        self._watch(dealer, lambda: self._receive_replies(dealer, address))
        if len(self._dealers) > _DEALERS:
            _, oldest = self._dealers.popitem(last=False)
            self._unwatch(oldest)
            oldest.close(0)
        return dealer

    def _watch(self, opened: Socket, receiver: Any) -> None:
        self._readers[opened] = receiver
        self._selector.register(opened.fileno(), selectors.EVENT_READ, receiver)
        self._unsure.add(receiver)  # The edge of what is already there was before we looked.
        self.wake()

    def _unwatch(self, opened: Socket) -> None:
        receiver = self._readers.pop(opened, None)
        if receiver is not None:
            self._selector.unregister(opened.fileno())
            self._unsure.discard(receiver)

    def _touched(self, sent_on: Socket) -> None:
        """Sending may have swallowed the edge of something to read: look again, now rather than never."""
        if _is_readable(sent_on):
            self._unsure.add(self._readers[sent_on])
            self.wake()

    def _drained(self, opened: Socket) -> Iterator[list[bytes]]:
        """What is there to read, up to a bound; what is left over is taken up at the next wait."""
        for _ in range(_DRAIN):
            if opened.closed or not _is_readable(opened):
                return
            try:
                yield opened.recv_multipart(zmq.NOBLOCK)
            except zmq.Again:
                return
        receiver = self._readers.get(opened)
        if receiver is not None:  # Whoever took the last frame may have closed the socket.
            self._unsure.add(receiver)

    def _receive_routed(self, router: Socket, kind: str) -> Iterator[Received]:
        for parts in self._drained(router):
            if len(parts) == 2:
                yield Received(parts[1], route=Route(kind + parts[0].hex()))

    def _receive_control(self) -> Iterator[ControlReceived]:
        assert self._control is not None
        for parts in self._drained(self._control):
            if len(parts) == 2:
                yield ControlReceived(parts[1], Route("control:" + parts[0].hex()))

    def _receive_replies(self, dealer: Socket, address: str) -> Iterator[Received]:
        for parts in self._drained(dealer):
            if len(parts) == 1:
                yield Received(parts[0], route=Route(address))

    def _receive_published(self, subscriber: Socket, agent: AgentName) -> Iterator[Received]:
        for parts in self._drained(subscriber):
            if len(parts) == 1:
                yield Received(parts[0], publisher=agent)

    def _receive_subscriptions(self) -> Iterator[Received]:
        for _ in self._drained(self._publisher):  # Subscriptions are taken note of by ZeroMQ itself.
            yield from ()


class ControlConnection:
    """The other end of a control socket: one request at a time, and its reply.

    A connection that ended is replaced, so that no frame waits in it for a node that is started later.
    (ZMQ_IMMEDIATE would do that too, but it drops a reply that came just before the end.)
    """

    def __init__(self, path: str) -> None:
        self._path = path
        self._context = zmq.Context(io_threads=1)
        self._connect()

    def request(self, frame: bytes, *, timeout_s: float) -> bytes:
        """Send one frame, none where it is empty, and wait for one.

        Raises `NodeClosed` where nobody took the frame, `PeerSilent` where no reply came within
        `timeout_s`, or the node ended before it sent one.
        """
        if self._dealer.closed:
            raise NodeClosed("the connection to the node is closed")
        if frame:
            self._wait_connected()
            self._dealer.send(frame)
        end = time.monotonic() + timeout_s
        while True:
            left_ms = max(0, math.ceil((end - time.monotonic()) * 1000))
            ready = dict(self._poller.poll(left_ms))
            if self._dealer in ready:
                return self._dealer.recv()
            if self._ended():
                if self._dealer.poll(0):  # A reply that came between the two looks.
                    return self._dealer.recv()
                self._replace()
                raise PeerSilent("the node ended before it answered")
            if left_ms == 0:
                raise PeerSilent(f"the node did not answer within {timeout_s:g} s")

    def close(self) -> None:
        """Close the socket at once. May be called twice."""
        self._context.destroy(linger=0)

    def _connect(self) -> None:
        self._connected = False
        self._dealer: Socket = self._context.socket(zmq.DEALER)
        self._dealer.setsockopt(zmq.LINGER, 0)
        self._events = self._dealer.get_monitor_socket(zmq.EVENT_HANDSHAKE_SUCCEEDED | zmq.EVENT_DISCONNECTED)
        self._poller = zmq.Poller()
        self._poller.register(self._dealer, zmq.POLLIN)
        self._poller.register(self._events, zmq.POLLIN)
        self._dealer.connect(f"ipc://{self._path}")

    def _replace(self) -> None:
        self._dealer.disable_monitor()
        self._events.close(0)
        self._dealer.close(0)
        self._connect()

    def _wait_connected(self) -> None:
        if self._ended():
            self._replace()
        end = time.monotonic() + _CONNECT_S
        while not self._connected:
            left_ms = math.ceil((end - time.monotonic()) * 1000)
            if left_ms <= 0 or not self._events.poll(left_ms):
                raise NodeClosed("the node is gone, or takes no commands")
            self._ended()

    def _ended(self) -> bool:
        """Whether the connection ended since we looked last; takes note of where it was made."""
        ended = False
        with contextlib.suppress(zmq.Again):
            while True:
                told, *_ = self._events.recv_multipart(zmq.NOBLOCK)
                # By hand: ZeroMQ's own parser of events would load asyncio.
                self._connected = int.from_bytes(told[:2], sys.byteorder) == zmq.EVENT_HANDSHAKE_SUCCEEDED
                ended = ended or not self._connected
        return ended


def _is_readable(opened: Socket) -> bool:
    events = opened.getsockopt(zmq.EVENTS)
    return isinstance(events, int) and bool(events & zmq.POLLIN)
