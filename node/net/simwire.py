"""Decoding for many members in one process: every distinct frame once, and equal records kept once.

A published frame reaches 6 to 60 members as the same bytes. Decoding depends on nothing but the bytes, and
a message is frozen from top to bottom (structs, tuples, bytes, str, numbers), so that members that share
one cannot tell. The records of different frames are compared and kept once where they are equal: a
thousand members that hold a thousand records each then hold a thousand, not a million.
"""

from __future__ import annotations

from typing import Final

import msgspec

from protocol.messages import Announce, Message, Record, Records, Welcome
from protocol.names import AgentName
from protocol.wire import decode

_KEPT_BYTES: Final = 16 << 20


class SharedDecoder:
    """`wire.decode` with a memory of the last frames, bounded in bytes; what raises is not remembered."""

    def __init__(self) -> None:
        self.decoded = self.shared = 0
        self._known: dict[bytes, tuple[AgentName, Message]] = {}
        self._bytes = 0
        self._records: dict[AgentName, Record] = {}

    def __call__(self, frame: bytes) -> tuple[AgentName, Message]:
        """Sender and message; raises what `wire.decode` raises."""
        known = self._known.get(frame)
        if known is not None:
            self.shared += 1
            return known
        sender, message = decode(frame)
        self.decoded += 1
        if isinstance(message, Announce | Records | Welcome) and message.records:
            message = msgspec.structs.replace(message, records=tuple(map(self._kept, message.records)))
        self._known[frame] = sender, message
        self._bytes += len(frame)
        while self._bytes > _KEPT_BYTES:
            oldest = next(iter(self._known))
            del self._known[oldest]
            self._bytes -= len(oldest)
        return sender, message

    def _kept(self, record: Record) -> Record:
        agent = AgentName(record.agent)
        held = self._records.get(agent)
        if held == record:
            return held
        if held is None or (held.incarnation, held.version) < (record.incarnation, record.version):
            self._records[agent] = record
        return record
