"""Commands that ask the mesh. They talk to a running node of this host."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from deploy.checkup import summary
from deploy.command import Answer, Json, register
from deploy.memory_commands import Words, answer_of
from deploy.target import Agent, Mesh, open_node
from deploy.times import shown
from node.results import Via
from protocol.errors import InvalidInput

if TYPE_CHECKING:
    from rich.console import Console

PANEL = "Mesh"


def add_to(app: typer.Typer) -> None:
    """Register these commands."""
    register(app, "who-knows", aliases=("who",), panel=PANEL)(who_knows)
    register(app, "ask", panel=PANEL)(ask)
    register(app, "members", panel=PANEL)(members)
    register(app, "status", panel=PANEL)(status)


def who_knows(
    words: Words,
    limit: Annotated[int, typer.Option("--limit", "-n", help="Agents at most.")] = 10,
    via: Annotated[str, typer.Option(help="auto, gossip or librarian.")] = "auto",
    agent: Agent = None,
    mesh: Mesh = None,
) -> Answer:
    """Which agents may know of something."""
    with open_node(agent, mesh) as node:
        found = node.who_knows(" ".join(words), limit=limit, via=_via(via))

    def show(console: Console) -> None:
        from rich.table import Table

        source = f"librarian {found.librarian}" if found.source == "librarian" else "gossip"
        if found.leads:
            table = Table("agent", "score", "certain", "matched", "as of", box=None, header_style="dim")
            for lead in found.leads:
                name = lead.agent if lead.status == "alive" else f"{lead.agent} ({lead.status})"
                age = f"{lead.age_s:.1f} s ago"
                table.add_row(
                    name, f"{lead.score:.2f}", f"{lead.certainty:.1%}", ", ".join(lead.matched), age
                )
            console.print(table)
        else:
            console.print("nobody, as far as is known")
        console.print(f"[dim]by {source}, in {found.elapsed_s * 1e6:,.0f} µs[/dim]")
        if found.note:
            console.print(f"[yellow]{found.note}[/yellow]")

    return Answer(data=found, count=len(found.leads), show=show)


def ask(
    words: Words,
    budget: Annotated[int, typer.Option("--budget", "-b", help="Tokens (cl100k) at most.")] = 2000,
    peers: Annotated[int, typer.Option(help="Agents to ask at most.")] = 3,
    timeout: Annotated[float, typer.Option(help="Seconds to wait for them.")] = 2.0,
    sources: Annotated[bool, typer.Option(help="List the memories quoted.")] = True,
    agent: Agent = None,
    mesh: Mesh = None,
) -> Answer:
    """What the mesh remembers of a question, inside one token budget."""
    with open_node(agent, mesh) as node:
        found = node.ask(" ".join(words), budget_tokens=budget, max_peers=peers, timeout_s=timeout)
    return answer_of(found, sources=sources)


def members(
    *,
    watch: Annotated[bool, typer.Option("--watch", "-w", help="Look again until Ctrl-C.")] = False,
    interval: Annotated[float, typer.Option(help="Seconds between two looks, with --watch.")] = 2.0,
    times: Annotated[int, typer.Option(help="Looks at most, with --watch; 0: without end.")] = 0,
    agent: Agent = None,
    mesh: Mesh = None,
    json_output: Json = False,
) -> Answer | None:
    """Everybody the agent's node knows of."""
    from deploy import members_watch  # Only who lists members pays for it.

    if not 0.1 <= interval <= 3600:
        raise InvalidInput("interval", f"{interval:g} is out of range", "use 0.1 to 3600 seconds")
    if times < 0:
        raise InvalidInput("times", f"{times} is out of range", "use 0 or more")
    with open_node(agent, mesh) as node:
        if watch:
            members_watch.watch(node, interval_s=interval, times=times, json_output=json_output)
            return None
        found = node.members()
    return Answer(
        data=found,
        count=len(found),
        show=lambda console: console.print(members_watch.table_of(node.agent, found)),
    )


def status(agent: Agent = None, mesh: Mesh = None) -> Answer:
    """How the agent's node is doing."""
    with open_node(agent, mesh) as node:
        found = node.status()

    def show(console: Console) -> None:
        cut = f", {found.topics_left_out} left out" if found.topics_left_out else ""
        lookups = found.cache_hits + found.cache_misses
        known = ", ".join(f"{count} {status}" for status, count in sorted(found.members.items()))
        lines = {
            "agent": f"{found.agent} in mesh {found.mesh}, process {found.pid}, up {found.uptime_s:.0f} s",
            "address": found.address,
            "identity": f"{found.role}, certificate until {shown(found.expires_at)}, charter {found.charter}",
            "memory": f"{found.memories} memories, {found.versions} versions, {found.file_bytes:,} bytes",
            "hot reads": f"{found.cache_hits / lookups:.0%} of {lookups}" if lookups else "none yet",
            "vectors": "" if found.embedded is None else f"{found.embedded} of {found.memories} memories",
            "no vectors": found.vectors,
            "members": known + ("" if found.joined else "; none of the seeds has answered yet"),
            "librarians": ", ".join(found.librarians) or "none",
            "digest": f"{found.topics} topics in {found.digest_bytes} bytes{cut}, "
            f"{found.digest_error:.2%} false leads",
            "traffic": f"{found.frames_in} frames in, {found.frames_out} out, {found.unsent} unsent",
            "sockets": summary(found.net),
            "dropped": ", ".join(f"{count} {why}" for why, count in found.dropped.items()) or "nothing",
        }
        for name, value in lines.items():
            if value:
                console.print(f"[dim]{name:>10}[/dim]  {value}")

    return Answer(data=found, show=show)


def _via(text: str) -> Via:
    match text:
        case "auto" | "gossip" | "librarian":
            return text
        case _:
            raise InvalidInput("via", f"{text!r} is none", "use auto, gossip or librarian")
