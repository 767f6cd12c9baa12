"""Commands on a memory as a whole, and the one that removes for good."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from deploy.command import Answer, register, safe
from deploy.target import Agent, Mesh, Path_, open_memory, resolve
from node.local import LocalMemory
from node.memory import backup as backups
from node.memory.backup import Copy
from node.memory.transfer import Imported, parse
from protocol.errors import InvalidInput, NotFound, StorageFailure

if TYPE_CHECKING:
    from rich.console import Console

PANEL = "Memory"

File = Annotated[Path, typer.Argument(metavar="FILE", help="A file.")]
FileOrDash = Annotated[str, typer.Argument(metavar="FILE", help="A file; - is standard input or output.")]
Force = Annotated[bool, typer.Option("--force", help="Replace what is there.")]


def add_to(app: typer.Typer) -> None:
    """Register these commands."""
    register(app, "erase", panel=PANEL)(erase)
    register(app, "check", panel=PANEL)(check)
    register(app, "backup", panel=PANEL)(backup)
    register(app, "restore", panel=PANEL)(restore)
    register(app, "export", panel=PANEL)(export)
    register(app, "import", panel=PANEL)(import_)


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


def check(agent: Agent = None, mesh: Mesh = None) -> Answer:
    """Is the memory's file sound, and does what is derived from the log agree with it?"""
    with open_memory(agent, mesh) as memory:
        found = memory.check_memory()

    def show(console: Console) -> None:
        for problem in found.problems:
            console.print(f"[red]{safe(problem)}[/red]")
        verdict = f"{len(found.problems)} problems" if found.problems else "sound"
        console.print(f"{verdict}: {found.memories} memories, {found.versions} versions")

    return Answer(data=found, show=show, worked=not found.problems)


def backup(file: File, force: Force = False, agent: Agent = None, mesh: Mesh = None) -> Answer:
    """Copy the memory as it is now, while its node goes on."""
    with open_memory(agent, mesh) as memory:
        made = memory.backup(str(file.expanduser().absolute()), force=force)
    return _copied(made, "copied")


def restore(file: File, force: Force = False, agent: Agent = None, mesh: Mesh = None) -> Answer:
    """Make a copy the agent's memory. Its node must not run; what is there is replaced with --force only."""
    name, config = resolve(agent, mesh)
    source = file.expanduser().absolute()
    made = backups.restore(source, config.memory_file(name), name, force=force)
    return _copied(made, "restored")


def export(file: FileOrDash, force: Force = False, agent: Agent = None, mesh: Mesh = None) -> Answer | None:
    """Write the memory as lines of JSON, all versions included."""
    with open_memory(agent, mesh) as memory:
        if file == "-":
            for line in memory.export():
                sys.stdout.buffer.write(line)
            return None
        target = Path(file).expanduser().absolute()
        if target.exists() and not force:
            raise InvalidInput(file, "is there already", "name another file, or add --force")
        part = target.with_name(f".{target.name}.part")
        lines = 0
        try:
            with part.open("wb") as out:
                part.chmod(0o600)
                for line in memory.export():
                    out.write(line)
                    lines += 1
            part.replace(target)
        except OSError as error:
            raise StorageFailure(f"{file}: {error.strerror or error}") from error
        finally:
            part.unlink(missing_ok=True)
    data = {"path": str(target), "lines": lines}
    return Answer(data=data, show=lambda console: console.print(f"{lines} lines in {safe(file)}"))


def import_(file: FileOrDash, agent: Agent = None, mesh: Mesh = None) -> Answer:
    """Add what an export holds and is not here yet, all of it or nothing. The node must not run."""
    name, config = resolve(agent, mesh)
    try:
        stream = sys.stdin.buffer if file == "-" else Path(file).expanduser().open("rb")
    except OSError as error:
        raise NotFound(f"{file}: {error.strerror or error}") from error
    with stream:
        given = parse(stream, file)  # Before anything is opened: what is refused leaves no empty memory.
    with LocalMemory(name, config=config) as memory:
        taken = memory.take_over(given, file)
    return _taken(taken)


def _taken(taken: Imported) -> Answer:
    def show(console: Console) -> None:
        console.print(
            f"{taken.versions} versions added, {taken.known} known already; "
            f"{taken.links} links, {taken.grants} grants"
        )

    return Answer(data=taken, show=show)


def _copied(made: Copy, what: str) -> Answer:
    def show(console: Console) -> None:
        told = f"{made.memories} memories, {made.versions} versions, {made.file_bytes} bytes"
        console.print(f"{what} and checked: {told} in {safe(made.path)}")

    return Answer(data=made, show=show)
