"""All known digests, bit-sliced: *who knows these topics?* for every agent at once.

Digests of one size and number of hashes form a class. A class keeps one row
per filter bit and in it one bit per agent, so that a term costs `hashes` row
reads and their AND, whatever the number of agents:

    row[p] bit j  =  bit p of the filter of the agent in slot j

Invariants, checked by `check()`:
 1. An agent stands in exactly one class and slot; a removed one in none.
 2. Read back from its column, an agent's filter is the one that was put in.
"""

from __future__ import annotations

import math
from array import array
from collections.abc import Iterator, Sequence

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
            known[0].remove(known[1])

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
        classes = [part for part in self._classes.values() if part.living]
        if not classes or not terms:
            return []
        held = [[part.holders(term) for term in terms] for part in classes]
        shares = self._shares(classes, held)
        leads: list[Lead] = []
        for part, rows in zip(classes, held, strict=True):
            any_held = rows[0] if len(rows) == 1 else np.bitwise_or.reduce(rows)
            slots = _slots(any_held)
            if len(slots) > max(_FEW, 2 * limit):
                slots = self._shortlist(part, rows, shares, slots, limit)
            leads.extend(self._lead(part, slot, rows, terms, shares, now) for slot in slots)
        leads.sort(key=lambda lead: (-lead.score, lead.age_s, lead.agent))
        return leads[:limit]

    def _shares(self, classes: list[_SizeClass], held: list[list[_Words]]) -> list[float]:
        """By term, the share of agents that truly hold it: what the filters' errors explain is taken off."""
        agents = len(self._places)
        error = sum(part.error_total for part in classes) / agents
        found = [sum(_count(rows[at]) for rows in held) for at in range(len(held[0]))]
        return [min(max((n / agents - error) / max(1.0 - error, 1e-9), 0.1 / agents), 1.0) for n in found]

    @staticmethod
    def _shortlist(
        part: _SizeClass, rows: list[_Words], shares: list[float], slots: Sequence[int], limit: int
    ) -> list[int]:
        """The best of many slots by the same score, in bulk; ties by freshness."""
        where = np.asarray(slots)
        error = np.frombuffer(part.error)[where]
        score = -np.frombuffer(part.cost)[where]
        for row, share in zip(rows, shares, strict=True):
            hit = (row[where >> 6] >> (where & 63).astype(np.uint64)) & np.uint64(1)
            score -= hit * (np.log(error + (1.0 - error) * share) - _MISS_COST)
        order = np.lexsort((-np.frombuffer(part.confirmed)[where], -score))
        best: list[int] = where[order[: 2 * limit]].tolist()
        return best

    @staticmethod
    def _lead(
        part: _SizeClass, slot: int, rows: list[_Words], terms: Sequence[str], shares: list[float], now: float
    ) -> Lead:
        agent, error = part.agents[slot], part.error[slot]
        assert agent is not None, "a free slot holds nothing"
        score, doubt, matched = -part.cost[slot] - _MISS_COST * len(terms), 1.0, []
        for row, term, share in zip(rows, terms, shares, strict=True):
            if int(row[slot >> 6]) >> (slot & 63) & 1:
                by_chance = error * (1.0 - share)
                score += _MISS_COST - math.log(share + by_chance)
                doubt *= by_chance / (share + by_chance)
                matched.append(term)
        return Lead(
            agent=agent,
            score=score,
            certainty=1.0 - doubt,
            matched=tuple(matched),
            age_s=max(0.0, now - part.confirmed[slot]),
            error=error,
            suspect=part.cost[slot] > 0.0,
        )

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


def _count(words: _Words) -> int:
    """How many bits are set."""
    return int.from_bytes(words.tobytes()).bit_count()


def _slots(words: _Words) -> list[int]:
    """The numbers of the bits that are set, ascending."""
    slots: list[int]
    if _count(words) > _FEW:
        slots = np.flatnonzero(np.unpackbits(words.view(np.uint8), bitorder="little")).tolist()
        return slots
    slots = []
    for at in np.flatnonzero(words).tolist():
        word = int(words[at])
        while word:
            slots.append((at << 6) + (word & -word).bit_length() - 1)
            word &= word - 1
    return slots
