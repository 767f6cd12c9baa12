"""What a node takes: a process with an empty memory that has joined its mesh, and each memory it holds.

The second figure is of a store with its vectors, random ones of length 1, in the table and in the index in
memory, after single writes, searches and reads; the first gives its base. The limit beside it is what the
vectors alone are, 8 bits a number, and their signs. Nothing of the encoder is in either: it has a process of
its own. Each is measured in a fresh process, from /proc.

    python benchmarks/footprint.py [--quick] [--json PATH]
"""

from __future__ import annotations

import itertools
import json
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.report import Columns, arguments, report

MIB = 1 << 20
EMPTY_MIB, KIB_A_MEMORY = 60, 1.2
MEMORIES, WIDTH = 100_000, 384
RAW_BYTES = WIDTH + WIDTH // 8


def resident_bytes() -> int:
    """Of this process, without what it shares with others through files it mapped: RssAnon."""
    return _status("RssAnon")


def _status(name: str) -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1]) * 1_024
    raise LookupError(name)


def empty(folder: Path) -> dict[str, int]:
    """A node with nothing in it."""
    from node.agent import MemoryNode
    from node.config import NodeConfig

    config = NodeConfig(
        mesh="bench",
        profile="local",
        runtime_dir=folder,
        data_dir=folder / "data",
        credentials_dir=folder / "credentials",
        vectors="off",
    )
    with MemoryNode("bench", config=config) as node:
        node.statistics()
        return {"anonymous": _status("RssAnon"), "resident": _status("VmRSS")}


def filled(folder: Path, memories: int) -> dict[str, int]:
    """A store before and after, and what of it glibc gives back."""
    import numpy as np

    from benchmarks.writes import texts
    from node.encoder.index import VectorIndex
    from node.encoder.memory import return_unused_memory
    from node.memory import Draft, Store
    from node.memory.vectors import Pending
    from protocol.names import check_agent_name

    draw = np.random.default_rng(1)
    source = texts(seed=6)
    with Store.open(folder / "bench.db", check_agent_name("bench")) as store:
        store.remember(Draft(text="first"))
        before = resident_bytes()
        index = VectorIndex(WIDTH)
        for _ in range(0, memories, 1_000):
            drafts = [Draft(text=text) for text in itertools.islice(source, 1_000)]
            store.remember_many(drafts)
            ids = list(range(store.last_id - len(drafts) + 1, store.last_id + 1))
            vectors = draw.standard_normal((len(ids), WIDTH), np.float32)
            store.vectors.add(Pending(ids, [], [], ids[-1]), vectors)
            index.add(ids, vectors)
        for text in itertools.islice(source, 300):
            path = store.remember(Draft(text=text)).path
            store.read(path)
            store.search(text[:40])
        after = resident_bytes()
        return_unused_memory()
        return {"before": before, "after": after, "trimmed": resident_bytes()}


def tokens() -> dict[str, int]:
    """The counter of tokens: what loading it leaves, and what of that glibc gives back."""
    from node.encoder.memory import return_unused_memory
    from node.recall.tokens import count

    before = resident_bytes()
    count("some text")
    after = resident_bytes()
    return_unused_memory()
    return {"before": before, "after": after, "trimmed": resident_bytes()}


def apart(what: str, *given: str) -> dict[str, int]:
    """One of the above in a process of its own."""
    command = [sys.executable, __file__, "--measure", what, *given]
    with tempfile.TemporaryDirectory() as name:
        found = subprocess.run([*command, name], check=True, capture_output=True, text=True)
    measured: dict[str, int] = json.loads(found.stdout)
    return measured


def row(what: str, figure: float, unit: str, raw: float, target: float | None) -> dict[str, Any]:
    """One line of the table."""
    return {
        "what": what,
        "figure": round(figure, 2),
        "unit": unit,
        "raw_limit": round(raw, 2),
        "target": target,
        "reached": None if target is None else figure <= target,
    }


def measure(memories: int) -> list[dict[str, Any]]:
    """The rows."""
    node = apart("empty")
    full = apart("filled", str(memories))
    each = (full["after"] - full["before"]) / memories / 1_024
    trimmed = (full["trimmed"] - full["before"]) / memories / 1_024
    counter = apart("tokens")
    interpreter = apart("nothing")["resident"] / MIB
    raw = RAW_BYTES / 1_024
    return [
        row("an empty node, resident", node["resident"] / MIB, "MiB", interpreter, EMPTY_MIB),
        row("an empty node, its own pages", node["anonymous"] / MIB, "MiB", interpreter, None),
        row(f"a memory, at {memories:,}", each, "KiB", raw, KIB_A_MEMORY),
        row("the same after malloc_trim", trimmed, "KiB", raw, None),
        row("the token counter, loaded", (counter["after"] - counter["before"]) / MIB, "MiB", 0, None),
        row("the same after malloc_trim", (counter["trimmed"] - counter["before"]) / MIB, "MiB", 0, None),
    ]


def main() -> None:
    if sys.argv[1:2] == ["--measure"]:
        what, *given, folder = sys.argv[2:]
        measures: dict[str, Callable[[], dict[str, int]]] = {
            "nothing": lambda: {"resident": _status("VmRSS")},
            "empty": lambda: empty(Path(folder)),
            "filled": lambda: filled(Path(folder), int(given[0])),
            "tokens": tokens,
        }
        print(json.dumps(measures[what]()))
        return
    options = arguments(__doc__).parse_args()
    rows = measure(MEMORIES // 10 if options.quick else MEMORIES)
    columns: Columns = {
        "": lambda row: f"{row['figure']:,} {row['unit']}",
        "raw": lambda row: f"{row['raw_limit']:,} {row['unit']}",
        "target": lambda row: "" if row["target"] is None else f"{row['target']} {row['unit']}",
    }
    report(rows, columns, options.json)


if __name__ == "__main__":
    main()
