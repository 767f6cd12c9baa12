"""Each invariant of the watch, against the fault that it is there for."""

from __future__ import annotations

import pytest

from deploy.simulation import watch
from deploy.simulation.watch import Broken, Watch, size_of
from node.net.simnet import SimMesh
from protocol.digest import EMPTY
from protocol.effects import MemberChanged
from protocol.names import AgentName
from protocol.profile import Profile

A, B = AgentName("a"), AgentName("b")
BURIED = MemberChanged(B, "suspect", "dead", 1)


def watched(profile: Profile | None = None) -> tuple[SimMesh, Watch]:
    """Members a, b and c that know each other, ten seconds on."""
    mesh = SimMesh(seed=1, profile=profile)
    one = Watch(mesh, grace_s=5.0)
    for name in "abc":
        mesh.add(name, topics=[f"of-{name}"], hooks=one.hooks(name))
    mesh.acquaint()
    mesh.run(seconds=10.0)
    return mesh, one


def say(mesh: SimMesh, change: MemberChanged) -> None:
    """As if a's engine had said so."""
    mesh.members[A].peer.hooks.on_member_changed(mesh.now, change)


def test_a_quiet_mesh_breaks_nothing() -> None:
    _, one = watched()

    for _ in range(45):
        one.look()
    one.look_at_all()

    assert (one.false_deaths, one.false_suspicions) == (0, 0)
    assert one.most_bytes > 1_000


def test_a_live_member_that_is_buried_is_counted_and_named() -> None:
    mesh, one = watched()

    say(mesh, MemberChanged(B, "alive", "suspect", 1))
    say(mesh, BURIED)

    assert (one.false_suspicions, one.false_deaths) == (1, 1)
    assert one.told == ["a took b for dead at 10.00 s"]


def test_who_is_gone_or_was_in_trouble_just_now_is_not_counted() -> None:
    mesh, one = watched()

    one.excuse("b")
    say(mesh, BURIED)
    one.excuse("b", mesh.now)
    mesh.run(seconds=4.9)
    say(mesh, BURIED)
    assert one.false_deaths == 0
    mesh.run(seconds=0.2)
    say(mesh, BURIED)
    assert one.false_deaths == 1
    one.excuse_all()
    say(mesh, BURIED)
    one.excuse_all(mesh.now)
    say(mesh, BURIED)
    assert one.false_deaths == 1
    mesh.run(seconds=5.1)
    mesh.crash("b")
    say(mesh, BURIED)
    assert one.false_deaths == 1


def test_a_mesh_that_is_whole_again_is_excused_for_the_grace_from_then_on() -> None:
    mesh, one = watched()

    one.excuse_all(mesh.now + 100.0)
    one.settled()
    mesh.run(seconds=4.9)
    say(mesh, BURIED)
    assert one.false_deaths == 0
    mesh.run(seconds=0.2)
    say(mesh, BURIED)

    assert one.false_deaths == 1


@pytest.mark.parametrize("how", ["heard", "looked at"])
def test_a_version_that_goes_back_is_found(how: str) -> None:
    mesh, one = watched()
    mesh.learn("b", ["more"])
    mesh.run(seconds=2.0)
    held = mesh.members[A].engine.members.get("b")
    assert held is not None
    assert held.version == 2

    held.version = 1

    with pytest.raises(Broken, match="versions: a went back"):
        say(mesh, MemberChanged(B, "alive", "alive", 1)) if how == "heard" else one.look_at_versions()


def test_a_member_that_was_forgotten_may_come_back_at_any_version() -> None:
    mesh, one = watched()
    mesh.learn("b", ["more"])
    mesh.run(seconds=2.0)
    members = mesh.members[A].engine.members
    held = members.get("b")
    assert held is not None

    members.forget(B)
    say(mesh, MemberChanged(B, "dead", "forgotten", 2))
    held.version = 1
    members.adopt(held)

    one._see(A, B)


def test_a_lead_that_is_no_living_member_is_found() -> None:
    mesh, one = watched()
    mesh.members[A].engine.directory.put(AgentName("ghost"), EMPTY, now=0.0)

    def a_turn() -> None:
        for _ in range(4):
            one.look()

    with pytest.raises(Broken, match="leads: ghost is a lead of a"):
        a_turn()


def test_a_table_beyond_its_limit_is_found() -> None:
    mesh, one = watched(Profile(member_limit=3))
    mesh.profile = Profile(member_limit=2)

    with pytest.raises(Broken, match="memory: a knows 3 members"):
        one.look()


def test_memory_beyond_its_bound_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    mesh, one = watched(Profile(member_limit=3))
    monkeypatch.setattr(watch, "_BASE_BYTES", 0)
    monkeypatch.setattr(watch, "_MEMBER_BYTES", 100)

    with pytest.raises(Broken, match="memory: a holds"):
        one.weigh(mesh.members[A])


def test_a_broken_engine_is_found_within_a_turn() -> None:
    mesh, one = watched()
    mesh.members[AgentName("c")].engine.directory.remove(B)

    def a_turn() -> None:
        for _ in range(40):
            one.look()

    with pytest.raises(Broken, match="engine: c"):
        a_turn()


def test_size_is_that_of_everything_held_once() -> None:
    block = bytes(1_000_000)

    assert 1_000_000 < size_of([block, [block], {"x": (block,)}]) < 1_001_000
    assert size_of([Watch, pytest, len]) < 1_000
