"""What a flood costs a node: memory, and what its other peers get of it.

A node in a process of its own, with a well-behaved member that asks it all the time. Attackers, each a
process, do what they can for a while, one kind after the other and then all of a role at once: as strangers
with keys of their own making, then as a member with a true certificate. Counted are the most that the node's
resident memory grew beyond what it was before, and the share of the member's questions that were answered.

    python benchmarks/flood.py [--seconds 60] [--quick] [--json PATH]
"""

from __future__ import annotations

import argparse
import contextlib
import os
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import psutil
import zmq
from rich.console import Console
from rich.progress import track

from benchmarks.report import Columns, arguments, report
from node import MemoryNode, NodeClient, NodeConfig
from node.net.address import split_address, split_key
from node.net.keys import make_pair
from protocol import wire
from protocol.messages import Message, Ping, RecallRequest, Records, Sync, Who
from protocol.names import AgentName
from tests.support.endpoints import Stranger
from tests.support.sockets import connect

MEMORIES, STRANGER_MIB, MEMBER_MIB = 500, 16.0, 64.0
PART, PARTS = bytes(130_000), 2_000


class Target(msgspec.Struct):
    """Whom it goes against."""

    config: NodeConfig
    address: str
    publisher: str


Attack = Callable[[Target, zmq.Context[zmq.Socket[bytes]]], None]


def frames_of(*made: bytes, known: bool) -> Attack:
    """These frames to the router, as fast as they are taken."""

    def attack(target: Target, context: zmq.Context[zmq.Socket[bytes]]) -> None:
        dealer = dealer_to(target, context, known=known)
        while True:
            for frame in made:
                dealer.send(frame)

    return attack


def says(*messages: Message) -> Attack:
    """A member says these in its own name, as fast as they are taken, and reads no answer."""

    def attack(target: Target, context: zmq.Context[zmq.Socket[bytes]]) -> None:
        member = Stranger(context, f"eve{os.getpid()}", target.config)
        member.connect(target.address)
        member.join()
        while True:
            for message in messages:
                member.tell(message)

    return attack


def dealer_to(target: Target, context: zmq.Context[zmq.Socket[bytes]], *, known: bool) -> zmq.Socket[bytes]:
    """Connected with new keys, or as a member that was welcomed."""
    if known:
        member = Stranger(context, f"eve{os.getpid()}", target.config)
        member.connect(target.address)
        member.join()
        return member.dealer
    dealer = context.socket(zmq.DEALER)
    connect(dealer, target.address)
    return dealer


def says_nothing(target: Target, _context: zmq.Context[zmq.Socket[bytes]]) -> None:
    """Connections, opened and left alone."""
    host, port = split_address(split_key(target.address)[0])
    opened: list[socket.socket] = []
    while True:
        with contextlib.suppress(OSError):
            opened.append(socket.create_connection((host, port), timeout=1.0))
        del opened[:-500]
        time.sleep(0.001)


def new_keys(target: Target, context: zmq.Context[zmq.Socket[bytes]]) -> None:
    """A new stranger for each hello, with a certificate it made itself."""
    member = Stranger(context, f"eve{os.getpid()}", target.config)
    while True:
        dealer, pair = context.socket(zmq.DEALER), make_pair()
        connect(dealer, target.address, pair)
        shown = msgspec.structs.replace(member.credentials.certificate, curve_key=pair[0])
        for _ in range(50):
            dealer.send(wire.encode(member.agent, member.hello(certificate=shown)))
        time.sleep(0.01)
        dealer.close(0)


def endless(known: bool) -> Attack:
    """Messages of hundreds of megabytes, in parts."""

    def attack(target: Target, context: zmq.Context[zmq.Socket[bytes]]) -> None:
        dealer = dealer_to(target, context, known=known)
        dealer.setsockopt(zmq.SNDHWM, 1)
        while True:
            for _ in range(PARTS):
                dealer.send(PART, zmq.SNDMORE, copy=False)
            dealer.send(b"")

    return attack


def wishes(target: Target, context: zmq.Context[zmq.Socket[bytes]]) -> None:
    """As many wishes to hear as it takes, and nothing of it ever read."""
    member = Stranger(context, f"eve{os.getpid()}", target.config)
    member.connect(target.address)
    member.join()
    hearer, number = context.socket(zmq.XSUB), 0
    pair = member.credentials.curve_key, member.credentials.curve_secret
    connect(hearer, f"{target.publisher}#{target.address.partition('#')[2]}", pair)
    while True:
        hearer.send(b"\x01wish %d" % number)
        number += 1


def forged(target: Target, context: zmq.Context[zmq.Socket[bytes]]) -> None:
    """Records that nobody signed, each another one."""
    member = Stranger(context, f"eve{os.getpid()}", target.config)
    member.connect(target.address)
    member.join()
    version = 2
    while True:
        records = tuple(
            msgspec.structs.replace(member.record, version=version + more, signature=os.urandom(64))
            for more in range(100)
        )
        member.tell(Records(records))
        version += 100


STRANGERS: dict[str, Attack] = {
    "connections that say nothing": says_nothing,
    "hellos with made certificates": new_keys,
    "frames that are none": frames_of(os.urandom(1_000), b"", known=False),
    "the largest frames": frames_of(bytes(wire.MAX_FRAME_BYTES), known=False),
    "frames that are too large": frames_of(bytes(wire.MAX_FRAME_BYTES + 1_000), known=False),
    "messages without end": endless(known=False),
}
MEMBERS: dict[str, Attack] = {
    "pings": says(Ping(1)),
    "syncs, and no answer read": says(Sync(bytes(8_192))),
    "questions, and no answer read": says(RecallRequest(1, "zebra grazes", 20_000), Who(1, ("zebra",), 10)),
    "the largest frames": frames_of(bytes(wire.MAX_FRAME_BYTES), known=True),
    "forged records": forged,
    "wishes to hear": wishes,
    "messages without end": endless(known=True),
}


def attack(role: str, kind: str, home: str, address: str, publisher: str) -> None:
    """The child."""
    target = Target(config_of(Path(home)), address, publisher)
    (STRANGERS if role == "stranger" else MEMBERS)[kind](target, zmq.Context())


def config_of(home: Path) -> NodeConfig:
    """The settings of all."""
    return NodeConfig(
        mesh="flood",
        profile="local",
        data_dir=home / "data",
        runtime_dir=home / "run",
        credentials_dir=home / "credentials",
        vectors="off",
    ).checked()


class Bench:
    """The node, its friend, and its enemies."""

    def __init__(self, home: Path, seconds: float) -> None:
        self.home, self.seconds = home, seconds
        config = config_of(home)
        environment = os.environ | {
            "AVM_MESH": config.mesh,
            "AVM_PROFILE": "local",
            "AVM_HOME": str(home),
            "AVM_VECTORS": "off",
        }
        self.node = subprocess.Popen(
            [sys.executable, "-P", "-m", "deploy.cli", "node", "owner"],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
        assert self.node.stdout is not None
        assert self.node.stdout.readline().startswith(b"ready"), "the node did not start"
        with NodeClient("owner", config=config) as client:
            for number in range(MEMORIES):
                text = f"The zebra number {number} grazes at {number % 17}."
                client.remember(text, tags=["zebra"], visibility="mesh")
            self.address = client.status().address
        self.friend = MemoryNode("friend", config=config)
        while not self.friend._endpoint.route_to(AgentName("owner")):
            time.sleep(0.05)
        with self.friend._endpoint.driver.lock:
            member = self.friend._endpoint.driver.peer.engine.members.get("owner")
            assert member is not None
            assert member.record is not None
            self.publisher = member.record.publisher
        self.process = psutil.Process(self.node.pid)
        self.ask(20)

    def ask(self, times: int) -> int:
        """How many of so many questions were answered."""
        answered = 0
        for _ in range(times):
            found = self.friend.ask("zebra grazes", budget_tokens=200, max_peers=1, timeout_s=2.0)
            answered += any(item.agent == "owner" for item in found.items)
        return answered

    def run(self, role: str, kinds: list[str]) -> dict[str, Any]:
        """These at once."""
        before, most, asked, answered = self.process.memory_info().rss, 0, 0, 0
        words = [str(self.home), self.address, self.publisher]
        attackers = [
            subprocess.Popen(
                [sys.executable, __file__, "--attack", role, kind, *words],
            )
            for kind in kinds
        ]
        stop = threading.Event()

        def watch() -> None:
            nonlocal most
            while not stop.wait(0.01):
                most = max(most, self.process.memory_info().rss - before)

        watcher = threading.Thread(target=watch)
        watcher.start()
        end = time.monotonic() + self.seconds
        while time.monotonic() < end:
            asked, answered = asked + 1, answered + self.ask(1)
            time.sleep(0.05)
        for attacker, kind in zip(attackers, kinds, strict=True):
            assert attacker.poll() is None, f"{kind}: the attacker gave up"
            attacker.kill()
            attacker.wait()
        stop.set()
        watcher.join()
        time.sleep(1.0)
        limit = STRANGER_MIB if role == "stranger" else MEMBER_MIB
        return {
            "what": f"{role}: {kinds[0] if len(kinds) == 1 else 'all of it at once'}",
            "grown_mib": most / 2**20,
            "target_mib": limit,
            "after_mib": (self.process.memory_info().rss - before) / 2**20,
            "answered": answered / asked,
            "asked": asked,
            "reached": most / 2**20 <= limit,
        }

    def close(self) -> None:
        """End them."""
        self.friend.close()
        self.node.terminate()
        self.node.wait()


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--seconds", type=float, default=60.0, help="for each kind (60)")
    parser.add_argument("--attack", nargs=5, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.attack:
        attack(*options.attack)
        return
    seconds = 3.0 if options.quick else options.seconds
    chosen = [("stranger", [kind]) for kind in STRANGERS] + [("stranger", list(STRANGERS))]
    chosen += [("member", [kind]) for kind in MEMBERS] + [("member", list(MEMBERS))]
    with tempfile.TemporaryDirectory(prefix="avm-") as home:
        bench = Bench(Path(home), seconds)
        try:
            rows = [
                bench.run(role, kinds)
                for role, kinds in track(chosen, "floods", console=Console(stderr=True), transient=True)
            ]
        finally:
            bench.close()
    columns: Columns = {
        "grown": lambda row: f"{row['grown_mib']:.1f} MiB",
        "target": lambda row: f"{row['target_mib']:.0f} MiB",
        "afterwards": lambda row: f"{row['after_mib']:.1f} MiB",
        "answered": lambda row: f"{row['answered']:.0%} of {row['asked']}",
    }
    report(rows, columns, options.json)


if __name__ == "__main__":
    main()
