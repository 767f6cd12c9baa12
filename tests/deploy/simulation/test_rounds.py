"""The round model: right where the answer is known, like the engine where that runs, large beyond."""

from __future__ import annotations

import statistics
import tracemalloc

import numpy as np
import pytest

from deploy.simulation.rounds import Spread, _Model, spread
from deploy.simulation.run import FRESH_STEP_S, run
from deploy.simulation.scenario import Learn, Scenario
from node.net.simconditions import Conditions
from protocol.profile import Profile

LAN = Profile.lan()
STILL = (0.001, 0.001)


def spreads(nodes: int, count: int, loss: float = 0.0, crashed: float = 0.0) -> list[Spread]:
    return [spread(nodes, LAN, seed=seed, loss=loss, crashed=crashed) for seed in range(count)]


def test_in_a_full_mesh_all_know_after_one_debounce_and_one_delay() -> None:
    seldom = Profile(heartbeat_s=1_000.0, sync_s=1_000.0)  # Neither comes in between.

    result = spread(LAN.full_mesh, seldom, seed=1, delay_s=STILL)

    assert result.to_100_s == pytest.approx(LAN.debounce_s + 0.001, abs=0.0001)
    assert result.frames_per_node == pytest.approx(1.0, abs=0.02)


def test_with_few_neighbours_news_takes_a_debounce_a_hop() -> None:
    result = spread(1_000, Profile(neighbours=5), seed=1, delay_s=STILL)

    hops = result.to_100_s / (LAN.debounce_s + 0.001)
    assert hops == pytest.approx(round(hops), abs=0.01)
    assert 4 <= round(hops) <= 6  # 8 + 8 x 7 + 8 x 7^2 + ... passes 1,000 at the fourth.


def test_everybody_hears_it_twice_from_every_neighbour_where_nothing_is_lost() -> None:
    result = spread(500, LAN, seed=1)

    assert result.frames_per_node == pytest.approx(2 * (LAN.neighbours + 3), rel=0.01)
    assert result.curve[-1][1] == 1.0
    assert [share for _, share in result.curve] == sorted(share for _, share in result.curve)


@pytest.mark.parametrize("degree", [6, 7, 8, 9])
def test_neighbours_are_neighbours_both_ways(degree: int) -> None:
    model = _Model(301, Profile(neighbours=degree - 3), 1, 0.0, 0.0, STILL)
    assert model.neighbours is not None
    assert model.neighbours.shape == (301, degree)

    links = [(a, int(b)) for a in range(301) for b in model.neighbours[a]]

    assert sorted(links) == sorted((b, a) for a, b in links)


def test_an_exchange_works_where_all_its_frames_arrive() -> None:
    model = _Model(10_001, LAN, 1, 0.2, 0.0, STILL)

    model._reach(np.arange(1, 10_001, dtype=np.int32), 1.0, trips=3, frames=3, direct=True)

    came = np.flatnonzero(np.isfinite(model.learned))
    assert len(came) / 10_000 == pytest.approx(0.8**3, abs=0.02)
    assert model.learned[came] == pytest.approx(1.003)
    assert (model.direct.sum(), model.frames) == (len(came), 0)


def test_what_all_copies_of_were_lost_is_made_good() -> None:
    results = spreads(300, 10, loss=0.6)

    assert all(result.reached for result in results)
    assert max(result.to_100_s for result in results) > 0.5
    assert statistics.median(result.frames_per_node for result in results) < 0.5 * 2 * (LAN.neighbours + 3)


def test_where_nothing_gets_through_it_says_that_it_did_not_reach_all() -> None:
    result = spread(100, LAN, seed=1, loss=1.0)

    assert (result.reached, result.to_100_s) == (False, 120.0)


def test_the_gone_are_not_waited_for() -> None:
    results = spreads(300, 5, crashed=0.5)

    assert all(result.reached for result in results)
    assert all(result.frames_per_node < 12.0 for result in results)


def test_equal_seeds_give_equal_spreads() -> None:
    assert spread(2_000, LAN, seed=5, loss=0.2) == spread(2_000, LAN, seed=5, loss=0.2)
    assert spread(2_000, LAN, seed=5, loss=0.2) != spread(2_000, LAN, seed=6, loss=0.2)


@pytest.mark.parametrize(("nodes", "loss"), [(64, 0.0), (64, 0.2), (100, 0.0), (100, 0.2)])
def test_model_and_engine_agree_within_a_hop(nodes: int, loss: float) -> None:
    changes = tuple(Learn(at_s=2.0 * number, count=1) for number in range(6))
    scenario = Scenario(
        about="x",
        nodes=nodes,
        seconds=40.0,
        settle_s=12.0,
        topics=2,
        network=Conditions(loss=loss),
        event=changes,
    )

    engine = [one.to_99_s for one in run(scenario, seed=1).spreads if one.to_99_s is not None]
    model = [one.to_99_s for one in spreads(nodes, 20, loss)]

    assert len(engine) == len(changes)
    hop_s = LAN.debounce_s + max(Conditions().delay_s) + FRESH_STEP_S  # Times come in whole hops.
    assert statistics.median(model) == pytest.approx(statistics.median(engine), abs=hop_s)


def test_a_hundred_thousand_take_little_memory_and_few_hops_more() -> None:
    tracemalloc.start()
    try:
        result = spread(100_000, LAN, seed=1)
        _, peak_bytes = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert result.reached
    assert result.to_100_s < 3 * spread(1_000, LAN, seed=1).to_100_s
    assert peak_bytes < 100_000 * 200  # 1,000,000 then take less than 200 MB.
