"""Who announced which topics: an exact inverted index, in memory, rebuilt from the nodes at any time.

    agent  ->  term   ->  (memories, weight)     what each one told
    term   ->  agent  ->  strength               the same, the other way round

Topics only: no text, no title, no path ever comes here. A lookup touches the holders of the terms
that are asked for and nobody else, however many agents there are.

Invariants, checked by `check()`:
 1. An agent stands under a term exactly where it announced the term; a term without holders is gone.
 2. At most `max_agents` agents, `max_topics_per_agent` topics of one and `max_topics` of all are held;
    what passes a bound is left out and counted.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Collection, Iterable, Iterator, Sequence
from typing import NamedTuple

import msgspec

from protocol.digest import Announced
from protocol.names import AgentName

MAX_AGENTS = 4096
MAX_TOPICS_PER_AGENT = 200_000
MAX_TOPICS = 5_000_000
"""Topics of all agents together, counted once for each that announced it. Costs 100 bytes each where
many share them, 360 where none do, 1,400 with the longest terms."""

_HIT = math.log(2.0)  # What any matched term counts at the least, in nats, however many hold it.
_STRONG = 0.5
"""What many memories of great weight count at the most, all terms together. Below `_HIT`, so that it decides
neither against one more term nor against half as many holders."""
_SHARED = 65_536  # Entries kept to be shared; sharing saves room and decides nothing.


class _Entry(NamedTuple):
    """What an agent told of a topic; `strength` (0..1) grows with both."""

    memories: int
    weight: float
    strength: float


class Match(msgspec.Struct, frozen=True):
    """An agent that announced some of the terms of a question.

    `matched` in the order of the question; at least `memories` of its memories carry one of them;
    `age_s`: since the agent last confirmed its topics. Scores (nats) compare within one lookup only.
    """

    agent: AgentName
    score: float
    matched: tuple[str, ...]
    memories: int
    age_s: float


class _Agent:
    __slots__ = ("confirmed_at", "topics")

    def __init__(self, now: float) -> None:
        self.topics: dict[str, _Entry] = {}
        self.confirmed_at = now


class Catalogue:
    """Not thread-safe: its owner holds a lock."""

    def __init__(
        self,
        *,
        max_agents: int = MAX_AGENTS,
        max_topics_per_agent: int = MAX_TOPICS_PER_AGENT,
        max_topics: int = MAX_TOPICS,
    ) -> None:
        self.max_agents, self.max_topics = max_agents, max_topics
        self.max_topics_per_agent = max_topics_per_agent
        self.topics = 0
        self.refused_agents = self.refused_topics = 0
        self._agents: dict[AgentName, _Agent] = {}
        self._holders: dict[str, dict[AgentName, float]] = {}
        self._shared: dict[tuple[int, float], _Entry] = {}

    def __len__(self) -> int:
        """How many agents are known, those without a topic included."""
        return len(self._agents)

    def __contains__(self, agent: object) -> bool:
        return agent in self._agents

    def __iter__(self) -> Iterator[AgentName]:
        return iter(self._agents)

    @property
    def terms(self) -> int:
        """How many different topics are known."""
        return len(self._holders)

    def topics_of(self, agent: AgentName) -> list[Announced]:
        """What `agent` announced, by term; nothing where it is unknown."""
        known = self._agents.get(agent)
        return (
            []
            if known is None
            else [
                Announced(term, entry.memories, entry.weight) for term, entry in sorted(known.topics.items())
            ]
        )

    def replace(self, agent: AgentName, topics: Iterable[Announced], now: float) -> bool:
        """Forget what is held of `agent`, and take these; False where there is no room for another agent."""
        if agent not in self._agents and len(self._agents) >= self.max_agents:
            self.refused_agents += 1
            return False
        self.drop(agent)
        self._agents[agent] = _Agent(now)
        return self.change(agent, topics, (), now)

    def change(
        self, agent: AgentName, topics: Iterable[Announced], removed: Iterable[str], now: float
    ) -> bool:
        """Remove the topics `removed`, add or change the others; False where the agent is unknown.

        This confirms all others of its topics: pass none to confirm only.
        """
        known = self._agents.get(agent)
        if known is None:
            return False
        known.confirmed_at = now
        for term in removed:
            if known.topics.pop(term, None) is not None:
                self._release(agent, term)
        for topic in topics:
            self._put(agent, known, topic)
        return True

    def drop(self, agent: AgentName) -> bool:
        """Forget `agent`; False where it was not known."""
        known = self._agents.pop(agent, None)
        if known is None:
            return False
        for term in known.topics:
            self._release(agent, term)
        return True

    def lookup(self, terms: Sequence[str], limit: int, now: float) -> list[Match]:
        """The agents that announced any of `terms`, best first, at most `limit`; ties go by name.

        A term that n of N agents hold counts log 2 + log((N + 1) / n). Number and weight of the memories add
        less than half a nat in all, so an agent that matches what another one does, and more, precedes it.
        """
        asked = [term for term in dict.fromkeys(terms) if term in self._holders]
        scores = self._scores(asked, limit)
        if len(scores) > limit:
            last = sorted(scores.values())[-limit]
            scores = {agent: score for agent, score in scores.items() if score >= last}
        best = sorted(scores.items(), key=lambda one: (-one[1], one[0]))[:limit]
        return [self._match(agent, score, asked, now) for agent, score in best]

    def _scores(self, asked: Sequence[str], limit: int) -> dict[AgentName, float]:
        """Scores of all holders that may be among the best `limit`.

        Where so many hold every term, nobody else is. Otherwise rare terms come first, and once `limit`
        agents have more than the terms that are left can give, those terms are looked up for the agents
        found so far only (MaxScore: Turtle, Flood, 1995).
        """
        found = sorted((self._holders[term] for term in asked), key=len)
        scores = dict.fromkeys(_in_all(found, limit), 0.0)
        is_closed = bool(scores)
        gains = [_HIT + math.log((len(self._agents) + 1) / len(holders)) for holders in found]
        share = _STRONG / max(1, len(asked))
        left = sum(gains) + share * len(gains)
        for holders, gain in zip(found, gains, strict=True):
            if not is_closed and limit <= len(scores) < len(holders):
                is_closed = sorted(scores.values())[-limit] > left
            strength_of, known = holders.get, scores.get
            if is_closed:
                for agent, score in scores.items():
                    if (strength := strength_of(agent)) is not None:
                        scores[agent] = score + (gain + share * strength)
            else:
                for agent, strength in holders.items():
                    scores[agent] = known(agent, 0.0) + (gain + share * strength)
            left -= gain + share
        return scores

    def _match(self, agent: AgentName, score: float, terms: Sequence[str], now: float) -> Match:
        known = self._agents[agent]
        matched, most = [], 0
        for term in terms:
            entry = known.topics.get(term)
            if entry is not None:
                matched.append(term)
                most = max(most, entry.memories)
        return Match(agent, score, tuple(matched), most, max(0.0, now - known.confirmed_at))

    def _put(self, agent: AgentName, known: _Agent, topic: Announced) -> None:
        # One string for all holders of a term, one entry for all topics of equal standing.
        term = sys.intern(topic.term)
        if term not in known.topics:
            if len(known.topics) >= self.max_topics_per_agent or self.topics >= self.max_topics:
                self.refused_topics += 1
                return
            self.topics += 1
        entry = self._entry(topic.memories, topic.weight)
        known.topics[term] = entry
        self._holders.setdefault(term, {})[agent] = entry.strength

    def _entry(self, memories: int, weight: float) -> _Entry:
        key = (memories, weight)
        entry = self._shared.get(key)
        if entry is None:
            if len(self._shared) >= _SHARED:
                self._shared.clear()
            significance = weight * math.sqrt(memories)
            entry = self._shared[key] = _Entry(memories, weight, significance / (1.0 + significance))
        return entry

    def _release(self, agent: AgentName, term: str) -> None:
        holders = self._holders[term]
        del holders[agent]
        if not holders:
            del self._holders[term]
        self.topics -= 1

    def check(self) -> None:
        """Assert the invariants at the head of this module."""
        inverted: dict[str, dict[AgentName, float]] = {}
        for agent, known in self._agents.items():
            assert len(known.topics) <= self.max_topics_per_agent
            for term, entry in known.topics.items():
                inverted.setdefault(term, {})[agent] = entry.strength
        assert inverted == self._holders
        assert self.topics == sum(map(len, self._holders.values())) <= self.max_topics
        assert len(self._agents) <= self.max_agents


def _in_all(found: Sequence[dict[AgentName, float]], limit: int) -> Collection[AgentName]:
    """The agents that stand in all of `found`, the shortest first; none where they are less than `limit`."""
    if len(found) < 2:
        return ()
    common = found[0].keys() & found[1].keys()
    for holders in found[2:]:
        if len(common) < limit:
            return ()
        common &= holders.keys()
    return common if len(common) >= limit else ()
