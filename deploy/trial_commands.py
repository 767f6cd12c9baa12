"""Commands to try and to check: the demonstration, the doctor."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

from deploy.command import Answer, Json, register, safe
from deploy.doctor import examine
from deploy.target import Mesh
from node.config import NodeConfig

if TYPE_CHECKING:
    from rich.console import Console

PANEL = "Try it"


def add_to(app: typer.Typer) -> None:
    """Register these commands."""
    register(app, "demo", panel=PANEL)(demo)
    register(app, "doctor", panel=PANEL)(doctor)


def demo(*, json_output: Json = False) -> Answer:
    """Five agents find each other and answer; then one is killed. Under a minute, nothing is left behind."""
    from rich.console import Console

    from deploy.demo import Demo

    shown = Demo(Console(highlight=False, quiet=json_output))
    shown.run()

    def show(console: Console) -> None:
        console.print("[dim]All processes are gone, and so is their folder.[/dim]")

    return Answer(data=shown.steps, count=len(shown.steps), show=show)


def doctor(mesh: Mesh = None) -> Answer:
    """Whether this machine is fit for a node, and what runs here is well."""
    findings = examine(NodeConfig.load({"mesh": mesh}))

    def show(console: Console) -> None:
        colours = {"ok": "green", "note": "yellow", "bad": "red"}
        for finding in findings:
            colour = colours[finding.verdict]
            console.print(
                f"[{colour}]{finding.verdict:>4}[/{colour}]  {finding.what:<14}  {safe(finding.told)}"
            )

    return Answer(
        data=findings,
        count=len(findings),
        show=show,
        worked=all(finding.verdict != "bad" for finding in findings),
    )
