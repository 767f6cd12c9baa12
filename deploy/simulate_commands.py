"""`avm simulate`: a scenario, many seeds of it, random schedules, or the round model; a report and plots."""

from __future__ import annotations

import statistics
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import msgspec
import typer

from deploy.command import Answer, progress_bar, register
from protocol.errors import InvalidInput

if TYPE_CHECKING:
    from rich.console import Console

    from deploy.simulation.run import Result
    from deploy.simulation.scenario import Scenario

PANEL = "Try it"
MAX_RUNS = 100_000
_ROUNDS_NODES = 1_000_000

ProfileName = Literal["local", "lan", "wan"]


class Failure(msgspec.Struct, frozen=True, kw_only=True):
    """A run in which something did not hold, and the command line that runs it again."""

    seed: int
    told: list[str]
    replay: str


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """`scenario` is empty for random schedules."""

    scenario: str
    runs: list[Result]
    failures: list[Failure]


def add_to(app: typer.Typer) -> None:
    """Register these commands."""
    register(app, "simulate", panel=PANEL)(simulate)


def simulate(
    scenario: Annotated[
        str | None, typer.Argument(help="Name or TOML file of a scenario; without one they are listed.")
    ] = None,
    nodes: Annotated[
        int | None, typer.Option(help="Members at the start, instead of the scenario's.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Equal seeds give equal runs.")] = 1,
    seeds: Annotated[int, typer.Option(help="Run so many seeds, this one and the next.")] = 1,
    profile: Annotated[str | None, typer.Option(help="local, lan or wan, instead of the scenario's.")] = None,
    random: Annotated[
        int, typer.Option(help="Instead of a scenario: so many random schedules of faults.")
    ] = 0,
    model: Annotated[
        str, typer.Option(help="engine: the real one. rounds: the spread of a change, to 1,000,000.")
    ] = "engine",
    jobs: Annotated[int, typer.Option(help="Runs at the same time, each in a process of its own.")] = 1,
    plot: Annotated[Path | None, typer.Option(help="Folder for PNG plots; needs the extra `plot`.")] = None,
) -> Answer:
    """Whole meshes in virtual time: the real engine under faults that can be replayed."""
    _check(scenario, nodes, seeds, profile, random, model, jobs)
    if plot is not None:
        from deploy.simulation.plots import check_library

        check_library()
    if model == "rounds":
        return _rounds(nodes or _ROUNDS_NODES, seed, seeds, profile or "lan", plot)
    if scenario is None and not random:
        return _list()

    from deploy.simulation.scenario import load
    from deploy.simulation.schedule import draw

    if random:
        chosen = [
            (at, draw(at, nodes=nodes or 100, profile=_profile(profile or "lan")))
            for at in range(seed, seed + random)
        ]
    else:
        assert scenario is not None
        given = _changed(load(scenario), nodes, profile)
        chosen = [(at, given) for at in range(seed, seed + seeds)]
    runs = _run(chosen, jobs)
    report = Report(
        scenario=scenario or "",
        runs=runs,
        failures=[_failure(result, scenario, nodes, profile) for result in runs if not result.held],
    )
    if plot is not None:
        from deploy.simulation.plots import draw_runs

        draw_runs(runs, scenario or "random faults", plot)
    return Answer(
        data=report,
        count=len(runs),
        show=lambda console: _show(console, report, chosen[0][1]),
        worked=not report.failures,
    )


def _check(
    scenario: str | None,
    nodes: int | None,
    seeds: int,
    profile: str | None,
    random: int,
    model: str,
    jobs: int,
) -> None:
    if model not in ("engine", "rounds"):
        raise InvalidInput("model", f"{model!r} is none", "use engine or rounds")
    if profile is not None:
        _profile(profile)
    most = 4096 if model == "engine" else 10_000_000
    if nodes is not None and not 2 <= nodes <= most:
        raise InvalidInput("nodes", f"{nodes} members cannot be simulated", f"use 2 to {most}")
    for field, value, least in (("seeds", seeds, 1), ("random", random, 0), ("jobs", jobs, 1)):
        if not least <= value <= MAX_RUNS:
            raise InvalidInput(field, f"{value} is out of range", f"use {least} to {MAX_RUNS}")
    if scenario is not None and (random or model == "rounds"):
        other = "random schedules" if random else "the round model"
        raise InvalidInput("scenario", f"{other} have none", "leave out the name, or the option")


def _profile(name: str) -> ProfileName:
    if name not in ("local", "lan", "wan"):
        raise InvalidInput("profile", f"{name[:80]!r} is none", "use local, lan or wan")
    return name  # type: ignore[return-value]


def _changed(given: Scenario, nodes: int | None, profile: str | None) -> Scenario:
    if nodes is not None:
        given = msgspec.structs.replace(given, nodes=nodes)
    if profile is not None:
        given = msgspec.structs.replace(given, profile=_profile(profile))
    return given


def _list() -> Answer:
    from deploy.simulation.scenario import available, load

    found = [{"name": name, "nodes": (one := load(name)).nodes, "about": one.about} for name in available()]

    def show(console: Console) -> None:
        from rich.table import Table

        table = Table("scenario", "nodes", "", box=None, header_style="dim")
        for one in found:
            table.add_row(str(one["name"]), str(one["nodes"]), str(one["about"]))
        console.print(table)

    return Answer(data=found, count=len(found), show=show)


def _run(chosen: Sequence[tuple[int, Scenario]], jobs: int) -> list[Result]:
    from deploy.simulation.many import run_all

    shares: dict[int, float] = {}
    with progress_bar() as bar:
        task = bar.add_task("runs", total=len(chosen))

        def told(seed: int, share: float) -> None:
            shares[seed] = share
            bar.update(task, completed=sum(shares.values()))

        runs = []
        for result in run_all(chosen, jobs=jobs, progress=told):
            runs.append(result)
            if not result.held and sys.stderr.isatty():
                bar.console.print(f"seed {result.seed} failed")
    return sorted(runs, key=lambda result: result.seed)


def _failure(result: Result, scenario: str | None, nodes: int | None, profile: str | None) -> Failure:
    what = [scenario] if scenario is not None else ["--random 1"]
    size = result.nodes if scenario is None else nodes
    if size is not None:
        what.append(f"--nodes {size}")
    kind = result.profile if scenario is None else profile
    if kind is not None:
        what.append(f"--profile {kind}")
    return Failure(
        seed=result.seed,
        told=[f"{verdict.what}: {verdict.told}" for verdict in result.verdicts if not verdict.held],
        replay=f"avm simulate {' '.join(what)} --seed {result.seed}",
    )


def _show(console: Console, report: Report, given: Scenario) -> None:
    from rich.table import Table

    runs = report.runs
    if report.scenario:
        console.print(f"[bold]{report.scenario}[/bold]: {given.about}")
    first = runs[0]
    virtual_s, took_s = sum(one.virtual_s for one in runs), sum(one.took_s for one in runs)
    console.print(
        f"{first.nodes} members, profile {first.profile}, runs: {len(runs)}, "
        f"{virtual_s:.0f} s of virtual time in {took_s:.1f} s"
    )
    table = Table("", "median", "worst", box=None, header_style="dim")
    for what, unit, digits, values in _figures(runs):
        known = [value for value in values if value is not None]
        missing = len(values) - len(known)
        if not known:
            table.add_row(what, "never", "never")
            continue
        worst = f"never in {missing} runs" if missing else f"{max(known):,.{digits}f} {unit}"
        table.add_row(what, f"{statistics.median(known):,.{digits}f} {unit}", worst)
    console.print(table)
    for verdict in first.verdicts:
        failed = sum(not one.held for result in runs for one in result.verdicts if one.what == verdict.what)
        mark = "[green]held[/green]" if not failed else f"[red]FAILED[/red] in {failed} of {len(runs)}"
        detail = f"  [dim]{verdict.told}[/dim]" if len(runs) == 1 and verdict.told else ""
        console.print(f"  {verdict.what:<18}{mark}{detail}")
    for failure in report.failures:
        console.print(f"[red]seed {failure.seed}[/red]: {'; '.join(failure.told)}")
        console.print(f"  replay: {failure.replay}")


def _figures(runs: Sequence[Result]) -> list[tuple[str, str, int, list[float | None]]]:
    """What, unit, digits, and one value a run."""
    from deploy.simulation.run import slowest

    rows: list[tuple[str, str, int, list[float | None]]] = []
    for kind, what in (
        ("change", "a change is known"),
        ("death", "a crash is known"),
        ("arrival", "a newcomer is known"),
        ("join", "a newcomer knows"),
    ):
        saw = [one for one in runs if any(spread.kind == kind for spread in one.spreads)]
        if saw:
            rows += [
                (f"{what} to {share} %", "s", 2, [slowest(one, (kind,), share) for one in saw])
                for share in (99, 100)
            ]
    rows += [
        ("directories equal, after the last event", "s", 2, [one.equal_after_s for one in runs]),
        ("received per node and second", "B", 0, [one.bytes_per_node_s for one in runs]),
        ("frames received per node and second", "", 1, [one.frames_per_node_s for one in runs]),
        ("false suspicions", "", 0, [float(one.false_suspicions) for one in runs]),
        ("false deaths", "", 0, [float(one.false_deaths) for one in runs]),
        ("frames lost to full queues", "", 0, [float(one.overflowed) for one in runs]),
        ("held by one engine", "KiB", 0, [one.most_bytes_held / 1024 for one in runs]),
    ]
    return rows


def _rounds(nodes: int, seed: int, seeds: int, profile: str, plot: Path | None) -> Answer:
    from deploy.simulation.rounds import spread
    from protocol.profile import PROFILES

    knobs = PROFILES[profile]()
    with progress_bar() as bar:
        found = [
            spread(nodes, knobs, seed=at) for at in bar.track(range(seed, seed + seeds), description="seeds")
        ]
    if plot is not None:
        from deploy.simulation.plots import draw_rounds

        draw_rounds(found, plot)

    def show(console: Console) -> None:
        console.print(f"{nodes:,} members, profile {profile}, round model, runs: {len(found)}")
        for share, times in (
            ("99 %", [one.to_99_s for one in found]),
            ("100 %", [one.to_100_s for one in found]),
        ):
            median_s, worst_s = statistics.median(times), max(times)
            console.print(f"  a change is known to {share:<6}{median_s:.2f} s, worst {worst_s:.2f} s")
        copies = statistics.median(one.frames_per_node for one in found)
        console.print(f"  copies received per node   {copies:.1f}")

    data: list[Any] = [msgspec.to_builtins(one) for one in found]
    return Answer(data=data, count=len(data), show=show)
