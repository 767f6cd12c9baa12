"""A node: one agent's memory in its own process, its digest, and its place in the mesh.

from node import MemoryNode

with MemoryNode("alice") as node:
    node.remember("The release goes out on Friday.", tags=["release"])
    print(node.recall("when is the release?").text)
"""

from __future__ import annotations

from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from node.agent import MemoryNode
    from node.client import NodeClient
    from node.config import NodeConfig
    from node.local import LocalMemory
    from node.memory.records import Draft

__all__ = ["Draft", "LocalMemory", "MemoryNode", "NodeClient", "NodeConfig"]

_HOMES = {
    "Draft": "node.memory.records",
    "LocalMemory": "node.local",
    "MemoryNode": "node.agent",
    "NodeClient": "node.client",
    "NodeConfig": "node.config",
}


def _check_neighbours() -> None:
    """Other distributions ship packages called `protocol` and `node`: fail here, not somewhere inside."""
    here = Path(__file__).resolve().parent.parent
    found = find_spec("protocol")
    place = None if found is None or found.origin is None else Path(found.origin).resolve().parent.parent
    if place != here:
        raise ImportError(
            f"the package 'protocol' of avm-mesh should be in {here}, but Python finds it in {place}; "
            "another distribution shadows it: install avm-mesh into an environment of its own"
        )


_check_neighbours()


def __getattr__(name: str) -> Any:
    """Load on first use: who imports `node.net` alone (a librarian) does not load a memory."""
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module 'node' has no attribute {name!r}")
    return getattr(import_module(home), name)
