"""Members of this machine as processes we start, and end again if that was the purpose or something fails."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from deploy.process import interrupts_wait
from node.config import NodeConfig
from node.net.config import MeshConfig
from protocol.errors import MeshError
from protocol.messages import Role

_END_S = 5.0


class Child:
    """One member's process. Its errors go to `log`."""

    def __init__(self, name: str, role: Role, config: NodeConfig) -> None:
        self.name, self.log = name, log_of(config, name)
        self.log.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with self.log.open("wb") as log:
            # -P: a folder called `node` where the user happens to stand must not shadow ours.
            # A session of its own: Ctrl-C is for us, and we end them in order.
            self.process = subprocess.Popen(
                [sys.executable, "-P", "-m", "deploy.member", "node" if role == "agent" else role, name],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=log,
                env=environment_of(config),
                start_new_session=True,
            )

    def check(self) -> None:
        """Raise `MeshError` with its last words where it has ended."""
        status = self.process.poll()
        if status is not None:
            raise has_ended(self.name, status, self.log)

    def kill(self) -> None:
        """SIGKILL: no goodbye."""
        self.process.kill()
        self.process.wait()


class Children:
    """Some of them. As a context manager it ends them all, however the block was left."""

    def __init__(self, config: NodeConfig) -> None:
        self._config = config
        self._children: dict[str, Child] = {}

    @property
    def pids(self) -> dict[str, int]:
        """Their processes, by name."""
        return {name: child.process.pid for name, child in self._children.items()}

    def start_node(self, name: str) -> None:
        """A node for this agent."""
        self.start(name, "agent")

    def start_librarian(self, name: str) -> None:
        """A librarian."""
        self.start(name, "librarian")

    def start(self, name: str, role: Role) -> None:
        """Either of them."""
        # Between its start and our knowing of it there is no moment to be interrupted.
        with interrupts_wait():
            self._children[name] = Child(name, role, self._config)

    def release(self) -> None:
        """Let them go on by themselves."""
        self._children.clear()

    def end(self, names: Sequence[str] | None = None) -> None:
        """End these, or all: a goodbye first, SIGKILL for who does not heed it."""
        with interrupts_wait():
            self._end(names)

    def _end(self, names: Sequence[str] | None) -> None:
        chosen = [
            self._children.pop(name) for name in names or list(self._children) if name in self._children
        ]
        for child in chosen:
            with contextlib.suppress(ProcessLookupError):
                child.process.terminate()
        for child in chosen:
            try:
                child.process.wait(_END_S)
            except subprocess.TimeoutExpired:
                child.kill()

    def kill(self, name: str) -> None:
        """End this one without a goodbye."""
        self._children.pop(name).kill()

    def check(self) -> None:
        """Raise `MeshError` where one has ended by itself."""
        for child in self._children.values():
            child.check()

    def __enter__(self) -> Children:
        return self

    def __exit__(self, *_: object) -> None:
        self.end()


def log_of(config: MeshConfig, name: str) -> Path:
    """Where a member that runs in the background writes its errors."""
    return config.folder / f"{name}.log"


def environment_of(config: NodeConfig) -> dict[str, str]:
    """The environment of a member's process: ours, and these settings."""
    return os.environ | {
        "AVM_MESH": config.mesh,
        "AVM_DATA_DIR": str(config.data_dir),
        "AVM_RUNTIME_DIR": str(config.runtime_dir),
        "AVM_CREDENTIALS_DIR": str(config.credentials_dir),
        "AVM_PROFILE": config.profile,
        "AVM_DURABILITY": config.durability,
    }


def has_ended(name: str, status: int, log: Path) -> MeshError:
    """The error for a member that ended by itself: its status, its last words, its log."""
    words = log.read_text(errors="replace").strip().splitlines() if log.exists() else []
    return MeshError(f"{name} ended with status {status}: {words[-1] if words else 'no word'} (log: {log})")
