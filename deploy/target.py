"""Which agent a command means, and how it is reached: its running node, or its file."""

from __future__ import annotations

from typing import Annotated

import typer

from node.client import NodeClient
from node.config import NodeConfig
from node.local import LocalMemory
from node.net.register import Register
from protocol.errors import InvalidInput, NotFound
from protocol.names import AgentName, check_agent_name, is_agent_name

Agent = Annotated[
    str | None,
    typer.Option(
        "--agent", "-a", metavar="NAME", help="The agent meant; AVM_AGENT, or the only one there is."
    ),
]
Path_ = Annotated[str, typer.Argument(metavar="PATH", help="Where the memory is, such as /notes/auth.")]
Mesh = Annotated[str | None, typer.Option(metavar="NAME", help="The mesh meant; AVM_MESH, or default.")]


def open_memory(agent: str | None, mesh: str | None, *, create: bool = False) -> NodeClient | LocalMemory:
    """The running node of the agent, or its memory opened here.

    Raises `NotFound` where it has no memory and `create` is false.
    """
    name, config = resolve(agent, mesh)
    entry = Register(config.folder).running(name)
    if entry is not None and entry.role != "librarian":
        return NodeClient(name, config=config)
    file = config.memory_file(name)
    if not create and not file.exists():
        raise NotFound(f"agent {name} remembers nothing yet: no file {file}")
    return LocalMemory(name, config=config)


def open_node(agent: str | None, mesh: str | None) -> NodeClient:
    """The running node of the agent. Raises `NotFound` where none runs."""
    name, config = resolve(agent, mesh)
    return NodeClient(name, config=config)


def resolve(agent: str | None, mesh: str | None) -> tuple[AgentName, NodeConfig]:
    """The agent that is meant: the one named, or the only one of this mesh that runs here or has a file."""
    config = NodeConfig.load({"agent": agent, "mesh": mesh})
    if config.agent:
        return check_agent_name(config.agent), config
    running = [entry.agent for entry in Register(config.folder).all_running() if entry.role != "librarian"]
    files = (config.data_dir / config.mesh).glob("*.db")
    names = running if len(running) == 1 else sorted(path.stem for path in files if is_agent_name(path.stem))
    if len(names) == 1:
        return check_agent_name(names[0]), config
    if not names:
        raise InvalidInput(
            "agent",
            "none is named and none is here",
            "name one with --agent or AVM_AGENT, as in --agent alice",
        )
    shown = ", ".join(names[:5]) + (", …" if len(names) > 5 else "")
    raise InvalidInput("agent", f"{len(names)} are here ({shown})", "choose one with --agent or AVM_AGENT")
