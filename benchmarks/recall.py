"""Search and recall at 10,000 and 100,000 memories, by words and topics; with `--vectors` by meaning, too.

Sentences of 40 to 60 words by Zipf's law. Raw limit in the same run, in turns: plain FTS5 over the same
texts, `ORDER BY rank LIMIT 10`, for the same words.

With `--vectors` each question is embedded by the warm encoder of this host. The first 1,000 memories have
their own vectors; to embed all would take an hour, so each of the others has one of those, turned a little.

    python benchmarks/recall.py [--quick] [--vectors] [--json PATH]
"""

from __future__ import annotations

import itertools
import random
import statistics
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import apsw
import numpy as np
from rich.progress import track

from benchmarks.report import Columns, arguments, report
from benchmarks.writes import texts
from node.encoder.client import EncoderClient
from node.encoder.index import VectorIndex
from node.encoder.meaning import Meaning
from node.memory import Draft, Store
from node.recall import recall
from node.recall.counting import count_some
from node.recall.recall import Understand
from protocol.names import check_agent_name

TARGETS_MS = {
    ("search, two rare words", 10_000): 0.5,
    ("search, two rare words", 100_000): 2.0,
    ("search, two common words", 10_000): 3.0,
    ("search, two common words", 100_000): 8.0,
    ("recall, 1,000 tokens", 10_000): 1.5,
    ("recall, 1,000 tokens", 100_000): 4.0,
    ("recall by meaning, too", 10_000): 8.0,
    ("recall by meaning, too", 100_000): 15.0,
}
EMBEDDED = 1_000
BUDGET_TOKENS = 1_000
BATCH = 1_000


def taken_ms(ask: Callable[[str], object], questions: Sequence[str]) -> list[float]:
    """Milliseconds for each."""
    taken = []
    for question in questions:
        start = time.perf_counter()
        ask(question)
        taken.append((time.perf_counter() - start) * 1e3)
    return taken


def plain_search(path: Path, rows: Sequence[str]) -> Callable[[str], object]:
    """FTS5 as its documentation says it."""
    connection = apsw.Connection(str(path))
    connection.pragma("journal_mode", "wal")
    connection.execute("CREATE VIRTUAL TABLE notes USING fts5 (text, tokenize = 'porter')")
    with connection:
        connection.executemany("INSERT INTO notes VALUES (?)", ((row,) for row in rows))
    statement = "SELECT rowid, text FROM notes WHERE notes MATCH ? ORDER BY rank LIMIT 10"
    return lambda question: connection.execute(statement, (" OR ".join(question.split()),)).fetchall()


def questions_of(rows: Sequence[str], count: int) -> dict[str, list[str]]:
    """Of two rare words, of two common ones, and of five of all kinds from one text."""
    draw = random.Random(3)
    held = Counter(word for row in rows for word in set(row.lower().split()) if word.isalpha())
    rare = sorted(word for word, n in held.items() if 3 <= n <= 30)
    common = [word for word, _ in held.most_common(150)][20:]
    return {
        "search, two rare words": [" ".join(draw.sample(rare, 2)) for _ in range(count)],
        "search, two common words": [" ".join(draw.sample(common, 2)) for _ in range(count)],
        "recall, 1,000 tokens": [
            " ".join(draw.sample(draw.choice(rows).lower().rstrip(".").split(), 5)) for _ in range(count)
        ],
    }


def understanding(store: Store, rows: Sequence[str], encoder: EncoderClient) -> Understand:
    """Vectors for all memories, in an index as a node keeps it."""
    own = encoder.embed(rows[:EMBEDDED], bulk=True, timeout_s=600.0)
    index = VectorIndex()
    draw = np.random.default_rng(5)
    for start in range(0, len(rows), BATCH):
        count = min(BATCH, len(rows) - start)
        turned = own[np.arange(start, start + count) % len(own)]
        if start >= EMBEDDED:
            turned = turned + draw.normal(0.0, 0.02, turned.shape).astype(np.float32)
        index.add(range(start + 1, start + 1 + count), turned)

    def understand(question: str) -> Meaning | None:
        vector = encoder.try_query(question, 5.0)
        return None if vector is None else Meaning(index, vector)

    understand("warm")
    return understand


def settle(store: Store, question: str) -> None:
    """What the housekeeper of a node does while nobody writes."""
    recall(store, question, BUDGET_TOKENS)
    while store.merge_index():
        pass
    while count_some(store):
        pass


def measure(size: int, count: int, encoder: EncoderClient | None) -> list[dict[str, Any]]:
    """All of them over one store of `size` memories."""
    rows = list(itertools.islice(texts(), size))
    asked = questions_of(rows, count)
    figures = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        plain = plain_search(folder / "plain.db", rows)
        with Store.open(folder / "ours.db", check_agent_name("bench")) as store:
            for start in track(range(0, size, BATCH), description=f"{size:,} memories"):
                store.remember_many([Draft(text=text) for text in rows[start : start + BATCH]])
            settle(store, rows[0][:100])
            by_meaning = None if encoder is None else understanding(store, rows, encoder)
            if by_meaning is not None:
                asked["recall by meaning, too"] = asked["recall, 1,000 tokens"]
            for what, questions in asked.items():
                ask: Callable[[str], object] = store.search
                if what.startswith("recall"):
                    understand = None if what.startswith("recall,") else by_meaning
                    ask = partial(recall, store, budget_tokens=BUDGET_TOKENS, understand=understand)
                limit, figure = taken_ms(plain, questions), taken_ms(ask, questions)
                target = TARGETS_MS.get((what, size))
                p50 = statistics.median(figure)
                figures.append(
                    {
                        "what": f"{what}, of {size:,}",
                        "p50_ms": round(p50, 3),
                        "p99_ms": round(statistics.quantiles(figure, n=100)[-1], 3),
                        "raw_p50_ms": round(statistics.median(limit), 3),
                        "ratio": round(p50 / statistics.median(limit), 2),
                        "target_ms": target,
                        "reached": None if target is None else p50 <= target,
                    }
                )
    return figures


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--vectors", action="store_true", help="with the real encoder")
    options = parser.parse_args()
    sizes = (10_000,) if options.quick else (10_000, 100_000)
    with tempfile.TemporaryDirectory(prefix="avm-") as place, EncoderClient(Path(place)) as encoder:
        used = encoder if options.vectors else None
        rows = [row for size in sizes for row in measure(size, 200 if options.quick else 400, used)]
        encoder.stop_server()
    columns: Columns = {
        "p50 ms": lambda row: row["p50_ms"],
        "p99 ms": lambda row: row["p99_ms"],
        "plain FTS5 p50 ms": lambda row: row["raw_p50_ms"],
        "ratio": lambda row: row["ratio"],
        "target ms": lambda row: row["target_ms"] or "",
    }
    report(rows, columns, options.json)


if __name__ == "__main__":
    main()
