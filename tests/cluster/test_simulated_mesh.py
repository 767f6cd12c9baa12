"""Whole meshes in virtual time: they converge, they lose nobody that lives, they keep nobody that died.

Every run has a seed, and names it where it fails.
"""

from __future__ import annotations

from collections.abc import Callable
from random import Random

import pytest

from node.net.peer import Hooks
from node.net.simnet import Conditions, SimMesh
from protocol.effects import MemberChanged
from protocol.names import AgentName
from protocol.profile import Profile

LOSSY = Conditions(loss=0.2, duplication=0.1)
ROUGH = Conditions(delay_s=(0.0002, 0.4), loss=0.2, duplication=0.1)


def agents(count: int) -> list[str]:
    return [f"agent-{number:02}" for number in range(count)]


def mesh_of(
    count: int,
    *,
    seed: int = 0,
    conditions: Conditions | None = None,
    profile: Profile | None = None,
    hooks: Callable[[], Hooks] = Hooks,
) -> SimMesh:
    """A mesh that has just been started: the first agent is everybody's seed, each has a topic of its own."""
    mesh = SimMesh(seed=seed, conditions=conditions, profile=profile)
    first, *others = agents(count)
    mesh.add(first, topics=["shared", f"of-{first}"], hooks=hooks())
    for name in others:
        mesh.add(name, seeds=[first], topics=["shared", f"of-{name}"], hooks=hooks())
    return mesh


def status(mesh: SimMesh, watcher: str, name: str) -> str:
    member = mesh.members[AgentName(watcher)].engine.members.get(name)
    return "unknown" if member is None else member.status


def running(mesh: SimMesh) -> list[str]:
    return [name for name, member in mesh.members.items() if member.running]


def is_whole(mesh: SimMesh) -> bool:
    """Whether every running member holds exactly the running ones, at the same versions."""
    names = set(running(mesh))
    return mesh.directories_are_equal() and all(
        {member.agent for member in mesh.members[AgentName(name)].engine.members.living()} == names
        and set(mesh.members[AgentName(name)].engine.directory) == names
        for name in names
    )


def seconds_until(mesh: SimMesh, done: Callable[[], bool], *, within_s: float) -> float:
    """Virtual seconds until `done`; the test fails where that takes longer than `within_s`."""
    start = mesh.now
    while not done():
        assert mesh.now - start < within_s, f"not done after {within_s} s, seed {mesh.seed}"
        mesh.run(seconds=0.25)
        mesh.check()
    return mesh.now - start


def holders(mesh: SimMesh, watcher: str, topic: str) -> list[str]:
    return sorted(lead.agent for lead in mesh.who_knows(watcher, topic))


# -- joining and learning


@pytest.mark.parametrize("count", [2, 5, 20, 64])
def test_a_mesh_that_starts_at_once_knows_itself_within_two_seconds(count: int) -> None:
    mesh = mesh_of(count)

    seconds_until(mesh, lambda: is_whole(mesh), within_s=2.0)

    names = agents(count)
    assert holders(mesh, names[-1], f"of-{names[0]}") == [names[0]]
    assert holders(mesh, names[0], "shared") == names


def test_members_that_only_know_their_predecessor_all_find_each_other() -> None:
    mesh = SimMesh()
    names = agents(12)
    for before, name in zip([None, *names], names, strict=False):
        mesh.add(name, seeds=[] if before is None else [before])

    seconds_until(mesh, lambda: is_whole(mesh), within_s=5.0)


@pytest.mark.parametrize("count", [5, 20])
def test_a_new_topic_is_known_to_all_within_half_a_second(count: int) -> None:
    mesh = mesh_of(count)
    mesh.run(seconds=5.0)
    learner, *others = agents(count)

    mesh.learn(learner, ["volcano"])

    seconds_until(
        mesh, lambda: all(holders(mesh, name, "volcano") == [learner] for name in others), within_s=0.5
    )
    assert all(holders(mesh, name, f"of-{learner}") == [] for name in others), "an old topic is gone"


def test_topics_too_many_to_ride_along_are_pulled_within_a_second() -> None:
    mesh = mesh_of(5)
    mesh.run(seconds=5.0)
    learner, *others = agents(5)

    mesh.learn(learner, [f"topic-{number}" for number in range(5_000)])

    seconds_until(
        mesh, lambda: all(learner in holders(mesh, name, "topic-4321") for name in others), within_s=1.0
    )
    seconds_until(mesh, mesh.directories_are_equal, within_s=1.0)


def test_a_late_joiner_knows_all_within_a_second() -> None:
    mesh = mesh_of(20)
    mesh.run(seconds=60.0)

    mesh.add("late", seeds=["agent-07"], topics=["volcano"])

    seconds_until(mesh, lambda: is_whole(mesh), within_s=1.0)
    assert holders(mesh, "agent-00", "volcano") == ["late"]


@pytest.mark.parametrize("seed", range(20))
def test_members_that_start_at_once_and_find_some_of_each_other_are_one_mesh_at_once(seed: int) -> None:
    """As on one host: each looks up who is there already, the oldest and a few others."""
    mesh = SimMesh(seed=seed)
    names = agents(8)
    for name in names:
        mesh.add(name)
    for pair in (names[number : number + 2] for number in range(0, 8, 2)):
        for name in pair:
            others = {names[0], *Random(f"{seed}{name}").sample(names, 2), *pair} - {name}
            for other in sorted(others):
                address = mesh.members[AgentName(other)].transport.router_address
                mesh.members[AgentName(name)].engine.add_seed(mesh.now, address)

    seconds_until(mesh, lambda: is_whole(mesh), within_s=3.0)


def test_a_seed_that_starts_later_is_found() -> None:
    mesh = SimMesh()
    mesh.add("seed")
    mesh.crash("seed")
    mesh.add("early", seeds=["seed"])
    mesh.run(seconds=5.0)
    mesh.members[AgentName("early")].engine.add_seed(mesh.now, "tcp://seed-3:1")

    mesh.add("seed")

    seconds_until(mesh, lambda: is_whole(mesh), within_s=31.0)


# -- a bad network


@pytest.mark.parametrize("conditions", [LOSSY, ROUGH], ids=["loss", "loss and delay"])
@pytest.mark.parametrize("seed", range(3))
def test_a_mesh_converges_while_frames_are_lost_and_repeated(seed: int, conditions: Conditions) -> None:
    mesh = mesh_of(10, seed=seed, conditions=conditions)

    seconds_until(mesh, lambda: is_whole(mesh), within_s=40.0)

    mesh.learn("agent-03", ["volcano"])
    seconds_until(
        mesh,
        lambda: all(holders(mesh, name, "volcano") == ["agent-03"] for name in agents(10)),
        within_s=20.0,
    )


@pytest.mark.parametrize("seed", range(2))
def test_nobody_that_lives_is_declared_dead_in_ten_minutes_at_a_loss_of_one_in_five(seed: int) -> None:
    verdicts: list[MemberChanged] = []
    hooks = lambda: Hooks(on_member_changed=lambda _now, change: verdicts.append(change))  # noqa: E731
    mesh = mesh_of(10, seed=seed, conditions=LOSSY, hooks=hooks)

    for _ in range(60):
        mesh.run(seconds=10.0)
        mesh.check()

    assert [change for change in verdicts if change.after in ("dead", "left", "forgotten")] == []
    assert is_whole(mesh)


# -- death and return


def test_a_crashed_member_is_dead_within_fifteen_seconds_and_no_lead_from_then_on() -> None:
    mesh = mesh_of(10)
    mesh.run(seconds=5.0)

    mesh.crash("agent-04")

    others = running(mesh)
    took_s = seconds_until(
        mesh, lambda: all(status(mesh, name, "agent-04") == "dead" for name in others), within_s=15.0
    )
    assert took_s > mesh.profile.silence_s
    assert is_whole(mesh)
    assert all(holders(mesh, name, "of-agent-04") == [] for name in others)


def test_a_tombstone_goes_away_everywhere_and_stays_away() -> None:
    mesh = mesh_of(30, profile=Profile(tombstone_s=20.0))
    mesh.run(seconds=3.0)

    mesh.crash("agent-05")
    mesh.run(seconds=45.0)

    for _ in range(30):
        assert {status(mesh, name, "agent-05") for name in running(mesh)} == {"unknown"}
        mesh.run(seconds=1.0)
    mesh.check()


def test_a_restarted_member_is_known_with_its_new_topics_at_its_new_address() -> None:
    mesh = mesh_of(10)
    mesh.run(seconds=5.0)
    instance = mesh.members[AgentName("agent-04")].engine.record.instance
    mesh.crash("agent-04")
    mesh.run(seconds=1.0)

    again = mesh.add("agent-04", seeds=["agent-00"], topics=["volcano"], instance=instance)

    seconds_until(mesh, lambda: is_whole(mesh), within_s=3.0)
    assert again.engine.record.incarnation == 2
    assert holders(mesh, "agent-09", "volcano") == ["agent-04"]
    assert holders(mesh, "agent-09", "of-agent-04") == []


def test_a_member_that_died_and_restarts_later_is_back_at_once() -> None:
    mesh = mesh_of(10)
    mesh.run(seconds=5.0)
    mesh.crash("agent-04")
    mesh.run(seconds=60.0)
    assert status(mesh, "agent-00", "agent-04") == "dead"

    mesh.add("agent-04", seeds=["agent-00"], topics=["volcano"])

    seconds_until(mesh, lambda: is_whole(mesh), within_s=2.0)


def test_a_graceful_leave_is_known_to_all_at_once() -> None:
    mesh = mesh_of(10)
    mesh.run(seconds=5.0)

    mesh.leave("agent-04")

    seconds_until(mesh, lambda: is_whole(mesh), within_s=0.25)
    assert {status(mesh, name, "agent-04") for name in running(mesh)} == {"left"}
    mesh.run(seconds=60.0)
    assert is_whole(mesh)


def test_a_stopped_member_is_given_up_and_refutes_when_it_goes_on() -> None:
    mesh = mesh_of(6)
    mesh.run(seconds=5.0)
    mesh.stop("agent-02")
    mesh.run(seconds=30.0)
    assert status(mesh, "agent-00", "agent-02") == "dead"

    mesh.resume("agent-02")

    seconds_until(mesh, lambda: is_whole(mesh), within_s=15.0)
    stopped = mesh.members[AgentName("agent-02")].engine
    assert stopped.record.incarnation == 2
    assert all(status(mesh, "agent-02", name) == "alive" for name in agents(6)), (
        "its own sleep is nobody's fault"
    )


def test_a_short_stop_costs_nobody_its_place() -> None:
    mesh = mesh_of(6)
    mesh.run(seconds=5.0)
    mesh.stop("agent-02")
    mesh.run(seconds=mesh.profile.silence_s - 1.5)

    mesh.resume("agent-02")
    mesh.run(seconds=10.0)

    assert is_whole(mesh)
    assert mesh.members[AgentName("agent-02")].engine.record.incarnation == 1


# -- partitions


@pytest.mark.parametrize("cut_s", [3.0, 40.0, 300.0])
def test_after_a_partition_is_healed_all_directories_are_equal(cut_s: float) -> None:
    mesh = mesh_of(10)
    mesh.run(seconds=5.0)
    left, right = agents(10)[:4], agents(10)[4:]

    mesh.partition(left, right)
    mesh.run(seconds=cut_s / 2)
    mesh.learn("agent-01", ["volcano"])
    mesh.learn("agent-08", ["ocean"])
    mesh.run(seconds=cut_s / 2)
    mesh.check()
    if cut_s > 30.0:
        assert holders(mesh, "agent-00", "shared") == [name for name in left if name != "agent-01"]
    mesh.heal()

    seconds_until(mesh, lambda: is_whole(mesh), within_s=45.0)
    assert holders(mesh, "agent-00", "ocean") == ["agent-08"]
    assert holders(mesh, "agent-09", "volcano") == ["agent-01"]


def test_a_partition_longer_than_the_tombstones_heals_by_the_seeds() -> None:
    mesh = mesh_of(6, profile=Profile(tombstone_s=30.0))
    mesh.run(seconds=5.0)
    mesh.partition(agents(6)[:3], agents(6)[3:])
    mesh.run(seconds=120.0)
    assert status(mesh, "agent-00", "agent-05") == "unknown"

    mesh.heal()

    seconds_until(mesh, lambda: is_whole(mesh), within_s=45.0)


def test_one_member_cut_from_one_other_is_kept_by_the_rest() -> None:
    mesh = mesh_of(6)
    mesh.run(seconds=5.0)

    mesh.partition(["agent-01"], ["agent-02"])
    mesh.run(seconds=120.0)
    mesh.check()
    mesh.heal()

    seconds_until(mesh, lambda: is_whole(mesh), within_s=45.0)


# -- anything


def trouble(mesh: SimMesh, rng: Random, names: list[str]) -> str:
    """Do one thing to the mesh and say what."""
    up = running(mesh)
    down = [name for name in names if name not in up]
    match rng.randrange(8):
        case 0 if len(up) > 3:
            name = rng.choice([name for name in up if name != names[0]])
            mesh.crash(name)
            return f"crash {name}"
        case 1 if len(up) > 3:
            name = rng.choice([name for name in up if name != names[0]])
            mesh.leave(name)
            return f"leave {name}"
        case 2 | 3 if down:
            name = rng.choice(down)
            mesh.add(name, seeds=[names[0]], topics=[f"of-{name}"], instance=7_000 + names.index(name))
            return f"start {name}"
        case 4:
            left = rng.sample(names, rng.randrange(1, len(names)))
            mesh.partition(left, [name for name in names if name not in left])
            return f"cut {left}"
        case 5:
            mesh.heal()
            return "heal"
        case 6:
            mesh.conditions = rng.choice([Conditions(), LOSSY, ROUGH])
            return f"network {mesh.conditions}"
        case _:
            name = rng.choice(up)
            mesh.learn(name, [f"of-{name}", f"topic-{rng.randrange(1_000)}"])
            return f"learn {name}"


# 305 once left a record wanted for ever from members that lacked it themselves.
@pytest.mark.parametrize("seed", [*range(20), 305])
def test_whatever_happens_the_mesh_is_whole_again_a_minute_after_it_ends(seed: int) -> None:
    rng = Random(seed)
    mesh = SimMesh(seed=seed)
    names = agents(rng.randrange(4, 9))
    for name in names:
        mesh.add(name, seeds=[names[0]] if name != names[0] else [], instance=7_000 + names.index(name))

    story = []
    for _ in range(12):
        story.append(f"{mesh.now:.1f}: {trouble(mesh, rng, names)}")
        for _ in range(rng.randrange(1, 6)):
            mesh.run(seconds=rng.choice([0.05, 0.5, 3.0]))
            mesh.check()
    mesh.heal()
    mesh.conditions = Conditions()

    mesh.run(seconds=60.0)
    mesh.check()
    assert is_whole(mesh), f"seed {seed}: {'; '.join(story)}"


@pytest.mark.parametrize("seed", [3, 4])
def test_equal_seeds_give_equal_runs(seed: int) -> None:
    def run() -> tuple[int, int, list[int]]:
        mesh = mesh_of(8, seed=seed, conditions=ROUGH)
        mesh.run(seconds=20.0)
        return mesh.frames, mesh.bytes, [member.engine.members.view() for member in mesh.members.values()]

    assert run() == run()
