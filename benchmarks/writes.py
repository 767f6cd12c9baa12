"""Acknowledged writes: single ones beside plain apsw doing one insert with FTS5 per transaction, batches of
1,000, 16 threads that each write their share beside one, and a large memory beside a small one.

What is compared runs in turns in the same process on files in the same folder, at the same durability, with
the same texts; the figure of each is the median of its rounds.

    python benchmarks/writes.py [--quick] [--json PATH]
"""

from __future__ import annotations

import itertools
import random
import re
import statistics
import tempfile
import threading
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
BATCH_TARGET = 15_000  # Memories per second.
THREADS, THREADS_TARGET = 16, 4.0
LARGE, SMALL, FLAT_TARGET = 100_000, 1_000, 0.8
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
    connection = plain_connection(folder / f"plain-{durability}.db", durability)

    def write(text: str) -> None:
        connection.execute("BEGIN IMMEDIATE")
        insert(connection, text)
        connection.execute("COMMIT")

    return write


def plain_connection(file: Path, durability: Durability) -> apsw.Connection:
    """A table of texts and its FTS5 index."""
    connection = apsw.Connection(str(file))
    connection.pragma("journal_mode", "wal")
    connection.pragma("synchronous", durability)
    connection.execute("CREATE TABLE notes (id INTEGER PRIMARY KEY, text TEXT NOT NULL)")
    connection.execute(
        "CREATE VIRTUAL TABLE words USING fts5 (text, content = 'notes', content_rowid = 'id')"
    )
    return connection


def insert(connection: apsw.Connection, text: str) -> None:
    """One row and its FTS5 row, in the transaction that is open."""
    connection.execute("INSERT INTO notes (text) VALUES (?)", (text,))
    connection.execute(
        "INSERT INTO words (rowid, text) VALUES (?, ?)", (connection.last_insert_rowid(), text)
    )


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
    return row(f"single acknowledged writes, {durability}", figure, limit, TARGET)


def row(what: str, figure: float, limit: float, target: float, *, by_ratio: bool = True) -> dict[str, Any]:
    """One line of the table; `target` is of the ratio, or of the figure itself."""
    return {
        "what": what,
        "per_second": round(figure),
        "raw_limit": round(limit),
        "ratio": round(figure / limit, 3),
        "target": target,
        "reached": (figure / limit if by_ratio else figure) >= target,
    }


def measure_batches(rounds: int) -> dict[str, Any]:
    """`remember_many` of 1,000, beside plain apsw doing one insert with FTS5 each in one transaction."""
    source = texts(seed=2)
    with tempfile.TemporaryDirectory() as name:
        connection = plain_connection(Path(name) / "plain.db", "normal")
        ours, limits = [], []
        with Store.open(Path(name) / "ours.db", check_agent_name("bench")) as store:
            for turn in range(rounds + 1):
                batch = list(itertools.islice(source, 1_000))
                start = time.perf_counter()
                with connection:
                    for text in batch:
                        insert(connection, text)
                middle = time.perf_counter()
                store.remember_many([Draft(text=text) for text in batch])
                end = time.perf_counter()
                if turn:
                    limits.append(len(batch) / (middle - start))
                    ours.append(len(batch) / (end - middle))
        connection.close()
    figure, limit = statistics.median(ours), statistics.median(limits)
    return row("memories in batches of 1,000, normal", figure, limit, BATCH_TARGET, by_ratio=False)


def measure_threads(rounds: int, size: int) -> dict[str, Any]:
    """16 threads that write at full durability, beside one."""
    source = texts(seed=3)
    with (
        tempfile.TemporaryDirectory() as name,
        Store.open(Path(name) / "ours.db", check_agent_name("bench"), durability="full") as store,
    ):

        def write(share: list[str]) -> None:
            for text in share:
                store.remember(Draft(text=text))

        many, one = [], []
        for turn in range(rounds + 1):
            alone = rate(lambda text: store.remember(Draft(text=text)), list(itertools.islice(source, size)))
            batch = list(itertools.islice(source, size * 4))
            threads = [threading.Thread(target=write, args=(batch[n::THREADS],)) for n in range(THREADS)]
            start = time.perf_counter()
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            together = len(batch) / (time.perf_counter() - start)
            if turn:
                one.append(alone)
                many.append(together)
    figure, limit = statistics.median(many), statistics.median(one)
    return row(f"{THREADS} threads beside one, full", figure, limit, THREADS_TARGET)


def measure_size(rounds: int, size: int, large: int) -> dict[str, Any]:
    """Single writes into a large memory, beside a small one."""
    source = texts(seed=4)
    agent = check_agent_name("bench")
    with (
        tempfile.TemporaryDirectory() as name,
        Store.open(Path(name) / "large.db", agent) as big,
        Store.open(Path(name) / "small.db", agent) as small,
    ):
        for store, memories in ((big, large), (small, SMALL)):
            for start in range(0, memories, 1_000):
                count = min(1_000, memories - start)
                store.remember_many([Draft(text=text) for text in itertools.islice(source, count)])
        slow, fast = [], []
        for turn in range(rounds + 1):
            batch = list(itertools.islice(source, size))
            limit = rate(lambda text: small.remember(Draft(text=f"{text} again")), batch)
            figure = rate(lambda text: big.remember(Draft(text=text)), batch)
            if turn:
                fast.append(limit)
                slow.append(figure)
    what = f"single writes at {large:,} memories beside {SMALL:,}"
    return row(what, statistics.median(slow), statistics.median(fast), FLAT_TARGET)


def main() -> None:
    options = arguments(__doc__).parse_args()
    rounds, size = (3, 300) if options.quick else (7, 1_500)
    modes: tuple[Durability, ...] = ("normal", "full")
    rows = [measure(durability, rounds, size) for durability in modes]
    rows.append(measure_batches(rounds))
    rows.append(measure_threads(rounds, size // 3))
    rows.append(measure_size(rounds, size, LARGE // 10 if options.quick else LARGE))
    columns: Columns = {
        "per second": lambda row: f"{row['per_second']:,}",
        "beside": lambda row: f"{row['raw_limit']:,}",
        "ratio": lambda row: f"{row['ratio']:.0%}",
        "target": lambda row: f"{row['target']:,}/s" if row["target"] > 100 else f"{row['target']:.0%}",
    }
    report(rows, columns, options.json)


if __name__ == "__main__":
    main()
