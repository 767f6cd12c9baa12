"""Members that a nursery forks (see nursery.py): started, watched and ended through it."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import subprocess
import sys
import time

import msgspec

from deploy.children import environment_of, has_ended, log_of
from deploy.process import interrupts_wait
from node.config import NodeConfig
from protocol.errors import MeshError
from protocol.messages import Role

_END_S = 5.0
_END_EACH_S = 0.1  # Of CPU, for goodbyes that all hear.
_READ_BYTES = 1 << 16


class Forked:
    """`end` them, or `release` them to go on by themselves; nothing is left of the nursery then."""

    def __init__(self, config: NodeConfig, *, nursery: str = "deploy.nursery") -> None:
        """`nursery`: the module to run as one."""
        self.pids: dict[str, int] = {}
        self.config = config
        self._rest = b""
        config.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        environment = environment_of(config) | {"OPENBLAS_NUM_THREADS": "1"}  # No thread before the fork.
        with interrupts_wait():
            # -P: a folder called `node` where the user happens to stand must not shadow ours.
            # A session of its own: Ctrl-C is for us, and we end them in order.
            self._nursery = subprocess.Popen(
                [sys.executable, "-P", "-m", nursery],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                env=environment,
                start_new_session=True,
            )
        self._asked: set[str] = set()
        self._ended: dict[int | None, int] = {}

    def start(self, name: str, role: Role) -> None:
        """Have it forked; its number is in `pids` soon."""
        self._asked.add(name)
        self._say("start", name, "node" if role == "agent" else role, str(log_of(self.config, name)))

    def check(self) -> None:
        """Hear the nursery out. Raises `MeshError` where a member, or the nursery itself, has ended."""
        self._hear(0.0)
        if self._nursery.poll() is not None:
            raise MeshError(f"what starts the members has ended: {self._last_words()}")
        for name, pid in self.pids.items():
            if pid in self._ended:
                raise has_ended(name, self._ended[pid], log_of(self.config, name))

    def end(self) -> None:
        """End all: a goodbye first, SIGKILL for who does not heed it. Nothing happens after `release`."""
        assert self._nursery.stdin is not None
        if self._nursery.stdin.closed:
            return
        with interrupts_wait():
            try:
                for number in (signal.SIGTERM, signal.SIGKILL):
                    self._end(number)
            finally:
                self.release()

    def _end(self, number: signal.Signals) -> None:
        """Signal who is left, whoever is asked for and not forked yet included; wait for their ends."""
        if not self._left():
            return
        self._say("signal", number)
        deadline = time.monotonic() + _END_S + _END_EACH_S * len(self._asked)
        while self._left() and time.monotonic() < deadline:
            self._hear(deadline - time.monotonic())
            if self._nursery.poll() is not None:  # Then nobody but us knows of its children.
                for name in self._left() & self.pids.keys():
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(self.pids[name], signal.SIGTERM)
                return

    def release(self) -> None:
        """Let them go on. May be called twice."""
        with interrupts_wait():
            for pipe in (self._nursery.stdin, self._nursery.stdout, self._nursery.stderr):
                assert pipe is not None
                with contextlib.suppress(BrokenPipeError):
                    pipe.close()
            try:
                self._nursery.wait(_END_S)
            except subprocess.TimeoutExpired:
                self._nursery.kill()
                self._nursery.wait()

    def _left(self) -> set[str]:
        return {name for name in self._asked if self.pids.get(name) not in self._ended}

    def _say(self, *words: object) -> None:
        assert self._nursery.stdin is not None
        try:
            self._nursery.stdin.write(msgspec.json.encode(words) + b"\n")
            self._nursery.stdin.flush()
        except BrokenPipeError:  # It has ended; `check` says why.
            return

    def _hear(self, timeout_s: float) -> None:
        """Take what it has told, waiting for the first of it up to `timeout_s`."""
        assert self._nursery.stdout is not None
        source = self._nursery.stdout.fileno()
        while select.select([source], [], [], max(0.0, timeout_s))[0]:
            read = os.read(source, _READ_BYTES)
            if not read:
                with contextlib.suppress(subprocess.TimeoutExpired):
                    self._nursery.wait(_END_S)
                return
            *lines, self._rest = (self._rest + read).split(b"\n")
            for line in lines:
                self._take(line)
            timeout_s = 0.0

    def _take(self, line: bytes) -> None:
        match msgspec.json.decode(line):
            case ["started", str(name), int(pid)]:
                self.pids[name] = pid
            case ["ended", int(pid), int(status)]:
                self._ended[pid] = status

    def _last_words(self) -> str:
        assert self._nursery.stderr is not None
        words = self._nursery.stderr.read().decode(errors="replace").strip().splitlines()
        return words[-1] if words else f"status {self._nursery.returncode}, no word"
