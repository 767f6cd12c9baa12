"""Commands on what stands beside the texts: topics, ages, links, and grants to other agents."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from deploy.command import Answer, register, safe
from deploy.target import Agent, Mesh, Path_, open_memory
from deploy.times import shown
from node.memory.relations import Link

if TYPE_CHECKING:
    from rich.console import Console

PANEL = "Memory"

Prefix = Annotated[str, typer.Argument(metavar="PREFIX", help="The beginning of a path.")]
Limit = Annotated[int, typer.Option("--limit", "-n", help="Lines at most.")]
Kind = Annotated[str, typer.Option(help="What the link says, such as supersedes.")]
Granted = Annotated[str, typer.Argument(metavar="PATH", help="A memory, or with / at its end all below.")]
Reader = Annotated[str, typer.Argument(metavar="READER", help="The agent that may read.")]
To = Annotated[str, typer.Argument(metavar="TO", help="The other memory.")]


def add_to(app: typer.Typer) -> None:
    """Register these commands."""
    register(app, "timeline", panel=PANEL)(timeline)
    register(app, "topics", panel=PANEL)(topics)
    register(app, "link", panel=PANEL)(link)
    register(app, "unlink", panel=PANEL)(unlink)
    register(app, "links", panel=PANEL)(links)
    register(app, "explore", panel=PANEL)(explore)
    register(app, "grant", panel=PANEL)(grant)
    register(app, "revoke", panel=PANEL)(revoke)
    register(app, "grants", panel=PANEL)(grants)


def timeline(
    prefix: Prefix = "/",
    limit: Limit = 50,
    before: Annotated[int | None, typer.Option(help="Go on before this place, as told.")] = None,
    agent: Agent = None,
    mesh: Mesh = None,
) -> Answer:
    """Memories, the latest written first."""
    with open_memory(agent, mesh) as memory:
        found = memory.timeline(prefix, limit, before)

    def show(console: Console) -> None:
        for one in found:
            console.print(f"{shown(one.updated_at)}  {safe(one.path)}  {safe(one.title)}")
        if len(found) == limit:
            console.print(f"[dim]there may be more: --before {found[-1].place}[/dim]")
        if not found:
            console.print("nothing there")

    return Answer(data=found, count=len(found), show=show)


def topics(prefix: Prefix = "/", limit: Limit = 50, agent: Agent = None, mesh: Mesh = None) -> Answer:
    """What most memories are about."""
    with open_memory(agent, mesh) as memory:
        found = memory.topics(prefix, limit)

    def show(console: Console) -> None:
        for one in found:
            console.print(f"{one.memories:>6}  {safe(one.topic)}")
        if not found:
            console.print("nothing there")

    return Answer(data=found, count=len(found), show=show)


def link(
    path: Path_,
    to: To,
    kind: Kind = "related",
    weight: Annotated[float, typer.Option(help="Above 0, at most 1.")] = 1.0,
    agent: Agent = None,
    mesh: Mesh = None,
) -> Answer:
    """Link a memory to another."""
    with open_memory(agent, mesh) as memory:
        made = memory.link(path, to, kind, weight)
    return Answer(data=made, show=lambda console: console.print(f"linked: {_told(made)}"))


def unlink(
    path: Path_,
    to: To,
    kind: Annotated[str | None, typer.Option(help="Only the link of this kind.")] = None,
    agent: Agent = None,
    mesh: Mesh = None,
) -> Answer:
    """Remove links from a memory to another."""
    with open_memory(agent, mesh) as memory:
        removed = memory.unlink(path, to, kind)
    return Answer(data={"removed": removed}, show=lambda console: console.print(f"{removed} removed"))


def links(path: Path_, agent: Agent = None, mesh: Mesh = None) -> Answer:
    """Links from and to a memory."""
    with open_memory(agent, mesh) as memory:
        found = memory.links(path)

    def show(console: Console) -> None:
        for one in found:
            console.print(_told(one))
        if not found:
            console.print("no links")

    return Answer(data=found, count=len(found), show=show)


def explore(
    path: Path_,
    depth: Annotated[int, typer.Option(help="Links away at most, 1 to 4.")] = 2,
    limit: Limit = 50,
    agent: Agent = None,
    mesh: Mesh = None,
) -> Answer:
    """What is linked with a memory, directly and over others."""
    with open_memory(agent, mesh) as memory:
        found = memory.explore(path, depth, limit)

    def show(console: Console) -> None:
        for step in found:
            away = "  " * step.depth
            console.print(f"{away}{safe(step.path)}  {safe(step.title)}  [dim]{safe(step.kind)}[/dim]")
        if not found:
            console.print("no links")

    return Answer(data=found, count=len(found), show=show)


def grant(path: Granted, reader: Reader, agent: Agent = None, mesh: Mesh = None) -> Answer:
    """Let an agent read listed memories. Private ones stay private."""
    with open_memory(agent, mesh) as memory:
        made = memory.grant(path, reader)

    def show(console: Console) -> None:
        console.print(f"granted: {made.agent} may read {safe(made.path)}")

    return Answer(data=made, show=show)


def revoke(path: Granted, reader: Reader, agent: Agent = None, mesh: Mesh = None) -> Answer:
    """Take a grant back."""
    with open_memory(agent, mesh) as memory:
        memory.revoke(path, reader)

    def show(console: Console) -> None:
        console.print(f"revoked: {reader} may read {safe(path)} no more")

    return Answer(data={"path": path, "agent": reader}, show=show)


def grants(agent: Agent = None, mesh: Mesh = None) -> Answer:
    """Who was granted what."""
    with open_memory(agent, mesh) as memory:
        found = memory.grants()

    def show(console: Console) -> None:
        for one in found:
            console.print(f"{one.agent}  {safe(one.path)}")
        if not found:
            console.print("no grants")

    return Answer(data=found, count=len(found), show=show)


def _told(link: Link) -> str:
    return f"{safe(link.path)} -> {safe(link.target)}  [dim]{safe(link.kind)} {link.weight:g}[/dim]"
