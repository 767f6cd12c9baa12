"""The simulated mesh itself: what it does to members, and that it does the same again."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from node.net.simnet import Conditions, SimMember, SimMesh, SimTransport
from node.net.transport import Received
from protocol.effects import Route
from protocol.names import AgentName

STILL = Conditions(delay_s=(0.001, 0.001))
ROOT = Path(__file__).resolve().parents[3]


class Listener:
    """Writes down when frames came, by its own clock, and ticks every second of it."""

    def __init__(self) -> None:
        self.came: list[tuple[float, bytes]] = []
        self.ticks: list[float] = []

    def on_received(self, now: float, received: Received) -> None:
        self.came.append((round(now, 6), received.frame))

    def on_tick(self, now: float) -> None:
        self.ticks.append(now)

    def next_deadline(self) -> float:
        return self.ticks[-1] + 1.0 if self.ticks else 1.0


def listener(mesh: SimMesh, name: str) -> tuple[Listener, SimMember]:
    one = Listener()
    return one, mesh.attach(one, SimTransport(mesh, AgentName(name), name))


def mesh_of(count: int, *, seed: int = 0, conditions: Conditions = STILL) -> SimMesh:
    mesh = SimMesh(seed=seed, conditions=conditions)
    for number in range(count):
        mesh.add(f"m{number}", seeds=["m0"] if number else [], topics=[f"of-m{number}"])
    mesh.run(seconds=3.0)
    return mesh


def count_of(mesh: SimMesh, name: str) -> int:
    return mesh.members[AgentName(name)].peer.statistics(mesh.now).traffic.frames_out


def test_a_slow_member_handles_frames_one_by_one_and_loses_those_beyond_its_mark() -> None:
    mesh = SimMesh(conditions=STILL)
    _, sender = listener(mesh, "a")
    heard, receiver = listener(mesh, "b")
    mesh.slow("b", service_s=0.1, queue_frames=3)

    for number in range(5):
        sender.transport.send(Route(receiver.transport.router_address), bytes([number]))
    mesh.run(seconds=1.0)

    assert heard.came == [(0.101, b"\0"), (0.201, b"\1"), (0.301, b"\2")]
    assert receiver.overflowed == 2

    mesh.slow("b", service_s=0.0)
    sender.transport.send(Route(receiver.transport.router_address), b"quick")
    mesh.run(seconds=1.0)
    assert heard.came[-1] == (1.001, b"quick")


def test_what_comes_for_a_stopped_member_waits_for_it_or_is_lost() -> None:
    mesh = SimMesh(conditions=STILL)
    _, sender = listener(mesh, "a")
    heard, receiver = listener(mesh, "b")
    route = Route(receiver.transport.router_address)

    mesh.stop("b", keeps_frames=True)
    receiver.queue_frames = 2
    for number in range(3):
        sender.transport.send(route, bytes([number]))
    mesh.run(seconds=1.0)
    assert heard.came == []
    mesh.resume("b")
    mesh.stop("b")
    sender.transport.send(route, b"lost")
    mesh.run(seconds=1.0)
    mesh.resume("b")
    mesh.run(seconds=1.0)

    assert heard.came == [(1.0, b"\0"), (1.0, b"\1")]
    assert receiver.overflowed == 1


def test_a_member_that_is_gone_does_not_go_on() -> None:
    mesh = mesh_of(2)
    mesh.crash("m1")

    with pytest.raises(ValueError, match="gone"):
        mesh.resume("m1")


def test_a_clock_that_drifts_ticks_by_its_own_time() -> None:
    mesh = SimMesh()
    quick, _ = listener(mesh, "quick")
    mesh.skew("quick", drift=0.25)
    ahead, _ = listener(mesh, "ahead")
    mesh.run(seconds=2.5)
    mesh.skew("ahead", ahead_s=10.0)

    mesh.run(seconds=6.0)

    assert len(quick.ticks) == 10  # In 8.5 s, which its clock takes for 10.6.
    assert ahead.ticks[:3] == pytest.approx([1.0, 2.0, 12.5])
    with pytest.raises(ValueError, match="clock"):
        mesh.skew("ahead", ahead_s=-1.0)


def test_a_member_back_at_its_old_address_is_heard_by_those_that_heard_it_before() -> None:
    mesh = SimMesh(conditions=STILL)
    heard, hearer = listener(mesh, "a")
    _, before = listener(mesh, "b")
    hearer.transport.subscribe(AgentName("b"), before.transport.publisher_address)
    mesh.run(seconds=1.0)
    mesh.crash("b")

    again = mesh.attach(Listener(), SimTransport(mesh, AgentName("b"), "b"))
    again.transport.publish(b"hello")
    mesh.run(seconds=1.0)

    assert [frame for _, frame in heard.came] == [b"hello"]


@pytest.mark.parametrize("same_address", [True, False])
def test_a_restarted_member_has_a_higher_incarnation_and_an_address_of_its_choice(same_address: bool) -> None:
    mesh = mesh_of(4)
    before = mesh.members[AgentName("m2")].engine.record
    mesh.crash("m2")

    mesh.add("m2", seeds=["m0"], instance=before.instance, same_address=same_address)
    mesh.run(seconds=3.0)

    after = mesh.members[AgentName("m2")].engine.record
    assert after.incarnation == before.incarnation + 1
    assert (after.router == before.router) == same_address
    assert mesh.directories_are_equal()


def test_a_one_way_cut_lets_the_other_way_pass() -> None:
    mesh = SimMesh(conditions=STILL)
    heard_a, a = listener(mesh, "a")
    heard_b, b = listener(mesh, "b")
    mesh.cut_one_way(["a"], ["b"])

    a.transport.send(Route(b.transport.router_address), b"to b")
    b.transport.send(Route(a.transport.router_address), b"to a")
    mesh.run(seconds=1.0)

    assert (heard_a.came, heard_b.came) == ([(0.001, b"to a")], [])


def test_acquainted_members_know_all_at_once_and_tell_nobody_of_it() -> None:
    mesh = SimMesh(conditions=STILL)
    for number in range(10):
        mesh.add(f"m{number}", topics=["shared"])

    mesh.acquaint()

    mesh.check()
    assert mesh.directories_are_equal()
    assert len(mesh.who_knows("m7", "shared")) == 10
    assert all(member.peer.traffic().frames_out == 0 for member in mesh.members.values())


def test_acquainted_members_are_welcomed_and_say_no_hello_at_once() -> None:
    mesh = SimMesh(conditions=STILL)
    for number in range(10):
        mesh.add(f"m{number}", seeds=["m0"] if number else [])

    mesh.acquaint()
    mesh.reseed(7)
    mesh.welcome()
    mesh.run(seconds=0.01)

    assert all(member.engine.joined for member in mesh.members.values())
    hellos = [count_of(mesh, name) for name in ("m1", "m2", "m3")]
    assert max(hellos) <= 1, "more than the first heartbeat was said"
    assert mesh.directories_are_equal()


def test_subscriptions_of_the_gone_are_not_kept() -> None:
    mesh = mesh_of(4)
    address = mesh.members[AgentName("m0")].transport.publisher_address
    assert {name for _, name in mesh.hearers(address)} == {"m0"}
    assert len(mesh.hearers(address)) == 3

    mesh.crash("m1")
    mesh.leave("m2")

    assert [transport.agent for transport, _ in mesh.hearers(address)] == ["m3"]


STORY = """
from node.net.simnet import Conditions, SimMesh
mesh = SimMesh(seed=5, conditions=Conditions(loss=0.1, duplication=0.1, link_spread=0.5, burst_loss=0.5))
for number in range(12):
    mesh.add(f"m{number}", seeds=["m0"] if number else [], topics=[f"of-m{number}"])
mesh.run(seconds=5.0)
mesh.partition([f"m{n}" for n in range(4)], [f"m{n}" for n in range(4, 12)])
mesh.crash("m5")
mesh.run(seconds=15.0)
mesh.heal()
mesh.add("m5", seeds=["m0"])
mesh.run(seconds=5.0)
views = [member.engine.members.view() for member in mesh.members.values()]
print(mesh.frames, mesh.bytes, mesh.events, views)
"""


@pytest.mark.processes
def test_a_run_is_the_same_in_another_process_whatever_its_hashes_of_text() -> None:
    told = {
        subprocess.run(
            [sys.executable, "-c", STORY],
            env={**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    }

    assert len(told) == 1
