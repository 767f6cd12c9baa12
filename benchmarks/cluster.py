"""A mesh of hundreds of real node processes on this machine: start, idle cost, changes, memory.

Nodes are started as `avm cluster up` starts them, profile lan, memories empty, without vectors. Idle CPU is
user and system time of all node processes from /proc, once all know all and the start has died down. A change
is one `remember` at one node; when each of the others has its topics in its directory they note themselves
(see observed.py), and nobody is asked before all of it is over. Memory is what a node has for itself with its
part of what it shares (PSS).

Raw limits in the same run: as many processes, forked as well, that only send a ZeroMQ heartbeat as often and
hear as many others (heartbeats.py); a frame from one ZeroMQ PUB to as many SUBs.

    python benchmarks/cluster.py [--nodes N] [--most N] [--idle SECONDS] [--quick] [--json PATH]

--most: a second mesh of so many, of which only start, idle cost and memory are measured; 0 for none.
"""

from __future__ import annotations

import contextlib
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

from rich.progress import track

from benchmarks import observed
from benchmarks.convergence import plain_publish
from benchmarks.report import Columns, arguments, report
from deploy import preflight
from deploy.forked import Forked
from deploy.waves import start_in_waves, wait_until_all_know
from node.client import NodeClient
from node.config import NodeConfig
from node.net.register import Entry
from protocol.names import AgentName

NODES, MOST = 200, 400
IDLE_S, SETTLE_S = 60.0, 20.0
CHANGES, HEARD_S, LIMIT_S = 9, 3.0, 30.0
IDLE_TARGET_CORES, CHANGE_TARGET_S = 0.35, 1.5
_TICKS_S = os.sysconf("SC_CLK_TCK")


def cpu_s(pids: Collection[int]) -> float:
    """User and system time of these processes so far."""
    ticks = 0
    for pid in pids:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        ticks += int(fields[11]) + int(fields[12])
    return ticks / _TICKS_S


def cores(pids: Collection[int], seconds: float, told: str) -> float:
    """What these processes take of the machine, in cores."""
    before, begun = cpu_s(pids), time.monotonic()
    for _ in track(range(int(seconds)), description=told, transient=True):
        time.sleep(1.0)
    return (cpu_s(pids) - before) / (time.monotonic() - begun)


def memory_mib(pids: Collection[int], field: str = "Pss") -> float:
    """Mean of a process, from /proc/<pid>/smaps_rollup."""
    kib = 0
    for pid in pids:
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith(f"{field}:"):
                kib += int(line.split()[1])
    return kib / 1024 / len(pids)


class Mesh:
    """A mesh that runs; it ends with its block."""

    def __init__(self, config: NodeConfig, nodes: int, folder: Path) -> None:
        self.config, self.nodes, self.folder = config, nodes, folder
        os.environ[observed.FOLDER], os.environ["AVM_VECTORS"] = str(folder), "off"
        preflight.check_room(nodes, each_mib=preflight.FORKED_MIB)
        begun = time.monotonic()
        self._starter = Forked(config, nursery="benchmarks.observed")
        try:
            self.entries = self._start()
            self.started_s = time.monotonic() - begun
            wait_until_all_know(config, self._starter, self.entries, lambda _what, _done: None)
            self.whole_s = time.monotonic() - begun
        except BaseException:
            self._starter.end()
            raise
        self.pids = {entry.agent: entry.pid for entry in self.entries}
        self.start_cpu_s = cpu_s(self.pids.values())

    def _start(self) -> list[Entry]:
        names = [AgentName(f"n{number:04}") for number in range(self.nodes)]
        members: list[tuple[AgentName, Any]] = [(name, "agent") for name in names]
        return start_in_waves(self.config, self._starter, members, lambda _what, _done: None)

    def change(self, turn: int) -> float:
        """Seconds from a write at one node until the last of the others has its topic."""
        name = self.entries[turn * 7919 % self.nodes].agent
        begun = time.monotonic()
        with contextlib.closing(NodeClient(name, config=self.config)) as client:
            begun = time.monotonic()
            client.remember("Something new about volcanoes.", tags=[f"novelty{turn}"])
        deadline = begun + LIMIT_S
        while True:
            time.sleep(HEARD_S)
            heard = [
                observed.seen(self.folder, pid, name, begun)
                for other, pid in self.pids.items()
                if other != name
            ]
            times = [at for at in heard if at is not None]
            if len(times) == len(heard):
                return max(times) - begun
            if time.monotonic() > deadline:
                raise TimeoutError(
                    f"{len(heard) - len(times)} nodes do not know of a change after {LIMIT_S:.0f} s"
                )

    def close(self) -> None:
        """End all nodes."""
        self._starter.end()


@contextlib.contextmanager
def mesh_of(nodes: int) -> Iterator[Mesh]:
    """A mesh in which all know all."""
    with tempfile.TemporaryDirectory(prefix="avm-") as name:
        folder = Path(name)
        (folder / "seen").mkdir()
        config = NodeConfig(
            mesh="bench",
            data_dir=folder / "d",
            runtime_dir=folder / "r",
            credentials_dir=folder / "c",
            vectors="off",
        )
        mesh = Mesh(config, nodes, folder / "seen")
        try:
            yield mesh
        finally:
            mesh.close()


@contextlib.contextmanager
def plain(nodes: int) -> Iterator[tuple[list[int], float]]:
    """As many processes with a heartbeat alone; their numbers, and seconds until all were there."""
    profile = NodeConfig().gossip
    full = nodes <= profile.full_mesh
    heard = nodes - 1 if full else profile.neighbours + 2
    every_s = profile.heartbeat_s if full else profile.sparse_heartbeat_s
    begun = time.monotonic()
    with subprocess.Popen(
        [sys.executable, "-P", "-m", "benchmarks.heartbeats", str(nodes), str(heard), str(every_s)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        pids = [int(pid) for pid in process.stdout.readline().split()]
        yield pids, time.monotonic() - begun


def measure(nodes: int, *, idle_s: float, changes: int) -> list[dict[str, Any]]:
    """One mesh, all that is asked of it, and its raw limits."""
    with plain(nodes) as (pids, plain_s):
        time.sleep(SETTLE_S / 2)
        plain_cores = cores(pids, idle_s / 2, f"{nodes} plain processes, idle")
        plain_mib = memory_mib(pids)
    with mesh_of(nodes) as mesh:
        start_cpu_s = mesh.start_cpu_s
        running = mesh.pids.values()
        time.sleep(SETTLE_S)
        idle_cores = cores(running, idle_s, f"{nodes} nodes, idle")
        turns = track(range(changes), description="changes", transient=True)
        told = [mesh.change(turn) for turn in turns]
        held_mib, resident_mib = memory_mib(running), memory_mib(running, "Rss")
        started_s, whole_s = mesh.started_s, mesh.whole_s
        ending = time.monotonic()
    ended_s = time.monotonic() - ending
    rows = [
        _row(f"{nodes} nodes take commands, s", started_s, plain_s),
        _row("  CPU of a node until then and until all know all, s", start_cpu_s / nodes, None),
        _row("  all know all, s", whole_s, plain_s),
        _row("  idle, cores in all", idle_cores, plain_cores, IDLE_TARGET_CORES if nodes == NODES else None),
        _row("  idle, ms of CPU a node and second", 1000 * idle_cores / nodes, 1000 * plain_cores / nodes),
    ]
    if told:
        limit = plain_publish(min(nodes - 1, 250), 50)
        rows += [
            _row("  a change known to all, median s", statistics.median(told), limit, CHANGE_TARGET_S),
            _row(f"  the worst of {len(told)}, s", max(told), limit),
        ]
    return [
        *rows,
        _row("  memory of a node, MiB (PSS)", held_mib, plain_mib),
        _row("  with what others share, MiB (RSS)", resident_mib, None),
        _row("  all ended, s", ended_s, None),
    ]


def _row(what: str, figure: float, raw_limit: float | None, target: float | None = None) -> dict[str, Any]:
    return {
        "what": what,
        "figure": round(figure, 4),
        "raw_limit": None if raw_limit is None else round(raw_limit, 5),
        "ratio": None if raw_limit is None else round(figure / raw_limit, 2),
        "target": target,
        "reached": None if target is None else figure <= target,
    }


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--nodes", type=int, default=NODES, help=f"processes ({NODES})")
    parser.add_argument("--most", type=int, default=MOST, help=f"of a second mesh ({MOST})")
    parser.add_argument("--idle", type=float, default=IDLE_S, help=f"seconds of idle CPU ({IDLE_S:.0f})")
    options = parser.parse_args()
    idle_s, changes = (15.0, 3) if options.quick else (options.idle, CHANGES)
    rows = measure(options.nodes, idle_s=idle_s, changes=changes) if options.nodes else []
    if options.most and not options.quick:
        rows += measure(options.most, idle_s=idle_s / 2, changes=0)
    load = os.getloadavg()[0]
    print(
        f"profile lan, {os.cpu_count()} cores, idle over {idle_s:.0f} s, load of the machine now {load:.1f}"
    )
    columns: Columns = {
        "figure": lambda row: row["figure"],
        "raw limit": lambda row: "" if row["raw_limit"] is None else row["raw_limit"],
        "ratio": lambda row: "" if row["ratio"] is None else row["ratio"],
        "target": lambda row: row["target"] or "",
    }
    report(rows, columns, options.json)


if __name__ == "__main__":
    main()
