"""The sockets by which a new host gets its first certificate: encrypted, for a few minutes, for one agent.

    ROUTER  bound  where it is invited, with a key pair of its own that is drawn for this one invitation
    DEALER         where it joins, with another; it knows the ROUTER's key from the line that was pasted

Whoever does not know that key gets no frame through CURVE's handshake, and is cut off after `_HANDSHAKE_MS`.
"""

from __future__ import annotations

import math
import socket
import time
from types import TracebackType
from typing import Final, Self

import zmq

from node.net.address import split_address
from node.net.keys import make_pair
from node.net.zeromq.sockets import Socket, bind, open_context, open_listener, open_socket
from protocol.errors import InvalidInput, PeerSilent

MAX_REQUEST_BYTES: Final = 1024
"""A request has some 200; CURVE's handshake, which is bounded alike, some 500."""
MAX_REPLY_BYTES: Final = 128 * 1024
_HANDSHAKE_MS: Final = 3000
_OVER: Final = "the invitation is over, the line is not whole, or a firewall is between; ask for a new line"
_WAITING: Final = 8  # Frames that wait in one connection.
_GOODBYE_MS: Final = 500  # At closing, so long for the last reply.


class EnrolmentListener:
    """Where a new host asks; `address` and `key` are told to it beforehand."""

    def __init__(self, listen: str, *, advertise: str = "") -> None:
        """Raises `AddressInUse` or `InvalidInput` where it cannot listen there."""
        host, port = split_address(listen)
        self.key, secret = make_pair()
        self._context = open_context()
        try:
            self._router = open_socket(self._context, zmq.ROUTER, MAX_REQUEST_BYTES)
            self._router.setsockopt(zmq.HANDSHAKE_IVL, _HANDSHAKE_MS)
            self._router.setsockopt(zmq.RCVHWM, _WAITING)
            self._router.setsockopt(zmq.SNDHWM, _WAITING)
            self._router.setsockopt(zmq.CURVE_SERVER, 1)
            self._router.setsockopt(zmq.CURVE_SECRETKEY, secret)
            with open_listener(host, port) as listener:
                bind(self._router, listener)
                self.address = f"tcp://{advertise or host}:{listener.getsockname()[1]}"
        except BaseException:
            self._context.destroy(linger=0)
            raise

    def receive(self, timeout_s: float) -> tuple[bytes, bytes] | None:
        """Who asks and what, one frame; None where nobody did in time."""
        if not self._router.poll(max(0, math.ceil(timeout_s * 1000))):
            return None
        sender, *frames = self._router.recv_multipart()
        return sender, frames[0] if len(frames) == 1 else b""

    def reply(self, sender: bytes, frame: bytes) -> None:
        """One frame to who asked; dropped where it is gone."""
        self._router.send_multipart([sender, frame])

    def close(self) -> None:
        """Close it when the last reply has left. May be called twice."""
        self._context.destroy(linger=_GOODBYE_MS)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class EnrolmentCall:
    """The connection of a new host to who invited it."""

    def __init__(self, address: str, key: bytes, *, timeout_s: float) -> None:
        """Raises `PeerSilent` where nobody listens there: ZeroMQ would try again for ever and not say why."""
        self._address = address
        host, port = split_address(address)
        try:
            socket.create_connection((host.strip("[]"), port), timeout_s).close()
        except (OSError, ValueError) as error:
            why = getattr(error, "strerror", None) or error
            raise PeerSilent(f"{address} cannot be reached ({why}): {_OVER}") from None
        public, secret = make_pair()
        self._context = open_context()
        try:
            self._dealer: Socket = open_socket(self._context, zmq.DEALER, MAX_REPLY_BYTES)
            self._dealer.setsockopt(zmq.CURVE_SERVERKEY, key)
            self._dealer.setsockopt(zmq.CURVE_PUBLICKEY, public)
            self._dealer.setsockopt(zmq.CURVE_SECRETKEY, secret)
            if "[" in address:
                self._dealer.setsockopt(zmq.IPV6, 1)
            self._dealer.connect(address)
        except zmq.ZMQError as error:
            self._context.destroy(linger=0)
            raise InvalidInput(
                "line", f"{address} cannot be connected to ({error.strerror})", "paste it whole"
            ) from None

    def request(self, frame: bytes, *, timeout_s: float) -> bytes:
        """Send one frame and wait for one. Raises `PeerSilent`."""
        end = time.monotonic() + timeout_s
        if self._dealer.poll(math.ceil(timeout_s * 1000), zmq.POLLOUT):
            self._dealer.send(frame)
            if self._dealer.poll(max(0, math.ceil((end - time.monotonic()) * 1000))):
                return self._dealer.recv()
        raise PeerSilent(f"{self._address} did not answer within {timeout_s:g} s: {_OVER}")

    def close(self) -> None:
        """What was sent last has a moment to leave. May be called twice."""
        self._context.destroy(linger=_GOODBYE_MS)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
