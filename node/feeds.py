"""Keeps every living librarian of the mesh up to date with our announced topics."""

from __future__ import annotations

import time
from collections.abc import Iterator

from node.permissions import may_hear_topics
from protocol.digest import Announced
from protocol.effects import Effect, Send
from protocol.feed import FeedSender, Topics
from protocol.gossip import GossipEngine
from protocol.messages import MetadataAck
from protocol.names import AgentName


class LibrarianFeeds:
    """One feed for each librarian. Its owner holds the driver's lock whenever it calls."""

    def __init__(self) -> None:
        self._topics: Topics | None = None
        self._feeds: dict[AgentName, FeedSender] = {}

    def set_topics(self, announced: list[Announced]) -> None:
        """From now on these are announced."""
        self._topics = {topic.term: topic for topic in announced}
        for feed in self._feeds.values():
            feed.set_topics(self._topics)

    def on_tick(self, now: float, engine: GossipEngine) -> Iterator[Effect]:
        """What is to be sent now; librarians that are gone are dropped, new ones get everything.

        Nothing before the topics are known: an empty snapshot would wipe out what a librarian has of us.
        """
        if self._topics is None:
            return
        librarians = {
            agent: route
            for agent, route in engine.librarians.items()
            if (member := engine.members.get(agent)) is not None
            and member.record is not None
            and may_hear_topics(member.record.role)
        }
        for gone in self._feeds.keys() - librarians.keys():
            del self._feeds[gone]
        for agent, route in librarians.items():
            feed = self._feeds.get(agent)
            if feed is None:
                # Wall time: higher than the series of our earlier lives, of which the librarian may know.
                feed = self._feeds[agent] = FeedSender(int(time.time() * 1000), self._topics)
            message = feed.due(now)
            if message is not None:
                yield Send(route, message)

    def on_ack(self, sender: AgentName, ack: MetadataAck) -> None:
        """A librarian acknowledged."""
        feed = self._feeds.get(sender)
        if feed is not None:
            feed.on_ack(ack)

    def unsettled(self) -> list[AgentName]:
        """Librarians that do not have everything yet."""
        return [agent for agent, feed in self._feeds.items() if not feed.is_settled]
