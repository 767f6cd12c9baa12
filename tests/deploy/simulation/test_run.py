"""Runs: what events do, what is measured of them, and that a run is the same again."""

from __future__ import annotations

from typing import get_args

import msgspec
import pytest

from deploy.simulation import scenario as told
from deploy.simulation.run import Result, run, slowest
from deploy.simulation.scenario import Attack, Expect, Scenario
from node.net.simconditions import Conditions
from protocol.errors import InvalidInput


def tale(*events: told.Event, nodes: int = 8, seconds: float = 60.0, **given: object) -> Scenario:
    settings = {"about": "x", "nodes": nodes, "seconds": seconds, "topics": 3, "event": events} | given
    return Scenario(**settings)  # type: ignore[arg-type]


def held(result: Result) -> dict[str, bool]:
    return {verdict.what: verdict.held for verdict in result.verdicts}


def without_time(result: Result) -> bytes:
    return msgspec.json.encode(msgspec.structs.replace(result, took_s=0.0))


def test_a_change_spreads_and_the_run_ends_when_nothing_is_to_come() -> None:
    scenario = tale(told.Learn(at_s=1.0, count=2), expect=Expect(change_100_s=6.0, equal_s=6.0))

    result = run(scenario, seed=1)

    assert result.held
    assert [(spread.kind, spread.curve[-1][1]) for spread in result.spreads] == [("change", 1.0)] * 2
    assert 0.0 < (slowest(result, ("change",), 99) or 0.0) <= (slowest(result, ("change",), 100) or 0.0) < 1.0
    assert result.virtual_s < 20.0
    assert result.frames_per_node_s > 1.0


def test_what_takes_longer_than_expected_fails_and_says_what_was_seen() -> None:
    result = run(tale(told.Crash(at_s=0.0, count=1), expect=Expect(death_99_s=1.0, equal_s=0.5)), seed=1)

    assert not result.held
    assert {what for what, good in held(result).items() if not good} == {"death_99_s", "equal_s"}
    assert all("at most" in verdict.told for verdict in result.verdicts if not verdict.held)


def test_what_never_happens_in_the_time_of_the_run_fails() -> None:
    result = run(tale(told.Crash(at_s=0.0, count=1), seconds=2.0, expect=Expect(death_100_s=50.0)), seed=1)

    assert slowest(result, ("death",), 100) is None
    assert held(result)["death_100_s"] is False
    assert result.equal_after_s is None


def test_a_newcomer_is_measured_both_ways() -> None:
    result = run(tale(told.Join(at_s=0.5, count=1), expect=Expect(join_s=3.0)), seed=1)

    assert result.held
    assert sorted(spread.kind for spread in result.spreads) == ["arrival", "join"]


def test_two_halves_that_were_cut_find_each_other() -> None:
    scenario = tale(
        told.Partition(at_s=0.0),
        told.Learn(at_s=1.0, count=2),
        told.Heal(at_s=25.0),
        expect=Expect(equal_s=45.0),
    )

    result = run(scenario, seed=2)

    assert result.held
    changes = [spread for spread in result.spreads if spread.kind == "change"]
    assert all((spread.to_100_s or 0.0) > 20.0 for spread in changes), "the cut let the change through"


def test_a_mesh_in_which_everybody_restarts_comes_together() -> None:
    scenario = tale(told.Restart(at_s=0.0, share=1.0), expect=Expect(equal_s=30.0))

    assert run(scenario, seed=1).held


def test_a_crashed_member_starts_again() -> None:
    scenario = tale(
        told.Crash(at_s=0.0, count=3),
        told.Restart(at_s=5.0, count=3, running=False, same_address=True),
        expect=Expect(equal_s=10.0),
        whole=True,
        seconds=20.0,
    )

    result = run(scenario, seed=1)

    assert result.held
    assert [sample.running for sample in result.samples][-1] == 8
    assert min(sample.running for sample in result.samples) == 5


def test_a_stop_a_slow_spell_and_a_skewed_clock_cost_nobody_else_its_place() -> None:
    scenario = tale(
        told.Stop(at_s=0.0, count=1, for_s=3.0),
        told.Slow(at_s=0.0, count=1, for_s=5.0, service_s=0.3, queue_frames=2),
        told.Skew(at_s=0.0, count=2, drift=0.1),
        expect=Expect(equal_s=40.0),
    )

    result = run(scenario, seed=1)

    assert result.held
    assert result.overflowed > 0


def test_chatter_and_churn_go_on_for_their_time() -> None:
    scenario = tale(
        told.Chatter(at_s=0.0, for_s=10.0, share_per_s=0.25),
        told.Churn(at_s=0.0, for_s=10.0, per_s=0.3, down_s=2.0),
        expect=Expect(equal_s=40.0),
    )

    result = run(scenario, seed=1)

    assert result.held
    assert 12 <= len([spread for spread in result.spreads if spread.kind == "change"]) <= 25
    assert result.virtual_s >= 12.0


def test_one_way_cuts_and_weather_pass() -> None:
    scenario = tale(
        told.Deafen(at_s=0.0, count=1),
        told.Deafen(at_s=0.0, count=1, mute=True),
        told.Weather(at_s=2.0, network=Conditions(loss=0.5)),
        told.Heal(at_s=20.0),
        told.Weather(at_s=20.0, network=Conditions()),
        told.Leave(at_s=20.0, count=1),
        expect=Expect(equal_s=45.0),
    )

    assert run(scenario, seed=1).held


@pytest.mark.parametrize("attack", get_args(Attack))
def test_the_mesh_outlives_members_that_lie(attack: Attack) -> None:
    scenario = tale(
        told.Hostile(at_s=0.0, for_s=4.0, attack=attack, per_s=5.0),
        knobs={"member_limit": 256},
        seconds=90.0,
        expect=Expect(equal_s=60.0),
    )

    result = run(scenario, seed=1)

    assert result.held, result.verdicts
    assert result.frames_per_node_s > 10.0


def test_events_meet_whom_they_name_and_nobody_that_is_not_there() -> None:
    result = run(tale(told.Crash(at_s=0.0, names=("m0000",)), expect=Expect(death_100_s=30.0)), seed=1)
    assert [spread.agent for spread in result.spreads] == ["m0000"]

    with pytest.raises(InvalidInput, match="nobody"):
        run(tale(told.Crash(at_s=0.0, names=("nobody",))), seed=1)


def test_a_run_is_the_same_again_and_other_seeds_are_others() -> None:
    scenario = tale(
        told.Crash(at_s=0.0, count=2),
        told.Hostile(at_s=1.0, for_s=2.0, attack="garbage"),
        told.Chatter(at_s=2.0, for_s=3.0, share_per_s=0.3),
        network=Conditions(loss=0.1, duplication=0.1, link_spread=0.4),
        start="together",
    )

    assert without_time(run(scenario, seed=3)) == without_time(run(scenario, seed=3))
    assert without_time(run(scenario, seed=3)) != without_time(run(scenario, seed=4))
