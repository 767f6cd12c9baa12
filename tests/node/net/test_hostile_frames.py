"""Whatever strangers send is dropped and counted, and everybody else is served as before."""

from __future__ import annotations

import logging
from random import Random

import pytest
import zmq

from node.net.endpoint import Endpoint
from protocol import wire
from protocol.errors import MalformedFrame
from protocol.messages import Ack, Announce, Claim, Heartbeat, Ping, Refusal
from protocol.wire import MAX_FRAME_BYTES
from tests.support.endpoints import Stranger, running, stranger
from tests.support.settings import MakeConfig
from tests.support.waiting import wait_for

pytestmark = pytest.mark.processes


def dropped(endpoint: Endpoint) -> dict[str, int]:
    with endpoint.driver.lock:
        return endpoint.driver.peer.traffic().dropped


def answers(one: Stranger) -> bool:
    one.tell(Ping(5))
    answer = one.hear()
    return isinstance(answer, Ack) and answer.nonce == 5


def reason_of(frame: bytes) -> str:
    try:
        wire.decode(frame)
    except MalformedFrame as error:
        return error.reason
    return ""


BAD = {
    "empty": (b"", "truncated"),
    "one byte": (b"\x01", "truncated"),
    "a wire version to come": (b"\x63\x0a\x01m\x91\x05", "wire-version"),
    "an unknown kind": (b"\x02\xfa\x01m\x91\x05", "unknown-kind"),
    "a sender that is none": (b"\x02\x0a\x02M!\x91\x05", "bad-sender"),
    "a name longer than the frame": (b"\x02\x0a\x40m", "bad-sender"),
    "no body": (b"\x02\x0a\x01m", "bad-msgpack"),
    "half a body": (b"\x02\x0a\x01m\x92\x05", "bad-msgpack"),
    "a body with a tail": (b"\x02\x0a\x01m\x91\x05\x05", "bad-msgpack"),
    "a body of another kind": (b"\x02\x0a\x01m\xa1x", "bad-field"),
    "a field of another type": (b"\x02\x0a\x01m\x91\xa1x", "bad-field"),
    "arrays in arrays": (b"\x02\x0a\x01m" + b"\x91" * 100_000, "bad-msgpack"),
    "an array that claims four billion items": (b"\x02\x0a\x01m\xdd\xff\xff\xff\xff", "bad-msgpack"),
}


@pytest.mark.parametrize(("frame", "reason"), BAD.values(), ids=BAD.keys())
def test_a_bad_frame_is_dropped_and_counted_by_its_reason(
    frame: bytes, reason: str, make_config: MakeConfig
) -> None:
    with running("a", make_config()) as a, stranger("m", a) as m:
        m.dealer.send(frame)
        m.dealer.send(frame)

        assert answers(m)
        assert dropped(a) == {reason: 2}


def test_random_bytes_in_any_number_do_not_stop_a_member(make_config: MakeConfig) -> None:
    rng = Random(7)
    frames = [rng.randbytes(rng.randrange(200)) for _ in range(500)]
    frames += [b"\x01" + bytes([rng.randrange(1, 19), 1]) + b"m" + rng.randbytes(50) for _ in range(500)]
    with running("a", make_config()) as a, stranger("m", a) as m:
        for frame in frames:
            m.dealer.send(frame)

        assert answers(m)
        expected = [reason for frame in frames if (reason := reason_of(frame))]
        assert len(expected) > 900
        assert sum(dropped(a).values()) == len(expected)


def test_a_kind_of_bad_frame_is_logged_once(
    make_config: MakeConfig, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    with running("a", make_config()) as a, stranger("m", a) as m:
        for _ in range(10):
            m.dealer.send(b"\x01")
        assert answers(m)

    assert len([record for record in caplog.records if "dropped a frame" in record.message]) == 1


def test_an_oversized_frame_costs_its_sender_the_connection_and_nobody_else(make_config: MakeConfig) -> None:
    with running("a", make_config()) as a, stranger("m", a) as m, stranger("n", a) as n:
        m.dealer.send(bytes(MAX_FRAME_BYTES + 1))

        assert answers(n)
        assert answers(n)
        assert dropped(a) == {}


def test_what_a_publisher_says_under_another_name_is_dropped(make_config: MakeConfig) -> None:
    with running("a", make_config()) as a, stranger("m", a) as m:
        m.join()
        assert m.publisher.poll(10_000), "a subscribes to a member it has heard of"
        m.publisher.recv()

        m.publish(Announce((Claim("a", 99, 1, "dead"),)), sender="somebody")
        wait_for(lambda: dropped(a) == {"wrong-publisher": 1})

        with a.driver.lock:
            assert a.driver.peer.engine.record.incarnation == 1


def test_a_publisher_of_noise_is_counted_and_stays_a_member(make_config: MakeConfig) -> None:
    with running("a", make_config()) as a, stranger("m", a) as m:
        m.join()
        assert m.publisher.poll(10_000)
        m.publisher.recv()

        m.publisher.send(b"noise")
        m.publisher.send_multipart([b"two", b"parts"])
        m.publish(Heartbeat(1, 1, 0))
        wait_for(lambda: sum(dropped(a).values()) == 1)

        assert [member.status for member in a.members() if member.agent == "m"] == ["alive"]


def test_a_refusal_does_not_end_a_member_that_has_joined(make_config: MakeConfig) -> None:
    with running("a", make_config()) as a, stranger("m", a) as m:
        m.tell(Refusal("name-taken", "go away"))

        assert answers(m)
        a.check()


def test_a_hello_to_another_mesh_is_refused_and_leaves_no_trace(make_config: MakeConfig) -> None:
    with running("a", make_config()) as a, stranger("m", a, joins=False) as m:
        m.tell(m.hello(mesh="elsewhere"))

        refusal = m.hear()
        assert isinstance(refusal, Refusal)
        assert (refusal.code, refusal.reason) == ("wrong-mesh", "this is mesh test, not elsewhere")
        assert [member.agent for member in a.members()] == ["a"]


def test_one_that_never_reads_its_answers_does_not_hold_up_the_others(make_config: MakeConfig) -> None:
    with running("a", make_config()) as a, stranger("m", a) as deaf, stranger("n", a) as n:
        deaf.dealer.setsockopt(zmq.RCVHWM, 1)
        frame = wire.encode(deaf.agent, Ping(1))
        for _ in range(20_000):
            deaf.dealer.send(frame)

        assert answers(n)
