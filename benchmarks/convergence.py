"""Convergence of 20 real node processes: all know all, and all know of one's change.

Raw limits in the same run: as many bare Python processes that only import what a node is made of, and one
frame from a plain ZeroMQ PUB to as many SUB sockets over tcp.

    python benchmarks/convergence.py [--nodes N] [--quick] [--json PATH]
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import zmq
from rich.progress import track

from benchmarks.report import Columns, arguments, report
from benchmarks.start import IMPORTS, end
from deploy.children import Children
from node.client import NodeClient
from node.config import NodeConfig
from node.local import LocalMemory
from node.net.register import Register
from protocol.names import check_agent_name

NODES = 20
MEMORIES = 50
TARGETS = {"start": 5.0, "change": 3.0}
LIMIT_S = 60.0


def until(happens: Callable[[], bool]) -> None:
    """Wait for it, closely."""
    deadline = time.monotonic() + LIMIT_S
    while not happens():
        if time.monotonic() > deadline:
            raise TimeoutError(f"nothing after {LIMIT_S:.0f} s")
        time.sleep(0.002)


def prepare(config: NodeConfig, names: Sequence[str]) -> None:
    """A memory for each, so that there is a digest to learn."""
    for name in names:
        with LocalMemory(name, config=config) as memory:
            for number in range(MEMORIES):
                memory.remember(
                    f"{name} knows about subject{number} of {name}field.", tags=[f"{name}-{number}"]
                )


def start_all(
    config: NodeConfig, children: Children, names: Sequence[str]
) -> tuple[float, dict[str, NodeClient]]:
    """Seconds from the last start of a process until all know the digests of all."""
    for name in names:
        children.start_node(name)
    begun = time.perf_counter()
    register = Register(config.folder)
    clients = {}
    for name in names:
        until(lambda name=name: register.running(check_agent_name(name)) is not None)  # type: ignore[misc]
        clients[name] = NodeClient(name, config=config)
    for client in clients.values():
        until(
            lambda client=client: (  # type: ignore[misc]
                sum(one.status == "alive" and one.topics > 0 for one in client.members()) == len(names)
            )
        )
    return time.perf_counter() - begun, clients


def change(clients: dict[str, NodeClient], turn: int) -> float:
    """Seconds from a write at one node until all others name it for its new topic."""
    names = list(clients)
    name = names[turn % len(names)]
    word = f"novelty{turn}x"
    begun = time.perf_counter()
    clients[name].remember(f"Something new about {word}.", tags=[word])
    for other, client in clients.items():
        if other != name:
            until(lambda client=client: bool(client.who_knows(word, via="gossip").leads))  # type: ignore[misc]
    return time.perf_counter() - begun


def plain_start(count: int) -> float:
    """Seconds from the last start until as many bare processes have imported the packages."""
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", IMPORTS], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        for _ in range(count)
    ]
    begun = time.perf_counter()
    for process in processes:
        assert process.stdout is not None
        process.stdout.readline()
    took_s = time.perf_counter() - begun
    for process in processes:
        end(process)
    return took_s


def plain_publish(count: int, rounds: int) -> float:
    """Median seconds for one frame from a PUB to all of `count` SUBs."""
    with zmq.Context() as context, context.socket(zmq.XPUB) as publisher:
        publisher.setsockopt(zmq.XPUB_VERBOSE, 1)  # Tell of each subscription, not only of new ones.
        port = publisher.bind_to_random_port("tcp://127.0.0.1")
        subscribers = [context.socket(zmq.SUB) for _ in range(count)]
        for subscriber in subscribers:
            subscriber.setsockopt(zmq.SUBSCRIBE, b"")
            subscriber.connect(f"tcp://127.0.0.1:{port}")
            publisher.recv()
        took = []
        for _ in range(rounds):
            begun = time.perf_counter()
            publisher.send(b"x" * 300)
            for subscriber in subscribers:
                subscriber.recv()
            took.append(time.perf_counter() - begun)
        for subscriber in subscribers:
            subscriber.close(0)
        return statistics.median(took)


def measure(nodes: int, rounds: int, changes: int) -> list[dict[str, Any]]:
    """Medians over the rounds; each starts a mesh of its own."""
    names = [f"n{number:03}" for number in range(nodes)]
    starts, limits, told = [], [], []
    for turn in track(range(rounds), description="meshes"):
        limits.append(plain_start(nodes))
        with tempfile.TemporaryDirectory(prefix="avm-") as folder:
            config = NodeConfig(
                mesh="bench",
                data_dir=Path(folder) / "d",
                runtime_dir=Path(folder) / "r",
                credentials_dir=Path(folder) / "c",
            )
            prepare(config, names)
            with Children(config) as children:
                took_s, clients = start_all(config, children, names)
                starts.append(took_s)
                told += [change(clients, turn * changes + number) for number in range(changes)]
                for client in clients.values():
                    client.close()
    published = plain_publish(nodes - 1, 200)
    return [
        _row(
            f"{nodes} processes know all",
            starts,
            statistics.median(limits),
            "start",
        ),
        _row("a change known to all", told, published, "change"),
    ]


def _row(what: str, samples: list[float], raw_limit: float, target: str) -> dict[str, Any]:
    figure, worst = statistics.median(samples), max(samples)
    return {
        "what": what,
        "median_s": round(figure, 4),
        "worst_s": round(worst, 4),
        "samples": len(samples),
        "raw_limit_s": round(raw_limit, 6),
        "ratio": round(figure / raw_limit, 2),
        "target_s": TARGETS[target],
        "reached": worst <= TARGETS[target],
    }


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--nodes", type=int, default=NODES, help="processes (20)")
    options = parser.parse_args()
    rows = measure(options.nodes, 1 if options.quick else 5, 5 if options.quick else 10)
    columns: Columns = {
        "median s": lambda row: f"{row['median_s']:.3f}",
        "worst s": lambda row: f"{row['worst_s']:.3f}",
        "raw limit s": lambda row: f"{row['raw_limit_s']:.4f}",
        "ratio": lambda row: f"{row['ratio']:.1f}",
        "target s": lambda row: f"{row['target_s']:.0f}",
    }
    report(rows, columns, options.json)


if __name__ == "__main__":
    main()
