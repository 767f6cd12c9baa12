"""What a client and the encoder's process say to each other over their Unix socket.

A frame is its length in 4 bytes, big-endian, then that many bytes of msgpack, at most `MAX_FRAME_BYTES`.

| from | body | meaning |
|---|---|---|
| client | [id, "query" or "bulk", [text, …]] | vectors of these texts, please; queries go first |
| client | [id, "stop", []] | end yourself; what waits is not answered |
| server | [id, true, n, bytes] | n unit vectors in the texts' order, float16, little-endian, row by row |
| server | [id, false, code, message] | no, and why: the code of an error of `node.encoder.errors` |

`id` is the client's, 0 to 2^63 - 1, and comes back. Requests on one connection may be answered in another
order. What is no request ends its connection without an answer; so does a frame over the limit. A request
of more than `MAX_TEXTS` texts, or one that finds too much waiting, is refused. Both ends are of one release:
the socket's name holds the release of this format, `FORMAT`.
"""

from __future__ import annotations

import struct
from typing import Any, Literal

import msgspec

FORMAT = 1
MAX_FRAME_BYTES = 1 << 20
"""Of a request, and of an answer. 1 MiB holds 512 vectors of 1,024 numbers."""
MAX_TEXTS = 512
"""In one request."""
MAX_TEXT_CHARS = 8_192
"""What a client sends of one text. The model reads 256 tokens, some 1,200 characters of prose."""

Kind = Literal["query", "bulk", "stop"]
_LENGTH = struct.Struct(">I")
HEADER_BYTES = _LENGTH.size


class Request(msgspec.Struct, array_like=True, frozen=True, forbid_unknown_fields=True):
    """What a client asks."""

    id: int
    kind: Kind
    texts: list[str]


class Malformed(Exception):
    """Bytes that are no frame or no request; the connection ends."""


_requests = msgspec.msgpack.Decoder(Request)
_answers = msgspec.msgpack.Decoder(tuple[int, bool, Any, Any])
_encoder = msgspec.msgpack.Encoder()


def frame(body: object) -> bytes:
    """The bytes of one frame."""
    data = _encoder.encode(body)
    return _LENGTH.pack(len(data)) + data


def body_length(header: bytes) -> int:
    """How long the body after these 4 bytes is. Raises Malformed past the limit."""
    length = int(_LENGTH.unpack(header)[0])
    if length > MAX_FRAME_BYTES:
        raise Malformed(f"a frame of {length} bytes")
    return length


def split_frames(buffer: bytearray) -> list[bytes]:
    """Take the complete frames' bodies off the buffer's front. Raises Malformed for one over the limit."""
    bodies = []
    while len(buffer) >= HEADER_BYTES:
        end = HEADER_BYTES + body_length(bytes(buffer[:HEADER_BYTES]))
        if len(buffer) < end:
            break
        bodies.append(bytes(buffer[HEADER_BYTES:end]))
        del buffer[:end]
    return bodies


def read_request(body: bytes) -> Request:
    """Raises Malformed where it is none."""
    try:
        request = _requests.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise Malformed(str(error)) from error
    if not 0 <= request.id < 1 << 63:
        raise Malformed("an id out of range")
    return request


def read_answer(body: bytes) -> tuple[int, bool, Any, Any]:
    """Raises Malformed where it is none."""
    try:
        return _answers.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise Malformed(str(error)) from error


def sendable(text: str) -> str:
    """The text as it can travel: cut to `MAX_TEXT_CHARS`, a lone surrogate as a question mark."""
    short = text[:MAX_TEXT_CHARS]
    return short if short.isascii() else short.encode("utf-8", "replace").decode("utf-8")
