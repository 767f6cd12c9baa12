"""Who knows X? One agent's answer from its own directory, beside the bare row AND of numpy.

Each agent announces 50 topics of a vocabulary by Zipf's law. Asked is for one topic and for three of one
agent, ten leads wanted. The raw limit is what no bit-sliced filter can do without: for each topic, take the
rows of its 7 bits and AND them, at the same width in one piece, its hashes known. Both run in turns; the
figure of each is the median over all calls of all rounds.

Memory is all that the directory holds, but for the names, which are the members': rows and what they have to
spare, what is told of each agent, the way from name to slot. A put is the mean of all with which the
directory was filled; again, the median of those that replace another digest of the same agent.

    python benchmarks/directory.py [--quick] [--json PATH]
"""

from __future__ import annotations

import itertools
import platform
import random
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from benchmarks.report import Columns, arguments, report
from protocol import bloom
from protocol.digest import Announced, Digest
from protocol.directory import Directory
from protocol.names import AgentName

AGENTS = (1_000, 10_000, 100_000, 1_000_000)
TOPICS = 50
VOCABULARY = 20_000
LIMIT = 10
NOW = 2_000.0
TARGETS = {1_000: 10.0, 10_000: 30.0, 100_000: 200.0, 1_000_000: 2_000.0}
"""Microseconds for one topic, by agents."""
MEMORY_TARGET = 1.3
"""Bytes an agent, in bytes of its digest."""

_DRAWN = 128  # Draws of an agent, of which the first 50 different ones count.
_CHUNK = 8_192  # Agents made at once.
_LOG2_BITS = bloom.log2_bits_for(TOPICS, 0.01)

Question = Sequence[str]
Numbers = npt.NDArray[np.int16]

TERMS = [f"topic-{number}" for number in range(VOCABULARY)]


def announcements(agents: int, seed: int = 1) -> Iterator[Numbers]:
    """The topics of each agent, all different, in chunks of shape (agents, TOPICS)."""
    draw = np.random.default_rng(seed)
    shares = np.cumsum(1.0 / np.arange(1, VOCABULARY + 1))
    shares /= shares[-1]
    for start in range(0, agents, _CHUNK):
        size = min(_CHUNK, agents - start)
        numbers = np.searchsorted(shares, draw.random((size, _DRAWN))).astype(np.int16)
        order = np.argsort(numbers, axis=1, kind="stable")
        ordered = np.take_along_axis(numbers, order, axis=1)
        first = np.ones((size, _DRAWN), dtype=np.bool_)
        np.put_along_axis(first, order[:, 1:], ordered[:, 1:] != ordered[:, :-1], axis=1)
        chosen = first & (np.cumsum(first, axis=1) <= TOPICS)
        enough = chosen.sum(axis=1) == TOPICS
        chosen[~enough] = chosen[np.argmax(enough)]  # Hardly ever: too many draws were equal.
        numbers[~enough] = numbers[np.argmax(enough)]
        yield numbers[chosen].reshape(size, TOPICS)


def digests(chunk: Numbers, places: npt.NDArray[np.intp]) -> list[Digest]:
    """What `Digest.of` gives for the topics of each agent, made for all of them at once; a sample is checked.
    `places`: of each topic, the bits of its hashes.
    """
    bits = np.zeros((len(chunk), 1 << _LOG2_BITS), dtype=np.bool_)
    bits[np.arange(len(chunk))[:, None], places[chunk].reshape(len(chunk), -1)] = True
    packed = np.packbits(bits, axis=1, bitorder="little")
    made = [
        Digest(topics=TOPICS, log2_bits=_LOG2_BITS, hashes=bloom.HASHES, bits=row.tobytes()) for row in packed
    ]
    for number in range(0, len(chunk), 1_024):
        assert made[number] == Digest.of(Announced(TERMS[topic], 1, 1.0) for topic in chunk[number])
    return made


def filled(agents: int) -> tuple[Directory, list[list[str]], float, float]:
    """A directory in which every agent was last heard at a moment of its own; the topics of some of them;
    microseconds a put of a new agent, and of one that is known.
    """
    directory, sample, spent_s, again_us = Directory(), [], 0.0, []
    places = np.array([bloom.positions(term, _LOG2_BITS, bloom.HASHES) for term in TERMS], dtype=np.intp)
    heard_at = random.Random(3)
    number = 0
    for chunk in announcements(agents):
        names = [AgentName(f"agent-{at:07}") for at in range(number, number + len(chunk))]
        made = digests(chunk, places)
        moments = [heard_at.uniform(0.0, NOW) for _ in names]
        start = time.perf_counter()
        for name, digest, now in zip(names, made, moments, strict=True):
            directory.put(name, digest, now=now)
        spent_s += time.perf_counter() - start
        number += len(chunk)
        sample += [[TERMS[topic] for topic in topics] for topics in chunk[:: max(1, agents // 2_000)]]
    for at in range(min(500, len(made) - 1)):
        for digest in (made[at + 1], made[at]):
            start = time.perf_counter()
            directory.put(names[at], digest, now=moments[at])
            again_us.append((time.perf_counter() - start) * 1e6)
    return directory, sample, spent_s / agents * 1e6, statistics.median(again_us)


def bare_and(directory: Directory) -> Callable[[Question], object]:
    """The row ANDs of a question, and nothing else."""
    rows = directory.classes[0].slices.rows()

    def ask(question: Question) -> object:
        return [
            np.bitwise_and.reduce(rows.take(bloom.places(term, _LOG2_BITS, bloom.HASHES), axis=0))
            for term in question
        ]

    return ask


def times_us(ask: Callable[[Question], object], questions: list[Question]) -> list[float]:
    """Microseconds of each call."""
    times = []
    for question in questions:
        start = time.perf_counter_ns()
        ask(question)
        times.append((time.perf_counter_ns() - start) / 1e3)
    return times


def measure(agents: int, rounds: int, calls: int) -> Iterator[dict[str, Any]]:
    """One topic, then three, of one directory; then what it takes to hold and to fill it."""
    directory, sample, put_us, again_us = filled(agents)
    raw = bare_and(directory)
    draw = random.Random(2)
    for terms in (1, 3):
        questions: list[Question] = [draw.sample(draw.choice(sample), terms) for _ in range(calls)]
        raw_us: list[float] = []
        ours_us: list[float] = []
        for turn in range(rounds + 1):
            taken = times_us(raw, questions)
            ours = times_us(lambda asked: directory.who_knows(asked, now=NOW, limit=LIMIT), questions)
            if turn:  # The first round warms both up.
                raw_us += taken
                ours_us += ours
        limit_us, figure_us = statistics.median(raw_us), statistics.median(ours_us)
        target = TARGETS[agents] if terms == 1 else None
        yield {
            "what": f"who knows, {agents:,} agents, {terms} topic{'s' * (terms > 1)}",
            "figure": round(figure_us, 1),
            "unit": "us, p50",
            "mean": round(statistics.fmean(ours_us), 1),
            "raw_limit": round(limit_us, 1),
            "ratio": round(figure_us / limit_us, 2),
            "target": target,
            "reached": None if target is None else figure_us <= target,
        }
    digest_bytes = (1 << _LOG2_BITS) // 8
    per_agent = directory.size_bytes / agents
    yield {
        "what": f"memory, {agents:,} agents",
        "figure": round(per_agent, 1),
        "unit": "bytes an agent",
        "mean": None,
        "raw_limit": digest_bytes,
        "ratio": round(per_agent / digest_bytes, 3),
        "target": digest_bytes * MEMORY_TARGET,
        "reached": per_agent <= digest_bytes * MEMORY_TARGET,
    }
    for what, figure in (("put, new,", put_us), ("put, again,", again_us)):
        yield {
            "what": f"{what} {agents:,} agents",
            "figure": round(figure, 1),
            "unit": "us",
            **dict.fromkeys(("mean", "raw_limit", "ratio", "target", "reached")),
        }


def main() -> None:
    options = arguments(__doc__).parse_args()
    print(
        f"{TOPICS} of {VOCABULARY:,} topics an agent, Zipf; {1 << _LOG2_BITS:,} bits, {bloom.HASHES} hashes; "
        f"limit {LIMIT}; Python {platform.python_version()}, numpy {np.__version__}"
    )
    plan = [(agents, 5, max(200, min(2_000, 20_000_000 // agents))) for agents in AGENTS]
    if options.quick:
        plan = [(agents, 2, 300) for agents in AGENTS[:3]]
    rows = list(itertools.chain.from_iterable(measure(*part) for part in plan))
    columns: Columns = {
        "": lambda row: f"{row['figure']:,}",
        "unit": lambda row: row["unit"],
        "mean": lambda row: _shown(row["mean"]),
        "raw limit": lambda row: _shown(row["raw_limit"]),
        "ratio": lambda row: _shown(row["ratio"]),
        "target": lambda row: _shown(row["target"]),
    }
    report(rows, columns, options.json)


def _shown(figure: float | None) -> str:
    return "" if figure is None else f"{figure:,}"


if __name__ == "__main__":
    main()
