"""Start of a node: from starting its process to its first answer, and what it then holds in memory.

Raw limit, in turns in the same run: a bare Python process that prints a line, and one that only
imports the packages a node is made of.

    python benchmarks/start.py [--quick] [--json PATH]
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time

import psutil

from benchmarks.report import Columns, arguments, report
from node.client import NodeClient
from node.config import NodeConfig

TARGET_S = 0.5
TARGET_MIB = 60
MEMORIES = 200
BARE = "print('ready', flush=True); input()"
IMPORTS = (
    "import apsw, mmh3, msgpack, msgspec, numpy, Stemmer, typer, zmq; print('ready', flush=True); input()"
)


def started(arguments: list[str]) -> tuple[subprocess.Popen[str], float]:
    """A process that printed its first line, and the seconds that took."""
    begun = time.perf_counter()
    process = subprocess.Popen(arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline()
    return process, time.perf_counter() - begun


def resident_mib(process: subprocess.Popen[str]) -> float:
    """Resident set of a process."""
    held: int = psutil.Process(process.pid).memory_info().rss
    return held / 2**20


def end(process: subprocess.Popen[str]) -> None:
    """End it and wait."""
    process.terminate()
    process.wait(10)
    for stream in (process.stdin, process.stdout):
        if stream is not None:
            stream.close()


def plain(code: str) -> tuple[float, float]:
    """Seconds to the first line, and MiB then, of `python -c code`."""
    process, took_s = started([sys.executable, "-c", code])
    held = resident_mib(process)
    end(process)
    return took_s, held


def node(config: NodeConfig) -> dict[str, float]:
    """A node with memories of its own: first answer to who-knows over its control socket, then a recall."""
    begun = time.perf_counter()
    process, ready_s = started([sys.executable, "-P", "-m", "deploy.cli", "node", "bench"])
    with NodeClient("bench", config=config) as client:
        assert client.who_knows("topic 7").leads
        answered_s = time.perf_counter() - begun
        held = resident_mib(process)
        client.recall("topic 7")
        recalled_s = time.perf_counter() - begun
        after = resident_mib(process)
    end(process)
    return {
        "ready_s": ready_s,
        "answered_s": answered_s,
        "held_mib": held,
        "recalled_s": recalled_s,
        "after_recall_mib": after,
    }


def measure(rounds: int) -> dict[str, float]:
    """Medians over `rounds` starts of each, in turns."""
    with tempfile.TemporaryDirectory(prefix="avm-") as home:
        os.environ["AVM_HOME"] = home
        config = NodeConfig.load()
        process, _ = started([sys.executable, "-P", "-m", "deploy.cli", "node", "bench"])
        with NodeClient("bench", config=config) as client:
            for number in range(MEMORIES):
                client.remember(f"Note {number} is about topic {number} and about gardens.", tags=["garden"])
        end(process)
        rows: list[dict[str, float]] = []
        for _ in range(rounds):
            bare_s, bare_mib = plain(BARE)
            imports_s, imports_mib = plain(IMPORTS)
            limits = {
                "bare_s": bare_s,
                "bare_mib": bare_mib,
                "imports_s": imports_s,
                "imports_mib": imports_mib,
            }
            rows.append(node(config) | limits)
    return {name: statistics.median(row[name] for row in rows) for name in rows[0]}


def main() -> None:
    options = arguments(__doc__).parse_args()
    found = measure(3 if options.quick else 11)
    names = (
        ("to the first answer, s", "answered_s", "imports_s", TARGET_S),
        ("resident then, MiB", "held_mib", "imports_mib", TARGET_MIB),
        ("to the first recall, s", "recalled_s", "imports_s", None),
        ("resident then, MiB", "after_recall_mib", "imports_mib", None),
    )
    rows = [
        {
            "what": what,
            "figure": round(found[figure], 3),
            "bare": round(found[limit.replace("imports", "bare")], 3),
            "raw_limit": round(found[limit], 3),
            "ratio": round(found[figure] / found[limit], 2),
            "target": target,
            "reached": None if target is None else found[figure] <= target,
        }
        for what, figure, limit, target in names
    ]
    columns: Columns = {
        "figure": lambda row: row["figure"],
        "bare Python": lambda row: row["bare"],
        "imports alone": lambda row: row["raw_limit"],
        "ratio": lambda row: row["ratio"],
        "target": lambda row: row["target"] or "",
    }
    report(rows, columns, options.json)


if __name__ == "__main__":
    main()
