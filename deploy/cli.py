"""The `avm` command."""

from __future__ import annotations

import sys
from importlib.metadata import PackageNotFoundError, version
from typing import Annotated

import typer

from deploy import (
    audit_commands,
    identity_commands,
    log_commands,
    memory_commands,
    mesh_commands,
    process_commands,
    relation_commands,
    simulate_commands,
    trial_commands,
    upkeep_commands,
)
from deploy.command import run

app = typer.Typer(
    help="A mesh of memory for AI agents: a node per agent, gossip instead of a server.",
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)
for commands in (
    trial_commands,
    simulate_commands,
    memory_commands,
    log_commands,
    relation_commands,
    upkeep_commands,
    mesh_commands,
    audit_commands,
    identity_commands,
    process_commands,
):
    commands.add_to(app)


def _show_version(wanted: bool) -> None:
    if wanted:
        try:
            print(f"avm {version('avm-mesh')}")
        except PackageNotFoundError:
            print("avm, run from its source")
        raise typer.Exit


@app.callback()
def root(
    show_version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """A mesh of memory for AI agents: a node per agent, gossip instead of a server."""


def main() -> None:
    """Entry point of the console command."""
    sys.exit(run(app))


if __name__ == "__main__":
    main()
