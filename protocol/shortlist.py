"""The best leads of a question, found without looking at each agent that holds a term.

Score of an agent with error e that holds the terms H of a question, with p the share of agents that hold one:

    - sum over H of log(p + (1 - p) e)  -  log 2 for each term it lacks  -  1 if it is suspected

Agents of one class that hold the same terms, all suspected or none, form a group. Within it only the level
counts (fewer bits set: lower error, higher score), then freshness, then the name. So a group is narrowed to
its lowest levels on bit planes, a few ANDs and counts whatever its size, and only what is left is scored one
by one. Groups are split off term by term, the rarest first and its holders before the rest; a branch that
cannot reach the last place of a full list even without error is not followed.

Sets of slots are Python integers where the class is narrow, else arrays of words: both know & and ^.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple, cast

import numpy as np

from protocol import bloom
from protocol.bitslices import Words
from protocol.names import AgentName
from protocol.sizeclass import Plane, SizeClass

Slots = int | Words

MISS_COST = math.log(2.0)  # An agent that knows the matter still lacks every other word of a question.
SUSPECT_COST = 1.0  # In nats: a suspect is asked after its equals, and before those that know less.
_SLACK = 1e-9  # Sums of logarithms are not exact.


class Candidate(NamedTuple):
    """In this order: better ones sort first."""

    minus_score: float
    minus_confirmed: float
    agent: AgentName
    error: float
    suspect: bool
    held: tuple[int, ...]


class Held:
    """Who of one class holds the terms of a question: by term a set of slots, and their number."""

    def __init__(self, size_class: SizeClass, terms: Sequence[str]) -> None:
        self.size_class = size_class
        self.narrow = size_class.slices.is_narrow
        log2_bits, hashes = size_class.log2_bits, size_class.hashes
        all_of = size_class.slices.all_of if self.narrow else size_class.slices.all_of_words
        self.slots: list[Slots] = [all_of(bloom.places(term, log2_bits, hashes)) for term in terms]
        self.counts = [_count(slots) for slots in self.slots]

    def read(self, plane: Plane) -> Slots:
        return plane.number() if self.narrow else plane.words()


class Shortlist:
    """The best `limit` of all classes that were offered; see `best`."""

    def __init__(self, shares: list[float], *, now: float, limit: int) -> None:
        self._shares, self._now, self._limit = shares, now, limit
        self._rarest_first = sorted(range(len(shares)), key=shares.__getitem__)
        self._best: list[Candidate] = []

    def best(self) -> list[Candidate]:
        """Best score first; ties by freshness, then by name."""
        return self._best

    def offer(self, held: Held) -> None:
        """Take in the agents of a class that hold at least one term."""
        slots = held.slots[0]
        for more in held.slots[1:]:
            slots = slots | more
        self._split(held, slots, _count(slots) if len(held.slots) > 1 else held.counts[0], 0, ())

    def _split(self, held: Held, slots: Slots, count: int, turn: int, terms: tuple[int, ...]) -> None:
        """Part `slots`, which hold `terms`, by the term of this `turn` and those after it."""
        if count == 0:
            return
        if turn < len(self._shares):
            if self._may_enter(terms, turn):
                term = self._rarest_first[turn]
                if len(self._shares) == 1:
                    self._split(held, slots, count, 1, (term,))
                    return
                with_it = slots & held.slots[term]
                holders = _count(with_it)
                self._split(held, with_it, holders, turn + 1, (*terms, term))
                self._split(held, slots ^ with_it, count - holders, turn + 1, terms)
            return
        part = held.size_class
        if part.suspected:
            suspects = slots & held.read(part.suspects)
            suspected = _count(suspects)
            self._enter(held, suspects, suspected, terms, True)
            self._enter(held, slots ^ suspects, count - suspected, terms, False)
        else:
            self._enter(held, slots, count, terms, False)

    def _may_enter(self, terms: tuple[int, ...], turn: int) -> bool:
        """Whether holders of `terms` get on the list if they hold all the later ones, too, without error."""
        if len(self._best) < self._limit:
            return True
        held = (*terms, *self._rarest_first[turn:])
        return self._score(0.0, held, False) + _SLACK >= -self._best[-1].minus_score

    def _score(self, error: float, terms: Sequence[int], suspect: bool) -> float:
        score = -MISS_COST * (len(self._shares) - len(terms))
        for term in terms:
            share = self._shares[term]
            score -= math.log(share + error * (1.0 - share))
        return score - SUSPECT_COST if suspect else score

    def _enter(self, held: Held, slots: Slots, count: int, terms: tuple[int, ...], suspect: bool) -> None:
        """Put the best of a group on the list."""
        part, limit = held.size_class, self._limit
        if count > limit:
            fewer, level = _lowest(held, slots, count, limit)
            # Levels beyond a limit's worth may be left out only if they score lower, and do not tie by rounding.
            if self._score(part.error_at(level), terms, suspect) > self._score(
                part.error_at(level + 1), terms, suspect
            ):
                slots = fewer
        found = _numbers(slots)
        if len(found) > 2 * limit:
            found = self._foremost(part, found, terms, suspect)
        confirmed, agents, levels, now = part.confirmed, part.agents, part.levels, self._now
        for slot in found:
            error = part.error_at(levels[slot])
            fresh = min(confirmed[slot], now)
            self._best.append(
                Candidate(
                    -self._score(error, terms, suspect), -fresh, agents[slot], error, suspect, terms
                )
            )
        self._best.sort()
        del self._best[limit:]

    def _foremost(self, part: SizeClass, slots: list[int], terms: tuple[int, ...], suspect: bool) -> list[int]:
        """Those of a group that no `limit` others precede by score and freshness."""
        where = np.array(slots)
        levels, of = np.unique(np.frombuffer(part.levels, part.levels.typecode)[where], return_inverse=True)
        # The very function that ranks: numpy's logarithm differs in the last bit, and would break ties.
        scores = [self._score(part.error_at(level), terms, suspect) for level in levels.tolist()]
        score = np.array(scores)[of]
        last = np.partition(score, -self._limit)[-self._limit]
        ahead, equal = score > last, score == last
        fresh = np.minimum(np.frombuffer(part.confirmed)[where], self._now)
        room = self._limit - int(np.count_nonzero(ahead))
        ahead |= equal & (fresh >= np.partition(fresh[equal], -room)[-room])
        return cast(list[int], where[ahead].tolist())


def _lowest(held: Held, slots: Slots, count: int, limit: int) -> tuple[Slots, int]:
    """Of `slots` those up to some level that are `limit` at the least and not many more; and that level."""
    planes = held.size_class.planes
    sure: Slots = slots ^ slots
    known, level = 0, 0
    for turn in range(len(planes) - 1, -1, -1):
        high = slots & held.read(planes[turn])
        above = _count(high)
        if known + count - above >= limit:
            slots, count = slots ^ high, count - above
        else:
            sure, known = sure | (slots ^ high), known + count - above
            slots, count, level = high, above, level | 1 << turn
        if known + count <= limit + limit // 4:
            level |= (1 << turn) - 1
            break
    return sure | slots, level


def _count(slots: Slots) -> int:
    return slots.bit_count() if isinstance(slots, int) else int(np.bitwise_count(slots).sum())


def _numbers(slots: Slots) -> list[int]:
    """The slots of a set, in no order."""
    if isinstance(slots, int):
        numbers = []
        while slots:
            last = slots.bit_length() - 1
            numbers.append(last)
            slots ^= 1 << last
        return numbers
    words = np.flatnonzero(slots)
    bits = np.unpackbits(slots[words].view(np.uint8), bitorder="little").view(np.bool_)
    at = np.flatnonzero(bits)
    return cast(list[int], (words[at >> 6] * 64 + (at & 63)).tolist())
