"""Who asked an agent for what, and what it decided."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from deploy.command import Answer, register, safe
from deploy.target import Agent, Mesh, resolve
from deploy.times import moment, shown

if TYPE_CHECKING:
    from rich.console import Console

PANEL = "Mesh"
MAX_ENTRIES = 100_000


def add_to(app: typer.Typer) -> None:
    """Register these commands."""
    register(app, "audit", panel=PANEL)(audit)


def audit(
    asker: Annotated[str, typer.Option(help="Only what this agent asked.")] = "",
    since: Annotated[str | None, typer.Option(metavar="TIME", help="Not before, such as 2026-03-01.")] = None,
    limit: Annotated[int, typer.Option("--limit", "-n", help="Entries at most, the last ones.")] = 50,
    agent: Agent = None,
    mesh: Mesh = None,
) -> Answer:
    """Who asked the agent for what, and whether it was answered; the node need not run."""
    from node.memory.records import check_count
    from node.net.audit import read_audit

    check_count("limit", limit, MAX_ENTRIES)
    name, config = resolve(agent, mesh)
    earliest = 0.0 if since is None else moment("since", since)
    found = read_audit(config.audit_file(name), limit=limit, since=earliest, asker=asker)

    def show(console: Console) -> None:
        for one in found:
            what = f"{one.gave} memories" if one.decision == "answered" else f"refused: {one.reason}"
            line = f"{shown(one.at)}  {one.asker} ({one.role or 'no role'})  {one.action}"
            console.print(safe(f"{line}  {one.question!r}  {what}  {' '.join(one.paths)}".rstrip()))
        if not found:
            console.print("nobody asked")

    return Answer(data=found, count=len(found), show=show)
