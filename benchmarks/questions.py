"""Questions to a librarian in another process, beside a bare round trip between two processes.

The librarian has the topics of 2 or of 1,000 agents in its catalogue; a node asks it *who knows* two topics.
The raw limit is pyzmq alone: a DEALER and a ROUTER, each behind its descriptor in asyncio, over tcp,
with frames of the same sizes. They are measured in turns, in the same run.

    python benchmarks/questions.py [--quick] [--json PATH]
"""

from __future__ import annotations

import argparse
import asyncio
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import zmq

from benchmarks.report import Columns, arguments, report
from librarian import Librarian, LibrarianConfig
from node import MemoryNode, NodeConfig
from node.net.driver import now
from protocol import wire
from protocol.digest import Announced
from protocol.messages import Holder, Who, WhoReply
from protocol.names import AgentName
from protocol.topics import query_terms

TARGET = 4.0
SIZES = (2, 1000)
MESH = "bench"
WORDS = 5000
TOPICS = 300
LIMIT = 10
_READY_S = 60.0


def vocabulary() -> list[str]:
    """Made-up words, as they stand in a catalogue."""
    draw = random.Random(1)
    syllables = [first + second for first in "bcdfghjklmnprstvz" for second in "aeiou"]
    made = {"".join(draw.choices(syllables, k=3)) + "k": None for _ in range(2 * WORDS)}
    terms = dict.fromkeys(terms[0] for word in made if (terms := query_terms(word)) == [word])
    return list(terms)[:WORDS]


def topics_of(agent: int, words: list[str]) -> list[Announced]:
    """Those of one agent: common words are announced by many."""
    draw = random.Random(agent)
    chosen = dict.fromkeys(words[min(WORDS - 1, int(draw.paretovariate(0.2)))] for _ in range(2 * TOPICS))
    rest = draw.sample(words, TOPICS)
    return [Announced(term, draw.randint(1, 20), draw.random()) for term in dict.fromkeys([*chosen, *rest])][
        :TOPICS
    ]


def questions(count: int) -> list[str]:
    """Each of two topics that agent 0 announced, so that there is an answer."""
    draw, held = random.Random(2), [topic.term for topic in topics_of(0, vocabulary())]
    return [" ".join(draw.sample(held, 2)) for _ in range(count)]


def serve_librarian(name: str, folder: Path, agents: int) -> None:
    """The child: a librarian with full shelves, until its input ends."""
    words = vocabulary()
    config = LibrarianConfig(
        mesh=MESH, profile="local", runtime_dir=folder, credentials_dir=folder / "credentials"
    )
    with Librarian(name, config) as librarian:
        for agent in range(agents):
            librarian.catalogue.replace(AgentName(f"agent-{agent}"), topics_of(agent, words), now())
        print(librarian.address, flush=True)
        sys.stdin.read()


def serve_echo() -> None:
    """The child: the raw limit's ROUTER, until its input ends."""

    async def run() -> None:
        ended = asyncio.Event()
        loop = asyncio.get_running_loop()
        with zmq.Context() as context, context.socket(zmq.ROUTER) as router:
            port = router.bind_to_random_port("tcp://127.0.0.1")

            def drain() -> None:
                # The descriptor tells edges: everything is taken, and looked at again after every send.
                while int(router.getsockopt(zmq.EVENTS)) & zmq.POLLIN:
                    sender, size, _ = router.recv_multipart(zmq.NOBLOCK)
                    router.send_multipart((sender, bytes(int.from_bytes(size))), zmq.NOBLOCK)

            descriptor = router.fileno()
            loop.add_reader(descriptor, drain)
            loop.add_reader(sys.stdin, ended.set)
            print(f"tcp://127.0.0.1:{port}", flush=True)
            await ended.wait()
            loop.remove_reader(descriptor)
            loop.remove_reader(sys.stdin)

    asyncio.run(run())


@contextmanager
def child(*arguments: str) -> Iterator[str]:
    """This script as a process that serves; the address it printed."""
    with subprocess.Popen(
        [sys.executable, __file__, *arguments], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            yield process.stdout.readline().strip()
        finally:
            process.stdin.close()
            process.wait(_READY_S)


def until(condition: Callable[[], object]) -> None:
    """Return as soon as `condition` is true."""
    end = time.monotonic() + _READY_S
    while not condition():
        if time.monotonic() > end:
            raise SystemExit("the members did not find each other")
        time.sleep(0.01)


def timed(ask: Callable[[str], object], batch: list[str]) -> list[float]:
    """Microseconds for each."""
    taken = []
    for question in batch:
        start = time.perf_counter()
        ask(question)
        taken.append((time.perf_counter() - start) * 1e6)
    return taken


@contextmanager
def asking_a_librarian(agents: int) -> Iterator[Callable[[str], object]]:
    """A question to a librarian with the topics of so many agents."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="avm-")))
        stack.enter_context(child("--serve-librarian", "librarian", str(folder), str(agents)))
        config = NodeConfig(
            mesh=MESH,
            profile="local",
            runtime_dir=folder,
            data_dir=folder / "data",
            credentials_dir=folder / "credentials",
        )
        node = stack.enter_context(MemoryNode("asker", config=config))
        until(lambda: node.status().librarians)

        def ask(question: str) -> None:
            found = node.who_knows(question, limit=LIMIT, via="librarian")
            assert found.leads, question

        yield ask


@contextmanager
def bare_round_trips() -> Iterator[Callable[[list[str]], list[float]]]:
    """The raw limit: frames of the size of a question and of an answer with `LIMIT` holders."""
    reply = WhoReply(2**48, "owner", 1000, (Holder("agent-123", 1.5, (), 0, 1.5),) * LIMIT)
    size = len(wire.encode(AgentName("librarian"), reply)).to_bytes(4)

    async def run(dealer: zmq.Socket[bytes], batch: list[str]) -> list[float]:
        loop = asyncio.get_running_loop()
        answered = asyncio.Event()

        def drain() -> None:
            while int(dealer.getsockopt(zmq.EVENTS)) & zmq.POLLIN:
                dealer.recv(zmq.NOBLOCK)
                answered.set()

        descriptor = dealer.fileno()
        loop.add_reader(descriptor, drain)
        taken = []
        for question in batch:
            who = Who(2**48, (*question.split(), question), LIMIT)
            frame = bytes(len(wire.encode(AgentName("asker"), who)))
            start = time.perf_counter()
            dealer.send_multipart((size, frame))
            drain()  # Sending may have swallowed the edge.
            await answered.wait()
            taken.append((time.perf_counter() - start) * 1e6)
            answered.clear()
        loop.remove_reader(descriptor)
        return taken

    with child("--serve-echo") as address, zmq.Context() as context, context.socket(zmq.DEALER) as dealer:
        dealer.connect(address)
        yield lambda batch: asyncio.run(run(dealer, batch))


def measure(rounds: int, size: int) -> list[dict[str, Any]]:
    """All of them in turns; the first round warms up."""
    asked = questions(size)
    with ExitStack() as stack:
        bare = stack.enter_context(bare_round_trips())
        asks = {agents: stack.enter_context(asking_a_librarian(agents)) for agents in SIZES}
        limits: list[float] = []
        taken: dict[int, list[float]] = {agents: [] for agents in SIZES}
        for turn in range(rounds + 1):
            for agents, ask in asks.items():
                limit, figure = bare(asked), timed(ask, asked)
                if turn:
                    limits += limit
                    taken[agents] += figure
    raw = statistics.median(limits)
    return [
        {
            "what": f"of {agents:,} agents",
            "questions": len(figures),
            "p50_us": round(statistics.median(figures), 1),
            "p99_us": round(statistics.quantiles(figures, n=100)[-1], 1),
            "raw_p50_us": round(raw, 1),
            "raw_p99_us": round(statistics.quantiles(limits, n=100)[-1], 1),
            "ratio": round(statistics.median(figures) / raw, 2),
            "target": TARGET,
            "reached": statistics.median(figures) <= TARGET * raw,
        }
        for agents, figures in taken.items()
    ]


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--serve-echo", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--serve-librarian", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve_echo:
        serve_echo()
        return
    if options.serve_librarian:
        name, folder, agents = options.serve_librarian
        serve_librarian(name, Path(folder), int(agents))
        return
    rows = measure(2, 200) if options.quick else measure(5, 400)
    columns: Columns = {
        "p50 us": lambda row: f"{row['p50_us']:,.0f}",
        "p99 us": lambda row: f"{row['p99_us']:,.0f}",
        "bare p50 us": lambda row: f"{row['raw_p50_us']:,.0f}",
        "bare p99 us": lambda row: f"{row['raw_p99_us']:,.0f}",
        "ratio": lambda row: f"{row['ratio']:.2f}",
        "target": lambda row: f"{row['target']:.0f}",
    }
    report(rows, columns, options.json)


if __name__ == "__main__":
    main()
