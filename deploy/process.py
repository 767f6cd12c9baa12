"""A member as a process of its own: from start to a clean end by Ctrl-C, SIGTERM or the command *stop*.

A signal only writes a byte into a socket, which is read when everything has started: none of them can
strike in the middle of a step. (`sigwait` would miss those that the system gives to a thread of a library.)
"""

from __future__ import annotations

import logging
import signal
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Protocol

from node.net.zeromq import raise_descriptor_limit

ENDING = (signal.SIGINT, signal.SIGTERM)


class Member(Protocol):
    """What a node and a librarian have in common."""

    @property
    def address(self) -> str:
        """Where other members reach it."""

    def on_refusal(self, action: Callable[[], object]) -> None:
        """Do `action` when the mesh refuses it."""

    def check(self) -> None:
        """Raise what the mesh refused it for, if it did."""

    def close(self) -> None:
        """Say goodbye and close everything."""


def run_until_stopped(start: Callable[[Callable[[], object]], Member]) -> None:
    """Start a member with `start(stop)`, and close it when the process is to end; `stop` makes it end.

    Raises what the mesh refused the member for, where that ended it.
    """

    raise_descriptor_limit()
    heard, told = socket.socketpair()
    told.setblocking(False)
    handlers = {number: signal.signal(number, _ignore) for number in ENDING}
    signal.set_wakeup_fd(told.fileno(), warn_on_full_buffer=False)
    try:
        member = start(lambda: told.send(b"!"))
        try:
            member.on_refusal(lambda: told.send(b"!"))
            print(f"ready at {member.address}", flush=True)
            heard.recv(1)
            member.check()
        finally:
            member.close()
    finally:
        signal.set_wakeup_fd(-1)
        for number, handler in handlers.items():
            signal.signal(number, handler)
        heard.close()
        told.close()


def _ignore(_number: int, _frame: object) -> None:
    """What is to be done is done by who reads the socket."""


def log_to_stderr(level: str) -> None:
    """One line a record: time, level, logger, message; ids and counts, never a memory's text."""
    logging.basicConfig(
        level=level.upper(),
        stream=sys.stderr,
        format="%(asctime)s %(levelname)s %(name)s: %(message)s",
    )


@contextmanager
def interrupts_wait() -> Iterator[None]:
    """Ctrl-C and SIGTERM take effect after the block, as `KeyboardInterrupt`; in the main thread only."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    came: list[int] = []
    before = {number: signal.signal(number, lambda number, _: came.append(number)) for number in ENDING}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    if came:
        raise KeyboardInterrupt
