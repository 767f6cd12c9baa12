"""Scenario files: those that come with the product are ones, and a bad one is told off by its field."""

from __future__ import annotations

from pathlib import Path

import pytest

from deploy.simulation.scenario import Crash, Scenario, available, load, parse
from protocol.errors import InvalidInput

HEAD = 'about = "x"\nnodes = 5\nseconds = 1.0\n'


@pytest.mark.parametrize("name", available())
def test_every_scenario_of_the_product_loads_and_expects_something(name: str) -> None:
    scenario = load(name)

    assert scenario.expect.equal_s is not None
    assert all(event.at_s < scenario.seconds for event in scenario.event)


def test_a_file_of_ones_own_is_a_scenario(tmp_path: Path) -> None:
    path = tmp_path / "own.toml"
    knobs = "[knobs]\nsuspicion_s = 9\nmember_limit = 64\n"
    path.write_text(HEAD + knobs + '[[event]]\ndo = "crash"\nat_s = 0.5\ncount = 2\n')

    scenario = load(str(path))

    assert isinstance(scenario, Scenario)
    assert scenario.event == (Crash(at_s=0.5, count=2),)
    assert (scenario.gossip().suspicion_s, scenario.gossip().member_limit) == (9.0, 64)


@pytest.mark.parametrize(
    ("text", "field"),
    [
        ("nodes = 5\nseconds = 1.0\n", "about"),
        (HEAD.replace("5", "1"), "nodes"),
        (HEAD + "node = 3\n", "node"),
        (HEAD + "[network]\nloss = 1.5\n", "network.loss"),
        (HEAD + "[network]\ndelay_s = [0.2, 0.1]\n", "delay_s"),
        (HEAD + "[network]\nlost = 0.5\n", "lost"),
        (HEAD + '[[event]]\ndo = "explode"\nat_s = 1.0\n', "event[0].do"),
        (HEAD + '[[event]]\ndo = "crash"\nat_s = 1.0\n', "event[0]"),
        (HEAD + '[[event]]\ndo = "crash"\nat_s = 1.0\ncount = 1\nshare = 0.5\n', "event[0]"),
        (HEAD + '[[event]]\ndo = "crash"\nat_s = -1.0\ncount = 1\n', "event[0].at_s"),
        (HEAD + '[[event]]\ndo = "hostile"\nat_s = 1.0\nfor_s = 1.0\nattack = "pray"\n', "event[0].attack"),
        (HEAD + "[knobs]\nspeed = 3\n", "knobs.speed"),
        (HEAD + "[knobs]\nsync_s = 'soon'\n", "knobs"),
        ("about = \n", "own.toml"),
    ],
)
def test_a_bad_file_is_refused_with_its_field_and_a_fix(text: str, field: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        parse(text.encode(), "own.toml")

    assert field in f"{refused.value.field} {refused.value.problem}"
    assert refused.value.fix
    assert "\n" not in str(refused.value).strip()


def test_a_name_that_is_none_names_those_that_are() -> None:
    with pytest.raises(InvalidInput, match="partition-heal"):
        load("partition-heel")
