"""What peers and the system do to sockets: who never reads, comes late, starts again; no descriptors left."""

from __future__ import annotations

import errno
import json
import logging
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from random import Random

import psutil
import pytest
import zmq

from node.net.endpoint import Endpoint
from node.net.zeromq import ZmqTransport, descriptors_needed, sockets
from node.net.zeromq import transport as zeromq
from protocol.digest import Announced, Digest
from protocol.effects import Route
from protocol.keyring import newest
from protocol.names import AgentName
from protocol.profile import PROFILES, Profile
from tests.support.endpoints import running
from tests.support.settings import MakeConfig
from tests.support.sockets import OpenTransport, connect
from tests.support.waiting import wait_for

pytestmark = pytest.mark.processes

LOOPBACK = "tcp://127.0.0.1:0"
ROOT = Path(__file__).resolve().parents[3]
A, B = AgentName("a"), AgentName("b")


def take(transport: ZmqTransport) -> list[bytes]:
    transport.wait(0.01)
    return [one.frame for one in transport.received()]


def slow(context: zmq.Context[zmq.Socket[bytes]], kind: int, address: str) -> zmq.Socket[bytes]:
    """One that takes as little as can be."""
    opened = context.socket(kind)
    opened.setsockopt(zmq.LINGER, 0)
    opened.setsockopt(zmq.RCVHWM, 1)
    opened.setsockopt(zmq.RCVBUF, 4096)
    if kind == zmq.SUB:
        opened.setsockopt(zmq.SUBSCRIBE, b"")
    connect(opened, address)
    return opened


def test_one_that_hears_us_and_never_reads_holds_up_nobody_and_costs_a_bounded_memory() -> None:
    publisher, hearer = OpenTransport(), OpenTransport()
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    try:
        deaf = slow(context, zmq.SUB, publisher.publisher_address)
        hearer.subscribe(A, publisher.publisher_address)
        wait_for(lambda: take(publisher) or publisher.statistics().hearers == 2)
        before = psutil.Process().memory_info().rss
        heard = 0

        for _ in range(3000):  # 192 MB, of which 256 frames may wait: 16 MB, and as much with the reader.
            publisher.publish(bytes(65_536))
            heard += len(take(hearer))
        wait_for(lambda: not take(hearer))
        grown = psutil.Process().memory_info().rss - before

        assert publisher.statistics().overflows >= 1
        assert heard > 2500
        assert grown < 100 << 20
        assert not deaf.closed
    finally:
        context.destroy(linger=0)
        publisher.close()
        hearer.close()


def test_one_that_asks_and_never_reads_loses_its_answers_and_they_are_counted() -> None:
    transport = OpenTransport()
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    try:
        asker = slow(context, zmq.DEALER, transport.router_address)
        asker.send(b"question")
        routes: list[Route] = []

        def asked() -> bool:
            transport.wait(0.01)
            routes.extend(one.route for one in transport.received() if one.route is not None)
            return bool(routes)

        wait_for(asked)
        sent = [transport.send(routes[0], bytes(65_536)) for _ in range(1000)]

        assert False in sent
        assert transport.statistics().refused == sent.count(False)
    finally:
        context.destroy(linger=0)
        transport.close()


def test_who_hears_us_is_counted_as_they_come_and_go() -> None:
    publisher, first, second = OpenTransport(), OpenTransport(), OpenTransport()
    try:
        for hearer in (first, second):
            hearer.subscribe(A, publisher.publisher_address)
        wait_for(lambda: take(publisher) or publisher.statistics().hearers == 2)

        first.unsubscribe(A)
        wait_for(lambda: take(publisher) or publisher.statistics().hearers == 1)
        second.close()
        wait_for(lambda: take(publisher) or publisher.statistics().hearers == 0)
    finally:
        for transport in (publisher, first, second):
            transport.close()


def test_what_is_published_by_many_is_left_to_collect_and_direct_frames_are_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(zeromq, "_COLLECT_FROM", 1)
    publisher, hearer = OpenTransport(), OpenTransport()
    try:
        hearer.subscribe(A, publisher.publisher_address)
        wait_for(lambda: take(publisher) or publisher.statistics().hearers == 1)
        wait_for(lambda: not take(hearer) and hearer._collected_at is None)  # The connection itself wakes.
        monkeypatch.setattr(zeromq, "_COLLECT_S", 3600.0)
        publisher.publish(b"the first")
        wait_for(lambda: take(hearer) == [b"the first"])

        publisher.publish(b"left to collect")
        assert hearer._published.select(20.0)
        publisher.send(Route(hearer.router_address), b"direct")
        wait_for(lambda: take(hearer) == [b"direct"])
        assert take(hearer) == []

        hearer._collected_at = 0.0  # An hour has passed, and another in which nothing came.
        assert take(hearer) == [b"left to collect"]
        hearer._collected_at = 0.0
        assert take(hearer) == []
        publisher.publish(b"wakes again")
        wait_for(lambda: take(hearer) == [b"wakes again"])
    finally:
        publisher.close()
        hearer.close()


def test_below_some_members_heard_every_frame_is_taken_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(zeromq, "_COLLECT_FROM", 2)
    monkeypatch.setattr(zeromq, "_COLLECT_S", 3600.0)
    publisher, hearer = OpenTransport(), OpenTransport()
    try:
        hearer.subscribe(A, publisher.publisher_address)
        wait_for(lambda: take(publisher) or publisher.statistics().hearers == 1)
        for frame in (b"one", b"two"):
            publisher.publish(frame)
            wait_for(lambda frame=frame: take(hearer) == [frame])  # type: ignore[misc]
    finally:
        publisher.close()
        hearer.close()


def test_connections_that_are_not_used_are_closed_the_oldest_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(zeromq, "_UNUSED_S", 0.0)
    transport, peer = OpenTransport(), OpenTransport()
    try:
        assert transport.send(Route(peer.router_address), b"once")
        wait_for(lambda: take(peer))
        assert transport.statistics().dealers == 1

        wait_for(lambda: take(transport) or transport.statistics().dealers == 0)

        assert transport.send(Route(peer.router_address), b"twice")
        wait_for(lambda: take(peer) == [b"twice"])
    finally:
        transport.close()
        peer.close()


def test_a_member_that_could_not_be_heard_is_tried_again(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    publisher, hearer = OpenTransport(), OpenTransport()
    try:
        with monkeypatch.context() as scarce:

            def none_left(*_: object) -> None:
                raise zmq.ZMQError(errno.EMFILE)

            scarce.setattr(zeromq, "connect", none_left)
            hearer.subscribe(A, publisher.publisher_address)
        assert hearer.statistics().unheard == 1

        wait_for(lambda: take(hearer) or take(publisher) or publisher.statistics().hearers == 1)

        assert hearer.statistics().unheard == 0
        assert caplog.text.count("cannot subscribe to a") == 1
    finally:
        publisher.close()
        hearer.close()


def test_a_member_started_again_at_its_port_is_heard_and_answered_again() -> None:
    other = OpenTransport()
    first = OpenTransport()
    address, hears = first.router_address, first.publisher_address
    other.subscribe(A, hears)
    try:
        wait_for(lambda: take(first) or first.statistics().hearers == 1)
        other.send(Route(address), b"before")
        wait_for(lambda: take(first))
        first.close()

        # The publisher's port is any other's as well, so both are asked for by number.
        with pytest.MonkeyPatch.context() as same_ports:
            listen = sockets.open_listener
            ports = iter(int(one.partition("#")[0].rpartition(":")[2]) for one in (address, hears))
            same_ports.setattr(zeromq, "open_listener", lambda host, _: listen(host, next(ports)))
            second = OpenTransport(pair=first.pair)
        try:
            # Who hears it asks to again by itself, but in its own thread: it has to look.
            wait_for(lambda: take(other) or take(second) or second.statistics().hearers == 1)
            second.publish(b"again")
            wait_for(lambda: b"again" in take(other))
            wait_for(lambda: other.send(Route(address), b"after") and b"after" in take(second))
        finally:
            second.close()
    finally:
        other.close()


@pytest.mark.parametrize("kind", [zmq.DEALER, zmq.PUB, zmq.REQ])
def test_random_bytes_of_any_shape_never_hold_up_a_transport(kind: int) -> None:
    rng, transport, peer = Random(kind), OpenTransport(), OpenTransport()
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    try:
        strangers = [context.socket(kind) for _ in range(2)]
        addresses = transport.router_address, transport.publisher_address
        for stranger, address in zip(strangers, addresses, strict=True):
            stranger.setsockopt(zmq.LINGER, 0)
            stranger.setsockopt(zmq.SNDTIMEO, 100)
            connect(stranger, address)
            for _ in range(200):
                parts = [rng.randbytes(rng.choice((0, 1, 30, 1000))) for _ in range(rng.randint(1, 4))]
                try:
                    stranger.send_multipart(parts)
                except zmq.ZMQError:  # It may not send now; others of these frames were sent.
                    break
        peer.send(Route(transport.router_address), b"a frame")
        wait_for(lambda: b"a frame" in take(transport))
        assert 0 <= transport.statistics().hearers <= 1
    finally:
        context.destroy(linger=0)
        transport.close()
        peer.close()


def knows(endpoint: Endpoint, topic: str) -> bool:
    with endpoint.driver.lock:
        directory = endpoint.driver.peer.engine.directory
        return any(lead.agent == "a" for lead in directory.who_knows([topic], now=0.0))


def test_what_a_member_misses_because_it_hears_late_is_made_good_by_sync(
    make_config: MakeConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(PROFILES, "local", lambda: Profile(sync_s=0.5, silence_s=60.0))
    monkeypatch.setattr(ZmqTransport, "subscribe", lambda *_: None)  # As if it never took effect.
    with running("a", make_config()) as a, running("b", make_config()) as b:
        wait_for(lambda: len(b.members()) == 2)

        with a.driver.lock:
            epoch, key = newest(a.driver.peer.engine.gate.keys)
            digest = Digest.of([Announced("zebra", 1, 1.0)], key_epoch=epoch, key=key)
            a.driver.peer.perform(0.0, a.driver.peer.engine.set_digest(0.0, digest))
        a.driver.transport.wake()

        wait_for(lambda: knows(b, "zebra"))
        assert b.statistics().transport.subscriptions == 0


CHILD = """
import json, os, resource, socket, sys, time, logging
logging.basicConfig(stream=sys.stderr, format="%(levelname)s %(message)s")
from tests.support.sockets import OpenTransport
from protocol.effects import Route
from protocol.names import AgentName

def turn(seconds, *transports):
    end, came = time.monotonic() + seconds, []
    while time.monotonic() < end:
        for one in transports:
            one.wait(0.01)
            came += [got.frame for got in one.received()]
    return came

mine, friend = OpenTransport(), OpenTransport()
mine.subscribe(AgentName("friend"), friend.publisher_address)
friend.send(Route(mine.router_address), b"hello")
turn(0.5, mine, friend)
host, port = "127.0.0.1", int(mine.router_address.partition("#")[0].rpartition(":")[2])
strangers = [socket.socket() for _ in range(5)]
resource.setrlimit(resource.RLIMIT_NOFILE, (len(os.listdir("/proc/self/fd")) + 20,) * 2)
taken = []
while True:
    try:
        taken.append(os.dup(0))
    except OSError:
        break
for stranger in strangers:
    stranger.connect((host, port))
turn(3.0, mine)  # Until it has looked.
before = time.process_time()
mine.subscribe(AgentName("more"), friend.publisher_address)
friend.publish(b"heard meanwhile")
friend.send(Route(mine.router_address), b"sent meanwhile")
came = turn(3.0, mine)
busy_s = time.process_time() - before
scarce = mine.statistics()
for one in taken:
    os.close(one)
deadline = time.monotonic() + 60
while mine.statistics().unheard and time.monotonic() < deadline:
    turn(0.2, mine, friend)
friend.publish(b"to both")
after = turn(1.0, mine)
well = mine.statistics()
print(json.dumps({
    "came": [frame.decode() for frame in came], "busy_s": busy_s, "times_out": scarce.times_out,
    "turned_away": scarce.turned_away, "unheard": [scarce.unheard, well.unheard],
    "after": len(after), "subscriptions": well.subscriptions,
}))
mine.close(); friend.close()
"""


@pytest.mark.skipif(sys.platform != "linux", reason="counts descriptors in /proc")
def test_without_descriptors_a_member_goes_on_says_so_once_and_recovers() -> None:
    ran = subprocess.run(
        [sys.executable, "-c", CHILD],
        capture_output=True,
        text=True,
        timeout=100,
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        check=False,
    )

    assert ran.returncode == 0, ran.stderr
    told = json.loads(ran.stdout)
    assert {"heard meanwhile", "sent meanwhile"} <= set(told["came"])
    assert told["times_out"] == 1
    assert told["turned_away"] >= 5
    assert told["busy_s"] < 1.5, "the listener spins"
    assert told["unheard"] == [1, 0]
    assert told["subscriptions"] == 2
    assert told["after"] == 2
    assert ran.stderr.count("no descriptors are left") == 1
    assert ran.stderr.count("there are descriptors again") == 1


@pytest.mark.parametrize(("members", "needed"), [(1, 100), (2, 106), (64, 478), (65, 388), (1000, 1451)])
def test_the_descriptors_a_mesh_needs_follow_the_formula(members: int, needed: int) -> None:
    assert descriptors_needed(members, full_mesh=64) == needed


def test_a_mesh_of_real_members_needs_no_more_than_that(make_config: MakeConfig) -> None:
    made: list[Endpoint] = []
    enough: Callable[[], bool] = lambda: all(len(one.members()) == 3 for one in made)  # noqa: E731
    with running("a", make_config()) as a, running("b", make_config()) as b, running("c", make_config()) as c:
        made += [a, b, c]
        wait_for(enough)
        found = a.statistics().transport

    assert found.subscriptions == 2
    assert found.descriptors <= 3 * descriptors_needed(3, full_mesh=64)
