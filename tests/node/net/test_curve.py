"""Who may connect, and is known: CURVE on every socket, and nobody hears us who is not a member."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import zmq
from hypothesis import given, settings
from hypothesis import strategies as st

from node.net.address import split_key, with_key
from node.net.keys import SocketKeys, make_pair, public_of
from node.net.transport import Received
from node.net.zeromq import admission, sockets
from node.net.zeromq.admission import Admission
from node.net.zeromq.sockets import open_context
from protocol.effects import Route
from protocol.errors import InvalidInput
from protocol.names import AgentName
from tests.support.sockets import OpenTransport, connect
from tests.support.waiting import holds_within, wait_for

pytestmark = pytest.mark.processes

A = AgentName("a")


@contextmanager
def opened(*admitted: bytes) -> Iterator[tuple[OpenTransport, set[bytes]]]:
    """A transport that only these keys may hear, and the set of them."""
    members = set(admitted)
    transport = OpenTransport(is_admitted=members.__contains__)
    try:
        yield transport, members
    finally:
        transport.close()


@contextmanager
def raw(kind: int) -> Iterator[zmq.Socket[bytes]]:
    with zmq.Context() as context, context.socket(kind) as one:
        one.setsockopt(zmq.LINGER, 0)
        one.setsockopt(zmq.RECONNECT_IVL, 50)
        if kind == zmq.SUB:
            one.setsockopt(zmq.SUBSCRIBE, b"")
        yield one


def take(transport: OpenTransport) -> list[Received]:
    transport.wait(0.01)
    return [one for one in transport.received() if isinstance(one, Received)]


def taken(*transports: OpenTransport, count: int = 1) -> list[Received]:
    """The first `count` frames that come to the first one, while the others are looked after, too."""
    came: list[Received] = []

    def enough() -> bool:
        for transport in transports[1:]:
            take(transport)
        came.extend(take(transports[0]))
        return len(came) >= count

    wait_for(enough)
    return came


def hears(transport: OpenTransport, hearer: zmq.Socket[bytes], *, within_s: float = 10.0) -> bool:
    """Whether `hearer` is sent what the transport publishes from now on."""
    while hearer.poll(0):
        hearer.recv()

    def heard() -> bool:
        transport.publish(b"news")
        take(transport)
        return bool(hearer.poll(0))

    return holds_within(within_s, heard)


def test_a_pair_of_keys_belongs_together() -> None:
    public, secret = make_pair()

    assert len(public) == len(secret) == 32
    assert public_of(secret) == public


def test_an_address_with_its_key_is_parted_again() -> None:
    public, _ = make_pair()

    assert split_key(with_key("tcp://[::1]:7700", public)) == ("tcp://[::1]:7700", public)


@settings(max_examples=300)
@given(text=st.text(max_size=90) | st.from_regex(r"tcp://h:1#[0-9a-fA-F ]{0,70}", fullmatch=True))
def test_any_text_is_an_address_with_a_key_or_refused(text: str) -> None:
    try:
        address, key = split_key(text)
    except InvalidInput:
        return
    assert with_key(address, key).lower() == text.lower()


def test_who_speaks_no_curve_gets_nothing() -> None:
    with opened() as (transport, _), raw(zmq.DEALER) as plain, raw(zmq.SUB) as deaf:
        plain.connect(split_key(transport.router_address)[0])
        deaf.connect(split_key(transport.publisher_address)[0])
        plain.send(b"hello")

        assert not holds_within(1.0, lambda: take(transport))
        assert not hears(transport, deaf, within_s=0.5)


def test_who_expects_another_key_connects_to_nobody() -> None:
    with opened() as (transport, _), raw(zmq.DEALER) as misled:
        connect(misled, with_key(split_key(transport.router_address)[0], make_pair()[0]))
        misled.send(b"hello")

        assert not holds_within(1.0, lambda: take(transport))


def test_the_key_of_whoever_sends_comes_with_each_frame() -> None:
    with opened() as (transport, _), raw(zmq.DEALER) as one, raw(zmq.DEALER) as other:
        one.setsockopt(zmq.ROUTING_ID, b"\x00\x00\x00\x00\x02")  # As if it were the next one's.
        keys = [connect(dealer, transport.router_address)[0] for dealer in (one, other)]
        one.send(b"one")
        other.send(b"other")
        came = taken(transport, count=2)

        assert {received.frame: received.key for received in came} == {b"one": keys[0], b"other": keys[1]}


def test_the_key_of_whoever_answers_is_the_one_that_was_expected() -> None:
    with opened() as (asked, _), opened() as (asker, _):
        asker.send(Route(asked.router_address), b"question")
        (question,) = taken(asked, asker)
        assert question.route is not None
        asked.send(question.route, b"answer")
        answers = taken(asker)

        assert question.key == asker.public
        assert answers == [Received(b"answer", route=Route(asked.router_address), key=asked.public)]


def test_who_is_no_member_hears_nothing_until_it_is_introduced() -> None:
    with opened() as (transport, members), raw(zmq.SUB) as hearer:
        public, _ = connect(hearer, transport.publisher_address)

        assert not hears(transport, hearer, within_s=0.5)
        assert transport.statistics().hearers == 0
        members.add(public)

        assert hears(transport, hearer)
        assert transport.statistics().hearers == 1


def test_who_waited_too_long_in_the_doorway_comes_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sockets, "_HANDSHAKE_MS", 200)
    with opened() as (transport, members), raw(zmq.SUB) as hearer:
        public, _ = connect(hearer, transport.publisher_address)
        assert not hears(transport, hearer, within_s=1.0)

        members.add(public)

        assert hears(transport, hearer)


def test_who_is_cut_off_hears_no_more_and_the_others_go_on() -> None:
    with opened() as (transport, members), raw(zmq.SUB) as hearer, raw(zmq.SUB) as expelled:
        members.add(connect(hearer, transport.publisher_address)[0])
        public, _ = connect(expelled, transport.publisher_address)
        members.add(public)
        assert hears(transport, hearer)
        assert hears(transport, expelled)

        members.discard(public)
        transport.cut_off()

        assert hears(transport, hearer)
        assert not hears(transport, expelled, within_s=0.5)
        assert transport.statistics().hearers == 1


def test_wishes_for_what_nobody_publishes_end_the_connection() -> None:
    with opened() as (transport, members), raw(zmq.SUB) as hearer, raw(zmq.XSUB) as greedy:
        members.add(connect(hearer, transport.publisher_address)[0])
        members.add(connect(greedy, transport.publisher_address)[0])
        assert hears(transport, hearer)

        for number in range(1_000):
            greedy.send(b"\x01wish %d" % number)
        greedy.send(b"\x01")
        holds_within(1.0, lambda: take(transport) and False)

        assert not hears(transport, greedy, within_s=0.5)
        assert hears(transport, hearer)


def test_who_says_nothing_is_hung_up_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sockets, "_HANDSHAKE_MS", 200)
    with opened() as (transport, _):
        host, port = split_key(transport.router_address)[0].removeprefix("tcp://").split(":")
        with socket.create_connection((host, int(port))) as silent:
            silent.settimeout(5.0)
            while silent.recv(4096):  # The greeting, then the end.
                take(transport)


def test_a_message_of_many_parts_never_comes_in_and_nothing_of_it_stays() -> None:
    with opened() as (transport, _), raw(zmq.DEALER) as peer:
        connect(peer, transport.router_address)
        for _ in range(3):
            peer.send_multipart([bytes(1_000)] * 200)
        peer.send(b"well-formed")
        came = taken(transport)

        assert [received.frame for received in came] == [b"well-formed"]


# -- the handler by itself


@contextmanager
def handler(*admitted: bytes) -> Iterator[tuple[Admission, zmq.Socket[bytes], set[bytes]]]:
    """The handler, a socket that asks it as ZeroMQ does, and the keys it knows."""
    context, members = open_context(), set(admitted)
    one = Admission(context, SocketKeys(public=bytes(32), secret=bytes(32), is_admitted=members.__contains__))
    asker = context.socket(zmq.DEALER)
    asker.setsockopt(zmq.LINGER, 0)
    asker.connect("inproc://zeromq.zap.01")
    try:
        yield one, asker, members
    finally:
        context.destroy(linger=0)


def asked(domain: bytes, key: bytes, *, request: bytes = b"1", mechanism: bytes = b"CURVE") -> list[bytes]:
    return [b"", b"1.0", request, domain, b"127.0.0.1", b"", mechanism, key]


KEY = bytes(range(32))


def test_the_router_admits_any_key_and_names_it() -> None:
    with handler() as (one, asker, _):
        asker.send_multipart(asked(b"router", KEY))
        time.sleep(0.05)
        one.serve()

        assert asker.recv_multipart(zmq.NOBLOCK) == [
            b"", b"1.0", b"1", b"200", b"", KEY.hex().encode(), b"",
        ]  # fmt: skip


@pytest.mark.parametrize(
    "request_",
    [
        asked(b"publisher", KEY),
        asked(b"", KEY),
        asked(b"global", KEY),
        asked(b"router", KEY, mechanism=b"NULL"),
        asked(b"router", KEY, mechanism=b"PLAIN"),
        asked(b"router", KEY[:31]),
        asked(b"router", KEY)[:-1],
        [b"", b"2.0", *asked(b"router", KEY)[2:]],
        [b""],
        [b"x"] * 40,
    ],
)
def test_whatever_else_is_asked_is_not_answered(request_: list[bytes]) -> None:
    with handler() as (one, asker, _):
        asker.send_multipart(request_)
        time.sleep(0.05)
        one.serve()

        assert not asker.poll(50)


def test_so_many_wait_and_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(admission, "_DOORWAY", 3)
    with handler() as (one, asker, members):
        for number in range(5):
            asker.send_multipart(asked(b"publisher", bytes([number]) * 32, request=b"%d" % number))
        time.sleep(0.05)
        one.serve()
        assert one.waiting == 3

        members |= {bytes([number]) * 32 for number in range(5)}
        one.look()

        answered = [asker.recv_multipart(zmq.NOBLOCK)[2] for _ in range(3)]
        assert answered == [b"2", b"3", b"4"]
        assert one.waiting == 0
