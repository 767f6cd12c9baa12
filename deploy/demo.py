"""The demonstration: a mesh of five agents with real text, asked, and broken on purpose.

Everything happens in a temporary folder and in processes of its own, which are gone when it ends, however it
ends. What is shown was measured in this run.
"""

from __future__ import annotations

import signal
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import msgspec

from deploy import corpus
from deploy.children import Children
from deploy.command import safe
from node.client import NodeClient
from node.config import NodeConfig
from node.embedder import stop_encoder
from node.results import Via, WhoKnows
from protocol.errors import MeshError, NotFound, PeerSilent

if TYPE_CHECKING:
    from rich.console import Console

T = TypeVar("T")

LIBRARIAN = "librarian"
ASKER = "data"
VICTIM = "concurrency"
WHO_QUESTIONS = (
    "limit the number of concurrent tasks with a semaphore",
    "verify the host name in a TLS certificate",
    "unpack a zip archive",
    "wrap a paragraph of text",
)
QUESTION = "How do I wait for several asyncio tasks, and cancel those that take too long?"
BUDGET_TOKENS = 500
_SHOWN_LINES = 16
_STEP_S = 20.0
_POLL_S = 0.02


class Step(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that was shown, for `--json`."""

    step: str
    took_ms: float
    result: object


class Demo:
    """One run. `steps` grows while it goes on."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self.steps: list[Step] = []

    def run(self) -> None:
        """All of it. Raises `MeshError` where a step does not come about in time."""
        with _interruptible(), tempfile.TemporaryDirectory(prefix="avm-") as folder:
            config = NodeConfig(
                mesh="demo",
                data_dir=Path(folder) / "data",
                runtime_dir=Path(folder) / "run",
                credentials_dir=Path(folder) / "credentials",
                profile="local",
            )
            try:
                with Children(config) as children:
                    self._run(config, children)
            finally:
                stop_encoder(config)

    def _run(self, config: NodeConfig, children: Children) -> None:
        children.start_librarian(LIBRARIAN)
        for agent in corpus.AREAS:
            children.start_node(agent)
        clients: dict[str, NodeClient] = {}
        try:
            self._say(
                "[bold]Five agents and a librarian start, each a process with a memory of its own.[/bold]"
            )
            for agent in corpus.AREAS:
                clients[agent] = _until(children, partial(_client, agent, config))
            self._learn(clients)
            asker = clients[ASKER]
            self._meet(children, clients)
            self._who_knows(asker)
            self._ask(asker)
            self._without_librarian(children, asker)
            self._without_victim(children, asker)
        finally:
            for client in clients.values():
                client.close()

    def _learn(self, clients: dict[str, NodeClient]) -> None:
        started, counts = time.perf_counter(), {}
        for agent, client in clients.items():
            counts[agent] = len(client.remember_many(corpus.drafts(agent)))
        self._record("learn", started, counts)
        told = ", ".join(f"{agent} {count}" for agent, count in counts.items())
        total = sum(counts.values())
        self._say(f"They read the documentation of Python's standard library: {total} memories ({told}).")

    def _meet(self, children: Children, clients: dict[str, NodeClient]) -> None:
        started = time.perf_counter()
        for client in clients.values():
            _until(children, partial(_knows_all, client, len(clients)))
        _until(children, lambda: _librarian_knows(clients[ASKER]))
        self._record("meet", started, len(clients) + 1)
        self._say(
            f"{(time.perf_counter() - started) * 1000:.0f} ms later all know the digests of all; no server.\n"
        )

    def _who_knows(self, asker: NodeClient) -> None:
        self._say(f"[bold]{ASKER} asks: who knows …[/bold]")
        for question in WHO_QUESTIONS:
            line = [f"  {question}\n     "]
            vias: tuple[Via, ...] = ("gossip", "librarian")
            for via in vias:
                started = time.perf_counter()
                found = asker.who_knows(question, limit=2, via=via)
                self._record(f"who-knows by {via}", started, found)
                line.append(f"by {via} [cyan]{_names(found)}[/cyan] in {found.elapsed_s * 1e6:,.0f} µs  ")
            self._say("".join(line))

    def _ask(self, asker: NodeClient) -> None:
        self._say(f"\n[bold]{ASKER} asks the mesh:[/bold] {QUESTION}")
        started = time.perf_counter()
        found = asker.ask(QUESTION, budget_tokens=BUDGET_TOKENS)
        took_ms = self._record("ask", started, found)
        if not found.items:
            raise MeshError("the mesh had no answer; please report this")
        lines = [line for line in found.text.split("\n") if line.strip()]
        for line in lines[:_SHOWN_LINES]:
            self._say(f"  [green]│[/green] {safe(line)}")
        if len(lines) > _SHOWN_LINES:
            self._say(f"  [green]│[/green] [dim]… {len(lines) - _SHOWN_LINES} more lines[/dim]")
        started = time.perf_counter()
        asker.ask(QUESTION, budget_tokens=BUDGET_TOKENS)
        again_ms = self._record("ask again", started, found.tokens)
        self._say(
            f"  {found.tokens} of {found.budget_tokens} tokens in {took_ms:.0f} ms with the loading of the "
            f"token counter, {again_ms:.1f} ms when asked again; from"
        )
        for item in found.items:
            cut = ", cut" if item.cut else ""
            self._say(f"    {item.agent}{safe(item.path)} version {item.version}{cut}")

    def _without_librarian(self, children: Children, asker: NodeClient) -> None:
        started = time.perf_counter()
        children.end([LIBRARIAN])
        found = asker.who_knows(WHO_QUESTIONS[0], limit=2)
        self._record("without the librarian", started, found)
        self._say(
            f"\n[bold]The librarian is stopped.[/bold] The same question is answered by {found.source}: "
            f"[cyan]{_names(found)}[/cyan] in {found.elapsed_s * 1e6:,.0f} µs"
        )

    def _without_victim(self, children: Children, asker: NodeClient) -> None:
        started = time.perf_counter()
        children.kill(VICTIM)
        found = _until(children, lambda: _without(asker, VICTIM))
        took_ms = self._record("without the killed agent", started, found)
        self._say(
            f"[bold]{VICTIM} is killed.[/bold] {took_ms / 1000:.1f} s later it is nobody's lead: "
            f"[cyan]{_names(found)}[/cyan]"
        )

    def _record(self, step: str, started: float, result: object) -> float:
        took_ms = (time.perf_counter() - started) * 1000
        self.steps.append(Step(step=step, took_ms=round(took_ms, 3), result=result))
        return took_ms

    def _say(self, line: str) -> None:
        self.console.print(line, soft_wrap=True)


def _until(children: Children, happens: Callable[[], T | None]) -> T:
    """What `happens` returns as soon as it is something; `MeshError` where that takes too long."""
    deadline = time.monotonic() + _STEP_S
    while (result := happens()) is None:
        children.check()
        if time.monotonic() > deadline:
            raise MeshError(f"a step took more than {_STEP_S:.0f} s; is the machine very busy?")
        time.sleep(_POLL_S)
    return result


def _client(agent: str, config: NodeConfig) -> NodeClient | None:
    try:
        return NodeClient(agent, config=config)
    except NotFound:
        return None


def _knows_all(client: NodeClient, agents: int) -> bool | None:
    members = [member for member in client.members() if member.status == "alive" and member.topics]
    return len(members) >= agents or None


def _librarian_knows(asker: NodeClient) -> bool | None:
    """Whether it has heard of the topics of all: it names the right one for each question."""
    try:
        found = [asker.who_knows(question, via="librarian") for question in WHO_QUESTIONS]
    except (NotFound, PeerSilent):
        return None
    return all(answer.leads and not answer.note for answer in found) or None


def _without(asker: NodeClient, agent: str) -> WhoKnows | None:
    found = asker.who_knows(WHO_QUESTIONS[0], limit=2)
    return None if any(lead.agent == agent for lead in found.leads) else found


def _names(found: WhoKnows) -> str:
    return ", ".join(lead.agent for lead in found.leads) or "nobody"


@contextmanager
def _interruptible() -> Iterator[None]:
    """SIGTERM ends the demonstration as Ctrl-C does: with its processes."""
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
