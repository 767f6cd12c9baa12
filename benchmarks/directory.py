"""Who knows X? One agent's answer from its own directory, beside the bare row AND of numpy.

Each agent announces 50 topics of a vocabulary by Zipf's law. Asked is for one topic and for three of one
agent, ten leads wanted. The raw limit is what no bit-sliced filter can do without: for each topic, take the
rows of its 7 bits and AND them, at the same width, on the directory's own rows, its hashes known. Both run
in turns; the figure of each is the median over its rounds of the mean time of a call.

    python benchmarks/directory.py [--quick] [--json PATH]
"""

from __future__ import annotations

import itertools
import random
import statistics
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from benchmarks.report import Columns, arguments, report
from protocol import bloom
from protocol.digest import Announced, Digest
from protocol.directory import Directory
from protocol.names import AgentName

AGENTS = (100, 1_000, 10_000)
TOPICS = 50
VOCABULARY = 20_000
LIMIT = 10
TARGET_US = {(1_000, 1): 50.0}

Question = Sequence[str]


def announcements(agents: int, seed: int = 1) -> list[list[str]]:
    """The topics of each agent, all different."""
    draw = random.Random(seed)
    weights = list(itertools.accumulate(1 / rank for rank in range(1, VOCABULARY + 1)))
    chosen: list[list[str]] = []
    for _ in range(agents):
        topics: dict[str, None] = {}
        while len(topics) < TOPICS:
            topics.update(
                (f"topic-{n}", None) for n in draw.choices(range(VOCABULARY), cum_weights=weights, k=10)
            )
        chosen.append(list(topics)[:TOPICS])
    return chosen


def filled(announced: list[list[str]]) -> Directory:
    """A directory in which every agent was last heard at a moment of its own."""
    directory = Directory()
    for number, topics in enumerate(announced):
        digest = Digest.of(Announced(term, 1, 1.0) for term in topics)
        directory.put(AgentName(f"agent-{number:05}"), digest, now=number / 1_000)
    return directory


def bare_and(announced: list[list[str]]) -> Callable[[Question], object]:
    """The row ANDs of a question, and nothing else."""
    log2_bits = bloom.log2_bits_for(TOPICS, 0.01)
    words = -(-len(announced) // 64)
    rows = np.zeros((1 << log2_bits, words), dtype=np.uint64)
    for slot, topics in enumerate(announced):
        bits = np.frombuffer(bloom.build(topics, log2_bits, bloom.HASHES), dtype=np.uint8)
        column = np.unpackbits(bits, bitorder="little").astype(np.uint64)
        rows[:, slot >> 6] |= column << np.uint64(slot & 63)
    terms = set(itertools.chain.from_iterable(announced))
    where = {term: np.array(bloom.positions(term, log2_bits, bloom.HASHES)) for term in terms}

    def ask(question: Question) -> object:
        return [np.bitwise_and.reduce(rows.take(where[term], axis=0), axis=0) for term in question]

    return ask


def mean_us(ask: Callable[[Question], object], questions: list[Question]) -> float:
    """Microseconds a call."""
    start = time.perf_counter()
    for question in questions:
        ask(question)
    return (time.perf_counter() - start) / len(questions) * 1e6


def measure(agents: int, rounds: int, size: int) -> list[dict[str, Any]]:
    """One topic, then three, of one directory."""
    announced = announcements(agents)
    directory, raw = filled(announced), bare_and(announced)
    draw = random.Random(2)
    figures = []
    for terms in (1, 3):
        questions: list[Question] = [draw.sample(draw.choice(announced), terms) for _ in range(size)]
        pairs = [
            (
                mean_us(raw, questions),
                mean_us(lambda question: directory.who_knows(question, now=60.0, limit=LIMIT), questions),
            )
            for _ in range(rounds + 1)
        ][1:]  # The first round warms both up.
        limit_us, figure_us = (statistics.median(column) for column in zip(*pairs, strict=True))
        target_us = TARGET_US.get((agents, terms))
        figures.append(
            {
                "what": f"who knows, {agents:,} agents, {terms} topic{'s' * (terms > 1)}",
                "us": round(figure_us, 1),
                "raw_limit_us": round(limit_us, 1),
                "ratio": round(figure_us / limit_us, 2),
                "target_us": target_us,
                "reached": None if target_us is None else figure_us < target_us,
            }
        )
    return figures


def main() -> None:
    options = arguments(__doc__).parse_args()
    rounds, size = (3, 300) if options.quick else (7, 2_000)
    rows = [row for agents in AGENTS for row in measure(agents, rounds, size)]
    columns: Columns = {
        "us a call": lambda row: f"{row['us']:,}",
        "bare row AND": lambda row: f"{row['raw_limit_us']:,}",
        "ratio": lambda row: row["ratio"],
        "target": lambda row: "" if row["target_us"] is None else f"{row['target_us']:.0f}",
    }
    report(rows, columns, options.json)


if __name__ == "__main__":
    main()
