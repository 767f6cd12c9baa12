"""What the simulated network does to frames: each condition by itself, in the share that was asked for."""

from __future__ import annotations

import math
import statistics
from itertools import pairwise
from random import Random

import msgspec
import pytest

from node.net.simconditions import Conditions, Network
from protocol.names import AgentName

A, B, C = AgentName("a"), AgentName("b"), AgentName("c")
MANY = 20_000


def fates(conditions: Conditions, *, every_s: float = 0.0, seed: int = 1) -> list[tuple[float, ...]]:
    network = Network(Random(seed), conditions)
    return [network.fate(number * every_s, A, B) for number in range(MANY)]


def test_uniform_delays_fill_their_range_and_leave_it_never() -> None:
    delays = [delay for fate in fates(Conditions(delay_s=(0.1, 0.3))) for delay in fate]

    assert 0.1 <= min(delays) < 0.101
    assert 0.299 < max(delays) <= 0.3
    assert statistics.mean(delays) == pytest.approx(0.2, rel=0.01)


def test_a_lognormal_delay_has_the_quantiles_that_were_given() -> None:
    delays = [d for fate in fates(Conditions(delay_s=(0.01, 0.1), distribution="lognormal")) for d in fate]

    twentieths = statistics.quantiles(delays, n=20)
    assert twentieths[0] == pytest.approx(0.01, rel=0.05)
    assert twentieths[-1] == pytest.approx(0.1, rel=0.05)


def test_a_link_is_as_slow_both_ways_and_another_one_is_not() -> None:
    network = Network(Random(1), Conditions(delay_s=(0.1, 0.1), link_spread=0.5))

    there, back, elsewhere = (network.fate(0.0, *link) for link in ((A, B), (B, A), (A, C)))

    assert there == back == network.fate(9.0, A, B)
    assert there != elsewhere


@pytest.mark.parametrize("loss", [0.0, 0.2, 1.0])
def test_the_share_of_lost_frames_is_the_one_asked_for(loss: float) -> None:
    lost = sum(not fate for fate in fates(Conditions(loss=loss)))

    assert lost / MANY == pytest.approx(loss, abs=0.01)


def test_frames_are_repeated_and_each_copy_has_a_delay_of_its_own() -> None:
    twice = [fate for fate in fates(Conditions(duplication=0.1)) if len(fate) == 2]

    assert len(twice) / MANY == pytest.approx(0.1, abs=0.01)
    assert all(first != second for first, second in twice)


def test_a_share_of_frames_is_held_back() -> None:
    conditions = Conditions(delay_s=(0.0, 0.001), reordering=0.1, reorder_s=1.0)

    late = [fate[0] for fate in fates(conditions) if fate[0] > 0.001]

    assert len(late) / MANY == pytest.approx(0.1, abs=0.01)
    assert 0.9 < max(late) <= 1.001


def test_bursts_take_the_share_of_time_and_last_as_long_as_they_were_said_to() -> None:
    conditions = Conditions(burst_loss=1.0, burst_s=2.0, burst_every_s=8.0)

    lost = [not fate for fate in fates(conditions, every_s=0.1)]

    assert sum(lost) / MANY == pytest.approx(0.2, abs=0.03)
    starts = sum(now and not before for before, now in pairwise(lost))
    assert sum(lost) * 0.1 / starts == pytest.approx(2.0, rel=0.2)


def test_two_links_have_bursts_at_different_times() -> None:
    network = Network(Random(1), Conditions(burst_loss=1.0, burst_s=5.0, burst_every_s=5.0))

    lost = [(not network.fate(at, A, B), not network.fate(at, B, A)) for at in range(500)]

    assert any(there != back for there, back in lost)


def test_a_one_way_cut_stops_one_way_and_a_mutual_one_both() -> None:
    network = Network(Random(1), Conditions())

    network.cut([A], [B], mutual=False)

    assert not network.passes(A, B)
    assert network.passes(B, A)
    assert network.passes(A, C)

    network.cut([C], [A, B], mutual=True)

    assert not network.passes(C, A)
    assert not network.passes(B, C)
    assert network.passes(B, A)


def test_equal_seeds_give_equal_fates_and_others_do_not() -> None:
    rough = Conditions(loss=0.1, burst_loss=0.5, duplication=0.1, reordering=0.1, link_spread=0.3)

    assert fates(rough, every_s=0.1) == fates(rough, every_s=0.1)
    assert fates(rough, every_s=0.1) != fates(rough, every_s=0.1, seed=2)


@pytest.mark.parametrize(
    "given",
    [
        {"loss": 1.1},
        {"delay_s": [0.2, 0.1]},
        {"delay_s": [0.0, 0.1], "distribution": "lognormal"},
        {"burst_loss": 0.5, "burst_s": 0.0},
        {"duplication": math.nan},
        {"lost": 0.1},
    ],
)
def test_conditions_that_are_none_are_refused(given: dict[str, object]) -> None:
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert(given, Conditions)
