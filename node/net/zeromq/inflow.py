"""Who sends without end: connections that take in far more than is ever taken from them are ended.

ZeroMQ keeps the parts of a message until its last one came, counts them in no queue, and shows us none of
them; its own bound is the size of one part. So on Linux we look from outside: where this process has grown,
what ZeroMQ read from each connection to our ports (TCP_INFO, without what the system still holds) is compared
with what came out of it as frames, and what held back more than `_MOST_BYTES` is shut down. ZeroMQ then
forgets what it had of the message.

Elsewhere nothing is looked at. Looking costs a few microseconds while this process does not grow.
"""

from __future__ import annotations

import os
import socket
import struct
import sys
from collections.abc import Iterable
from typing import Final

import zmq

if sys.platform == "linux":
    import fcntl
    import termios

_LOOK_S: Final = 0.008  # Between two looks whether this process has grown: a read of some microseconds.
_GROWN_BYTES: Final = 2 << 20  # Since the last look at all connections.
_MOST_BYTES: Final = 4 << 20  # Read by ZeroMQ and not taken by us, with our own queues drained.
_AROUND_BYTES: Final = 64  # A frame's envelope on the wire, at most.
_RECEIVED_AT: Final = 128  # Of `tcpi_bytes_received` in `struct tcp_info`.
_PAGE_BYTES: Final = 4096
_STATM: Final = "/proc/self/statm"


class Inflow:
    """Of the listeners at these ports, in one process."""

    def __init__(self, ports: Iterable[int]) -> None:
        self.ended = 0
        self._ports = frozenset(ports)
        self._taken: dict[int, int] = {}
        self._least = _resident() or 0
        self._look_at = 0.0
        self.is_of_use = bool(self._ports) and self._least > 0 and sys.platform == "linux"

    def took(self, frame: zmq.Frame, size: int) -> None:
        """A message of `size` bytes came out of the connection that `frame` belongs to."""
        if self.is_of_use:
            descriptor = int(frame.get(zmq.SRCFD))
            self._taken[descriptor] = self._taken.get(descriptor, 0) + size + _AROUND_BYTES

    def look(self, now: float) -> None:
        """End who sends without end, where it is time; nothing waits to be taken at this moment."""
        if not self.is_of_use or now < self._look_at:
            return
        self._look_at = now + _LOOK_S
        resident = _resident()
        self._least = min(self._least, resident)
        if resident - self._least < _GROWN_BYTES:
            return
        self._least = resident
        for descriptor in list(map(int, os.listdir("/proc/self/fd"))):
            self._examine(descriptor)

    def _examine(self, descriptor: int) -> None:
        try:
            opened = socket.socket(fileno=descriptor)
        except OSError:  # No socket, or closed meanwhile.
            self._taken.pop(descriptor, None)
            return
        try:
            at = opened.getsockname()
            if not isinstance(at, tuple) or at[1] not in self._ports:
                return
            told = opened.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _RECEIVED_AT + 8)
            (received,) = struct.unpack_from("=Q", told, _RECEIVED_AT)
            (unread,) = struct.unpack("=i", fcntl.ioctl(descriptor, termios.FIONREAD, bytes(4)))
            taken = min(self._taken.get(descriptor, 0), received)  # More was another connection's.
            self._taken[descriptor] = taken
            if received - unread - taken > _MOST_BYTES:
                opened.shutdown(socket.SHUT_RDWR)
                self._taken.pop(descriptor, None)
                self.ended += 1
        except (OSError, struct.error):  # A listener, or ended already.
            return
        finally:
            opened.detach()


def _resident() -> int:
    """Bytes of this process in memory; 0 where the system does not tell."""
    try:
        with open(_STATM, "rb") as file:
            return int(file.read().split()[1]) * _PAGE_BYTES
    except (OSError, ValueError, IndexError):
        return 0
