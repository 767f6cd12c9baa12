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
        environment = os.environ | {
            "AVM_MESH": config.mesh,
            "AVM_DATA_DIR": str(config.data_dir),
            "AVM_RUNTIME_DIR": str(config.runtime_dir),
            "AVM_PROFILE": config.profile,
            "AVM_DURABILITY": config.durability,
        }
        with self.log.open("wb") as log:
            # -P: a folder called `node` where the user happens to stand must not shadow ours.
            # A session of its own: Ctrl-C is for us, and we end them in order.
            self.process = subprocess.Popen(
                [sys.executable, "-P", "-m", "deploy.member", "node" if role == "agent" else role, name],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=log,
                env=environment,
                start_new_session=True,
            )

    def check(self) -> None:
        """Raise `MeshError` with its last words where it has ended."""
        status = self.process.poll()
        if status is not None:
            words = self.log.read_text(errors="replace").strip().splitlines()
            raise MeshError(f"{self.name} ended with status {status}: {words[-1] if words else 'no word'}")

    def kill(self) -> None:
        """SIGKILL: no goodbye."""
        self.process.kill()
        self.process.wait()


class Children:
    """Some of them. As a context manager it ends them all, however the block was left."""

    def __init__(self, config: NodeConfig) -> None:
        self._config = config
        self._children: dict[str, Child] = {}

    def start_node(self, name: str) -> Child:
        """A node for this agent."""
        return self._start(name, "agent")

    def start_librarian(self, name: str) -> Child:
        """A librarian."""
        return self._start(name, "librarian")

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

    def _start(self, name: str, role: Role) -> Child:
        with (
            interrupts_wait()
        ):  # Between its start and our knowing of it there is no moment to be interrupted.
            child = self._children[name] = Child(name, role, self._config)
        return child

    def __enter__(self) -> Children:
        return self

    def __exit__(self, *_: object) -> None:
        self.end()


def log_of(config: MeshConfig, name: str) -> Path:
    """Where a member that runs in the background writes its errors."""
    return config.folder / f"{name}.log"
