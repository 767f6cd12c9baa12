"""Which index holds a memory's vectors: ours beside usearch (HNSW, int8) and sqlite-vec (int8).

Clustered unit vectors of 384 numbers, added 256 at a time. A search asks for 10 near a stored one; recall@10
counts against exact float32 cosines; RAM is what a process of its own grew by. usearch and sqlite-vec are
not installed with the project; what is missing is left out.

| index | vectors | search p50 | recall@10 | RAM per vector | build | load |
|---|---|---|---|---|---|---|
| ours, signs then int8 | 10,000 | 0.39 ms | 0.991 | 307 B | 0.0 s | 2 ms |
| usearch, HNSW int8 | 10,000 | 0.09 ms | 0.943 | 614 B | 1.1 s | 7 ms |
| sqlite-vec, int8 | 10,000 | 8.0 ms | 0.992 | 389 B | 0.1 s | 1 ms |
| ours, signs then int8 | 100,000 | 1.8 ms | 0.993 | 430 B | 0.3 s | 19 ms |
| usearch, HNSW int8 | 100,000 | 0.26 ms | 0.938 | 640 B | 40 s | 81 ms |
| sqlite-vec, int8 | 100,000 | 75 ms | 0.993 | 433 B | 1.0 s | 1 ms |

Measured on 2 cores. usearch's recall is bounded by its int8, which has no scale per vector: four and eight
times the search effort give the same 0.942 at 1.0 and 1.9 ms. Ours is chosen: its search costs less than the
embedding of the query (3 ms), it finds what an exact search finds, it is built as fast as it is filled, and
it adds nothing to install (usearch brings 55 MB).

    python benchmarks/vectors.py [--quick] [--json PATH]
"""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import json
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from multiprocessing import get_context
from pathlib import Path
from typing import Any, Protocol

import apsw
import numpy as np
import psutil
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from node.encoder.index import VectorIndex
from node.encoder.memory import return_unused_memory

WIDTH = 384
WANTED = 10
Floats = NDArray[np.float32]


class Candidate(Protocol):
    """One way to keep vectors."""

    def build(self, vectors: Floats) -> None:
        """Take all of them, ids from 0."""

    def search(self, query: Floats) -> Sequence[int]:
        """The ten nearest."""

    def reload(self, folder: Path) -> float:
        """Save, then seconds to load."""


class Ours:
    def __init__(self) -> None:
        self._index = VectorIndex(WIDTH)

    def build(self, vectors: Floats) -> None:
        for start in range(0, len(vectors), 256):
            part = vectors[start : start + 256]
            self._index.add(range(start, start + len(part)), part)

    def search(self, query: Floats) -> Sequence[int]:
        return [number for number, _ in self._index.search(query, WANTED)]

    def reload(self, folder: Path) -> float:
        self._index.save(folder / "ours", "now")
        start = time.perf_counter()
        assert VectorIndex.load(folder / "ours", "now") is not None
        return time.perf_counter() - start


class Usearch:
    def __init__(self) -> None:
        self._kind = importlib.import_module("usearch.index").Index
        self._index = self._kind(ndim=WIDTH, metric="cos", dtype="i8")

    def build(self, vectors: Floats) -> None:
        for start in range(0, len(vectors), 256):
            part = vectors[start : start + 256]
            self._index.add(np.arange(start, start + len(part)), part, threads=1)

    def search(self, query: Floats) -> Sequence[int]:
        found: list[int] = self._index.search(query, WANTED).keys.tolist()
        return found

    def reload(self, folder: Path) -> float:
        path = str(folder / "usearch")
        self._index.save(path)
        start = time.perf_counter()
        self._kind(ndim=WIDTH, metric="cos", dtype="i8").load(path)
        return time.perf_counter() - start


class SqliteVec:
    def __init__(self) -> None:
        self._folder = tempfile.TemporaryDirectory()
        self._path = Path(self._folder.name) / "vec.db"
        self._connection = self._open()
        self._connection.execute(
            f"CREATE VIRTUAL TABLE v USING vec0 (e int8[{WIDTH}] distance_metric=cosine)"
        )

    def _open(self) -> apsw.Connection:
        connection = apsw.Connection(str(self._path))
        connection.enable_load_extension(True)
        connection.load_extension(importlib.import_module("sqlite_vec").loadable_path())
        connection.pragma("journal_mode", "wal")
        connection.pragma("cache_size", -65_536)
        return connection

    def build(self, vectors: Floats) -> None:
        with self._connection:
            self._connection.executemany(
                "INSERT INTO v (rowid, e) VALUES (?, vec_int8(?))",
                ((number, _bytes(vector)) for number, vector in enumerate(vectors)),
            )

    def search(self, query: Floats) -> Sequence[int]:
        rows = self._connection.execute(
            "SELECT rowid FROM v WHERE e MATCH vec_int8(?) AND k = ?", (_bytes(query), WANTED)
        )
        return [int(str(row[0])) for row in rows]

    def reload(self, folder: Path) -> float:
        self._connection.close()
        start = time.perf_counter()
        self._connection = self._open()
        return time.perf_counter() - start


def _bytes(vector: Floats) -> bytes:
    return bytes(np.rint(vector / np.abs(vector).max() * 127).astype(np.int8).tobytes())


CANDIDATES: dict[str, tuple[str, Callable[[], Candidate]]] = {
    "ours": ("numpy", Ours),
    "usearch HNSW int8": ("usearch", Usearch),
    "sqlite-vec int8": ("sqlite_vec", SqliteVec),
}


def clustered(count: int, seed: int = 1) -> tuple[Floats, Floats]:
    """Unit vectors around a hundredth as many centres of uneven size, and 200 queries near some of them."""
    draw = np.random.default_rng(seed)
    spectrum = (np.arange(1, WIDTH + 1) ** -0.35).astype(np.float32)
    centres = draw.normal(size=(max(50, count // 100), WIDTH)).astype(np.float32) * spectrum
    shares = 1 / np.arange(1, len(centres) + 1) ** 0.5
    which = draw.choice(len(centres), size=count, p=shares / shares.sum())
    vectors = centres[which] + draw.normal(size=(count, WIDTH)).astype(np.float32) * spectrum
    near = vectors[draw.integers(count, size=200)]
    queries = near + draw.normal(size=near.shape).astype(np.float32) * spectrum * 0.8
    turn = np.linalg.qr(draw.normal(size=(WIDTH, WIDTH)))[0].astype(np.float32)
    return _unit(vectors @ turn), _unit(queries @ turn)


def _unit(vectors: Floats) -> Floats:
    unit: Floats = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    return unit


def measure(name: str, count: int) -> dict[str, Any]:
    """The figures of one candidate at one size."""
    vectors, queries = clustered(count)
    truth = np.argsort(-(queries @ vectors.T), axis=1)[:, :WANTED]
    process = psutil.Process()
    return_unused_memory()
    candidate = CANDIDATES[name][1]()
    candidate.build(vectors[:256])  # What it loads and allocates at first is not counted.
    candidate = CANDIDATES[name][1]()
    before = process.memory_info().rss
    start = time.perf_counter()
    candidate.build(vectors)
    built = time.perf_counter() - start
    return_unused_memory()
    grown = process.memory_info().rss - before
    times, hits = [], 0
    for query, right in zip(queries, truth, strict=True):
        start = time.perf_counter()
        found = candidate.search(query)
        times.append(time.perf_counter() - start)
        hits += len(set(found) & set(right.tolist()))
    with tempfile.TemporaryDirectory() as folder:
        loaded = candidate.reload(Path(folder))
    return {
        "index": name,
        "vectors": len(vectors),
        "search_p50_ms": round(statistics.median(times) * 1000, 2),
        "recall_at_10": round(hits / WANTED / len(queries), 3),
        "bytes_per_vector": round(grown / len(vectors)),
        "build_s": round(built, 2),
        "load_s": round(loaded, 3),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="10,000 vectors only")
    parser.add_argument("--json", type=Path, metavar="PATH", help="write the figures there, too")
    options = parser.parse_args()
    rows = []
    for count in (10_000,) if options.quick else (10_000, 100_000):
        for name, (module, _) in CANDIDATES.items():
            if importlib.util.find_spec(module) is not None:
                with get_context("spawn").Pool(1) as pool:
                    rows.append(pool.apply(measure, (name, count)))

    table = Table("index", "vectors", "search p50", "recall@10", "RAM per vector", "build", "load")
    for row in rows:
        table.add_row(
            row["index"],
            f"{row['vectors']:,}",
            f"{row['search_p50_ms']:.2f} ms",
            f"{row['recall_at_10']:.3f}",
            f"{row['bytes_per_vector']} B",
            f"{row['build_s']:.1f} s",
            f"{row['load_s'] * 1000:.0f} ms",
        )
    Console().print(table)
    if options.json:
        options.json.write_text(json.dumps(rows, indent=2) + "\n")


if __name__ == "__main__":
    main()
