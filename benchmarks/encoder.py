"""Text to vectors: the encoder's process as a node sees it, beside torch float32 by sentence-transformers.

Sentences of 40 words. The first line is a client's: socket, batching and process included. The raw limit runs
in a process of its own, on the same two threads, in batches of 32. Fidelity is the cosine to its vectors.

    python benchmarks/encoder.py [--quick] [--json PATH]
"""

from __future__ import annotations

import argparse
import itertools
import json
import re
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import psutil
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from node.encoder import EncoderClient, why_unavailable

THREADS = 2
TARGETS = {"per_second": 250.0, "cold_s": 2.0, "rss_mib": 300.0, "cosine_min": 0.99}
WORDS = re.findall(
    r"\w+",
    "the of and to in a is that for it was on with as be at by this from release gateway customer refund "
    "certificate ticket database timeout Friday Oslo budget invoice meeting server deploy rollback latency "
    "memory topic agent question answer contract supplier warehouse delivery schedule patient doctor recipe "
    "music garden history river mountain language translation battery sensor telescope election treaty",
)

REFERENCE = """
import json, sys, time
start = time.perf_counter()
import numpy, psutil, torch
from sentence_transformers import SentenceTransformer
torch.set_num_threads(int(sys.argv[3]))
model = SentenceTransformer(sys.argv[1], device="cpu", local_files_only=True)
texts = json.loads(sys.stdin.read())
model.encode(texts[:1], show_progress_bar=False)
cold = time.perf_counter() - start
rates = []
for _ in range(3):
    start = time.perf_counter()
    vectors = model.encode(texts, batch_size=32, normalize_embeddings=True, show_progress_bar=False)
    rates.append(len(texts) / (time.perf_counter() - start))
numpy.save(sys.argv[2], vectors)
rss = psutil.Process().memory_info().rss
print(json.dumps([cold, max(rates), rss]))
"""


def sentences(count: int, seed: int = 1) -> list[str]:
    """Sentences of 40 words."""
    draw = np.random.default_rng(seed)
    return [" ".join(draw.choice(WORDS, size=40)).capitalize() + "." for _ in range(count)]


def reference(texts: list[str], folder: Path) -> tuple[dict[str, Any], NDArray[np.float32]]:
    """torch float32 in a process of its own, and its vectors."""
    from node.encoder.weights import locate

    place = folder / "reference.npy"
    done = subprocess.run(
        [sys.executable, "-c", REFERENCE, str(locate()), str(place), str(THREADS)],
        input=json.dumps(texts),
        capture_output=True,
        text=True,
        check=True,
    )
    cold, rate, rss = json.loads(done.stdout.strip().splitlines()[-1])
    return _row("torch float32 (raw limit)", rate, cold, rss, None, None), np.load(place)


def ours(texts: list[str], folder: Path, rounds: int) -> tuple[dict[str, Any], NDArray[np.float32]]:
    """A client's figures, from no process to its end."""
    with EncoderClient(folder / "run", threads=THREADS) as client:
        start = time.perf_counter()
        client.embed(["the first question"])
        cold = time.perf_counter() - start
        try:
            rates = []
            for _ in range(rounds):
                start = time.perf_counter()
                vectors = client.embed(texts, bulk=True, timeout_s=600)
                rates.append(len(texts) / (time.perf_counter() - start))
            times = []
            for text in itertools.islice(itertools.cycle(texts), 100):
                start = time.perf_counter()
                client.embed([" ".join(text.split()[:10])])
                times.append((time.perf_counter() - start) * 1000)
            rss = sum(
                child.memory_info().rss
                for child in psutil.Process().children()
                if "node.encoder.server" in child.cmdline()
            )
        finally:
            client.stop_server()
    query_ms = statistics.median(times)
    return _row("encoder, int8", statistics.median(rates), cold, rss, query_ms, None), vectors


def _row(
    name: str, rate: float, cold: float, rss: float, query_ms: float | None, cosine: float | None
) -> dict[str, Any]:
    return {
        "engine": name,
        "per_second": round(rate),
        "cold_s": round(cold, 2),
        "rss_mib": round(rss / (1 << 20)),
        "query_p50_ms": None if query_ms is None else round(query_ms, 2),
        "cosine_min": cosine,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer sentences and rounds")
    parser.add_argument("--json", type=Path, metavar="PATH", help="write the figures there, too")
    options = parser.parse_args()
    missing = why_unavailable()
    if missing:
        sys.exit(missing)
    texts = sentences(128 if options.quick else 512)
    with tempfile.TemporaryDirectory(prefix="avm-") as name:
        row, vectors = ours(texts, Path(name), rounds=2 if options.quick else 5)
        limit, expected = reference(texts, Path(name))
    cosines = (vectors * expected).sum(axis=1)
    row |= {"cosine_min": round(float(cosines.min()), 4), "cosine_mean": round(float(cosines.mean()), 4)}
    reached = {
        "per_second": row["per_second"] >= TARGETS["per_second"],
        "cold_s": row["cold_s"] < TARGETS["cold_s"],
        "rss_mib": row["rss_mib"] < TARGETS["rss_mib"],
        "cosine_min": row["cosine_min"] >= TARGETS["cosine_min"],
    }
    rows = [row | {"reached": reached}, limit]

    table = Table("", "sentences/s", "cold start", "memory", "query p50", "least cosine")
    for one in rows:
        table.add_row(
            one["engine"],
            f"{one['per_second']}",
            f"{one['cold_s']:.2f} s",
            f"{one['rss_mib']} MiB",
            "" if one["query_p50_ms"] is None else f"{one['query_p50_ms']:.1f} ms",
            "1" if one["cosine_min"] is None else f"{one['cosine_min']:.4f}",
        )
    table.add_row("target", "250", "2 s", "300 MiB", "", "0.99")
    told = {key: "yes" if good else "NO" for key, good in reached.items()}
    table.add_row("reached", told["per_second"], told["cold_s"], told["rss_mib"], "", told["cosine_min"])
    Console().print(table)
    if options.json:
        options.json.write_text(json.dumps(rows, indent=2) + "\n")


if __name__ == "__main__":
    main()
