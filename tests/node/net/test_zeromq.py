"""What only sockets do: addresses in use, edges, bounds."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import zmq

from node.net.address import with_key
from node.net.transport import Received
from node.net.zeromq import ControlReceived, ZmqTransport, sockets
from node.net.zeromq import transport as zeromq
from node.net.zeromq.descriptors import DEALERS
from protocol.effects import Route
from protocol.errors import AddressInUse, InvalidInput
from protocol.names import AgentName
from protocol.wire import MAX_FRAME_BYTES
from tests.support.sockets import OpenTransport, connect
from tests.support.waiting import wait_for

pytestmark = pytest.mark.processes

LOOPBACK = "tcp://127.0.0.1:0"
A = AgentName("a")


@contextmanager
def listening(listen: str = LOOPBACK, **options: Any) -> Iterator[OpenTransport]:
    transport = OpenTransport(listen, **options)
    try:
        yield transport
    finally:
        transport.close()


@contextmanager
def raw(kind: int, address: str) -> Iterator[zmq.Socket[bytes]]:
    """A socket of somebody else's, connected."""
    with zmq.Context() as context, context.socket(kind) as opened:
        opened.setsockopt(zmq.LINGER, 0)
        connect(opened, address)
        yield opened


def take(transport: ZmqTransport) -> list[Received | ControlReceived]:
    transport.wait(0.01)
    return list(transport.received())


def collect(transport: ZmqTransport, count: int) -> list[list[Received | ControlReceived]]:
    """What comes in, round by round, until there are `count` frames."""
    rounds: list[list[Received | ControlReceived]] = []

    def enough() -> bool:
        rounds.append(take(transport))
        return sum(map(len, rounds)) >= count

    wait_for(enough)
    return rounds


def until_heard(publish: Callable[[], object], subscriber: ZmqTransport) -> None:
    def is_heard() -> bool:
        publish()
        return bool(take(subscriber))

    wait_for(is_heard)


def settle(transport: ZmqTransport) -> None:
    """Until nothing more is to be looked at."""
    for _ in range(10):
        take(transport)


def port_of(address: str) -> int:
    return int(address.partition("#")[0].rpartition(":")[2])


def test_a_port_that_is_taken_is_named_on_one_line() -> None:
    with listening() as first:
        port = port_of(first.router_address)
        with pytest.raises(AddressInUse, match=f":{port} belongs to another process") as raised:
            OpenTransport(f"tcp://127.0.0.1:{port}")

    assert "\n" not in str(raised.value)


def test_where_the_second_port_is_taken_the_first_one_is_given_back() -> None:
    with listening() as first:
        port = port_of(first.publisher_address) - 1
        if port == port_of(first.router_address):
            return  # The system gave two in a row: the case above.
        with pytest.raises(AddressInUse, match=f":{port + 1} "):
            OpenTransport(f"tcp://127.0.0.1:{port}")

    OpenTransport(f"tcp://127.0.0.1:{port}").close()


@pytest.mark.parametrize("host", ["203.0.113.1", "no-such-host.invalid"])
def test_a_host_that_is_not_ours_is_bad_input(host: str) -> None:
    with pytest.raises(InvalidInput) as raised:
        OpenTransport(f"tcp://{host}:0")

    assert raised.value.field == "listen"
    assert "\n" not in str(raised.value)


def test_a_folder_for_commands_that_is_not_there_is_bad_input(short_folder: Path) -> None:
    with pytest.raises(InvalidInput) as raised:
        OpenTransport(LOOPBACK, control_path=str(short_folder / "missing" / "a.sock"))

    assert raised.value.field == "runtime_dir"


def test_an_advertised_host_stands_in_the_addresses() -> None:
    with listening(advertise="host.example") as transport:
        assert transport.router_address.startswith("tcp://host.example:")
        assert transport.publisher_address.startswith("tcp://host.example:")


def test_frames_of_several_parts_and_too_large_ones_never_come_in() -> None:
    with listening() as transport, raw(zmq.DEALER, transport.router_address) as large:
        large.send(bytes(MAX_FRAME_BYTES + 1))
        with raw(zmq.DEALER, transport.router_address) as peer:
            peer.send_multipart([b"two", b"parts"])
            peer.send_multipart([b""] * 3)
            peer.send(bytes(MAX_FRAME_BYTES))
            rounds = [*collect(transport, 1), take(transport), take(transport)]

    assert [len(one.frame) for part in rounds for one in part] == [MAX_FRAME_BYTES]


def test_a_send_that_fails_does_not_swallow_what_came_in() -> None:
    with listening() as transport, raw(zmq.DEALER, transport.router_address) as peer:
        peer.send(b"first")
        wait_for(lambda: take(transport))
        settle(transport)

        peer.send(b"second")
        assert transport._router.poll(5000)  # Its edge is used up by now, as by the send below.
        assert not transport.send(Route("router:00c0ffee00"), b"to nobody")
        transport.wait(5.0)

        assert [one.frame for one in transport.received()] == [b"second"]


def test_who_takes_the_last_frame_of_a_round_may_close_its_socket(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(zeromq, "_DRAIN", 3)
    with listening() as publisher, listening() as subscriber:
        subscriber.subscribe(A, publisher.publisher_address)
        heard = 0
        while heard < 3:
            for _ in range(5):
                publisher.publish(b"news")
            take(publisher)
            subscriber.wait(0.05)
            heard = 0
            for heard, _ in enumerate(subscriber.received(), start=1):
                if heard == 3:
                    subscriber.unsubscribe(A)

        assert take(subscriber) == []
        assert subscriber.statistics().subscriptions == 0


def test_a_flood_is_taken_in_rounds_and_none_of_it_is_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(zeromq, "_DRAIN", 3)
    with listening() as transport, raw(zmq.DEALER, transport.router_address) as peer:
        for number in range(50):
            peer.send(b"%d" % number)
        rounds = collect(transport, 50)

    assert max(map(len, rounds)) <= 3
    assert [one.frame for part in rounds for one in part] == [b"%d" % number for number in range(50)]


def test_connections_for_direct_frames_are_bounded_and_the_last_used_stay() -> None:
    with listening() as transport, listening() as peer:
        for port in range(20_000, 20_300):
            transport.send(Route(peer.router_address), b"again")
            transport.send(Route(with_key(f"tcp://127.0.0.1:{port}", peer.public)), b"hello")

        assert transport.statistics().dealers == DEALERS
        collect(peer, 200)


def test_too_many_members_to_hear_are_counted_and_the_first_is_named(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(sockets, "_SOCKETS", 12)
    caplog.set_level(logging.WARNING)
    with listening() as transport:
        for number in range(20):
            transport.subscribe(AgentName(f"m{number}"), with_key("tcp://127.0.0.1:1", transport.public))

        found = transport.statistics()
        assert 5 < found.subscriptions < 12
        assert found.subscriptions + found.unheard == 20
        other = with_key("tcp://127.0.0.1:2", transport.public)
        assert not transport.send(Route(other), b"no descriptor left for this")
    assert caplog.text.count("cannot subscribe to m") == 1


@pytest.mark.parametrize(
    "address", ["tcp://no port", "nothing", "ipc://", "tcp://127.0.0.1:1", "tcp://127.0.0.1:1#beef"]
)
def test_addresses_that_are_none_are_only_lost_frames(address: str, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)
    with listening() as transport:
        transport.subscribe(A, address)

        assert not transport.send(Route(address), b"hello")
        assert transport.statistics().subscriptions == transport.statistics().dealers == 0
    assert f"cannot subscribe to {A}" in caplog.text


def test_a_subscription_too_long_is_refused_and_others_are_served() -> None:
    with listening() as transport, raw(zmq.SUB, transport.publisher_address) as greedy:
        greedy.setsockopt(zmq.SUBSCRIBE, b"x" * 100_000)
        with raw(zmq.SUB, transport.publisher_address) as modest:
            modest.setsockopt(zmq.SUBSCRIBE, b"")

            def is_heard() -> bool:
                take(transport)
                transport.publish(b"x" * 100_001)
                return bool(modest.poll(10))

            wait_for(is_heard)
        assert not greedy.poll(0)


def test_closing_twice_and_waking_what_is_closed_do_nothing() -> None:
    transport = OpenTransport(LOOPBACK)

    transport.close()
    transport.close()
    transport.wake()


def test_a_wake_ends_the_wait_and_is_used_up_by_it() -> None:
    with listening() as transport:
        settle(transport)
        for _ in range(10_000):  # More than the pair of sockets holds.
            transport.wake()

        transport.wait(60.0)

        assert list(transport.received()) == []


def test_an_address_of_ipv6_is_listened_on_and_reached() -> None:
    try:
        six = OpenTransport("tcp://[::1]:0")
    except InvalidInput:
        pytest.skip("no IPv6 on this machine")
    try:
        with listening() as four:
            four.send(Route(six.router_address), b"hello")
            wait_for(lambda: take(six))
    finally:
        six.close()
