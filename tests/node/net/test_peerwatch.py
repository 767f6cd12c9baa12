"""Who is silent, who is wrong, and that neither makes us hold more than a bound."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from node.net.peer import Peer
from node.net.peerwatch import WRONG_PEERS, PeerWatch
from node.net.simnet import SimMesh
from node.net.transport import Received
from protocol import wire
from protocol.digest import EMPTY
from protocol.effects import Route
from protocol.messages import Hello, Record
from protocol.names import AgentName
from protocol.wire import WIRE_VERSION

A, B = AgentName("a"), AgentName("b")


def test_who_published_nothing_for_longer_is_silent_the_longest_first() -> None:
    watch = PeerWatch()
    watch.heard_at = {A: 0.0, B: 0.0, AgentName("c"): 0.0}

    watch.heard(A, 4.0)
    watch.heard(AgentName("c"), 9.0)

    assert [(one.agent, one.silent_s) for one in watch.silent(10.0, 5.0)] == [("b", 10.0), ("a", 6.0)]


def test_who_is_not_subscribed_to_is_never_silent() -> None:
    watch = PeerWatch()

    watch.heard(A, 1.0)

    assert watch.silent(100.0, 5.0) == ()


@given(st.lists(st.tuples(st.sampled_from("abcdefgh"), st.integers(0, 40)), max_size=300))
def test_the_wrong_ones_remembered_are_bounded_counted_and_the_last(frames: list[tuple[str, int]]) -> None:
    watch = PeerWatch()

    for now, (who, reason) in enumerate(frames):
        watch.refused(who, str(reason), "x" * 1000, float(now))
    found = watch.wrong(float(len(frames)))

    last = list(dict.fromkeys(reversed(frames)))[:WRONG_PEERS]
    assert [(one.who, int(one.reason)) for one in found] == last
    assert all(1 <= one.frames <= frames.count((one.who, int(one.reason))) for one in found)
    assert all(len(one.detail) <= 160 for one in found)


def test_strangers_under_ever_new_names_do_not_fill_our_memory() -> None:
    watch = PeerWatch()

    for number in range(1000):
        watch.refused(f"x{number}", "wrong-mesh", "", float(number))

    assert [one.who for one in watch.wrong(1000.0)] == [f"x{number}" for number in range(999, 935, -1)]


def peer_of(mesh: SimMesh) -> Peer:
    return mesh.members[A].peer


def test_a_member_that_is_cut_off_is_silent_until_it_is_heard_again() -> None:
    mesh = SimMesh(seed=1)
    mesh.add("a")
    mesh.add("b", seeds=["a"])
    mesh.run(seconds=5)
    well = peer_of(mesh).statistics(mesh.now)

    mesh.cut_one_way(["b"], ["a"])
    mesh.run(seconds=7)
    cut = peer_of(mesh).statistics(mesh.now)
    mesh.heal()
    mesh.run(seconds=5)
    healed = peer_of(mesh).statistics(mesh.now)

    assert (well.silent, [one.agent for one in cut.silent], healed.silent) == ((), ["b"], ())
    assert well.transport.subscriptions == well.transport.hearers == 1


def test_a_hello_of_another_mesh_or_version_and_a_malformed_frame_are_remembered_with_their_names() -> None:
    mesh = SimMesh(seed=1)
    mesh.add("a")
    mesh.add("b", seeds=["a"])
    mesh.run(seconds=3)
    peer = peer_of(mesh)
    record = Record("x", 7, 1, 1, "agent", "tcp://10.0.0.9:1", "tcp://10.0.0.9:2", EMPTY)
    back = Route("tcp://10.0.0.9:1")
    hellos = Hello("other", WIRE_VERSION, WIRE_VERSION, record), Hello("sim", 90, 99, record)

    for hello in hellos:
        peer.on_received(mesh.now, Received(wire.encode(AgentName("x"), hello), route=back))
    peer.on_received(mesh.now, Received(b"\xff", publisher=B))
    found = peer.statistics(mesh.now + 2.0).wrong

    assert [(one.who, one.reason) for one in found] == [
        ("b", "truncated"),
        ("x at tcp://10.0.0.9:1", "wire-version"),
        ("x at tcp://10.0.0.9:1", "wrong-mesh"),
    ]
    assert {one.ago_s for one in found} == {2.0}
    assert "it is of mesh other, we of sim" in found[2].detail


def test_a_pause_of_ours_is_counted_with_its_length() -> None:
    mesh = SimMesh(seed=1)
    mesh.add("a")
    mesh.add("b", seeds=["a"])
    mesh.run(seconds=5)

    mesh.stop("a")
    mesh.run(seconds=20)
    mesh.resume("a")
    mesh.run(seconds=1)
    counters = peer_of(mesh).statistics(mesh.now).gossip.counters

    assert counters.pauses == 1
    assert 19 < counters.longest_pause_s < 22
