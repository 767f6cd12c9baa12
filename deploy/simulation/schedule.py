"""Seeded random schedules of faults.

A schedule is an ordinary scenario that is drawn from its seed: some faults in the first seconds, then all is
mended and quiet, and within `SETTLE_S` of that every directory has to be equal. What it draws stays
inside what is stated for the mesh: at most 20 % of frames lost, so that no live member may be taken for dead.
"""

from __future__ import annotations

from random import Random
from typing import Final, Literal

from deploy.simulation import scenario as told
from deploy.simulation.scenario import Expect, Scenario
from node.net.simconditions import Conditions

FAULTS_S: Final = 20.0
SETTLE_S: Final = 45.0
"""The stated time: from the last event until all directories are equal. The start of a lost member's way back
is a hello to a seed, every `retry_s` = 30 s."""

_ROUGH: Final = (
    Conditions(),
    Conditions(loss=0.05),
    Conditions(loss=0.2),
    Conditions(loss=0.1, duplication=0.1),
    Conditions(delay_s=(0.0005, 0.05), distribution="lognormal", link_spread=0.5),
    Conditions(delay_s=(0.001, 0.2), reordering=0.1, reorder_s=0.5),
    Conditions(loss=0.02, burst_loss=0.8, burst_s=1.0, burst_every_s=10.0),
)


def draw(seed: int, *, nodes: int, profile: Literal["local", "lan", "wan"]) -> Scenario:
    """The schedule of this seed; the same one for ever."""
    rng = Random(f"schedule {seed}")
    events: list[told.Event] = []
    for _ in range(rng.randrange(3, 9)):
        events += _fault(rng, round(rng.uniform(0.0, FAULTS_S), 2))
    events += [
        told.Heal(at_s=FAULTS_S),
        told.Weather(at_s=FAULTS_S, network=Conditions()),
        told.Learn(at_s=FAULTS_S, count=1),
    ]
    return Scenario(
        about=f"Random faults, seed {seed}.",
        nodes=nodes,
        seconds=FAULTS_S + SETTLE_S + 20.0,  # A stop that began late still ends.
        profile=profile,
        settle_s=3.0,
        topics=5,
        network=rng.choice(_ROUGH),
        event=tuple(sorted(events, key=lambda event: event.at_s)),
        expect=Expect(equal_s=SETTLE_S, change_100_s=SETTLE_S, false_deaths=0),
    )


def _fault(rng: Random, at_s: float) -> list[told.Event]:
    """One fault, with what ends it where that is an event of its own."""
    few = rng.randrange(1, 4)
    later_s = min(FAULTS_S, round(at_s + rng.uniform(2.0, 12.0), 2))
    match rng.randrange(14):
        case 0:
            return [told.Crash(at_s=at_s, count=few)]
        case 1:
            return [told.Crash(at_s=at_s, share=0.2)]
        case 2:
            return [
                told.Crash(at_s=at_s, count=few),
                told.Restart(at_s=later_s, count=few, running=False, same_address=rng.random() < 0.5),
            ]
        case 3:
            return [told.Restart(at_s=at_s, count=few, same_address=rng.random() < 0.5)]
        case 4:
            return [told.Leave(at_s=at_s, count=few)]
        case 5:
            return [told.Join(at_s=at_s, count=few)]
        case 6:
            return [told.Stop(at_s=at_s, count=few, for_s=round(rng.uniform(0.5, 15.0), 2))]
        case 7:
            return [
                told.Slow(
                    at_s=at_s, count=few, for_s=10.0, service_s=rng.choice((0.005, 0.05)), queue_frames=100
                )
            ]
        case 8:
            return [told.Skew(at_s=at_s, count=few, drift=round(rng.uniform(-0.1, 0.1), 3))]
        case 9:
            return [told.Partition(at_s=at_s, share=round(rng.uniform(0.1, 0.5), 2)), told.Heal(at_s=later_s)]
        case 10:
            return [told.Deafen(at_s=at_s, count=few, mute=rng.random() < 0.5), told.Heal(at_s=later_s)]
        case 11:
            return [told.Weather(at_s=at_s, network=rng.choice(_ROUGH))]
        case 12:
            return [
                told.Hostile(
                    at_s=at_s,
                    for_s=4.0,
                    attack=rng.choice(
                        ("forge", "bury", "flood", "strangers", "oversized", "saturate", "garbage")
                    ),
                    per_s=1.0,
                )
            ]
        case _:
            return [told.Learn(at_s=at_s, count=few)]
