"""All known digests, bit-sliced: *who knows these topics?* for every agent at once.

Digests of one size and number of hashes form a class. A class keeps one row
per filter bit and in it one bit per agent, so that a term costs `hashes` row
reads and their AND, whatever the number of agents:

    row[p] bit j  =  bit p of the filter of the agent in slot j

Invariants, checked by `check()`:
 1. An agent stands in exactly one class and slot; a removed one in none.
 2. Read back from its column, an agent's filter is the one that was put in.
 3. A class without agents is dropped: a peer that walks through all sizes leaves no rows behind.
"""

from __future__ import annotations

import math
from array import array
from collections.abc import Iterator, Sequence
from functools import reduce
from operator import or_

import msgspec
import numpy as np
import numpy.typing as npt

from protocol import bloom
from protocol.digest import Digest
from protocol.names import AgentName

_Words = npt.NDArray[np.uint64]

_MISS_COST = math.log(2.0)  # An agent that knows the matter still lacks every other word of a question.
_FEW = 32  # So many agents are scored one by one faster than in bulk.
_SUSPECT_COST = 1.0  # In nats: a suspect is asked after its equals, and before those that know less.


class Lead(msgspec.Struct, frozen=True, kw_only=True):
    """An agent that may know. `certainty` (0..1): that it really announced one of `matched` at the least;
    `error`: its digest's share of false positives; `age_s`: since that digest was last confirmed.
    Scores (nats) compare within one query only.
    """

    agent: AgentName
    score: float
    certainty: float
    matched: tuple[str, ...]
    age_s: float
    error: float
    suspect: bool


class _SizeClass:
    """The digests of one size and number of hashes; what is told of a slot stands in parallel arrays."""

    def __init__(self, log2_bits: int, hashes: int) -> None:
        self.log2_bits, self.hashes = log2_bits, hashes
        self.agents: list[AgentName | None] = []
        self.free: list[int] = []
        self.rows: _Words = np.zeros((1 << log2_bits, 0), dtype=np.uint64)
        self.error = array("d")
        self.confirmed = array("d")
        self.cost = array("d")
        self.error_total = 0.0

    def put(self, agent: AgentName, slot: int | None, digest: Digest, now: float) -> int:
        if slot is None:
            slot = self._take(agent)
        bits = np.frombuffer(digest.bits, dtype=np.uint8)
        column = np.unpackbits(bits, bitorder="little").astype(np.uint64)
        word, shift = slot >> 6, np.uint64(slot & 63)
        self.rows[:, word] &= ~(np.uint64(1) << shift)
        self.rows[:, word] |= column << shift
        self.error_total += digest.error - self.error[slot]
        self.error[slot], self.confirmed[slot], self.cost[slot] = digest.error, now, 0.0
        return slot

    def _take(self, agent: AgentName) -> int:
        if self.free:
            slot = self.free.pop()
            self.agents[slot] = agent
            return slot
        slot = len(self.agents)
        self.agents.append(agent)
        for told in (self.error, self.confirmed, self.cost):
            told.append(0.0)
        if slot >> 6 >= self.rows.shape[1]:
            # By an eighth: doubling would leave half of a large directory empty.
            more = np.zeros((self.rows.shape[0], max(1, self.rows.shape[1] // 8)), dtype=np.uint64)
            self.rows = np.concatenate([self.rows, more], axis=1)
        return slot

    def remove(self, slot: int) -> None:
        self.rows[:, slot >> 6] &= ~(np.uint64(1) << np.uint64(slot & 63))
        self.error_total -= self.error[slot]
        self.agents[slot], self.error[slot] = None, 0.0
        self.free.append(slot)

    def holders(self, term: str) -> _Words:
        """Bit by slot, whether the agent there may have announced `term`; a free slot never."""
        where = bloom.positions(term, self.log2_bits, self.hashes)
        held: _Words = np.bitwise_and.reduce(self.rows.take(where, axis=0), axis=0)
        return held

    def bits_of(self, slot: int) -> bytes:
        column = (self.rows[:, slot >> 6] >> np.uint64(slot & 63)) & np.uint64(1)
        return np.packbits(column.astype(np.bool_), bitorder="little").tobytes()

    @property
    def living(self) -> int:
        return len(self.agents) - len(self.free)


class Directory:
    """Digests by agent. Not thread-safe: its owner's thread only."""

    def __init__(self) -> None:
        self._classes: dict[tuple[int, int], _SizeClass] = {}
        self._places: dict[AgentName, tuple[_SizeClass, int]] = {}

    def __len__(self) -> int:
        return len(self._places)

    def __contains__(self, agent: object) -> bool:
        return agent in self._places

    def __iter__(self) -> Iterator[AgentName]:
        return iter(self._places)

    def put(self, agent: AgentName, digest: Digest, *, now: float) -> None:
        """Take `digest` as what `agent` announces from now on; it replaces an earlier one."""
        key = (digest.log2_bits, digest.hashes)
        size_class = self._classes.get(key) or self._classes.setdefault(key, _SizeClass(*key))
        known = self._places.get(agent)
        if known is not None and known[0] is not size_class:
            self.remove(agent)
            known = None
        slot = size_class.put(agent, None if known is None else known[1], digest, now)
        self._places[agent] = (size_class, slot)

    def remove(self, agent: AgentName) -> None:
        """Forget `agent`; nothing happens where it is not known."""
        known = self._places.pop(agent, None)
        if known is not None:
            part, slot = known
            part.remove(slot)
            if not part.living:
                del self._classes[part.log2_bits, part.hashes]

    def confirm(self, agent: AgentName, *, now: float) -> None:
        """The agent was heard with the version we hold: its digest is as of `now`."""
        known = self._places.get(agent)
        if known is not None:
            known[0].confirmed[known[1]] = now

    def suspect(self, agent: AgentName, suspected: bool) -> None:
        """Ask a suspected agent after its equals."""
        known = self._places.get(agent)
        if known is not None:
            known[0].cost[known[1]] = _SUSPECT_COST if suspected else 0.0

    def who_knows(self, terms: Sequence[str], *, now: float, limit: int = 10) -> list[Lead]:
        """The agents that may know of `terms` (normalised), most likely first, at most `limit`.

        Ranked by log-likelihood ratio: a hit on term t is worth -log(e + (1 - e) p), with `e` the error of
        that agent's filter and `p` the share of agents that hold t, so that a term few agents hold counts
        most and a crowded filter counts least. Ties go to the fresher digest, then by name.
        """
        classes = list(self._classes.values())
        if not classes or not terms or limit < 1:
            return []
        held = [_Held(part, terms) for part in classes]
        shares = self._shares(held)
        leads = [
            part.lead(slot, terms, shares, now) for part in held for slot in part.best_slots(shares, limit)
        ]
        leads.sort(key=lambda lead: (-lead.score, lead.age_s, lead.agent))
        return leads[:limit]

    def _shares(self, held: list[_Held]) -> list[float]:
        """By term, the share of agents that truly hold it: what the filters' errors explain is taken off."""
        agents = len(self._places)
        error = sum(part.size_class.error_total for part in held) / agents
        found = [sum(counts) for counts in zip(*(part.counts for part in held), strict=True)]
        return [min(max((n / agents - error) / max(1.0 - error, 1e-9), 0.1 / agents), 1.0) for n in found]

    def check(self, digests: dict[AgentName, Digest]) -> None:
        """Assert the invariants against what should be known; for tests and the simulator."""
        assert set(self._places) == set(digests), "not the agents that were put in"
        taken: set[tuple[int, int]] = set()
        for agent, (part, slot) in self._places.items():
            assert part.agents[slot] == agent
            assert (id(part), slot) not in taken, "two agents in one slot"
            taken.add((id(part), slot))
            assert part.bits_of(slot) == digests[agent].bits, f"{agent}: not the filter that was put in"
        assert sum(part.living for part in self._classes.values()) == len(self._places)
        for part in self._classes.values():
            assert part.living, "a class without agents"
            assert math.isclose(part.error_total, sum(part.error), abs_tol=1e-9)


class _Held:
    """Who of one class may hold the terms of a question: by term a row of slots, as words and as a number."""

    def __init__(self, size_class: _SizeClass, terms: Sequence[str]) -> None:
        self.size_class = size_class
        self._words = [size_class.holders(term) for term in terms]
        self._rows = [int.from_bytes(words.tobytes(), "little") for words in self._words]
        self.counts = [row.bit_count() for row in self._rows]

    def best_slots(self, shares: list[float], limit: int) -> list[int]:
        """The slots with the best scores, at most `limit`; ties by freshness, then by name."""
        any_held = reduce(or_, self._rows)
        count = any_held.bit_count()
        if count <= limit:
            return _slots(any_held)
        confirmed, agents = self.size_class.confirmed, self.size_class.agents
        if count <= _FEW:
            best = [
                (-self._score(at, shares), -confirmed[at], agents[at] or "", at) for at in _slots(any_held)
            ]
        else:
            slots, scores = self._ahead(shares, limit)
            best = [
                (-score, -confirmed[at], agents[at] or "", at)
                for at, score in zip(slots, scores, strict=True)
            ]
        best.sort()
        return [slot for _, _, _, slot in best[:limit]]

    def _score(self, slot: int, shares: list[float]) -> float:
        error = self.size_class.error[slot]
        score = -self.size_class.cost[slot] - _MISS_COST * len(shares)
        for row, share in zip(self._rows, shares, strict=True):
            if row >> slot & 1:
                score += _MISS_COST - math.log(share + error * (1.0 - share))
        return score

    def _ahead(self, shares: list[float], limit: int) -> tuple[list[int], list[float]]:
        """Of many slots those that no `limit` others precede by score and freshness: `_score` in bulk."""
        rows = self._words
        any_held = rows[0] if len(rows) == 1 else np.bitwise_or.reduce(rows)
        where = np.flatnonzero(np.unpackbits(any_held.view(np.uint8), bitorder="little"))
        error = np.frombuffer(self.size_class.error)[where]
        score = -np.frombuffer(self.size_class.cost)[where]
        for row, share in zip(rows, shares, strict=True):
            gain = _MISS_COST - np.log(share + error * (1.0 - share))
            score += (
                gain if len(rows) == 1 else gain * (row[where >> 6] >> (where & 63).astype(np.uint64) & 1)
            )
        last = np.partition(score, -limit)[-limit]
        ahead = score >= last
        if np.count_nonzero(ahead) > _FEW:  # Many are equal: of those the fresher ones.
            confirmed = np.frombuffer(self.size_class.confirmed)[where]
            equal = score == last
            room = limit - int(np.count_nonzero(score > last))
            ahead &= ~equal | (confirmed >= np.partition(confirmed[equal], -room)[-room])
        slots: list[int] = where[ahead].tolist()
        scores: list[float] = score[ahead].tolist()
        return slots, scores

    def lead(self, slot: int, terms: Sequence[str], shares: list[float], now: float) -> Lead:
        """What is known of the agent in `slot`, which holds at least one of the terms."""
        part = self.size_class
        agent, error, cost = part.agents[slot], part.error[slot], part.cost[slot]
        assert agent is not None, "a free slot holds nothing"
        doubt, matched = 1.0, []
        for row, term, share in zip(self._rows, terms, shares, strict=True):
            if row >> slot & 1:
                by_chance = error * (1.0 - share)
                doubt *= by_chance / (share + by_chance)
                matched.append(term)
        return Lead(
            agent=agent,
            score=self._score(slot, shares),
            certainty=1.0 - doubt,
            matched=tuple(matched),
            age_s=max(0.0, now - part.confirmed[slot]),
            error=error,
            suspect=cost > 0.0,
        )


def _slots(row: int) -> list[int]:
    """The numbers of the bits that are set, ascending."""
    slots = []
    while row:
        slots.append((row & -row).bit_length() - 1)
        row &= row - 1
    return slots
