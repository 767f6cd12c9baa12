"""Commands on a memory's log: what changed in one memory, and what was written since."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from deploy.command import Answer, register, safe
from deploy.target import Agent, Mesh, Path_, open_memory
from deploy.times import moment, shown

if TYPE_CHECKING:
    from rich.console import Console

PANEL = "Memory"


def add_to(app: typer.Typer) -> None:
    """Register these commands."""
    register(app, "diff", panel=PANEL)(diff)
    register(app, "changes", panel=PANEL)(changes)


def diff(
    path: Path_,
    since: Annotated[
        int, typer.Option(metavar="VERSION", help="The version you know; 0, none, gives the whole text.")
    ] = 0,
    agent: Agent = None,
    mesh: Mesh = None,
) -> Answer:
    """What changed in a memory since a version."""
    with open_memory(agent, mesh) as memory:
        found = memory.diff(path, since)

    def show(console: Console) -> None:
        if found.form == "unchanged":
            console.print(f"[dim]unchanged: version {found.version}[/dim]")
        else:
            console.print(safe(found.text))

    return Answer(data=found, show=show)


def changes(
    cursor: Annotated[int, typer.Option(help="Go on behind this place, as the page before told.")] = 0,
    since: Annotated[str | None, typer.Option(metavar="TIME", help="Not before, such as 2026-03-01.")] = None,
    limit: Annotated[int, typer.Option("--limit", "-n", help="Versions at most.")] = 50,
    agent: Agent = None,
    mesh: Mesh = None,
) -> Answer:
    """What was written, in the order it was."""
    earliest = 0.0 if since is None else moment("since", since)
    with open_memory(agent, mesh) as memory:
        found = memory.changes(cursor, limit, since=earliest)

    def show(console: Console) -> None:
        for one in found.changes:
            what = (
                "erased" if one.erased else "forgotten" if one.forgotten else f"{one.length_chars} characters"
            )
            console.print(
                f"{shown(one.written_at)}  {safe(one.path)} version {one.version}  {what}  {safe(one.title)}"
            )
        if found.more:
            console.print(f"[dim]there are more: --cursor {found.cursor}[/dim]")
        if not found.changes:
            console.print("nothing was written")

    return Answer(data=found, count=len(found.changes), show=show)
