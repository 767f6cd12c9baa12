"""Meshes above the full-mesh limit in virtual time: a few neighbours each, and still all know everything.

Every run has a seed, and names it where it fails.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from random import Random

import pytest

from node.net.peer import Hooks
from node.net.simnet import Conditions, SimMesh
from protocol.effects import MemberChanged
from protocol.gossip import GossipEngine
from protocol.names import AgentName

GONE = ("dead", "left", "forgotten")


def mesh_of(
    count: int,
    *,
    seed: int = 0,
    seeds: Iterable[int] = (0,),
    on_change: Callable[[MemberChanged], None] | None = None,
) -> SimMesh:
    """A mesh that was started in groups of twenty and has settled; each agent has a topic of its own."""
    mesh = SimMesh(seed=seed)
    chosen = [f"agent-{number:03}" for number in seeds]
    for number in range(count):
        name = f"agent-{number:03}"
        hooks = Hooks()
        if on_change is not None:
            hooks.on_member_changed = lambda _now, change: on_change(change)
        known = [other for other in chosen if other != name and AgentName(other) in mesh.members]
        mesh.add(name, seeds=known, topics=["shared", f"of-{name}"], hooks=hooks)
        if number % 20 == 19:
            mesh.run(seconds=0.1)
    seconds_until(mesh, lambda: is_whole(mesh), within_s=6.0)
    mesh.run(seconds=4.0)
    return mesh


def engine(mesh: SimMesh, name: str) -> GossipEngine:
    return mesh.members[AgentName(name)].engine


def running(mesh: SimMesh) -> list[AgentName]:
    return [name for name, member in mesh.members.items() if member.running]


def is_whole(mesh: SimMesh) -> bool:
    """Whether every running member holds exactly the running ones, at the same versions."""
    count = len(running(mesh))
    return mesh.directories_are_equal() and all(
        engine(mesh, name).members.living_count == count == len(engine(mesh, name).directory)
        for name in running(mesh)
    )


def seconds_until(mesh: SimMesh, done: Callable[[], bool], *, within_s: float) -> float:
    """Virtual seconds until `done`; the test fails where that takes longer than `within_s`."""
    start = mesh.now
    while not done():
        assert mesh.now - start < within_s, f"not done after {within_s} s, seed {mesh.seed}"
        mesh.run(seconds=0.25)
    mesh.check()
    return mesh.now - start


def know(mesh: SimMesh, topic: str, holder: str) -> int:
    """How many running members have this lead."""
    return sum([lead.agent for lead in mesh.who_knows(name, topic)] == [holder] for name in running(mesh))


def statuses(mesh: SimMesh, name: str) -> set[str]:
    held = [engine(mesh, other).members.get(name) for other in running(mesh)]
    return {"unknown" if member is None else member.status for member in held}


def one_way(mesh: SimMesh) -> list[tuple[str, str]]:
    """Links that the other side does not hold."""
    return [
        (name, other)
        for name in running(mesh)
        for other in engine(mesh, name).overlay.links
        if other not in mesh.members or name not in engine(mesh, other).overlay.links
    ]


def reached(mesh: SimMesh) -> int:
    """How many a message of one member would reach, if everybody told it on."""
    found: set[AgentName] = set()
    waiting = running(mesh)[:1]
    while waiting:
        name = waiting.pop()
        if name not in found:
            found.add(name)
            waiting += engine(mesh, name).overlay.links
    return len(found)


# -- the graph


def test_links_are_few_symmetric_and_connect_everybody() -> None:
    mesh = mesh_of(150)

    seconds_until(mesh, lambda: one_way(mesh) == [], within_s=4.0)  # What heartbeats have yet to tell.
    assert reached(mesh) == 150
    degrees = [len(engine(mesh, name).overlay.links) for name in running(mesh)]
    assert min(degrees) >= 3
    assert max(degrees) <= mesh.profile.neighbours + 3
    heard = [len(member.transport.subscriptions) for member in mesh.members.values()]
    assert heard == degrees


def test_a_mesh_that_grows_past_the_limit_and_shrinks_again_stays_whole() -> None:
    mesh = mesh_of(60)
    assert not any(engine(mesh, name).overlay.is_sparse for name in running(mesh))

    for number in range(60, 75):
        mesh.add(f"agent-{number:03}", seeds=["agent-000"], topics=[f"of-{number}"])
        mesh.run(seconds=0.3)
    seconds_until(mesh, lambda: is_whole(mesh), within_s=6.0)
    assert all(engine(mesh, name).overlay.is_sparse for name in running(mesh))
    mesh.learn("agent-070", ["volcano"])
    seconds_until(mesh, lambda: know(mesh, "volcano", "agent-070") == 75, within_s=2.0)

    for number in range(50, 75):
        mesh.leave(f"agent-{number:03}")
        mesh.run(seconds=0.1)
    seconds_until(mesh, lambda: is_whole(mesh), within_s=6.0)
    assert not any(engine(mesh, name).overlay.is_sparse for name in running(mesh))
    mesh.learn("agent-007", ["ocean"])
    seconds_until(mesh, lambda: know(mesh, "ocean", "agent-007") == 50, within_s=1.0)


# -- news


def test_a_change_reaches_everybody_within_a_second_and_travels_as_flipped_bits() -> None:
    mesh = mesh_of(150)
    frames, sent_bytes, start = mesh.frames, mesh.bytes, mesh.now

    mesh.learn("agent-077", ["volcano"])

    seconds_until(mesh, lambda: know(mesh, "volcano", "agent-077") == 150, within_s=1.0)
    assert know(mesh, "of-agent-077", "agent-077") == 0, "an old topic is gone"
    mesh.run(seconds=2.0)
    seconds = mesh.now - start
    assert (mesh.frames - frames) / 150 < 8 * (seconds + 2), "a few frames each, and no flood"
    assert (mesh.bytes - sent_bytes) / 150 < 400 * seconds + 1_500


def test_topics_too_many_to_ride_along_are_pulled_from_who_told_of_them() -> None:
    mesh = mesh_of(100)
    topics = [f"topic-{number}" for number in range(2_000)]

    mesh.learn("agent-042", topics)

    seconds_until(
        mesh,
        lambda: all(
            "agent-042" in [lead.agent for lead in mesh.who_knows(name, "topic-1234")]
            for name in running(mesh)
        ),
        within_s=2.0,
    )


def test_a_late_joiner_knows_all_within_a_second() -> None:
    mesh = mesh_of(120)

    mesh.add("late", seeds=["agent-007"], topics=["volcano"])

    seconds_until(mesh, lambda: is_whole(mesh), within_s=1.0)
    mesh.run(seconds=3 * mesh.profile.sparse_heartbeat_s)
    assert engine(mesh, "late").overlay.links
    assert one_way(mesh) == []


@pytest.mark.parametrize("seed", range(3))
def test_news_reaches_the_living_while_a_fifth_died_and_a_fifth_of_the_frames_is_lost(seed: int) -> None:
    mesh = mesh_of(100, seed=seed)
    mesh.conditions = Conditions(loss=0.2)
    for name in Random(seed).sample(running(mesh)[1:], 20):
        mesh.crash(name)

    mesh.learn("agent-000", ["volcano"])

    seconds_until(mesh, lambda: know(mesh, "volcano", "agent-000") == 80, within_s=10.0)


def test_a_quiet_mesh_says_little() -> None:
    mesh = mesh_of(100)
    frames, sent_bytes = mesh.frames, mesh.bytes

    mesh.run(seconds=20.0)

    assert (mesh.frames - frames) / 100 / 20 < 7.5
    assert (mesh.bytes - sent_bytes) / 100 / 20 < 450


# -- death


def test_a_crash_is_known_to_all_within_ten_seconds_by_probes() -> None:
    mesh = mesh_of(150)

    mesh.crash("agent-066")

    took_s = seconds_until(mesh, lambda: statuses(mesh, "agent-066") == {"dead"}, within_s=12.0)
    assert took_s > 2 * mesh.profile.ping_s
    mesh.run(seconds=4 * mesh.profile.sparse_heartbeat_s)
    assert is_whole(mesh)
    assert one_way(mesh) == []
    assert reached(mesh) == 149


def test_nobody_that_lives_is_declared_dead_at_a_loss_of_one_in_five() -> None:
    verdicts: list[MemberChanged] = []
    mesh = mesh_of(100, on_change=verdicts.append)
    mesh.conditions = Conditions(loss=0.2, duplication=0.1)

    for _ in range(4):
        mesh.run(seconds=10.0)
        mesh.check()

    assert [change for change in verdicts if change.after in GONE] == []
    assert any(change.after == "suspect" for change in verdicts), "a test in which nobody was in danger"
    mesh.conditions = Conditions()
    seconds_until(mesh, lambda: is_whole(mesh), within_s=10.0)


def test_one_slow_member_is_not_buried_and_buries_nobody() -> None:
    verdicts: list[MemberChanged] = []
    mesh = mesh_of(80, on_change=verdicts.append)

    for _ in range(12):
        mesh.stop("agent-033")
        mesh.run(seconds=3.0)
        mesh.resume("agent-033")
        mesh.run(seconds=1.0)
        mesh.check()

    assert [change for change in verdicts if change.after in GONE] == []
    seconds_until(mesh, lambda: is_whole(mesh), within_s=10.0)


def test_who_goes_is_gone_everywhere_at_once() -> None:
    mesh = mesh_of(100)

    mesh.leave("agent-042")

    seconds_until(mesh, lambda: statuses(mesh, "agent-042") == {"left"}, within_s=1.0)
    assert know(mesh, "of-agent-042", "agent-042") == 0


def test_a_restart_takes_over_at_once() -> None:
    mesh = mesh_of(100)
    instance = engine(mesh, "agent-042").record.instance
    mesh.crash("agent-042")
    mesh.run(seconds=0.5)

    mesh.add("agent-042", seeds=["agent-000"], topics=["volcano"], instance=instance)

    seconds_until(mesh, lambda: know(mesh, "volcano", "agent-042") == 100, within_s=2.0)
    assert know(mesh, "of-agent-042", "agent-042") == 0


# -- partitions


def test_two_halves_of_a_large_mesh_find_each_other_within_ten_seconds() -> None:
    mesh = mesh_of(100)
    left, right = running(mesh)[::2], running(mesh)[1::2]
    mesh.partition(left, right)
    mesh.run(seconds=30.0)
    assert engine(mesh, left[3]).members.living_count == engine(mesh, right[3]).members.living_count == 50
    mesh.learn(left[1], ["volcano"])
    mesh.learn(right[1], ["ocean"])
    mesh.run(seconds=1.0)

    mesh.heal()

    seconds_until(mesh, lambda: is_whole(mesh), within_s=10.0)
    assert know(mesh, "volcano", left[1]) == know(mesh, "ocean", right[1]) == 100
    mesh.run(seconds=20.0)
    assert one_way(mesh) == []
    assert reached(mesh) == 100


def test_halves_that_were_both_started_again_meanwhile_find_each_other_by_their_seeds() -> None:
    mesh = mesh_of(70, seeds=(0, 1))
    instances = {name: engine(mesh, name).record.instance for name in running(mesh)}
    left, right = running(mesh)[::2], running(mesh)[1::2]
    mesh.partition(left, right)
    mesh.run(seconds=30.0)
    for half in (left, right):
        for name in half:
            mesh.crash(name)
        mesh.run(seconds=1.0)
        for name in half:
            known = [half[0]] if name != half[0] else []
            mesh.add(name, seeds=known, topics=[f"of-{name}"], instance=instances[name])
    for name in running(mesh):  # Every configuration names both seeds, whoever is reached.
        for seed in (left[0], right[0]):
            engine(mesh, name).add_seed(mesh.now, mesh.members[seed].transport.router_address)
    seconds_until(mesh, lambda: engine(mesh, left[5]).members.living_count == 35, within_s=15.0)
    assert engine(mesh, left[5]).members.get(right[5]) is None

    mesh.heal()

    seconds_until(mesh, lambda: is_whole(mesh), within_s=15.0)


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_who_loses_all_its_neighbours_at_once_finds_others_and_buries_nobody_that_lives(seed: int) -> None:
    mesh = mesh_of(120, seed=seed)
    mesh.conditions = Conditions(loss=0.2)
    deaf = AgentName("agent-050")
    lost = engine(mesh, deaf).overlay.links
    for name in lost:
        mesh.crash(name)
    teller = next(name for name in running(mesh) if name != deaf)

    mesh.learn(teller, ["news"])
    took_s = seconds_until(
        mesh, lambda: [lead.agent for lead in mesh.who_knows(deaf, "news")] == [teller], within_s=10.0
    )
    mesh.run(seconds=15.0 - took_s)

    assert engine(mesh, deaf).counters.isolations >= 1
    assert any(mesh.members[name].running for name in engine(mesh, deaf).overlay.links)
    held = {member.agent for member in engine(mesh, deaf).members.living()}
    assert held >= set(running(mesh))
