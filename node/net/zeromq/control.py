"""The other end of a control socket: what a command uses to speak to a node of its user."""

from __future__ import annotations

import contextlib
import math
import sys
import time

import zmq

from node.net.zeromq.sockets import Socket
from protocol.errors import NodeClosed, PeerSilent

_CONNECT_S = 5.0  # For a command to be taken; a node that lives does so in a millisecond.


class ControlConnection:
    """One request at a time, and its reply.

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
