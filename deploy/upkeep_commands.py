"""Commands on a memory as a whole, and the one that removes for good."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from deploy.command import Answer, register, safe
from deploy.target import Agent, Mesh, Path_, open_memory
from protocol.errors import InvalidInput

if TYPE_CHECKING:
    from rich.console import Console

PANEL = "Memory"


def add_to(app: typer.Typer) -> None:
    """Register these commands."""
    register(app, "erase", panel=PANEL)(erase)


def erase(
    path: Path_,
    yes: Annotated[bool, typer.Option("--yes", help="Yes, remove it for good.")] = False,
    agent: Agent = None,
    mesh: Mesh = None,
) -> Answer:
    """Remove what all versions of a memory say, from the files too. Nothing brings it back."""
    if not yes:
        raise InvalidInput("yes", "is missing, and nothing brings back what is erased", "add --yes")
    with open_memory(agent, mesh) as memory:
        receipt = memory.erase(path)

    def show(console: Console) -> None:
        console.print(f"erased: {safe(receipt.path)}, logged as version {receipt.version}")

    return Answer(data=receipt, show=show)
