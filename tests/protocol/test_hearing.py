"""Who hears nobody: it calls for help, and holds against nobody what it could not hear."""

from __future__ import annotations

from protocol.effects import Effect, Send
from protocol.gossip import GossipEngine
from protocol.hearing import _AGAIN_S
from protocol.messages import Announce, Claim, Heartbeat, Neighbour, NeighbourReply, Records, Sync
from protocol.profile import Profile
from tests.support.engines import engine, hear, record, status

PROFILE = Profile(full_mesh=4, full_mesh_again=3)
NAMES = [f"m{number:02}" for number in range(20)]
ALARM_S = 1.2 * PROFILE.sparse_heartbeat_s


def settled() -> GossipEngine:
    """A member of a large mesh, with neighbours that speak until moment 10."""
    alice = engine("alice", profile=PROFILE)
    hear(alice, 0.0, NAMES[0], Records(tuple(record(name) for name in NAMES)))
    for tenth in range(100):
        for effect in tick(alice, tenth / 10):
            if isinstance(effect, Send) and isinstance(effect.message, Neighbour):
                sender = effect.route.removeprefix("tcp://").partition(":")[0]
                hear(alice, tenth / 10, sender, NeighbourReply(True))
        speak(alice, tenth / 10)
    assert len(alice.overlay.links) >= PROFILE.neighbours
    return alice


def speak(alice: GossipEngine, now: float) -> None:
    for name in alice.overlay.links:
        hear(alice, now, name, Heartbeat(1, 1, 0), published=True)


def tick(alice: GossipEngine, now: float) -> list[Effect]:
    effects = alice.on_tick(now)
    alice.check()
    return effects


def calls(effects: list[Effect]) -> list[str]:
    return [
        effect.route
        for effect in effects
        if isinstance(effect, Send) and isinstance(effect.message, Neighbour) and effect.message.isolated
    ]


def test_whose_neighbours_speak_calls_nobody() -> None:
    alice = settled()

    for tenth in range(100, 300):
        speak(alice, tenth / 10)
        assert calls(tick(alice, tenth / 10)) == []
    assert alice.counters.isolations == 0


def test_whose_neighbours_all_fall_silent_calls_for_others_and_compares_its_view_until_one_speaks() -> None:
    alice = settled()
    heard_at = 9.9

    assert alice.next_deadline() <= heard_at + ALARM_S
    for tenth in range(100, 135):
        assert calls(tick(alice, tenth / 10)) == []
    first = tick(alice, heard_at + ALARM_S)
    again = tick(alice, heard_at + ALARM_S + _AGAIN_S)

    for effects in (first, again):
        assert len(calls(effects)) == 3
        assert any(isinstance(effect, Send) and isinstance(effect.message, Sync) for effect in effects)
    assert not set(calls(first)) & set(calls(again))
    assert alice.counters.isolations == 1

    helper = calls(again)[0].removeprefix("tcp://").partition(":")[0]
    hear(alice, heard_at + ALARM_S + 1.1, helper, NeighbourReply(True))
    hear(alice, heard_at + ALARM_S + 1.2, helper, Heartbeat(1, 1, 0), published=True)

    assert calls(tick(alice, heard_at + ALARM_S + 2 * _AGAIN_S)) == []


def test_suspicions_stand_still_meanwhile_but_not_for_ever() -> None:
    alice = settled()
    suspect = next(name for name in NAMES if name not in alice.overlay.links)
    hear(alice, 9.9, NAMES[0], Announce((Claim(suspect, 1, 1, "suspect"),)))
    longest_s = PROFILE.suspicion_s * 2

    for tenth in range(100, int(10 * (10 + longest_s))):
        tick(alice, tenth / 10)
    assert status(alice, suspect) == "suspect"

    for tenth in range(int(10 * (10 + longest_s)), int(10 * (10 + ALARM_S + PROFILE.retry_s + longest_s))):
        tick(alice, tenth / 10)
    assert status(alice, suspect) == "dead"
