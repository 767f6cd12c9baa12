"""`avm simulate`: what it prints, what it refuses, and that the line it prints for a failure fails again."""

from __future__ import annotations

import builtins
import shlex
from pathlib import Path
from typing import Any

import pytest

from deploy.simulation.scenario import available
from tests.deploy.conftest import Avm

STRICT = """
about = "A crash that nobody can know of so soon."
nodes = 6
seconds = 20.0
[[event]]
do = "crash"
at_s = 0.5
count = 1
[expect]
death_99_s = 0.5
"""


def test_without_a_name_the_scenarios_are_listed(avm: Avm) -> None:
    assert [one["name"] for one in avm("simulate", "--json").envelope["data"]] == available()
    assert "partition-heal" in avm("simulate").out


def test_a_scenario_runs_and_reports(avm: Avm) -> None:
    ran = avm("simulate", "change", "--nodes", "8", "--seeds", "2")
    told = avm("simulate", "change", "--nodes", "8", "--json").envelope

    assert ran.status == 0
    assert "a change is known to 99 %" in ran.out
    assert "false deaths" in ran.out
    assert (told["status"], told["count"]) == ("ok", 1)
    run = told["data"]["runs"][0]
    assert (run["nodes"], run["seed"], run["profile"]) == (8, 1, "lan")
    assert told["data"]["failures"] == []


def test_a_failure_exits_1_and_the_line_it_prints_fails_again(avm: Avm, short_folder: Path) -> None:
    (short_folder / "strict.toml").write_text(STRICT)

    ran = avm("simulate", "strict.toml", "--seeds", "2", "--seed", "7", "--profile", "local")
    lines = [line.partition("replay: avm ")[2] for line in ran.out.splitlines() if "replay: " in line]
    again = avm(*shlex.split(lines[1]))
    told = avm(*shlex.split(lines[1]), "--json")

    assert ran.status == again.status == told.status == 1
    assert lines == [f"simulate strict.toml --profile local --seed {seed}" for seed in (7, 8)]
    assert "FAILED" in again.out
    assert told.envelope["status"] == "failed"
    seconds = told.envelope["data"]["failures"][0]["told"][0]
    assert seconds in " ".join(ran.out.split())


def test_random_schedules_run_and_name_their_seeds(avm: Avm) -> None:
    told = avm("simulate", "--random", "2", "--nodes", "6", "--seed", "40", "--json").envelope

    assert [run["seed"] for run in told["data"]["runs"]] == [40, 41]
    assert told["status"] == "ok"


@pytest.mark.parametrize(
    ("arguments", "field"),
    [
        (["nowhere"], "scenario"),
        (["change", "--nodes", "1"], "nodes"),
        (["change", "--nodes", "5000"], "nodes"),
        (["change", "--seeds", "0"], "seeds"),
        (["change", "--jobs", "0"], "jobs"),
        (["change", "--profile", "moon"], "profile"),
        (["change", "--model", "wood"], "model"),
        (["change", "--random", "3"], "scenario"),
        (["change", "--model", "rounds"], "scenario"),
    ],
)
def test_bad_input_is_one_line_that_names_the_field(avm: Avm, arguments: list[str], field: str) -> None:
    ran = avm("simulate", *arguments)

    assert ran.status == 2
    assert ran.err.startswith(f"avm: {field}: ")
    assert ran.err.count("\n") == 1


def test_plots_are_drawn_of_what_there_is(avm: Avm, short_folder: Path) -> None:
    pytest.importorskip("matplotlib")

    assert avm("simulate", "change", "--nodes", "6", "--plot", "out").status == 0
    assert avm("simulate", "steady", "--nodes", "4", "--plot", "quiet").status == 0

    for folder, names in (
        ("out", ["convergence.png", "suspicions.png", "traffic.png"]),
        ("quiet", ["suspicions.png", "traffic.png"]),
    ):
        drawn = sorted((short_folder / folder).iterdir())
        assert [path.name for path in drawn] == names
        assert all(path.read_bytes().startswith(b"\x89PNG") for path in drawn)


def test_without_the_library_a_plot_is_refused_before_anything_runs(
    avm: Avm, monkeypatch: pytest.MonkeyPatch, short_folder: Path
) -> None:
    really = builtins.__import__

    def without(name: str, *arguments: Any, **named: Any) -> Any:
        if name.startswith("matplotlib"):
            raise ImportError(name)
        return really(name, *arguments, **named)

    monkeypatch.setattr(builtins, "__import__", without)

    ran = avm("simulate", "change", "--nodes", "6", "--plot", "out")

    assert (ran.status, ran.out) == (2, "")
    assert "avm-mesh[plot]" in ran.err
    assert not (short_folder / "out").exists()
