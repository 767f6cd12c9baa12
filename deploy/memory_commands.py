"""Commands on one agent's memory. With its node running they talk to it, without they open the file."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import msgspec
import typer

from deploy.command import Answer, progress_bar, register, safe
from deploy.ingest import collect
from deploy.target import Agent, Mesh, Path_, open_memory
from deploy.times import moment, shown, span_s
from node.memory.records import MAX_TEXT_BYTES, Draft, Receipt, Visibility, check_draft
from node.recall.recall import Recall
from protocol.errors import InvalidInput

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

PANEL = "Memory"
_REASONS_SHOWN = 20
BATCH = 200  # Memories in one commit while ingesting.

VisibilityOption = Annotated[
    str,
    typer.Option(
        metavar="WHO", help="private (never leaves), listed (topics announced), mesh (any member may read)."
    ),
]
Words = Annotated[list[str], typer.Argument(metavar="WORDS…", help="A question, or words to look for.")]


def add_to(app: typer.Typer) -> None:
    """Register these commands."""
    register(app, "remember", aliases=("add",), panel=PANEL)(remember)
    register(app, "recall", panel=PANEL)(recall)
    register(app, "survey", panel=PANEL)(survey)
    register(app, "fetch", panel=PANEL)(fetch)
    register(app, "search", panel=PANEL)(search)
    register(app, "read", aliases=("get",), panel=PANEL)(read)
    register(app, "history", panel=PANEL)(history)
    register(app, "browse", aliases=("list", "ls"), panel=PANEL)(browse)
    register(app, "forget", aliases=("delete", "rm"), panel=PANEL)(forget)
    register(app, "ingest", panel=PANEL)(ingest)


def remember(
    text: Annotated[str, typer.Argument(help="What to remember; - reads it from standard input.")],
    path: Annotated[str | None, typer.Option(help="Where; an existing path gets its next version.")] = None,
    title: Annotated[str, typer.Option(help="A line that says what it is about.")] = "",
    tag: Annotated[list[str] | None, typer.Option("--tag", "-t", help="A topic; may be repeated.")] = None,
    importance: Annotated[float, typer.Option(help="0 to 1.")] = 0.5,
    visibility: VisibilityOption = "listed",
    metadata: Annotated[str | None, typer.Option(help="A JSON object to keep beside it.")] = None,
    ttl: Annotated[str | None, typer.Option(metavar="SPAN", help="Keep it for 30m, 1h, 7d.")] = None,
    expires: Annotated[
        str | None, typer.Option(metavar="TIME", help="Keep it until 2030-01-31T12:00.")
    ] = None,
    agent: Agent = None,
    mesh: Mesh = None,
) -> Answer:
    """Remember a text."""
    if text == "-":
        text = _standard_input()
    draft = check_draft(  # Before anything is opened: what is refused leaves no empty memory behind.
        Draft(
            text=text,
            path=path,
            title=title,
            tags=tuple(tag or ()),
            importance=importance,
            visibility=_visibility(visibility),
            metadata=_metadata(metadata) or {},
            expires_at=_expiry(ttl, expires),
        )
    )
    with open_memory(agent, mesh, create=True) as memory:
        (receipt,) = memory.remember_many([draft])
    return _receipt(receipt, "remembered" if receipt.stored else "known already")


def recall(
    words: Words,
    budget: Annotated[int, typer.Option("--budget", "-b", help="Tokens (cl100k) at most.")] = 1000,
    sources: Annotated[bool, typer.Option(help="List the memories quoted.")] = True,
    explain: Annotated[bool, typer.Option("--explain", help="Say why each memory is a candidate.")] = False,
    agent: Agent = None,
    mesh: Mesh = None,
) -> Answer:
    """What the agent remembers of a question, inside a token budget."""
    with open_memory(agent, mesh) as memory:
        found = memory.recall(" ".join(words), budget_tokens=budget, explain=explain)
    return answer_of(found, sources=sources)


def survey(
    words: Words,
    budget: Annotated[int, typer.Option("--budget", "-b", help="Tokens (cl100k) of the listing.")] = 500,
    agent: Agent = None,
    mesh: Mesh = None,
) -> Answer:
    """What there is on a question, a line for each memory with its cost; then fetch those you want."""
    with open_memory(agent, mesh) as memory:
        found = memory.survey(" ".join(words), budget_tokens=budget)

    def show(console: Console) -> None:
        for entry in found.entries:
            console.print(
                f"[bold]{safe(entry.path)}[/bold]  [dim]{entry.tokens} tokens[/dim]  {safe(entry.summary)}"
            )
        more = f", {found.omitted} more matched" if found.omitted else ""
        console.print(f"[dim]{found.tokens} of {found.budget_tokens} tokens{more}[/dim]")
        for note in found.notes:
            console.print(f"[yellow]{safe(note)}[/yellow]")

    return Answer(data=found, count=len(found.entries), show=show)


def fetch(
    paths: Annotated[list[str], typer.Argument(metavar="PATH…", help="Where the memories are.")],
    budget: Annotated[int, typer.Option("--budget", "-b", help="Tokens (cl100k) at most.")] = 1000,
    about: Annotated[
        str, typer.Option(help="A question: what is too long is cut to what it says of it.")
    ] = "",
    sources: Annotated[bool, typer.Option(help="List the memories quoted.")] = True,
    agent: Agent = None,
    mesh: Mesh = None,
) -> Answer:
    """The texts of memories, in this order, inside a token budget."""
    with open_memory(agent, mesh) as memory:
        found = memory.fetch(paths, budget_tokens=budget, about=about)
    return answer_of(found, sources=sources)


def search(
    words: Annotated[
        list[str],
        typer.Argument(metavar="WORDS…", help="Words; '\"a phrase\"' and 'deploy*' must be there."),
    ],
    limit: Annotated[int, typer.Option("--limit", "-n", help="Memories at most.")] = 10,
    agent: Agent = None,
    mesh: Mesh = None,
) -> Answer:
    """Memories that hold the words, best first.

    "In quotes" they stand side by side; deploy* is any word that begins so.
    """
    with open_memory(agent, mesh) as memory:
        hits = memory.search(" ".join(words), limit)

    def show(console: Console) -> None:
        for hit in hits:
            console.print(f"[bold]{safe(hit.path)}[/bold]  {safe(hit.title)}  [dim]{hit.score:.2f}[/dim]")
            console.print(f"    {safe(hit.excerpt)}")
        if not hits:
            console.print("nothing found")

    return Answer(data=hits, count=len(hits), show=show)


def read(
    path: Path_,
    version: Annotated[int | None, typer.Option(help="An earlier version, by its number.")] = None,
    at: Annotated[str | None, typer.Option(metavar="TIME", help="As it was at 2026-03-01T12:00.")] = None,
    agent: Agent = None,
    mesh: Mesh = None,
) -> Answer:
    """One memory, whole."""
    when = None if at is None else moment("at", at)
    with open_memory(agent, mesh) as memory:
        found = memory.read(path, version, at=when)

    def show(console: Console) -> None:
        tags = " ".join(f"#{tag}" for tag in found.tags)
        console.print(
            f"[dim]{safe(found.path)} · version {found.version} · {found.visibility} · "
            f"{shown(found.updated_at)} {safe(tags)}[/dim]"
        )
        if found.expires_at is not None:
            console.print(f"[dim]expires {shown(found.expires_at)}[/dim]")
        if found.title:
            console.print(f"[bold]{safe(found.title)}[/bold]")
        console.print(safe(found.text))

    return Answer(data=found, show=show)


def history(path: Path_, agent: Agent = None, mesh: Mesh = None) -> Answer:
    """All versions of a memory, latest first."""
    with open_memory(agent, mesh) as memory:
        versions = memory.history(path)

    def show(console: Console) -> None:
        for version in versions:
            what = "forgotten" if version.forgotten else f"{version.length_chars} characters"
            what = "erased" if version.erased else what
            console.print(
                f"{version.version:>4}  {shown(version.written_at)}  {what:<18} {safe(version.title)}"
            )

    return Answer(data=versions, count=len(versions), show=show)


def browse(
    prefix: Annotated[str, typer.Argument(help="The beginning of a path.")] = "/",
    limit: Annotated[int, typer.Option("--limit", "-n", help="Memories at most.")] = 50,
    after: Annotated[str, typer.Option(help="Go on behind this path.")] = "",
    agent: Agent = None,
    mesh: Mesh = None,
) -> Answer:
    """Memories by path."""
    with open_memory(agent, mesh) as memory:
        found = memory.browse(prefix, limit, after)

    def show(console: Console) -> None:
        for one in found:
            console.print(f"{safe(one.path)}  [dim]{one.length_chars} characters[/dim]  {safe(one.title)}")
        if len(found) == limit:
            console.print(f"[dim]there may be more: --after {safe(found[-1].path)}[/dim]")
        if not found:
            console.print("nothing there")

    return Answer(data=found, count=len(found), show=show)


def forget(path: Path_, agent: Agent = None, mesh: Mesh = None) -> Answer:
    """Forget a memory. Its earlier versions stay readable by number."""
    with open_memory(agent, mesh) as memory:
        receipt = memory.forget(path)
    return _receipt(receipt, "forgotten")


def ingest(
    paths: Annotated[
        list[Path], typer.Argument(metavar="PATH…", help="Folders or files: Markdown, text, JSONL.")
    ],
    prefix: Annotated[str, typer.Option(help="Where to put them.")] = "/ingested",
    tag: Annotated[list[str] | None, typer.Option("--tag", "-t", help="A topic for all of them.")] = None,
    visibility: VisibilityOption = "listed",
    agent: Agent = None,
    mesh: Mesh = None,
) -> Answer:
    """Remember files, one memory for each section. Doing it again adds only what changed."""
    collected = collect(paths, prefix=prefix, tags=tuple(tag or ()), visibility=_visibility(visibility))
    receipts: list[Receipt] = []
    with open_memory(agent, mesh, create=True) as memory, progress_bar() as progress:
        bar = progress.add_task("remembering", total=len(collected.drafts))
        for start in range(0, len(collected.drafts), BATCH):
            batch: list[Draft] = collected.drafts[start : start + BATCH]
            receipts += memory.remember_many(batch)
            progress.update(bar, advance=len(batch))
    stored = sum(receipt.stored for receipt in receipts)
    data = {
        "files": collected.files,
        "memories": len(receipts),
        "stored": stored,
        "known": len(receipts) - stored,
        "passed_over": collected.passed_over,
    }

    def show(console: Console) -> None:
        console.print(
            f"{stored} memories from {collected.files} files, {len(receipts) - stored} known already, "
            f"{collected.passed_over} other files passed over"
        )

    return Answer(data=data, count=len(receipts), show=show)


def answer_of(found: Recall, *, sources: bool) -> Answer:
    """A recall for people and for programs."""

    def show(console: Console) -> None:
        console.print(safe(found.text) if found.text else "[dim]nothing[/dim]")
        if not sources:
            return
        console.print()
        for item in found.items:
            mark = ", cut" if item.cut else ""
            console.print(
                f"[dim]{item.agent}{safe(item.path)} · version {item.version} · "
                f"{item.tokens} tokens{mark} · by {item.source}[/dim]"
            )
        console.print(f"[dim]{found.tokens} of {found.budget_tokens} tokens[/dim]")
        if found.reasons:
            console.print(_reasons(found))
        for agent in found.silent_peers:
            console.print(f"[yellow]{agent} did not answer in time[/yellow]")
        for note in found.notes:
            console.print(f"[yellow]{safe(note)}[/yellow]")

    return Answer(data=found, count=len(found.items), show=show)


def _reasons(found: Recall) -> Table:
    from rich.table import Table

    hops = ", ".join(f"{count} {stage}" for stage, count in found.hops.items() if count)
    columns = ("candidate", "words", "feedback", "cosine", "neighbours", "links", "score", "quoted")
    table = Table(*columns, box=None, header_style="dim", title=f"look-ups: {hops}", title_justify="left")
    quoted = {item.path for item in found.items}
    for reason in found.reasons[:_REASONS_SHOWN]:
        table.add_row(
            safe(reason.path),
            f"{reason.words:.2f}",
            f"{reason.feedback:+.2f}",
            "" if reason.cosine is None else f"{reason.cosine:.2f}",
            f"{reason.neighbours:+.2f}",
            f"{reason.links:+.2f}",
            f"{reason.score:.2f}",
            "yes" if reason.path in quoted else "",
        )
    return table


def _receipt(receipt: Receipt, what: str) -> Answer:
    def show(console: Console) -> None:
        console.print(f"{what}: {safe(receipt.path)} version {receipt.version}")
        for path in receipt.similar:
            console.print(f"[yellow]nearly the same is at {safe(path)}[/yellow]")

    return Answer(data=receipt, show=show)


def _expiry(ttl: str | None, expires: str | None) -> float | None:
    if ttl is not None and expires is not None:
        raise InvalidInput("ttl", "stands beside --expires", "give one of the two")
    now = time.time()
    if ttl is not None:
        return now + span_s("ttl", ttl)
    when = None if expires is None else moment("expires", expires)
    if when is not None and when <= now:
        raise InvalidInput("expires", f"{expires!r} is past", "give a time to come")
    return when


def _standard_input() -> str:
    taken = sys.stdin.buffer.read(MAX_TEXT_BYTES + 1)
    try:
        return taken.decode()
    except UnicodeDecodeError as error:
        if len(taken) > MAX_TEXT_BYTES:
            return taken.decode(errors="replace")  # Too long, which the memory will say.
        raise InvalidInput("text", f"is no UTF-8 at byte {error.start}", "convert it first") from None


def _visibility(text: str) -> Visibility:
    match text:
        case "private" | "listed" | "mesh":
            return text
        case _:
            raise InvalidInput("visibility", f"{text!r} is none", "use private, listed or mesh")


def _metadata(text: str | None) -> dict[str, object] | None:
    if text is None:
        return None
    try:
        return msgspec.json.decode(text, type=dict[str, object])
    except (msgspec.DecodeError, msgspec.ValidationError) as error:
        raise InvalidInput("metadata", f"is no JSON object ({error})", "write it as '{\"key\": 1}'") from None
