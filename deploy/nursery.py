"""Where the members of a cluster come from on Linux: `python -m deploy.nursery`.

What a member is made of is loaded once, here, and each is forked from that: 50 ms of CPU for a start where a
process that loads for itself takes 600, and 12 MiB of its own where that has 26 (measured, see `cluster.py`
of the benchmarks). Each is a process of its own all the same, with its own sockets, files and threads:
before a fork nothing is open here but two pipes, and no other thread runs.

Lines of JSON come in, `["start", name, role, log]` and `["signal", number]`, to all that run, and go
out, `["started", name, pid]` and `["ended", pid, status]`. Only this process waits for its children, so that
whom it signals is never another. When its input ends it ends, and the members go on.
"""

from __future__ import annotations

import contextlib
import gc
import logging
import os
import selectors
import signal
import socket
import sys
import traceback
from collections.abc import Iterator
from pathlib import Path

import msgspec

from deploy import member

_READ_BYTES = 1 << 16


class Nursery:
    """One thread, no lock; `serve` returns when the input ends."""

    def __init__(self, source: int, target: int) -> None:
        self._source, self._target = source, target
        self._children: set[int] = set()
        self._rest = b""
        self._heard, self._told = socket.socketpair()
        for end in (self._heard, self._told):
            end.setblocking(False)

    def serve(self) -> None:
        """Do what comes in, and tell of children that ended."""
        signal.signal(signal.SIGCHLD, lambda _number, _frame: None)
        signal.set_wakeup_fd(self._told.fileno(), warn_on_full_buffer=False)
        with selectors.DefaultSelector() as selector:
            selector.register(self._source, selectors.EVENT_READ)
            selector.register(self._heard, selectors.EVENT_READ)
            while True:
                ready = {key.fd for key, _ in selector.select()}
                if self._heard.fileno() in ready:
                    with contextlib.suppress(BlockingIOError):
                        self._heard.recv(_READ_BYTES)
                    self._reap()
                if self._source in ready:
                    read = os.read(self._source, _READ_BYTES)
                    if not read:
                        return
                    for line in self._lines(read):
                        self._do(line)

    def _lines(self, read: bytes) -> Iterator[bytes]:
        *whole, self._rest = (self._rest + read).split(b"\n")
        yield from whole

    def _do(self, line: bytes) -> None:
        match msgspec.json.decode(line):
            case ["start", str(name), str(role), str(log)]:
                self._start(name, role, Path(log))
            case ["signal", int(number)]:
                for pid in self._children:
                    os.kill(pid, number)

    def _start(self, name: str, role: str, log: Path) -> None:
        threads = len(os.listdir("/proc/self/task"))
        if threads != 1:  # A lock that another thread holds at a fork is held for ever in the child.
            raise RuntimeError(f"{threads} threads run in the nursery, nothing can be forked")
        pid = os.fork()
        if pid == 0:
            self._become(name, role, log)
        self._children.add(pid)
        self._say("started", name, pid)

    def _become(self, name: str, role: str, log: Path) -> None:
        """The child's side: cut all ties with the nursery, be that member, end."""
        status = 1
        try:
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            os.setsid()
            nothing = os.open(os.devnull, os.O_RDWR)
            errors = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
            for number, opened in enumerate((nothing, nothing, errors)):
                os.dup2(opened, number)
            os.closerange(3, max(self._heard.fileno(), self._told.fileno(), nothing, errors) + 1)
            with contextlib.suppress(OSError):
                Path("/proc/self/comm").write_text(name)  # What `ps` and `top` show.
            status = member.main([role, name])
        except BaseException:  # noqa: BLE001  Whatever it is, the child must not go on as a second nursery.
            traceback.print_exc()
        finally:
            logging.shutdown()
            sys.stderr.flush()
            os._exit(status)

    def _reap(self) -> None:
        while self._children:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if pid == 0:
                return
            self._children.discard(pid)
            self._say("ended", pid, os.waitstatus_to_exitcode(status))

    def _say(self, *words: object) -> None:
        line = msgspec.json.encode(words) + b"\n"
        while line:
            line = line[os.write(self._target, line) :]


def main() -> None:
    """Load what members need, then serve."""
    import librarian  # noqa: F401
    import node.agent  # noqa: F401

    gc.collect()
    gc.freeze()  # What is here is never looked at again, so that its pages stay shared.
    Nursery(sys.stdin.fileno(), sys.stdout.fileno()).serve()


if __name__ == "__main__":
    main()
