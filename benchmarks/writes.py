"""Single acknowledged writes, beside plain apsw doing one insert with FTS5 per transaction.

Both run in turns in the same process on files in the same folder, at the same durability, with the same
texts; the figure of each is the median of its rounds.

    python benchmarks/writes.py [--quick] [--json PATH]
"""

from __future__ import annotations

import itertools
import random
import re
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import apsw

from benchmarks.report import Columns, arguments, report
from node.memory import Draft, Store
from node.memory.database import Durability
from protocol.names import check_agent_name

TARGET = 0.40
SYLLABLES = re.findall(
    "[a-z]+",
    "ba co di fu ga he ji ko la mi no pe qua ri so ta ul ve wo xi ya zo ster ment tion ing al er on is",
)


def texts(seed: int = 1, words: int = 20_000) -> Iterator[str]:
    """Endless sentences of 40 to 60 words by Zipf's law, each with a number of its own."""
    draw = random.Random(seed)
    made = ("".join(draw.choices(SYLLABLES, k=draw.randint(1, 4))) for _ in itertools.count())
    vocabulary = list(itertools.islice(dict.fromkeys(itertools.islice(made, 4 * words)), words))
    weights = list(itertools.accumulate(1 / rank for rank in range(1, len(vocabulary) + 1)))
    for number in itertools.count(1):
        chosen = draw.choices(vocabulary, cum_weights=weights, k=draw.randint(40, 60))
        chosen[0] = chosen[0].capitalize()
        yield f"{' '.join(chosen)} n{number}."


def plain_writer(folder: Path, durability: Durability) -> Callable[[str], object]:
    """One row and its FTS5 row in one transaction: the least a searchable store does."""
    connection = apsw.Connection(str(folder / f"plain-{durability}.db"))
    connection.pragma("journal_mode", "wal")
    connection.pragma("synchronous", durability)
    connection.execute("CREATE TABLE notes (id INTEGER PRIMARY KEY, text TEXT NOT NULL)")
    connection.execute(
        "CREATE VIRTUAL TABLE words USING fts5 (text, content = 'notes', content_rowid = 'id')"
    )

    def write(text: str) -> None:
        connection.execute("BEGIN IMMEDIATE")
        connection.execute("INSERT INTO notes (text) VALUES (?)", (text,))
        connection.execute(
            "INSERT INTO words (rowid, text) VALUES (?, ?)", (connection.last_insert_rowid(), text)
        )
        connection.execute("COMMIT")

    return write


def rate(write: Callable[[str], object], batch: list[str]) -> float:
    """Calls per second."""
    start = time.perf_counter()
    for text in batch:
        write(text)
    return len(batch) / (time.perf_counter() - start)


def measure(durability: Durability, rounds: int, size: int) -> dict[str, Any]:
    """Median rates of both, in turns."""
    source = texts()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        plain = plain_writer(folder, durability)
        with Store.open(folder / "ours.db", check_agent_name("bench"), durability=durability) as store:
            ours, limits = [], []
            for turn in range(rounds + 1):
                batch = list(itertools.islice(source, size))
                limit = rate(plain, batch)
                figure = rate(lambda text: store.remember(Draft(text=text)), batch)
                if turn:  # The first round warms both up.
                    limits.append(limit)
                    ours.append(figure)
    figure, limit = statistics.median(ours), statistics.median(limits)
    return {
        "what": f"single acknowledged writes, {durability}",
        "per_second": round(figure),
        "raw_limit": round(limit),
        "ratio": round(figure / limit, 3),
        "target": TARGET,
        "reached": figure / limit >= TARGET,
    }


def main() -> None:
    options = arguments(__doc__).parse_args()
    rounds, size = (3, 300) if options.quick else (7, 1_500)
    modes: tuple[Durability, ...] = ("normal", "full")
    columns: Columns = {
        "per second": lambda row: f"{row['per_second']:,}",
        "plain apsw + FTS5": lambda row: f"{row['raw_limit']:,}",
        "ratio": lambda row: f"{row['ratio']:.0%}",
        "target": lambda row: f"{row['target']:.0%}",
    }
    report([measure(durability, rounds, size) for durability in modes], columns, options.json)


if __name__ == "__main__":
    main()
