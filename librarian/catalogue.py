"""Who announced which topic: an exact inverted index, in memory, rebuilt from the nodes after a start.

Invariants, checked by `check()`:
 1. Both directions agree: an agent's topics are exactly those under which it stands.
 2. At most `MAX_AGENTS` agents with `MAX_TOPICS` topics each; what is beyond is refused and counted.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Iterable, Sequence

import msgspec

from protocol.digest import Announced
from protocol.names import AgentName

MAX_AGENTS = 4096
MAX_TOPICS = 200_000
_SCANNED = 1024  # Holders looked at for candidates; terms commoner than that only add to a score.


class Found(msgspec.Struct, frozen=True, kw_only=True):
    """An agent that announced at least one of the terms. Scores compare within one answer only.

    `memories`: the most that carry one of the matched topics; `age_s`: since the agent last confirmed.
    """

    agent: AgentName
    score: float
    matched: tuple[str, ...]
    memories: int
    age_s: float


class Catalogue:
    """Topics by agent and agents by topic. Its owner's thread only."""

    def __init__(self) -> None:
        self.refused = 0
        self._topics: dict[AgentName, dict[str, Announced]] = {}
        self._holders: dict[str, dict[AgentName, Announced]] = {}
        self._confirmed: dict[AgentName, float] = {}

    def __len__(self) -> int:
        return len(self._topics)

    def __contains__(self, agent: object) -> bool:
        return agent in self._topics

    @property
    def terms(self) -> int:
        """How many different topics are known."""
        return len(self._holders)

    def topics_of(self, agent: AgentName) -> frozenset[str]:
        """What this agent announced; empty where it is not known."""
        return frozenset(self._topics.get(agent, ()))

    def replace(self, agent: AgentName, topics: Iterable[Announced], now: float) -> None:
        """Forget what was known of `agent`, then take these."""
        self.drop(agent)
        self.change(agent, topics, (), now)

    def change(
        self, agent: AgentName, topics: Iterable[Announced], removed: Iterable[str], now: float
    ) -> None:
        """Take these topics, drop the removed ones; the agent confirms the rest by that."""
        own = self._topics.get(agent)
        if own is None:
            if len(self._topics) >= MAX_AGENTS:
                self.refused += 1
                return
            own = self._topics[agent] = {}
        for term in removed:
            if own.pop(term, None) is not None:
                self._unlist(term, agent)
        for topic in topics:
            if topic.term not in own and len(own) >= MAX_TOPICS:
                self.refused += 1
                continue
            own[topic.term] = topic
            self._holders.setdefault(topic.term, {})[agent] = topic
        self._confirmed[agent] = now

    def confirm(self, agent: AgentName, now: float) -> None:
        """The agent said that what we have is current."""
        if agent in self._topics:
            self._confirmed[agent] = now

    def drop(self, agent: AgentName) -> None:
        """Forget the agent; nothing happens where it is not known."""
        for term in self._topics.pop(agent, ()):
            self._unlist(term, agent)
        self._confirmed.pop(agent, None)

    def lookup(self, terms: Sequence[str], *, limit: int, now: float) -> list[Found]:
        """The agents that announced some of `terms`, best first, ties by name, at most `limit`.

        A topic that few agents have counts most; how many of its memories carry it, and how strongly, makes
        between half and all of that. The rarest terms choose the candidates, so the cost does not grow with
        the number of agents that hold common ones.
        """
        known = sorted(
            ((len(held), term, held) for term in dict.fromkeys(terms) if (held := self._holders.get(term))),
            key=lambda entry: entry[:2],
        )
        scores: dict[AgentName, float] = {}
        matched: dict[AgentName, list[tuple[str, int]]] = {}
        scanned = 0
        for count, term, held in known:
            worth = math.log1p((len(self._topics) - count + 0.5) / (count + 0.5))
            scanned += count
            few = not scores or scanned <= _SCANNED
            for agent in held if few else [agent for agent in scores if agent in held]:
                topic = held[agent]
                scores[agent] = scores.get(agent, 0.0) + worth * (1.0 - 0.5 / (1.0 + topic.significance))
                matched.setdefault(agent, []).append((term, topic.memories))
        order = {term: at for at, term in enumerate(terms)}
        best = heapq.nsmallest(limit, scores, key=lambda agent: (-scores[agent], agent))
        return [
            Found(
                agent=agent,
                score=scores[agent],
                matched=tuple(sorted((term for term, _ in matched[agent]), key=order.__getitem__)),
                memories=max(memories for _, memories in matched[agent]),
                age_s=max(0.0, now - self._confirmed[agent]),
            )
            for agent in best
        ]

    def check(self) -> None:
        """Assert the invariants at the head of this module."""
        forward = {(agent, term) for agent, topics in self._topics.items() for term in topics}
        backward = {(agent, term) for term, held in self._holders.items() for agent in held}
        assert forward == backward
        assert all(self._holders.values()), "a topic that nobody holds is kept"
        assert self._confirmed.keys() == self._topics.keys()
        assert len(self._topics) <= MAX_AGENTS
        assert all(len(topics) <= MAX_TOPICS for topics in self._topics.values())

    def _unlist(self, term: str, agent: AgentName) -> None:
        held = self._holders[term]
        del held[agent]
        if not held:
            del self._holders[term]
