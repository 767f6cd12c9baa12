"""When no descriptors are left: go on with those there are, say so once, and recover.

ZeroMQ's listeners cannot be told to wait: while a connection stands in line that there is no descriptor for,
they try to take it in without a pause, which costs the I/O thread a core for as long as it lasts. So one
descriptor is kept in reserve. Given up for a moment, it lets those in line be taken in, by us or by ZeroMQ,
whoever is quicker, and hung up on; who was turned away comes again, ever later. (ZeroMQ would report the
failed attempts too, but its monitor blocks the I/O thread once a few thousand reports wait, and then nothing
moves at all.)

Invariant: the reserve is the only descriptor that is held for nothing.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import socket
import time
from collections.abc import Sequence

try:
    import resource
except ImportError:  # Windows, which has no such limit on sockets.
    resource = None  # type: ignore[assignment]

_log = logging.getLogger(__name__)

LOOK_S = 2.0  # Between two looks while all is well. Lower notices sooner, and wakes an idle member for it.
_HURRY_S = 0.1  # While there are none: the listeners spin until we have looked.
_ENOUGH = 16  # So many must be free again before we call it over, or it would begin again at once.
DEALERS = 128
"""Connections we made for direct frames. Each costs two descriptors, and its peer one."""
_OWN = 100
_MOST_HEARD = 32  # What protocol/overlay.py takes in at most, whatever is asked of it.
_TURN_S = 0.05  # Of one look, for hanging up; whoever still stands in line then waits for the next.
_TAKES_S = 0.001  # ZeroMQ's thread takes this to close what was ended.


class DescriptorGuard:
    """Looks after the descriptors of this process, for the listeners with these descriptors."""

    def __init__(self, listeners: Sequence[int]) -> None:
        self.are_out = False
        """Whether none was left at the last look."""
        self.times, self.turned_away = 0, 0
        self._listeners = listeners
        self._ports = {_port_of(descriptor) for descriptor in listeners}
        self._reserve: int | None = None
        self._number = -1
        self._last: object = None
        self._keep_a_reserve()
        self._look_at = 0.0

    @property
    def wait_s(self) -> float:
        """So long may pass until the next look."""
        return _HURRY_S if self.are_out else LOOK_S

    def look(self) -> bool:
        """Whether it was time to look; then `are_out` is what was found, and who stood in line is gone."""
        now = time.monotonic()
        if now < self._look_at:
            return False
        if self._reserve is None:
            self._keep_a_reserve()
        short = self._reserve is None or not _are_free(_ENOUGH if self.are_out else 1)
        if short and not self.are_out:
            self.times += 1
            _log.warning(
                "no descriptors are left, all %d of this process are in use: members that we do not hear yet "
                "and new connections have to wait; raise the limit (ulimit -n), see avm doctor",
                descriptor_limit(),
            )
        elif self.are_out and not short:
            _log.warning("there are descriptors again; %d connections were turned away", self.turned_away)
        self.are_out = short
        if short:
            self._turn_away()
        self._look_at = now + self.wait_s
        return True

    def close(self) -> None:
        """Give the reserve back. May be called twice."""
        self._listeners = ()
        if self._reserve is not None:
            os.close(self._reserve)
            self._reserve = None

    def _turn_away(self) -> None:
        """Hang up on who stands in line, by our own hand or ZeroMQ's: mostly it is quicker to take one in by
        the reserve, and then we end that connection, and it closes it.
        """
        if self._reserve is not None:
            os.close(self._reserve)
            self._reserve = None
        in_line, end = list(self._listeners), time.monotonic() + _TURN_S
        while in_line and time.monotonic() < end:
            listener = socket.socket(fileno=in_line[-1])
            try:
                came, _ = listener.accept()
            except BlockingIOError:
                in_line.pop()
            except OSError:
                self._end_what_was_taken_in()
                time.sleep(_TAKES_S)
            else:
                came.close()
                self.turned_away += 1
            finally:
                listener.detach()  # It is ZeroMQ's.
        self._keep_a_reserve()

    def _end_what_was_taken_in(self) -> None:
        """The connection that has the number of our reserve now, if it came by one of the listeners."""
        try:
            taken = socket.socket(fileno=self._number)
        except OSError:  # It has no number any more, or is no socket.
            return
        try:
            at, peer = taken.getsockname(), taken.getpeername()
            if isinstance(at, tuple) and at[1] in self._ports:
                taken.shutdown(socket.SHUT_RDWR)
                self.turned_away += peer != self._last
                self._last = peer
        except OSError:  # It is ended already.
            return
        finally:
            taken.detach()

    def _keep_a_reserve(self) -> None:
        self._reserve = _spare()
        if self._reserve is not None:
            self._number = self._reserve


def descriptor_limit(*, most: bool = False) -> int:
    """Descriptors that this process may have, or with `most` may allow itself; 0 where there is no limit."""
    if resource is None:
        return 0
    found = resource.getrlimit(resource.RLIMIT_NOFILE)[1 if most else 0]
    return 0 if found == resource.RLIM_INFINITY else found


def descriptors_needed(members: int, *, full_mesh: int) -> int:
    """Descriptors that a process with one member needs, at most, in a mesh of so many.

        100                         files, threads, commands and what the program has besides
        3 x heard                   a member heard takes two, one who hears us one
        2 x 128                     connections for direct frames
        members - 1                 as many of them that others made to us, at worst

    Up to `full_mesh` members all are heard, above that 32 at most, and 8 mostly.
    """
    others = max(0, members - 1)
    heard = others if members <= full_mesh else _MOST_HEARD
    return _OWN + 3 * heard + 2 * min(others, DEALERS) + others


def raise_descriptor_limit() -> None:
    """Let this process have as many as it may allow itself; for processes that are only a node."""
    if resource is not None:
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        if soft != hard:
            with contextlib.suppress(OSError, ValueError):  # macOS allows less than it says.
                resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def descriptors_open() -> int:
    """Descriptors that this process has, the one for looking included; 0 where the system does not tell."""
    for folder in ("/proc/self/fd", "/dev/fd"):
        try:
            return len(os.listdir(folder))
        except OSError as error:
            if error.errno == errno.EMFILE:
                return descriptor_limit()
    return 0


def _port_of(descriptor: int) -> int:
    listener = socket.socket(fileno=descriptor)
    try:
        port: int = listener.getsockname()[1]
        return port
    finally:
        listener.detach()


def _spare() -> int | None:
    try:
        return os.open(os.devnull, os.O_RDONLY)
    except OSError:
        return None


def _are_free(count: int) -> bool:
    taken: list[int] = []
    try:
        for _ in range(count):
            taken.append(os.open(os.devnull, os.O_RDONLY))  # noqa: PERF401
    except OSError:
        return False
    finally:
        for descriptor in taken:
            os.close(descriptor)
    return True
