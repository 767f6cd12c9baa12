"""Commands that start and end members: one node, one librarian, a local cluster."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from deploy import cluster
from deploy.command import Answer, progress_bar, register
from deploy.process import log_to_stderr, run_until_stopped
from deploy.target import Mesh
from node.agent import MemoryNode
from node.config import NodeConfig
from protocol.errors import InvalidInput

if TYPE_CHECKING:
    from rich.console import Console

PANEL = "Processes"
_LISTED = 20

Listen = Annotated[str | None, typer.Option(help="tcp://host:port; port 0 takes any that is free.")]
Advertise = Annotated[str | None, typer.Option(help="The host others reach us at, where it is another one.")]
Seed = Annotated[
    list[str] | None, typer.Option(help="Address of a member on another host, with its key; may be repeated.")
]
ProfileOption = Annotated[str | None, typer.Option(help="local, lan or wan: settings of the gossip.")]
LogLevel = Annotated[str, typer.Option(help="debug, info, warning or error.")]


def add_to(app: typer.Typer) -> None:
    """Register these commands."""
    register(app, "node", panel=PANEL)(node)
    register(app, "librarian", panel=PANEL)(librarian)
    clusters = typer.Typer(help="A cluster of nodes on this machine.", no_args_is_help=True)
    register(clusters, "up")(up)
    register(clusters, "status")(cluster_status)
    register(clusters, "down")(down)
    app.add_typer(clusters, name="cluster", rich_help_panel=PANEL)


def node(
    agent: Annotated[str, typer.Argument(help="The agent's name.")],
    listen: Listen = None,
    advertise: Advertise = None,
    seed: Seed = None,
    profile: ProfileOption = None,
    durability: Annotated[str | None, typer.Option(help="normal or full (survives power loss).")] = None,
    cache_entries: Annotated[int | None, typer.Option(help="Memories kept for hot reads.")] = None,
    log_level: LogLevel = "warning",
    mesh: Mesh = None,
) -> None:
    """Run an agent's node until Ctrl-C."""
    _log(log_level)
    config = NodeConfig.load(
        {
            "mesh": mesh,
            "listen": listen,
            "advertise": advertise,
            "seeds": seed,
            "profile": profile,
            "durability": durability,
            "cache_entries": cache_entries,
        }
    )

    run_until_stopped(lambda stop: MemoryNode(agent, config=config, on_stop=stop))


def librarian(
    name: Annotated[str, typer.Argument(help="The librarian's name.")] = "librarian",
    policy: Annotated[
        str | None, typer.Option(help="full, owner, existence or none: how much its answers tell.")
    ] = None,
    listen: Listen = None,
    advertise: Advertise = None,
    seed: Seed = None,
    profile: ProfileOption = None,
    log_level: LogLevel = "warning",
    mesh: Mesh = None,
) -> None:
    """Run a librarian until Ctrl-C."""
    from librarian import Librarian, LibrarianConfig

    _log(log_level)
    config = LibrarianConfig.load(
        {
            "mesh": mesh,
            "policy": policy,
            "listen": listen,
            "advertise": advertise,
            "seeds": seed,
            "profile": profile,
        }
    )

    run_until_stopped(lambda stop: Librarian(name, config=config, on_stop=stop))


def up(
    nodes: Annotated[int, typer.Argument(metavar="N", help="How many nodes.")],
    librarians: Annotated[int, typer.Option(help="How many librarians beside them.")] = 0,
    prefix: Annotated[str, typer.Option(help="Names are this and a number.")] = "agent",
    mesh: Mesh = None,
) -> Answer:
    """Start N nodes as processes in the background and wait until they know each other."""
    everybody = nodes + librarians
    with progress_bar() as bar:
        tasks = {
            what: bar.add_task(told, total=everybody)
            for what, told in (("started", "started"), ("knowing", "know all others"))
        }
        started = cluster.up(
            NodeConfig.load({"mesh": mesh}),
            nodes,
            librarians=librarians,
            prefix=prefix,
            progress=lambda what, done: bar.update(tasks[what], completed=done),
        )

    def show(console: Console) -> None:
        console.print(
            f"{len(started.members)} processes, started in {started.started_s:.1f} s, "
            f"all known to each other after {started.took_s:.1f} s; "
            "see `avm cluster status`, end with `avm cluster down`"
        )

    return Answer(data=started, count=len(started.members), show=show)


def cluster_status(
    every: Annotated[bool, typer.Option("--every", help="A line for every member, however many.")] = False,
    mesh: Mesh = None,
) -> Answer:
    """The members of this host, and whether they agree."""
    found = cluster.status(NodeConfig.load({"mesh": mesh}))

    def show(console: Console) -> None:
        from rich.table import Table

        if not found.members:
            console.print("no member runs here")
            return
        if every or len(found.members) <= _LISTED:
            columns = ("member", "role", "pid", "memories", "knows", "answered", "address")
            table = Table(*columns, box=None, header_style="dim")
            for one in found.members:
                table.add_row(
                    *(one.agent, one.role, str(one.pid), "" if one.memories is None else str(one.memories)),
                    f"{one.members} members",
                    "[red]not[/red]" if one.answer_s is None else f"in {one.answer_s * 1000:.0f} ms",
                    one.address,
                )
            console.print(table)
        _summary(console, found)

    return Answer(data=found, count=len(found.members), show=show)


def _summary(console: Console, found: cluster.Overview) -> None:
    silent = [one.agent for one in found.members if one.answer_s is None]
    views = ", ".join(f"{count:,} {standing}" for standing, count in sorted(found.standings.items()))
    agreed = "[green]converged[/green]" if found.converged else "[yellow]not converged[/yellow]"
    views_held = len({one.view for one in found.members})
    plural = "" if views_held == 1 else "s"
    console.print(f"{len(found.members)} members, {agreed}: {views_held} view{plural}")
    console.print(f"held of each other: {views or 'nothing'}")
    slowest = next((one for one in found.members if one.agent == found.slowest), None)
    if slowest is not None and slowest.answer_s is not None:
        console.print(f"slowest to answer: {slowest.agent}, {slowest.answer_s * 1000:.0f} ms")
    if silent:
        shown = ", ".join(silent[:_LISTED]) + (", …" if len(silent) > _LISTED else "")
        console.print(f"[red]{len(silent)} do not answer:[/red] {shown}")


def down(
    everybody: Annotated[
        bool, typer.Option("--all", help="Those that `cluster up` did not start as well.")
    ] = False,
    mesh: Mesh = None,
) -> Answer:
    """End what `cluster up` started of this mesh on this host."""
    with progress_bar() as bar:
        task = bar.add_task("ended", total=None)
        ended = cluster.down(
            NodeConfig.load({"mesh": mesh}),
            everybody=everybody,
            progress=lambda done, of: bar.update(task, completed=done, total=of),
        )

    def show(console: Console) -> None:
        console.print(f"{len(ended.ended)} ended")
        for name in ended.left:
            console.print(
                f"[yellow]{name} still runs: it belongs to another program, or does not answer[/yellow]"
            )
        if ended.others:
            console.print(
                f"{len(ended.others)} others go on: `cluster up` did not start them, --all ends them, too"
            )

    return Answer(data=ended, count=len(ended.ended), show=show, worked=not ended.left)


def _log(level: str) -> None:
    if level.lower() not in ("debug", "info", "warning", "error"):
        raise InvalidInput("log-level", f"{level!r} is none", "use debug, info, warning or error")
    log_to_stderr(level)
