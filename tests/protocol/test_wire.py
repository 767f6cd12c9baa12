"""Frames: every message comes back as it was; any other bytes are a `MalformedFrame` and nothing else."""

from __future__ import annotations

import tracemalloc

import msgpack
import msgspec
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from protocol import wire
from protocol.digest import EMPTY, Announced, Digest
from protocol.errors import MalformedFrame
from protocol.messages import (
    KINDS,
    MAX_MEMBERS_A_MESSAGE,
    NUMBERS,
    Ack,
    Announce,
    Certificate,
    Charter,
    Chartered,
    Claim,
    Delta,
    Epoch,
    Get,
    Heartbeat,
    Hello,
    Holder,
    Message,
    Metadata,
    MetadataAck,
    Nack,
    Neighbour,
    NeighbourReply,
    Ping,
    PingRequest,
    Quote,
    RecallReply,
    RecallRequest,
    Record,
    Records,
    Refusal,
    Refused,
    Suspicion,
    Sync,
    SyncDiff,
    Unlink,
    Welcome,
    Who,
    WhoReply,
)
from protocol.names import AgentName
from tests.support.messages import MESSAGES, NAMES, messages_of

ALICE = AgentName("alice")
REASONS = {"oversized", "truncated", "wire-version", "unknown-kind", "bad-sender", "bad-msgpack", "bad-field"}

RECORD = Record("bob", 2**40, 3, 17, "agent", "tcp://127.0.0.1:40001", "tcp://127.0.0.1:40002", EMPTY)
CERTIFICATE = Certificate("garden", "bob", "agent", 2**50, 2**30, 2**31, bytes(32), bytes(32), bytes(64))
CLAIM = Claim("bob", 3, 17, "alive")
ONE_OF_EACH: list[tuple[Message, int]] = [
    (Hello("garden", 1, 1, RECORD), 228),
    (Welcome("garden", 1, (RECORD,)), 228),
    (Refusal("name-taken", "another one is called so"), 46),
    (Heartbeat(3, 17, 2**62), 23),
    (Heartbeat(3, 17, 2**62, bytes(32), (CLAIM,)), 68),
    (Announce((CLAIM,), ()), 26),
    (Announce((CLAIM,), (RECORD,)), 234),
    (Announce((CLAIM,), (), (Delta("bob", 3, 18, 3, 17, 5, 0, bytes(25), 2**31),)), 72),
    (Announce((CLAIM,), (), (), (Suspicion("bob", 3, ("carol", "dave")),)), 44),
    (Get(("bob", "carol")), 20),
    (Records((RECORD,)), 219),
    (Sync(bytes(256)), 269),
    (Sync(bytes(8192)), 8205),
    (SyncDiff((7,), (CLAIM,)), 26),
    (Ping(2**47), 18),
    (Ack(2**47, 3, 17), 20),
    (PingRequest(2**47, "bob"), 22),
    (Nack(2**47), 18),
    (Neighbour(3, 17, False, True), 13),
    (NeighbourReply(True), 10),
    (Unlink(), 9),
    (Chartered(Charter("garden", 2, 2**30, (Epoch(1, bytes(32)),), (2**50,), bytes(64))), 136),
    (Records((RECORD,), (CERTIFICATE,)), 390),
    (Who(9, ("bitcoin",), 10), 20),
    (WhoReply(9, "owner", 5, (Holder("bob", 1.5, ("bitcoin",), 4, 0.5),)), 51),
    (Metadata(1, 0, (Announced("bitcoin", 4, 0.5),), ()), 32),
    (MetadataAck(1, 1), 11),
    (RecallRequest(9, "who knows bitcoin?", 1_000), 32),
    (RecallReply(9, (Quote("/notes/1", 1, "Coins", "Bitcoin is one.", 5, 0.5, "fts", False),)), 59),
    (Refused(9, "peer-refused", "busy"), 28),
]


def frame_of(kind: int, body: bytes, sender: bytes = b"alice") -> bytes:
    return bytes((wire.WIRE_VERSION, kind, len(sender))) + sender + body


def reason_of(frame: bytes) -> str:
    with pytest.raises(MalformedFrame) as caught:
        wire.decode(frame)
    return caught.value.reason


def outcome_of(frame: bytes) -> str:
    """The reason of the refusal, or nothing where the frame is a message, which then can be sent again."""
    try:
        sender, message = wire.decode(frame)
    except MalformedFrame as error:
        return error.reason
    assert wire.decode(wire.encode(sender, message)) == (sender, message)
    return ""


# -- what is sent comes back


@pytest.mark.parametrize("number", sorted(KINDS))
def test_every_kind_is_numbered_once_and_both_ways(number: int) -> None:
    assert NUMBERS[KINDS[number]] == number


def test_the_kinds_are_numbered_as_they_always_were() -> None:
    kinds = [
        Hello,
        Welcome,
        Refusal,
        Heartbeat,
        Announce,
        Get,
        Records,
        Sync,
        SyncDiff,
        Ping,
        Ack,
        Who,
        WhoReply,
    ]
    kinds += [Metadata, MetadataAck, RecallRequest, RecallReply, Refused]
    kinds += [PingRequest, Nack, Neighbour, NeighbourReply, Unlink]

    assert list(KINDS.items())[: len(kinds)] == list(enumerate(kinds, 1))


@given(sender=NAMES.map(AgentName), message=MESSAGES)
def test_every_message_comes_back_as_it_was(sender: AgentName, message: Message) -> None:
    assert wire.decode(wire.encode(sender, message)) == (sender, message)


@pytest.mark.parametrize("kind", list(NUMBERS), ids=lambda kind: kind.__name__)
@settings(max_examples=20)
@given(data=st.data())
def test_fields_of_a_later_version_are_ignored(kind: type[Message], data: st.DataObject) -> None:
    message = data.draw(messages_of(kind))
    later = data.draw(st.none() | st.integers(0, 9) | st.lists(st.text(max_size=3), max_size=3))

    body = msgpack.packb([*msgpack.unpackb(msgspec.msgpack.encode(message)), later])

    assert wire.decode(frame_of(NUMBERS[kind], body)) == (ALICE, message)


def test_fields_that_an_earlier_version_did_not_have_take_their_defaults() -> None:
    assert wire.decode(frame_of(5, msgpack.packb([[["bob", 3, 17, "alive"]]])))[1] == Announce((CLAIM,))
    assert wire.decode(frame_of(4, msgpack.packb([1, 2, 3])))[1] == Heartbeat(1, 2, 3)
    assert wire.decode(frame_of(11, msgpack.packb([7])))[1] == Ack(7)
    assert wire.decode(frame_of(14, msgpack.packb([1, 0, [["bitcoin", 4, 0.5]]])))[1] == Metadata(
        1, 0, (Announced("bitcoin", 4, 0.5),)
    )


@pytest.mark.parametrize(("message", "size_bytes"), ONE_OF_EACH, ids=lambda value: type(value).__name__)
def test_the_size_of_a_frame_is_pinned(message: Message, size_bytes: int) -> None:
    assert len(wire.encode(ALICE, message)) == size_bytes


def test_the_bytes_of_a_heartbeat_are_pinned() -> None:
    frame = wire.encode(ALICE, Heartbeat(3, 17, 255))

    assert frame == b"\x02\x04\x05alice" + b"\x95\x03\x11\xcc\xff\xc4\x00\x90"


# -- what nobody should have sent


@given(frame=st.binary(max_size=300))
@example(frame=b"")
@example(frame=b"\x02")
@example(frame=b"\x02\x04\x00\x93\x01\x01\x01")
def test_any_bytes_are_a_message_or_malformed_and_nothing_else(frame: bytes) -> None:
    assert outcome_of(frame) in {"", *REASONS}


@given(kind=st.sampled_from(sorted(KINDS)), body=st.binary(max_size=200))
def test_any_body_under_a_good_header_is_a_message_or_malformed(kind: int, body: bytes) -> None:
    assert outcome_of(frame_of(kind, body)) in {"", "bad-msgpack", "bad-field"}


MSGPACK_VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats()
    | st.text(max_size=20)
    | st.binary(max_size=40)
    | st.builds(msgpack.ExtType, st.integers(0, 127), st.binary(max_size=4)),
    lambda inner: st.lists(inner, max_size=6) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=20,
)


@given(kind=st.sampled_from(sorted(KINDS)), value=MSGPACK_VALUES)
def test_any_value_under_a_good_header_is_a_message_or_malformed(kind: int, value: object) -> None:
    assert outcome_of(frame_of(kind, msgpack.packb(value))) in {"", "bad-msgpack", "bad-field"}


@given(message=MESSAGES, data=st.data())
def test_one_changed_byte_is_another_message_or_malformed(message: Message, data: st.DataObject) -> None:
    frame = bytearray(wire.encode(ALICE, message))
    frame[data.draw(st.integers(0, len(frame) - 1))] = data.draw(st.integers(0, 255))

    assert outcome_of(bytes(frame)) in {"", *REASONS}


@pytest.mark.parametrize("message", [message for message, _ in ONE_OF_EACH], ids=lambda m: type(m).__name__)
def test_a_frame_cut_at_any_length_is_malformed(message: Message) -> None:
    frame = wire.encode(ALICE, message)

    for length in range(len(frame)):
        assert reason_of(frame[:length]) in {"truncated", "bad-sender", "bad-msgpack"}


def test_bytes_after_the_message_are_malformed() -> None:
    assert reason_of(wire.encode(ALICE, Ping(1)) + b"\x00") == "bad-msgpack"


def test_a_frame_at_the_cap_is_read_and_one_byte_more_is_not() -> None:
    def reply(text: str) -> RecallReply:
        return RecallReply(9, (Quote("/notes/1", 1, "", text, 5, 0.5, "fts", False),))

    room = wire.MAX_FRAME_BYTES - len(wire.encode(ALICE, reply("x" * 70_000))) + 70_000
    largest = wire.encode(ALICE, reply("x" * room))

    assert len(largest) == wire.MAX_FRAME_BYTES
    assert wire.decode(largest) == (ALICE, reply("x" * room))
    assert reason_of(largest + b"x") == "oversized"
    with pytest.raises(MalformedFrame, match="oversized: RecallReply of 131073 bytes"):
        wire.encode(ALICE, reply("x" * (room + 1)))


@pytest.mark.parametrize("kind", [0, 25, 200, 255])
def test_an_unknown_kind_is_told_from_a_broken_frame(kind: int) -> None:
    assert reason_of(frame_of(kind, b"\x90")) == "unknown-kind"


@pytest.mark.parametrize("version", [0, 1, 3, 255])
def test_another_wire_version_is_told_from_a_broken_frame(version: int) -> None:
    assert reason_of(bytes((version,)) + wire.encode(ALICE, Ping(1))[1:]) == "wire-version"


@pytest.mark.parametrize(
    "sender", [b"", b"Alice", b"-alice", b"al ice", b"alice\n", b"\xffalice", "älice".encode(), b"a" * 65]
)
def test_a_sender_that_is_no_name_is_refused(sender: bytes) -> None:
    assert reason_of(frame_of(10, b"\x91\x01", sender)) == "bad-sender"


def test_a_sender_longer_than_the_frame_is_refused() -> None:
    assert reason_of(b"\x02\x0a\x40alice") == "bad-sender"


@pytest.mark.parametrize(
    "body",
    [
        b"\xc0",  # nil
        b"\x01",  # a number
        b"\xa1x",  # text
        b"\x80",  # a map
        b"\xc4\x01x",  # bytes
        b"\xd4\x05x",  # an extension
        b"\xd6\xff\x00\x00\x00\x00",  # a timestamp
        b"\x91\xd4\x05x",  # an extension as a field
        b"\x91\x81\xa1x\x01",  # a map as a field
        b"\x91\xa1\xff",  # text that is not UTF-8
        b"\x91\xc1",  # the byte that MessagePack never uses
        b"",
    ],
)
@pytest.mark.parametrize("kind", sorted(KINDS))
def test_a_body_that_is_no_array_of_plain_values_is_refused(kind: int, body: bytes) -> None:
    assert reason_of(frame_of(kind, body)) in {"bad-msgpack", "bad-field"}


@pytest.mark.parametrize(
    "head",
    [
        b"\xdd\xff\xff\xff\xff",  # an array of 4 billion
        b"\xdf\xff\xff\xff\xff",  # a map
        b"\xdb\xff\xff\xff\xff",  # text
        b"\xc6\xff\xff\xff\xff",  # bytes
        b"\xc9\xff\xff\xff\xff\x05",  # an extension
    ],
)
def test_a_huge_declared_length_is_refused_before_room_is_made_for_it(head: bytes) -> None:
    tracemalloc.start()
    try:
        reason = reason_of(frame_of(7, b"\x91" + head))
        _, peak_bytes = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert reason == "bad-msgpack"
    assert peak_bytes < 100_000


@pytest.mark.parametrize(
    "body", [b"\x91" * 100_000 + b"\xc0", b"\x91" * 900 + b"\xc0", b"\xdc\x08\x00" * 40_000], ids=len
)
def test_deep_nesting_is_refused_and_costs_a_bounded_moment(body: bytes) -> None:
    tracemalloc.start()
    try:
        reason = reason_of(frame_of(5, body))
        kept_bytes, peak_bytes = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert reason in {"bad-msgpack", "bad-field"}
    assert peak_bytes < 18_000_000
    assert kept_bytes < 1_000_000


def test_an_array_longer_than_any_message_allows_is_refused() -> None:
    assert reason_of(frame_of(6, msgpack.packb([["bob"] * 2_049]))) == "bad-msgpack"
    assert reason_of(frame_of(6, msgpack.packb([["bob"] * (MAX_MEMBERS_A_MESSAGE + 1)]))) == "bad-field"


@pytest.mark.parametrize(
    ("kind", "fields", "path"),
    [
        (5, [[["Bob", 1, 1, "alive"]]], "$[0][0][0]"),
        (5, [[["bob", -1, 1, "alive"]]], "$[0][0][1]"),
        (5, [[["bob", 1, 2**53, "alive"]]], "$[0][0][2]"),
        (5, [[["bob", 1, 1, "well"]]], "$[0][0][3]"),
        (8, [bytes(255)], "$[0]"),
        (9, [[1024], []], "$[0][0]"),
        (9, [[], [], 31], "$[2]"),
        (4, [1, 1, 1, bytes(257)], "$[3]"),
        (5, [[], [], [], [["bob", 1, ["x"] * 9]]], "$[3][0][2]"),
        (10, [1.5], "$[0]"),
        (12, [1, ["x" * 257], 1], "$[1][0]"),
        (12, [1, ["x"], 0], "$[2]"),
        (13, [1, "owner", 1, [["bob", float("nan"), [], 1, 0.0]]], "$[3][0][1]"),
        (13, [1, "owner", 1, [["\x1b[2J", 1.0, [], 1, 0.0]]], "$[3][0][0]"),
        (14, [1, 0, [["bitcoin", 2**63, 0.5]]], "$[2][0][1]"),
        (14, [1, 0, [["bitcoin", 1, 1.5]]], "$[2][0][2]"),
        (16, [1, "", 10], "$[1]"),
        (
            7,
            [[["bob", 1, 1, 1, "agent", "http://x", "tcp://x:1", [1, 0, 0, 0, 10, 7, bytes(128), b""]]]],
            "$[0][0][5]",
        ),
        (
            7,
            [[["bob", 1, 1, 1, "agent", "tcp://x:1", "tcp://x:1", [1, 0, 0, 0, 11, 7, bytes(128)]]]],
            "$[0][0][7]",
        ),
    ],
)
def test_a_bad_field_is_named_by_its_path(kind: int, fields: list[object], path: str) -> None:
    with pytest.raises(MalformedFrame) as caught:
        wire.decode(frame_of(kind, msgpack.packb(fields)))

    assert caught.value.reason == "bad-field"
    assert str(caught.value).endswith(f"at `{path}`")


def test_a_digest_at_its_cap_passes_in_a_frame() -> None:
    digest = Digest.of([Announced(f"topic-{number}", 1, 1.0) for number in range(7_000)])
    record = msgspec.structs.replace(RECORD, digest=digest)

    assert wire.decode(wire.encode(ALICE, Records((record,)))) == (ALICE, Records((record,)))
