"""Sharing what was decoded changes nothing that a member could see."""

from __future__ import annotations

import pytest

from node.net import simwire
from node.net.simwire import SharedDecoder
from protocol.errors import MalformedFrame
from protocol.messages import Announce, Heartbeat, Records, Welcome
from protocol.names import AgentName
from protocol.wire import decode, encode
from tests.support.engines import ALICE, BOB, record

FRAMES = [
    encode(ALICE, Heartbeat(1, 2, 3)),
    encode(ALICE, Announce((), (record("alice", topics="tea"), record("bob")))),
    encode(BOB, Records((record("alice", topics="tea"),))),
    encode(BOB, Records((record("alice", version=2, topics="cake"),))),
    encode(BOB, Welcome("garden", 1, (record("alice", topics="tea"), record("bob", version=3)))),
]


def test_it_says_what_the_decoder_of_the_wire_says() -> None:
    shared = SharedDecoder()

    for frame in [*FRAMES, *reversed(FRAMES)]:
        assert shared(frame) == decode(frame)
    assert (shared.decoded, shared.shared) == (len(FRAMES), len(FRAMES))


def test_equal_records_of_different_frames_are_one() -> None:
    shared = SharedDecoder()

    (_, announce), (_, records) = shared(FRAMES[1]), shared(FRAMES[2])

    assert isinstance(announce, Announce)
    assert isinstance(records, Records)
    assert announce.records[0] is records.records[0]


def test_a_bad_frame_is_refused_every_time() -> None:
    shared = SharedDecoder()

    for _ in range(2):
        with pytest.raises(MalformedFrame):
            shared(b"nonsense")
    assert shared.decoded == 0


def test_it_keeps_so_many_bytes_and_forgets_the_oldest(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(simwire, "_KEPT_BYTES", 200)
    shared = SharedDecoder()
    frames = [encode(AgentName("alice"), Heartbeat(1, version, 3)) for version in range(100)]

    for frame in frames:
        shared(frame)
    shared(frames[-1])
    shared(frames[0])

    assert (shared.decoded, shared.shared) == (101, 1)
