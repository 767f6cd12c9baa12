"""What encryption adds to a question: the same nodes with CURVE, and with their sockets left plain.

A node asks a librarian in another process *who knows*, and an owner in another process to recall from its
memory inside 500 tokens. With each form of sockets the processes are started anew; both forms are asked in
turns, in the same run. The plain form exists here alone: its frames carry no keys, and are believed.

    python benchmarks/curve.py [--quick] [--json PATH]
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from pathlib import Path
from typing import Any

import zmq

import node.net.endpoint
import node.net.zeromq.transport as zeromq
from benchmarks.report import Columns, arguments, report
from librarian import Librarian, LibrarianConfig
from node import MemoryNode, NodeConfig
from node.net.address import split_key
from node.net.driver import now
from node.net.keys import SocketKeys
from node.net.transport import Received
from node.net.zeromq import ZmqTransport
from node.net.zeromq.sockets import Context, Socket, open_socket
from protocol.digest import Announced
from protocol.effects import Route
from protocol.messages import RecallReply, RecallRequest, Who, WhoReply
from protocol.names import AgentName
from protocol.wire import MAX_FRAME_BYTES

MESH, MEMORIES, TARGET = "bench", 1_000, 1.25
KINDS = ("who-knows", "ask")
_READY_S = 60.0


def _open_door(context: Context, kind: int, _keys: SocketKeys, _domain: bytes, limit_bytes: int) -> Socket:
    return open_socket(context, kind, limit_bytes)


def _connect(context: Context, kind: int, address: str, _keys: SocketKeys) -> tuple[Socket, bytes]:
    bare, theirs = split_key(address)
    opened = open_socket(context, kind, MAX_FRAME_BYTES)
    opened.connect(bare)
    return opened, theirs


class PlainTransport(ZmqTransport):
    """Whose frames nobody can tell the sender of."""

    def _receive_routed(self) -> Iterator[Received]:
        for parts in self._drained(self._router):
            if len(parts) == 2:
                yield Received(parts[1].bytes, route=Route("router:" + parts[0].bytes.hex()))

    def _receive_replies(self, dealer: Socket, address: str, _key: bytes) -> Iterator[Received]:
        for received in super()._receive_replies(dealer, address, _key):
            yield Received(received.frame, route=received.route)

    def _receive_published(self, subscriber: Socket, agent: AgentName, _key: bytes) -> Iterator[Received]:
        for received in super()._receive_published(subscriber, agent, _key):
            yield Received(received.frame, publisher=agent)


@contextmanager
def left_plain() -> Iterator[None]:
    """Whatever is opened meanwhile, in this process."""
    opening: Any = zeromq
    using: Any = node.net.endpoint
    before = opening.open_door, opening.connect, using.ZmqTransport
    opening.open_door, opening.connect, using.ZmqTransport = _open_door, _connect, PlainTransport
    try:
        yield
    finally:
        opening.open_door, opening.connect, using.ZmqTransport = before


def config_of(folder: Path) -> dict[str, Any]:
    """The settings of all members."""
    return {
        "mesh": MESH,
        "profile": "local",
        "runtime_dir": folder / "run",
        "credentials_dir": folder / "credentials",
    }


def node_config(folder: Path) -> NodeConfig:
    """Those of a node."""
    return NodeConfig(**config_of(folder), data_dir=folder / "data", vectors="off")


def serve(folder: Path) -> None:
    """The child: a librarian, and an owner of memories, until its input ends."""
    with ExitStack() as members:
        librarian = members.enter_context(Librarian("librarian", LibrarianConfig(**config_of(folder))))
        for agent in range(100):
            topics = [Announced(f"topic{agent % 7}", 3, 0.5), Announced("zebra", 1, 0.5)]
            librarian.catalogue.replace(AgentName(f"agent-{agent}"), topics, now())
        owner = members.enter_context(MemoryNode("owner", config=node_config(folder)))
        texts = (f"The zebra number {number} grazes at {number % 17}." for number in range(MEMORIES))
        for text in texts:
            owner.remember(text, tags=["zebra"], visibility="mesh")
        print("ready", flush=True)
        sys.stdin.read()


@contextmanager
def asker(form: str) -> Iterator[Callable[[str], float]]:
    """Asks the child's members: seconds for one question of a kind."""
    with tempfile.TemporaryDirectory(prefix="avm-") as name, ExitStack() as opened:
        folder = Path(name)
        child = subprocess.Popen(
            [sys.executable, __file__, "--serve", form, str(folder)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        opened.callback(child.communicate)
        assert child.stdout is not None
        assert child.stdout.readline() == "ready\n"
        own = opened.enter_context(MemoryNode("asker", config=node_config(folder)))
        endpoint, end = own._endpoint, time.monotonic() + _READY_S
        while not (endpoint.librarians() and endpoint.route_to(AgentName("owner"))):
            assert time.monotonic() < end, "the members did not find each other"
            time.sleep(0.05)
        owner, librarian = AgentName("owner"), AgentName("librarian")
        routes = {owner: endpoint.route_to(owner), librarian: endpoint.route_to(librarian)}

        def ask(kind: str) -> float:
            who = librarian if kind == "who-knows" else owner
            route = routes[who]
            assert route is not None
            started = time.perf_counter()
            outcome = endpoint.driver.ask(
                {who: route},
                lambda number, _: (
                    Who(number, ("zebra",), 10)
                    if kind == "who-knows"
                    else RecallRequest(number, "zebra number 7", 500)
                ),
                timeout_s=20.0,
            ).wait()
            took_s = time.perf_counter() - started
            assert isinstance(outcome.replies[who], WhoReply | RecallReply)
            return took_s

        for kind in KINDS:  # Every connection that is needed is opened now.
            ask(kind)
        yield ask


def measure(rounds: int, each: int) -> list[dict[str, Any]]:
    """Both kinds of question, in both forms, in turns."""
    times: dict[tuple[str, str], list[float]] = {}
    with ExitStack() as opened:
        asks = {"curve": opened.enter_context(asker("curve"))}
        with left_plain():
            asks["plain"] = opened.enter_context(asker("plain"))
        for kind in KINDS:
            for form, ask in asks.items():
                for _ in range(each):
                    ask(kind)
                times[kind, form] = []
            for _ in range(rounds):
                for form, ask in asks.items():
                    times[kind, form] += [ask(kind) for _ in range(each)]
    rows = []
    for kind in KINDS:
        curve, plain = (statistics.median(times[kind, form]) for form in ("curve", "plain"))
        rows.append(
            {
                "what": f"{kind}, p50",
                "curve_s": curve,
                "plain_s": plain,
                "ratio": curve / plain,
                "target": TARGET,
                "samples": len(times[kind, "curve"]),
                "reached": curve / plain <= TARGET,
            }
        )
    return rows


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--serve", nargs=2, metavar=("FORM", "FOLDER"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        with left_plain() if options.serve[0] == "plain" else nullcontext():
            serve(Path(options.serve[1]))
        return
    print(f"ZeroMQ {zmq.zmq_version()}, {MEMORIES:,} memories, answers inside 500 tokens")
    rows = measure(*((5, 40) if options.quick else (20, 100)))
    columns: Columns = {
        "with CURVE": lambda row: f"{row['curve_s'] * 1e6:,.0f} µs",
        "plain": lambda row: f"{row['plain_s'] * 1e6:,.0f} µs",
        "ratio": lambda row: f"{row['ratio']:.2f}",
        "target": lambda row: f"{row['target']:.2f}",
    }
    report(rows, columns, options.json)


if __name__ == "__main__":
    main()
