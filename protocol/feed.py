"""Topics for a librarian, in order and without gaps: stop-and-wait with one message outstanding.

    agent                                   librarian
    Metadata(feed, 0, first 1,000)   ->     forgets what it had of the agent, takes these
                                     <-     MetadataAck(feed, 1)
    Metadata(feed, 1, the next)      ->     adds them
                                     <-     MetadataAck(feed, 2)
    Metadata(feed, 2, changes)       ->     ...
    Metadata(feed, 3, nothing)       ->     every `CONFIRM_S`: what you have is current
                                     <-     MetadataAck(feed, 0): I know nothing of this feed, start again

Invariants:
 1. After the last acknowledgement the librarian holds what the agent announced last, whatever was lost,
    repeated or reordered on the way.
 2. A message and its repetition change the librarian's state once.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import islice
from typing import Literal

import msgspec

from protocol.digest import Announced
from protocol.messages import MAX_TOPICS_A_MESSAGE, Metadata, MetadataAck

RETRY_S = 1.0
CONFIRM_S = 5.0
"""Between confirmations that nothing changed. A librarian that lost an agent hears of it within this time.
Lower costs a frame of 40 bytes and its reply each time."""

_TERMS_BYTES = 96 * 1024  # Of terms in one message; they may be long, and a frame is not.
_ENVELOPE_BYTES = 24

Topics = Mapping[str, Announced]


class FeedSender:
    """The agent's side, for one librarian."""

    def __init__(self, feed: int, topics: Topics) -> None:
        """`feed` numbers this series, higher than any before; a restart takes the next number.

        `topics` are by term, and are not changed later by their owner.
        """
        self.feed = feed
        self._topics: Topics = topics
        self._sequence = 0
        self._sent_at = 0.0
        self._outstanding: Metadata | None = None
        self._pending: dict[str, Announced | None] = dict(topics)

    @property
    def is_settled(self) -> bool:
        """Whether the librarian has acknowledged everything, that there is nothing included."""
        return self._sequence > 0 and not self._pending and self._outstanding is None

    def set_topics(self, topics: Topics) -> None:
        """From now on these are announced."""
        old = self._topics
        for term, topic in topics.items():
            if old.get(term) != topic:
                self._pending[term] = topic
        self._pending.update((term, None) for term in old if term not in topics)
        self._topics = topics

    def due(self, now: float) -> Metadata | None:
        """The message to send now, if one is due."""
        if self._outstanding is not None:
            if now < self._sent_at + RETRY_S:
                return None
        elif self._pending or self._sequence == 0 or now >= self._sent_at + CONFIRM_S:
            self._outstanding = self._next()
        self._sent_at = now if self._outstanding is not None else self._sent_at
        return self._outstanding

    def on_ack(self, ack: MetadataAck) -> None:
        """Take an acknowledgement; one of an earlier series, or out of turn, changes nothing."""
        if self._outstanding is None or ack.feed < self.feed:
            return
        if ack.expected == 0:
            self.feed = ack.feed + 1
            self._sequence = 0
            self._outstanding = None
            self._pending = dict(self._topics)
        elif ack == MetadataAck(self.feed, self._sequence + 1):
            self._sequence += 1
            self._outstanding = None

    def _next(self) -> Metadata:
        room = _TERMS_BYTES
        chosen: dict[str, Announced | None] = {}
        for term in islice(self._pending, MAX_TOPICS_A_MESSAGE):
            room -= len(term.encode()) + _ENVELOPE_BYTES
            if chosen and room < 0:
                break
            chosen[term] = self._pending[term]
        for term in chosen:
            del self._pending[term]
        return Metadata(
            self.feed,
            self._sequence,
            tuple(topic for topic in chosen.values() if topic is not None),
            tuple(term for term, topic in chosen.items() if topic is None),
        )


Action = Literal["replace", "change", "nothing"]


class Intake(msgspec.Struct, frozen=True):
    """What a librarian does with a message, and the answer to it.

    `replace`: forget the agent's topics, then take these; `change`: take these; `nothing`: seen before.
    """

    action: Action
    ack: MetadataAck


class FeedReceiver:
    """The librarian's side, for one agent."""

    def __init__(self) -> None:
        self._feed = -1
        self._expected = 0

    def take(self, message: Metadata) -> Intake:
        """What to do with `message`; one that was lost in between makes the sender start again."""
        if message.feed < self._feed:
            return Intake("nothing", MetadataAck(self._feed, 0))
        if message.sequence == 0 and message.feed > self._feed:
            self._feed, self._expected = message.feed, 1
            return Intake("replace", MetadataAck(message.feed, 1))
        if message.feed != self._feed or message.sequence > self._expected:
            return Intake("nothing", MetadataAck(message.feed, 0))
        if message.sequence == self._expected:
            self._expected += 1
            return Intake("change", MetadataAck(message.feed, self._expected))
        return Intake("nothing", MetadataAck(message.feed, message.sequence + 1))
