"""The sockets of one member, and their descriptors.

    ROUTER  inside    who may connect, see admission.py
    XPUB    bound     what we publish
    SUB     a member  what it publishes: a source with a name, that can be dropped
    ROUTER  bound     direct frames in, and the replies to them out
    DEALER  an address  direct frames out, and the replies to them in; closed where it was not used for long
    ROUTER  bound, ipc  commands of the same user on this host

ZeroMQ's descriptors are edge-triggered, and sending may swallow an edge, also where it fails: a socket
that was sent on is looked at again before we wait (`_unsure`), and a readable one is drained
up to a bound and looked at again. There are no REQ sockets: they stick after a timeout.

Waking is dear: an idle member handles a frame in less time than the machine takes to come back to it. So
where many are heard, what they publish is collected: after some was taken in, the next is left waiting for
`_COLLECT_S`. The first after a pause is taken at once, and so is all that is sent to us alone.

What peers can make us hold is bounded: frames by their size and by `QUEUE_FRAMES` for each connection, those
we open by `DEALERS` and by the members, those they open by the descriptors that the system gives us.
"""

from __future__ import annotations

import contextlib
import logging
import selectors
import socket
import time
from collections import OrderedDict
from collections.abc import Iterator
from typing import Any

import msgspec
import zmq

from node.net.address import split_address
from node.net.keys import SocketKeys
from node.net.transport import Received, TransportStatistics
from node.net.zeromq.admission import Admission
from node.net.zeromq.descriptors import DEALERS, DescriptorGuard, descriptor_limit, descriptors_open
from node.net.zeromq.inflow import Inflow
from node.net.zeromq.sockets import (
    MAX_CONTROL_FRAME_BYTES,
    PUBLISHER_DOMAIN,
    QUEUE_FRAMES,
    ROUTER_DOMAIN,
    SUBSCRIPTION_BYTES,
    Socket,
    bind,
    bind_control,
    connect,
    is_readable,
    open_context,
    open_door,
    open_listener,
    open_socket,
)
from protocol.effects import Route
from protocol.errors import InvalidInput
from protocol.names import AgentName
from protocol.wire import MAX_FRAME_BYTES

_log = logging.getLogger(__name__)

_UNUSED_S = 300.0
# A DEALER that nothing was sent on for so long is closed. Keep it above the time in which each of the reserve
# is probed or compared with (about a minute), or its connection is made anew each time. Higher holds more.
_COLLECT_S = 0.1
# So long published frames are left to collect. With 60 members that is 9 rounds a second instead of 60. News
# that comes right behind other frames is late by as much. Higher saves little more.
_COLLECT_FROM = 32  # Members heard. Below, so few come in that time that looking again costs as much.
_DRAIN = 64  # Frames taken from one socket before the others have their turn.
_STRANGERS_S, _MEMBERS_S = 0.01, 1.0
# So often it is looked who sends without end, at least: while somebody is connected who is no member, and
# otherwise. Lower bounds what that costs tighter, and wakes an idle member more often.
_PARTS = 2  # Of a message: the way back and the frame.
_GOODBYE_MS = 200  # At closing, so long for the last frames published.
_ALARM, _PUBLISHED = "alarm", "published"


class ControlReceived(msgspec.Struct, frozen=True):
    """One command of this host's user; `route` leads back."""

    frame: bytes
    route: Route


class ZmqTransport:
    """Binds on construction; `AddressInUse` where it cannot. One lock guards its sockets: its owner's.

    `wait` is called by one thread; every other method by whoever holds the owner's lock.
    """

    def __init__(self, listen: str, *, keys: SocketKeys, advertise: str = "", control_path: str = "") -> None:
        """`listen`: `tcp://host:port`, port 0 for any; the publisher takes the port after it, or any.

        `keys`: ours; every tcp socket speaks CURVE with them.
        `advertise`: the host that others reach us at, where it is not the one we listen on.
        `control_path`: where commands come in; none where empty.
        """
        host, port = split_address(listen)
        self._keys = keys
        self._context = open_context()
        self._selector = selectors.DefaultSelector()
        self._waker, self._alarm = socket.socketpair()
        self._waker.setblocking(False)
        self._alarm.setblocking(False)
        self._subscriptions: dict[AgentName, tuple[str, Socket]] = {}
        self._unheard: dict[AgentName, str] = {}
        self._dealers: OrderedDict[str, tuple[Socket, float]] = OrderedDict()
        self._unsure: set[Any] = set()
        self._ready: list[tuple[selectors.SelectorKey, int]] = []
        self._readers: dict[Any, tuple[Any, selectors.BaseSelector]] = {}
        self._published = selectors.DefaultSelector()  # Of those whom we hear; nested in the other.
        self._can_collect = hasattr(self._published, "fileno")
        self._collected_at: float | None = None
        """When the published frames that wait are looked at; None where each of them wakes us."""
        self._hearers = self._overflows = self._refused = 0
        self._guard, self._inflow = DescriptorGuard(()), Inflow(())
        self._inflow_wait_s = _MEMBERS_S
        self._listeners: list[socket.socket] = []
        try:
            self._admission = Admission(self._context, keys)
            self._router = open_door(self._context, zmq.ROUTER, keys, ROUTER_DOMAIN, MAX_FRAME_BYTES)
            self._router.setsockopt(zmq.ROUTER_MANDATORY, 1)
            self._publisher = self._open_publisher()
            self._listeners = [open_listener(host, port)]
            self._listeners.append(open_listener(host, port + 1 if port else 0))
            bind(self._router, self._listeners[0])
            bind(self._publisher, self._listeners[1])
            self.router_address, self.publisher_address = (
                f"tcp://{advertise or host}:{listener.getsockname()[1]}" for listener in self._listeners
            )
            self._guard.close()
            self._guard = DescriptorGuard([listener.fileno() for listener in self._listeners])
            self._inflow = Inflow(listener.getsockname()[1] for listener in self._listeners)
            self._control: Socket | None = None
            if control_path:
                self._control = open_socket(self._context, zmq.ROUTER, MAX_CONTROL_FRAME_BYTES)
                bind_control(self._control, control_path)
        except BaseException:
            self.close()
            raise
        self._selector.register(self._alarm, selectors.EVENT_READ, _ALARM)
        if self._can_collect:
            self._selector.register(self._published, selectors.EVENT_READ, _PUBLISHED)
        self._watch(self._admission.socket, self._receive_requests)
        self._watch(self._router, self._receive_routed)
        self._watch(self._publisher, self._receive_subscriptions)
        if self._control is not None:
            self._watch(self._control, self._receive_control)

    # -- sending

    def publish(self, frame: bytes) -> None:
        """See `Transport`. A subscriber over its high-water mark loses the frame."""
        try:
            self._publisher.send(frame, zmq.NOBLOCK)
        except zmq.Again:  # A queue is full: nobody was sent it yet. The others are, now.
            self._overflows += 1
            self._publisher.setsockopt(zmq.XPUB_NODROP, 0)
            self._publisher.send(frame, zmq.NOBLOCK)
            self._publisher.setsockopt(zmq.XPUB_NODROP, 1)
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
        except (
            zmq.ZMQError,
            InvalidInput,
        ) as error:  # Full, gone, no address: a lost frame.
            self._refused += 1
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
            subscriber, key = connect(self._context, zmq.SUB, address, self._keys)
        except (
            zmq.ZMQError,
            InvalidInput,
        ) as error:  # No such address, or no descriptors left: `Sync` has to do.
            level = logging.DEBUG if self._unheard else logging.WARNING  # The first tells it all.
            _log.log(level, "cannot subscribe to %s at %s: %s", agent, address, error)
            self._unheard[agent] = address
            return
        subscriber.setsockopt(zmq.SUBSCRIBE, b"")
        self._subscriptions[agent] = (address, subscriber)
        self._watch(subscriber, lambda: self._receive_published(subscriber, agent, key), published=True)

    def cut_off(self) -> None:
        """See `Transport`: every connection to our publisher is closed, and made again by who may."""
        self._unwatch(self._publisher)
        self._publisher.close(0)
        self._hearers = 0
        self._publisher = self._open_publisher()
        bind(self._publisher, self._listeners[1])
        self._watch(self._publisher, self._receive_subscriptions)

    def unsubscribe(self, agent: AgentName) -> None:
        """See `Transport`."""
        self._unheard.pop(agent, None)
        known = self._subscriptions.pop(agent, None)
        if known is not None:
            self._unwatch(known[1])
            known[1].close(0)

    # -- waiting

    def wait(self, timeout_s: float) -> None:
        """Wait up to `timeout_s` for something to come in; the one method that needs no lock."""
        timeout_s = min(timeout_s, self._guard.wait_s, self._inflow_wait_s)
        if self._collected_at is not None:
            timeout_s = min(timeout_s, self._collected_at - time.monotonic())
        self._ready = self._selector.select(0 if self._unsure else max(0.0, timeout_s))

    def received(self) -> Iterator[Received | ControlReceived]:
        """What came in; every socket gives up to a bound of frames, so that each has its turn."""
        ready = {key.data for key, _ in self._ready}
        if _ALARM in ready:
            with contextlib.suppress(BlockingIOError):
                self._alarm.recv(4096)
        if _PUBLISHED in ready or self._collected_at is not None:
            ready |= self._collected()
        receivers = (ready - {_ALARM, _PUBLISHED}) | self._unsure
        self._unsure, self._ready = set(), []
        for receiver in receivers:
            yield from receiver()
        self._admission.look()
        now = time.monotonic()
        self._inflow_wait_s = _STRANGERS_S if self._admission.has_strangers(now) else _MEMBERS_S
        if not self._unsure:
            self._inflow.look(now)
        if self._guard.look():
            self._tidy()

    def _collected(self) -> set[Any]:
        """The receivers of what was published, if it is time; and when the next are looked at."""
        now = time.monotonic()
        if self._collected_at is not None and now < self._collected_at:
            return set()
        found = {key.data for key, _ in self._published.select(0)}
        if found and (self._collected_at is not None or len(self._subscriptions) >= _COLLECT_FROM):
            if self._collected_at is None:
                self._selector.unregister(self._published)
            self._collected_at = now + _COLLECT_S
        elif self._collected_at is not None:
            self._selector.register(self._published, selectors.EVENT_READ, _PUBLISHED)
            self._collected_at = None
        return found

    def wake(self) -> None:
        """Make `wait` return soon; from any thread, without the lock."""
        with contextlib.suppress(BlockingIOError, OSError):
            self._waker.send(b"!")

    def close(self) -> None:
        """Close every socket; what was published last has a moment to leave. May be called twice."""
        for sock in list(self._readers):
            self._unwatch(sock)
        self._selector.close()
        self._published.close()
        self._guard.close()
        for ours in (self._waker, self._alarm, *self._listeners):
            ours.close()
        self._context.destroy(linger=_GOODBYE_MS)

    def statistics(self) -> TransportStatistics:
        """See `Transport`. Lists the descriptors of the process: 50 us for a hundred."""
        return TransportStatistics(
            subscriptions=len(self._subscriptions),
            unheard=len(self._unheard),
            hearers=self._hearers,
            dealers=len(self._dealers),
            queue_frames=QUEUE_FRAMES,
            descriptors=descriptors_open(),
            descriptor_limit=descriptor_limit(),
            times_out=self._guard.times,
            turned_away=self._guard.turned_away,
            overflows=self._overflows,
            refused=self._refused,
        )

    # -- inside

    def _open_publisher(self) -> Socket:
        opened = open_door(self._context, zmq.XPUB, self._keys, PUBLISHER_DOMAIN, SUBSCRIPTION_BYTES)
        opened.setsockopt(zmq.XPUB_NODROP, 1)
        opened.setsockopt(zmq.XPUB_VERBOSER, 1)  # Tell of each that comes or goes: `_hearers`.
        return opened

    def _dealer_to(self, address: str) -> Socket:
        known = self._dealers.pop(address, None)
        if known is not None:
            self._dealers[address] = known[0], time.monotonic()
            return known[0]
        dealer, key = connect(self._context, zmq.DEALER, address, self._keys)
        self._dealers[address] = dealer, time.monotonic()
        self._watch(dealer, lambda: self._receive_replies(dealer, address, key))
        if len(self._dealers) > DEALERS:
            self._close_dealer()
        return dealer

    def _close_dealer(self) -> None:
        """The one that was not used for longest."""
        _, (dealer, _) = self._dealers.popitem(last=False)
        self._unwatch(dealer)
        dealer.close(0)

    def _tidy(self) -> None:
        """Give back what is not used, more of it where others wait for it, and try again what failed."""
        if self._guard.are_out:
            for _ in range((len(self._dealers) + 1) // 2):
                self._close_dealer()
            return
        if self._dealers:
            used_at = next(iter(self._dealers.values()))[1]
            if time.monotonic() - used_at > _UNUSED_S:
                self._close_dealer()
        if self._unheard:
            agent, address = next(iter(self._unheard.items()))
            self.subscribe(agent, address)

    def _watch(self, opened: Socket, receiver: Any, *, published: bool = False) -> None:
        selector = self._published if published and self._can_collect else self._selector
        self._readers[opened] = receiver, selector
        selector.register(opened.fileno(), selectors.EVENT_READ, receiver)
        self._unsure.add(receiver)  # The edge of what is already there was before we looked.
        self.wake()

    def _unwatch(self, opened: Socket) -> None:
        receiver, selector = self._readers.pop(opened, (None, None))
        if selector is not None:
            selector.unregister(opened.fileno())
            self._unsure.discard(receiver)

    def _touched(self, sent_on: Socket) -> None:
        """Sending may have swallowed the edge of something to read: look again, now rather than never."""
        if is_readable(sent_on):
            self._unsure.add(self._readers[sent_on][0])
            self.wake()

    def _drained(self, opened: Socket) -> Iterator[list[zmq.Frame]]:
        """What is there to read, up to a bound; what is left over is taken up at the next wait. Of a message
        of many parts only so many are kept that it can be told from a right one.
        """
        for _ in range(_DRAIN):
            if opened.closed or not is_readable(opened):
                return
            try:
                parts = [opened.recv(zmq.NOBLOCK, copy=False)]
                size_bytes = len(parts[0])
                while parts[-1].more:
                    part = opened.recv(zmq.NOBLOCK, copy=False)
                    size_bytes += len(part)
                    parts[_PARTS:] = [part]
            except zmq.Again:
                return
            if opened is self._router:
                self._inflow.took(parts[0], size_bytes)
            yield parts
        known = self._readers.get(opened)
        if known is not None:  # Whoever took the last frame may have closed the socket.
            self._unsure.add(known[0])

    def _receive_requests(self) -> Iterator[Received]:
        self._admission.serve()
        self._touched(self._admission.socket)
        yield from ()

    def _receive_routed(self) -> Iterator[Received]:
        for parts in self._drained(self._router):
            if len(parts) == 2:
                key = bytes.fromhex(str(parts[1].get("User-Id")))
                yield Received(parts[1].bytes, route=Route("router:" + parts[0].bytes.hex()), key=key)

    def _receive_control(self) -> Iterator[ControlReceived]:
        assert self._control is not None
        for parts in self._drained(self._control):
            if len(parts) == 2:
                yield ControlReceived(parts[1].bytes, Route("control:" + parts[0].bytes.hex()))

    def _receive_replies(self, dealer: Socket, address: str, key: bytes) -> Iterator[Received]:
        for parts in self._drained(dealer):
            if len(parts) == 1:
                yield Received(parts[0].bytes, route=Route(address), key=key)

    def _receive_published(self, subscriber: Socket, agent: AgentName, key: bytes) -> Iterator[Received]:
        for parts in self._drained(subscriber):
            if len(parts) == 1:
                yield Received(parts[0].bytes, publisher=agent, key=key)

    def _receive_subscriptions(self) -> Iterator[Received]:
        for parts in self._drained(self._publisher):
            wish = parts[0].bytes
            if wish in (b"\x01", b"\x00"):  # Others hear nothing, as every frame begins with its version.
                self._hearers += 1 if wish == b"\x01" else -1
            elif self._admission.is_enough(bytes.fromhex(str(parts[0].get("User-Id")))):
                _log.warning("hung up on a member that subscribes to what nobody publishes")
                self.cut_off()
            yield from ()
