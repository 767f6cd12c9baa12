"""A message and one frame of bytes, both ways.

    byte 0   wire version
    byte 1   kind number, see messages.KINDS
    byte 2   n, the length of the sender's name, 1 to 64
    n bytes  the sender's name, ASCII
    the rest one MessagePack array: the fields of the message in order

Decoding never raises anything but `MalformedFrame`, whose detail carries the path
of the bad field. An array's room is taken before its items are read, so that a hostile
frame of arrays in arrays costs 17 MB for the moment of its refusal, and nothing after it.
"""

from __future__ import annotations

from typing import Any

import msgpack
import msgspec

from protocol.errors import MalformedFrame
from protocol.messages import KINDS, NUMBERS, Message
from protocol.names import AgentName, is_agent_name

WIRE_VERSION = 2
MAX_FRAME_BYTES = 128 * 1024
_MAX_ITEMS = 2048  # Of one array: the largest a message allows is so many claims.
_HEADER_BYTES = 3

_encoder = msgspec.msgpack.Encoder()


def encode(sender: AgentName, message: Message) -> bytes:
    """One frame. Raises `MalformedFrame` ("oversized") where it would pass `MAX_FRAME_BYTES`."""
    name = sender.encode("ascii")
    frame = bytes((WIRE_VERSION, NUMBERS[type(message)], len(name))) + name + _encoder.encode(message)
    if len(frame) > MAX_FRAME_BYTES:
        raise MalformedFrame("oversized", f"{type(message).__name__} of {len(frame)} bytes")
    return frame


def decode(frame: bytes) -> tuple[AgentName, Message]:
    """Sender and message of one frame.

    Raises `MalformedFrame` with reason "oversized", "truncated", "wire-version", "unknown-kind",
    "bad-sender", "bad-msgpack" or "bad-field".
    """
    if len(frame) > MAX_FRAME_BYTES:
        raise MalformedFrame("oversized", f"{len(frame)} bytes, {MAX_FRAME_BYTES} are allowed")
    if len(frame) < _HEADER_BYTES:
        raise MalformedFrame("truncated", f"{len(frame)} bytes are less than a header")
    if frame[0] != WIRE_VERSION:
        raise MalformedFrame("wire-version", f"{frame[0]}, this is {WIRE_VERSION}")
    kind = KINDS.get(frame[1])
    if kind is None:
        raise MalformedFrame("unknown-kind", f"{frame[1]}")
    end = _HEADER_BYTES + frame[2]
    sender = frame[_HEADER_BYTES:end].decode("latin-1")
    if len(sender) != frame[2] or not is_agent_name(sender):
        raise MalformedFrame("bad-sender", f"{sender[:80]!r}")
    return AgentName(sender), _decode_body(kind, frame[end:])


def _decode_body(kind: type[Message], body: bytes) -> Message:
    try:
        fields: Any = msgpack.unpackb(
            body,
            raw=False,
            max_array_len=_MAX_ITEMS,
            max_map_len=0,
            max_ext_len=0,
            max_bin_len=MAX_FRAME_BYTES,
            max_str_len=MAX_FRAME_BYTES,
        )
    except (ValueError, msgpack.exceptions.UnpackException, RecursionError) as error:
        raise MalformedFrame("bad-msgpack", f"{kind.__name__}: {error or type(error).__name__}") from None
    try:
        message: Message = msgspec.convert(fields, kind)
    except msgspec.ValidationError as error:
        raise MalformedFrame("bad-field", f"{kind.__name__}: {error}") from None
    return message
