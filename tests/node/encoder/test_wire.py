"""Frames between a client and the encoder's process."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from node.encoder import wire


def test_a_request_crosses_the_wire_cut_into_any_pieces() -> None:
    data = wire.frame([7, "bulk", ["eins", "zwei"]]) + wire.frame([8, "query", ["drei"]])
    buffer, requests = bytearray(), []

    for byte in data:
        buffer.append(byte)
        requests += [wire.read_request(body) for body in wire.split_frames(buffer)]

    assert [(request.id, request.kind, request.texts) for request in requests] == [
        (7, "bulk", ["eins", "zwei"]),
        (8, "query", ["drei"]),
    ]
    assert buffer == b""


def test_a_frame_over_the_limit_is_malformed_before_it_is_read() -> None:
    with pytest.raises(wire.Malformed):
        wire.split_frames(bytearray((wire.MAX_FRAME_BYTES + 1).to_bytes(4, "big")))


@pytest.mark.parametrize(
    "body",
    [
        [],
        [1],
        [1, "other", []],
        [-1, "bulk", []],
        [1 << 63, "bulk", []],
        [1, "bulk", [1]],
        [1, "bulk", "text"],
    ],
)
def test_what_is_no_request_is_malformed(body: object) -> None:
    with pytest.raises(wire.Malformed):
        wire.read_request(msgspec.msgpack.encode(body))


@given(st.binary(max_size=64))
def test_any_bytes_are_a_request_or_malformed(data: bytes) -> None:
    try:
        wire.read_request(data)
    except wire.Malformed:
        return


@given(st.text(alphabet=st.characters(exclude_categories=[]), max_size=40))
def test_any_text_can_be_sent_surrogates_and_nul_too(text: str) -> None:
    wire.frame([1, "query", [wire.sendable(text)]])


def test_a_text_of_ten_megabytes_is_cut() -> None:
    assert len(wire.sendable("é" * 10_000_000)) == wire.MAX_TEXT_CHARS
