"""Every setting of a node, with its unit."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, Self

import msgspec
import platformdirs

from node.net.config import MeshConfig, home, load
from protocol.errors import InvalidInput
from protocol.names import AgentName

_DEVICE = re.compile(r"[a-z]{2,16}(:\d{1,2})?")


def _data_dir() -> Path:
    place = home()
    return place / "data" if place else platformdirs.user_data_path("avm-mesh")


class NodeConfig(MeshConfig, frozen=True, kw_only=True):
    """A member's settings, and those of its memory."""

    agent: str = ""
    """The agent that a command means where it names none."""
    data_dir: Path = msgspec.field(default_factory=_data_dir)
    """Folder of the memories: `<data_dir>/<mesh>/<agent>.db`; 0700."""
    durability: Literal["normal", "full"] = "normal"
    """What an acknowledged write survives: `normal` a crash of the process, `full` a loss of power.
    `full` waits for the disk at each commit."""
    cache_entries: int = 1024
    """Memories kept for hot reads; up to 16 KiB each."""
    max_memories: int = 0
    """Memories at most, 0 for no bound; a write that would make one more is refused."""
    max_file_bytes: int = 0
    """Bytes of the database at most, 0 for no bound; its write-ahead log, 48 MiB at times, comes on top."""

    vectors: Literal["auto", "off"] = "auto"
    """Whether memories are found by their meaning, too: `auto` where the extra `semantic` is installed. Costs
    one encoder process a host, and half a kilobyte a memory in the file and in this process."""
    encoder_model: str = ""
    """A folder with a model of sentence-transformers, 384 wide; empty for the packaged all-MiniLM-L6-v2."""
    encoder_device: str = "cpu"
    """What the encoder computes on: `cpu` is int8 by ONNX Runtime, any other a device of torch, in float32,
    such as `cuda`, `cuda:1` or `mps`. Where it cannot be used nothing is embedded; `avm status` says why."""

    @classmethod
    def load(cls, options: Mapping[str, Any] | None = None) -> Self:
        """From options, environment, project file, user's file and defaults, the first one first."""
        return load(cls, options)

    def checked(self) -> NodeConfig:
        """Raise `InvalidInput` where a setting is none."""
        super().checked()
        if not 0 <= self.cache_entries <= 10_000_000:
            raise InvalidInput(
                "cache_entries", f"{self.cache_entries} is out of range", "use 0 to 10,000,000"
            )
        for name in ("max_memories", "max_file_bytes"):
            if not 0 <= getattr(self, name) < 1 << 62:
                raise InvalidInput(name, f"{getattr(self, name)} is out of range", "use 0 for none, or more")
        if _DEVICE.fullmatch(self.encoder_device) is None:
            raise InvalidInput(
                "encoder_device",
                f"{self.encoder_device!r} is none",
                "use cpu, or one of torch such as cuda:0",
            )
        return self

    def memory_file(self, agent: AgentName) -> Path:
        """Where this agent's memory is."""
        return self.data_dir / self.mesh / f"{agent}.db"

    def audit_file(self, agent: AgentName) -> Path:
        """Where it is written down who asked this agent for what."""
        return self.data_dir / self.mesh / f"{agent}.audit.jsonl"
