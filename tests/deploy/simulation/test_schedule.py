"""Random schedules: drawn from their seed alone, survived by the mesh, and the same on several cores."""

from __future__ import annotations

import msgspec
import pytest

from deploy.simulation.many import run_all
from deploy.simulation.run import Result
from deploy.simulation.scenario import Scenario
from deploy.simulation.schedule import FAULTS_S, draw


def drawn(seeds: range, nodes: int) -> list[tuple[int, Scenario]]:
    return [(seed, draw(seed, nodes=nodes, profile="lan")) for seed in seeds]


def without_time(results: list[Result]) -> list[bytes]:
    ordered = sorted(results, key=lambda result: result.seed)
    return [msgspec.json.encode(msgspec.structs.replace(result, took_s=0.0)) for result in ordered]


def test_a_schedule_depends_on_its_seed_alone_and_ends_in_quiet() -> None:
    schedules = [draw(seed, nodes=20, profile="lan") for seed in range(200)]

    assert schedules == [draw(seed, nodes=20, profile="lan") for seed in range(200)]
    kinds = {type(event).__name__ for schedule in schedules for event in schedule.event}
    assert len(kinds) == 13, "some fault is never drawn"
    for schedule in schedules:
        assert [type(event).__name__ for event in schedule.event][-3:] == ["Heal", "Weather", "Learn"]
        assert schedule.event[-1].at_s == FAULTS_S


@pytest.mark.parametrize("seed", range(12))
def test_a_mesh_survives_random_faults(seed: int) -> None:
    (result,) = run_all(drawn(range(seed, seed + 1), 10))

    assert result.held, f"seed {seed}: {[one for one in result.verdicts if not one.held]}"


@pytest.mark.processes
def test_several_cores_bring_the_results_of_one() -> None:
    chosen = drawn(range(3), 6)
    told: dict[int, float] = {}

    on_two = list(run_all(chosen, jobs=2, progress=told.__setitem__))

    assert without_time(on_two) == without_time(list(run_all(chosen)))
    assert told == {0: 1.0, 1: 1.0, 2: 1.0}
