"""Nodes as processes of their own, to be stopped, killed and started again.

Run as a program, this module is such a process: `python -m tests.support.members NAME SETTINGS`.
"""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec

from deploy.process import run_until_stopped
from node import MemoryNode, NodeConfig

_ROOT = Path(__file__).resolve().parents[2]


class MemberProcess:
    """A node in a process of its own; `address` is where others reach it."""

    def __init__(self, agent: str, config: NodeConfig) -> None:
        """Returns once it is ready; fails with what it wrote where it does not become so."""
        settings = msgspec.to_builtins(config, enc_hook=str)
        self.process = subprocess.Popen(
            [sys.executable, "-m", __name__, agent, msgspec.json.encode(settings).decode()],
            cwd=_ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line.startswith("ready at "):
            _, errors = self.process.communicate()
            raise AssertionError(f"{agent} did not start: {line}{errors}")
        self.address = line.removeprefix("ready at ").strip()

    @property
    def pid(self) -> int:
        """The process's number."""
        return self.process.pid

    def send(self, number: signal.Signals) -> None:
        """A signal to it, if it lives."""
        self.process.send_signal(number)

    def kill(self) -> None:
        """End it as a crash does. May be called twice."""
        self.process.kill()
        self.process.communicate()


@contextmanager
def member_process(agent: str, config: NodeConfig) -> Iterator[MemberProcess]:
    """A node's process, killed at the end."""
    member = MemberProcess(agent, config)
    try:
        yield member
    finally:
        member.kill()


def _path(kind: type, value: object) -> object:
    assert kind is Path, kind
    return Path(str(value))


def _main(agent: str, settings: str) -> None:
    values: Any = msgspec.json.decode(settings)
    config = msgspec.convert(values, NodeConfig, dec_hook=_path)
    run_until_stopped(lambda stop: MemoryNode(agent, config=config, on_stop=stop))


if __name__ == "__main__":
    _main(*sys.argv[1:])
