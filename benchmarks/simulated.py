"""The mesh in virtual time: the real engine and frames under a seeded clock and network (`avm simulate`).

Seconds are virtual, and do not depend on the machine, but those of the round model. The floor of a figure is
what its knobs leave of it at best: the round model without losses for a change, two pings and the shortest
suspicion for a crash, every record sent once to everybody for the traffic. The round model is set beside the
engine (its figure as the floor), and timed at 1,000,000.

    python benchmarks/simulated.py [--only change,crash,...] [--jobs N] [--quick] [--json PATH]
"""

from __future__ import annotations

import math
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

import msgspec
from rich.console import Console
from rich.progress import Progress

from benchmarks.report import Columns, arguments, report
from deploy.simulation.many import run_all
from deploy.simulation.rounds import spread
from deploy.simulation.run import FRESH_STEP_S, Result, slowest
from deploy.simulation.scenario import (
    Chatter,
    Crash,
    Event,
    Heal,
    Join,
    Learn,
    Partition,
    Scenario,
)
from node.net.simconditions import Conditions
from protocol.digest import Announced, Digest
from protocol.messages import Announce, Record
from protocol.names import AgentName
from protocol.profile import Profile
from protocol.wire import encode

LAN = Profile.lan()
SEEDS = 20
TOPICS = 20
HOP_S = LAN.debounce_s + max(Conditions().delay_s) + FRESH_STEP_S
"""How far engine and model may be apart: news travels in hops, and the engine is looked at in steps."""
MODEL_SIZES = (64, 100, 200, 500, 1_000, 2_000)
MILLION = """
import resource, sys, time
from deploy.simulation.rounds import spread
from protocol.profile import Profile
begun = time.perf_counter()
result = spread(int(sys.argv[1]), Profile.lan(), seed=1)
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
print(time.perf_counter() - begun, peak * (1 if sys.platform == "darwin" else 1024), result.to_100_s)
"""

Row = dict[str, Any]


class Bench:
    """What all figures share: how many seeds, how many cores, and how small."""

    def __init__(self, *, quick: bool, jobs: int) -> None:
        self.quick, self.jobs = quick, jobs
        self.seeds = 3 if quick else SEEDS

    def nodes(self, full: int) -> int:
        """A fifth with --quick."""
        return full // 5 if self.quick else full

    def runs(self, what: str, scenario: Scenario, seeds: int | None = None) -> list[Result]:
        """One run a seed, with a progress bar."""
        return self.each(what, [(seed, scenario) for seed in range(1, (seeds or self.seeds) + 1)])

    def each(self, what: str, chosen: Sequence[tuple[int, Scenario]]) -> list[Result]:
        """These runs, by seed."""
        shares: dict[int, float] = {}
        with Progress(console=Console(stderr=True), transient=True) as bar:
            task = bar.add_task(what, total=len(chosen))

            def told(seed: int, share: float) -> None:
                shares[seed] = share
                bar.update(task, completed=sum(shares.values()))

            runs = list(run_all(chosen, jobs=self.jobs, progress=told))
        return sorted(runs, key=lambda result: result.seed)


def scenario(nodes: int, *events: Event, seconds: float = 60.0, **given: Any) -> Scenario:
    """The settings that all figures share; settled long enough for neighbours to be found."""
    return Scenario(
        **{
            "about": "a figure",
            "nodes": nodes,
            "seconds": seconds,
            "settle_s": 8.0,
            "topics": TOPICS,
            "event": events,
            **given,
        }
    )


def row(
    what: str,
    nodes: int,
    values: Sequence[float | None],
    target: float | None,
    unit: str,
    *,
    floor: float | None = None,
    by_worst: bool = False,
) -> Row:
    """A figure: the median over the runs, or the worst where every run has to reach the target."""
    known = [value for value in values if value is not None]
    whole = len(known) == len(values)
    median = statistics.median(known) if known else None
    worst = max(known) if known and whole else None
    judged = worst if by_worst else median if len(known) * 2 > len(values) else None
    return {
        "what": what,
        "nodes": nodes,
        "median": median,
        "worst": worst,
        "samples": len(values),
        "floor": floor,
        "target": target,
        "unit": unit,
        "reached": None if target is None else judged is not None and judged <= target,
    }


def change(bench: Bench) -> list[Row]:
    """A change among 1,000."""
    nodes = bench.nodes(1_000)
    runs = bench.runs("change", scenario(nodes, Learn(at_s=0.0, count=1), seconds=30.0))
    floor = statistics.median(spread(nodes, LAN, seed=seed).to_100_s for seed in range(20))
    return [
        row(
            f"a change known to {share} %",
            nodes,
            [slowest(one, ("change",), share) for one in runs],
            target,
            "s",
            floor=floor,
        )
        for share, target in ((99, 2.0), (100, 6.0))
    ]


def loss_and_crash(bench: Bench) -> list[Row]:
    """A change among 1,000 of which a fifth crashes in the same moment, at 20 % loss."""
    nodes = bench.nodes(1_000)
    events = (Crash(at_s=0.0, share=0.2), Learn(at_s=0.0, count=1))
    given = scenario(nodes, *events, seconds=20.0, network=Conditions(loss=0.2))
    runs = bench.runs("loss and crash", given)
    floor = statistics.median(
        spread(nodes, LAN, seed=seed, loss=0.2, crashed=0.2).to_100_s for seed in range(20)
    )
    values = [slowest(one, ("change",), 100) for one in runs]
    deaths = [float(one.false_deaths) for one in runs]
    return [
        row("the same: 20 % loss, 20 % crash", nodes, values, 10.0, "s", floor=floor, by_worst=True),
        row("  live members taken for dead", nodes, deaths, 0.0, "", by_worst=True),
    ]


def crash(bench: Bench) -> list[Row]:
    """A crash among 200."""
    nodes = bench.nodes(200)
    runs = bench.runs("crash", scenario(nodes, Crash(at_s=0.0, count=1)))
    suspicion_s = LAN.suspicion_s * math.log10(max(10, nodes)) * LAN.suspicion_least
    values = [slowest(one, ("death",), 99) for one in runs]
    return [
        row(
            "a crash known to 99 %",
            nodes,
            values,
            12.0,
            "s",
            floor=2 * LAN.ping_s + suspicion_s,
        )
    ]


def hour(bench: Bench) -> list[Row]:
    """An hour at 10 % loss."""
    nodes, seconds = bench.nodes(100), 300.0 if bench.quick else 3_600.0
    given = scenario(nodes, seconds=seconds, whole=True, network=Conditions(loss=0.1))
    runs = bench.runs("an hour", given, seeds=1)
    return [
        row(f"taken for dead in {seconds:.0f} s, 10 % loss", nodes, [float(runs[0].false_deaths)], 0.0, ""),
        row("  suspected", nodes, [float(runs[0].false_suspicions)], None, ""),
    ]


def traffic(bench: Bench) -> list[Row]:
    """1,000 nodes of which 1 % changes each second."""
    nodes, seconds = bench.nodes(1_000), 20.0 if bench.quick else 60.0
    events = (Chatter(at_s=0.0, for_s=seconds, share_per_s=0.01),)
    given = scenario(nodes, *events, seconds=seconds, whole=True)
    runs = bench.runs("traffic", given, seeds=1)
    (one,) = runs
    floor = _record_bytes() * 0.01 * nodes / 1_000
    received = [one.bytes_per_node_s / 1_000]
    return [
        row("received, 1 % change per second", nodes, received, 12.0, "kB/s", floor=floor),
        row("  frames received", nodes, [one.frames_per_node_s], None, "/s"),
        row("  known to 100 %, the slowest", nodes, [slowest(one, ("change",), 100)], None, "s"),
    ]


def _record_bytes() -> int:
    """One frame that carries a record with its digest."""
    digest = Digest.of([Announced(f"topic-{number}", 1, 1.0) for number in range(TOPICS + 1)])
    record = Record("m0001", 2**60, 1, 2, "agent", "tcp://m0001-1:1", "tcp://m0001-1:2", digest)
    return len(encode(AgentName("m0001"), Announce((), (record,))))


def joiner(bench: Bench) -> list[Row]:
    """A newcomer among 200."""
    nodes = bench.nodes(200)
    runs = bench.runs("joiner", scenario(nodes, Join(at_s=0.0)))
    knows = [slowest(one, ("join",), 100) for one in runs]
    known = [slowest(one, ("arrival",), 100) for one in runs]
    return [
        row("a newcomer knows all, from its welcome", nodes, knows, 3.0, "s"),
        row("  is known to all, from its start", nodes, known, None, "s"),
    ]


def partition(bench: Bench) -> list[Row]:
    """Two halves of 100 find each other."""
    nodes = bench.nodes(200)
    events = (Partition(at_s=0.0), Learn(at_s=20.0, count=4), Heal(at_s=60.0))
    runs = bench.runs("partition", scenario(nodes, *events, seconds=150.0))
    values = [one.equal_after_s for one in runs]
    return [row("two halves equal after the heal", nodes, values, 10.0, "s")]


def agreement(bench: Bench) -> list[Row]:
    """The round model beside the engine: the same change, medians of both."""
    rows = []
    losses = (0.0, 0.2)
    events = tuple(Learn(at_s=3.0 * number, count=1) for number in range(10))
    for nodes in MODEL_SIZES[: 3 if bench.quick else None]:
        chosen = [
            (seed, scenario(nodes, *events, network=Conditions(loss=loss)))
            for seed, loss in enumerate(losses, start=1)
        ]
        for loss, result in zip(losses, bench.each(f"model, {nodes}", chosen), strict=True):
            engine = [one.to_99_s for one in result.spreads]
            model = statistics.median(spread(nodes, LAN, seed=seed, loss=loss).to_99_s for seed in range(20))
            told = row(f"engine beside the model, {loss:.0%} loss", nodes, engine, None, "s")
            apart_s = abs(told["median"] - model) if told["median"] is not None else math.inf
            rows.append(told | {"floor": model, "apart_s": apart_s, "reached": apart_s <= HOP_S})
    return rows


def rounds(bench: Bench) -> list[Row]:
    """The round model at 1,000,000, in a process of its own."""
    nodes = 1_000_000
    begun = time.perf_counter()
    told = subprocess.run(
        [sys.executable, "-c", MILLION, str(nodes)],
        capture_output=True,
        text=True,
        check=True,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)},
    ).stdout
    whole_s = time.perf_counter() - begun
    _, peak_bytes, to_100_s = map(float, told.split())
    return [
        row("the round model takes, with its process", nodes, [whole_s], 30.0, "s"),
        row("  its greatest memory", nodes, [peak_bytes / 2**20], 1_024.0, "MiB"),
        row("  a change known to 100 %", nodes, [to_100_s], None, "s"),
    ]


FIGURES: dict[str, Callable[[Bench], list[Row]]] = {
    "change": change,
    "loss-crash": loss_and_crash,
    "crash": crash,
    "hour": hour,
    "traffic": traffic,
    "joiner": joiner,
    "partition": partition,
    "agreement": agreement,
    "rounds": rounds,
}


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--only", default=",".join(FIGURES), help=f"some of {','.join(FIGURES)}")
    parser.add_argument("--jobs", type=int, default=1, help="runs at the same time (1)")
    options = parser.parse_args()
    chosen = options.only.split(",")
    unknown = [name for name in chosen if name not in FIGURES]
    if unknown:
        parser.error(f"--only: {unknown[0]!r} is none of {', '.join(FIGURES)}")
    bench = Bench(quick=options.quick, jobs=options.jobs)
    rows = [one for name in chosen for one in FIGURES[name](bench)]
    columns: Columns = {
        "nodes": lambda row: f"{row['nodes']:,}",
        "median": lambda row: _shown(row["median"], row["unit"]),
        "worst": lambda row: _shown(row["worst"], row["unit"]),
        "runs": lambda row: row["samples"],
        "floor": lambda row: "" if row["floor"] is None else _shown(row["floor"], row["unit"]),
        "target": lambda row: "" if row["target"] is None else _shown(row["target"], row["unit"]),
    }
    console = Console()
    console.print(f"profile lan: {msgspec.json.encode(LAN).decode()}", style="dim", soft_wrap=True)
    report(rows, columns, options.json)


def _shown(value: float | None, unit: str) -> str:
    if value is None:
        return "never"
    digits = 0 if unit in ("", "MiB") else 3 if value < 1 else 2
    return f"{value:,.{digits}f} {unit}".strip()


if __name__ == "__main__":
    main()
