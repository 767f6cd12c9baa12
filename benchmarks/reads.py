"""Reads of single memories in process: hot ones from the cache, cold ones from SQLite.

Hot: a working set half as large as the cache. Cold: one 20 times as large, uniform. Zipf: ten times as large,
the memory of rank r asked for in proportion to r^-1.5. Beside them the raw limits, measured in turns: a plain
dict, a prepared point read of plain apsw by the same keys, and for Zipf the same read behind functools' LRU
cache of the same size.

    python benchmarks/reads.py [--quick] [--json PATH]
"""

from __future__ import annotations

import itertools
import random
import statistics
import tempfile
import time
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Any

import apsw

from benchmarks.report import Columns, arguments, report
from benchmarks.writes import texts
from node.memory import Draft, Store
from protocol.names import check_agent_name

CACHE = 1_024
COLD_FACTOR = 20
ZIPF_FACTOR, ZIPF_EXPONENT = 10, 1.5
TARGETS = {"hot": 1_000_000, "cold": 60_000, "zipf": 400_000}


def rate(read: Callable[[str], object], keys: list[str]) -> float:
    """Calls per second."""
    start = time.perf_counter()
    for key in keys:
        read(key)
    return len(keys) / (time.perf_counter() - start)


def plain_reader(path: Path, rows: list[tuple[str, str]]) -> Callable[[str], object]:
    """A row by its key, fetched whole: the least a read from a file does."""
    connection = apsw.Connection(str(path))
    connection.pragma("journal_mode", "wal")
    connection.execute("CREATE TABLE notes (path TEXT PRIMARY KEY, text TEXT NOT NULL) WITHOUT ROWID")
    with connection:
        connection.executemany("INSERT INTO notes VALUES (?, ?)", rows)
    return lambda key: connection.execute("SELECT path, text FROM notes WHERE path = ?", (key,)).fetchone()


def compare(
    what: str, ours: Callable[[str], object], raw: Callable[[str], object], keys: list[str], rounds: int
) -> dict[str, Any]:
    """Median rates of both, in turns."""
    pairs = [(rate(raw, keys), rate(ours, keys)) for _ in range(rounds + 1)][1:]
    limit, figure = (statistics.median(column) for column in zip(*pairs, strict=True))
    return {
        "what": f"{what} reads",
        "per_second": round(figure),
        "raw_limit": round(limit),
        "ratio": round(figure / limit, 3),
        "target": TARGETS[what],
        "reached": figure >= TARGETS[what],
    }


def measure(rounds: int, size: int) -> list[dict[str, Any]]:
    """Hot, then cold, then Zipf's, from one store."""
    draw = random.Random(1)
    rows = [(f"/notes/{n}", text) for n, text in enumerate(itertools.islice(texts(), CACHE * COLD_FACTOR))]
    paths = [path for path, _ in rows]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        plain = plain_reader(folder / "plain.db", rows)
        with Store.open(folder / "ours.db", check_agent_name("bench"), cache_entries=CACHE) as store:
            for start in range(0, len(rows), 1_000):
                store.remember_many(
                    [Draft(text=text, path=path) for path, text in rows[start : start + 1_000]]
                )
            hot = draw.choices(paths[: CACHE // 2], k=size * 10)
            known = {path: store.read(path) for path in paths[: CACHE // 2]}
            figures = [compare("hot", store.read, known.__getitem__, hot, rounds)]
            cold = draw.choices(paths, k=size)
            figures.append(compare("cold", store.read, plain, cold, rounds))
            ranked = paths[: CACHE * ZIPF_FACTOR]
            draw.shuffle(ranked)
            weights = [rank**-ZIPF_EXPONENT for rank in range(1, len(ranked) + 1)]
            zipf = draw.choices(ranked, weights, k=size * 4)
            return [*figures, compare("zipf", store.read, lru_cache(CACHE)(plain), zipf, rounds)]


def main() -> None:
    options = arguments(__doc__).parse_args()
    rows = measure(*((3, 10_000) if options.quick else (7, 50_000)))
    columns: Columns = {
        "per second": lambda row: f"{row['per_second']:,}",
        "raw limit": lambda row: f"{row['raw_limit']:,}",
        "ratio": lambda row: f"{row['ratio']:.0%}",
        "target": lambda row: f"{row['target']:,}",
    }
    report(rows, columns, options.json)


if __name__ == "__main__":
    main()
