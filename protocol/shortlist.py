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

from collections.abc import Sequence
from math import log
from typing import cast

import numpy as np

from protocol import bloom
from protocol.bitslices import Words
from protocol.names import AgentName
from protocol.sizeclass import Plane, SizeClass

Slots = int | Words

MISS_COST = log(2.0)  # An agent that knows the matter still lacks every other word of a question.
SUSPECT_COST = 1.0  # In nats: a suspect is asked after its equals, and before those that know less.
_FEW = 4  # So many more than the limit are scored rather than narrowed further.
_SLACK = 1e-9  # Sums of logarithms are not exact.


# Minus the score, minus the time of confirmation, the agent (so that better ones sort first), certainty, error,
# and whether suspected; at last the terms it holds, by number and as in the question.
Candidate = tuple[float, float, AgentName, float, float, bool, tuple[str, ...]]


class Held:
    """Who of one class holds the terms of a question: by term a set of slots, and their number."""

    def __init__(self, size_class: SizeClass, terms: Sequence[str]) -> None:
        self.size_class = size_class
        slices, log2_bits, hashes = size_class.slices, size_class.log2_bits, size_class.hashes
        self.narrow = slices.is_narrow
        all_of = slices.all_of if self.narrow else slices.all_of_words
        self.slots: list[Slots] = [all_of(bloom.places(term, log2_bits, hashes)) for term in terms]
        self.counts = [_count(slots) for slots in self.slots]

    def read(self, plane: Plane) -> Slots:
        """The plane as a set of the same kind."""
        return plane.number() if self.narrow else plane.words()


class Shortlist:
    """The best `limit` of all classes that were offered: `best`, best score first; ties by freshness, then by
    name. `shares`: by term of the question, how many of all agents hold it, 0..1.
    """

    def __init__(self, terms: Sequence[str], shares: list[float], *, now: float, limit: int) -> None:
        self.best: list[Candidate] = []
        self._terms, self._shares, self._now, self._limit = terms, shares, now, limit
        self._rarest_first = sorted(range(len(shares)), key=shares.__getitem__)

    def offer(self, held: Held) -> None:
        """Take in the agents of a class that hold at least one term."""
        if len(held.slots) == 1:
            self._part_suspects(held, held.slots[0], held.counts[0], (0,))
            return
        slots = held.slots[0]
        for more in held.slots[1:]:
            slots = slots | more
        self._split(held, slots, _count(slots), 0, ())

    def _split(self, held: Held, slots: Slots, count: int, turn: int, chosen: tuple[int, ...]) -> None:
        """Part `slots`, which hold the `chosen` terms, by the term of this `turn` and those after it."""
        if turn == len(self._shares):
            self._part_suspects(held, slots, count, chosen)
        elif self._may_enter(chosen, turn):
            term = self._rarest_first[turn]
            with_it = slots & held.slots[term]
            holders = _count(with_it)
            if holders:
                self._split(held, with_it, holders, turn + 1, (*chosen, term))
            if holders < count:
                self._split(held, slots ^ with_it, count - holders, turn + 1, chosen)

    def _may_enter(self, chosen: tuple[int, ...], turn: int) -> bool:
        """Whether holders of `chosen` get on the list if they hold all the later ones, too, without error."""
        if len(self.best) < self._limit:
            return True
        most = _Group(self, (*chosen, *self._rarest_first[turn:]), False)
        return most.minus_score(0.0) - _SLACK <= self.best[-1][0]

    def _part_suspects(self, held: Held, slots: Slots, count: int, chosen: tuple[int, ...]) -> None:
        if held.size_class.suspects.ones:
            suspects = slots & held.read(held.size_class.suspects)
            suspected = _count(suspects)
            self._enter(held, suspects, suspected, _Group(self, chosen, True))
            slots, count = slots ^ suspects, count - suspected
        self._enter(held, slots, count, _Group(self, chosen, False))

    def _enter(self, held: Held, slots: Slots, count: int, group: _Group) -> None:
        """Put the best of a group on the list."""
        part, limit, now = held.size_class, self._limit, self._now
        if count > limit:
            fewer, level = _lowest(held, slots, count, limit)
            # The higher levels are left out only if they score lower, and do not tie by rounding.
            if group.minus_score(part.error_at(level)) < group.minus_score(part.error_at(level + 1)):
                slots = fewer
        found = _numbers(slots)
        if len(found) > 2 * limit + _FEW:
            found = self._foremost(part, found, group)
        agents, confirmed, levels = part.agents, part.confirmed, part.levels
        bits, hashes, suspect, matched = 1 << part.log2_bits, part.hashes, group.suspect, group.matched
        graded: dict[int, tuple[float, float, float]] = {}
        best = self.best
        for slot in found:
            level = levels[slot]
            grade = graded.get(level)
            if grade is None:
                grade = graded[level] = group.grade((level / bits) ** hashes)
            heard_at = confirmed[slot]
            minus_score, certainty, error = grade
            best.append(
                (
                    minus_score,
                    -heard_at if heard_at < now else -now,
                    agents[slot],
                    certainty,
                    error,
                    suspect,
                    matched,
                )
            )
        best.sort()
        del best[limit:]

    def _foremost(self, part: SizeClass, slots: list[int], group: _Group) -> list[int]:
        """Those of a group that no `limit` others precede by score and freshness."""
        where = np.array(slots)
        levels, of = np.unique(np.frombuffer(part.levels, part.levels.typecode)[where], return_inverse=True)
        # By the very function that ranks: numpy's logarithm may differ in the last bit, and part what ties.
        minus_scores = [group.minus_score(part.error_at(level)) for level in levels.tolist()]
        minus_score = np.array(minus_scores)[of]
        last = np.partition(minus_score, self._limit - 1)[self._limit - 1]
        ahead, equal = minus_score < last, minus_score == last
        heard_at = np.minimum(np.frombuffer(part.confirmed)[where], self._now)
        room = self._limit - int(np.count_nonzero(ahead))
        ahead |= equal & (heard_at >= np.partition(heard_at[equal], -room)[-room])
        return cast(list[int], where[ahead].tolist())


class _Group:
    """Agents that hold the same terms of a question, all suspected or none."""

    def __init__(self, of: Shortlist, chosen: tuple[int, ...], suspect: bool) -> None:
        self.suspect = suspect
        self._shares = [of._shares[term] for term in chosen]
        self._cost = MISS_COST * (len(of._shares) - len(chosen)) + (SUSPECT_COST if suspect else 0.0)
        self.matched = tuple([of._terms[term] for term in sorted(chosen)])

    def minus_score(self, error: float) -> float:
        """At an error of the filter; the lower the better."""
        total = self._cost
        for share in self._shares:
            total += log(share + error * (1.0 - share))
        return total

    def grade(self, error: float) -> tuple[float, float, float]:
        """Minus the score, the certainty that one of the terms is really held, the error."""
        total, doubt = self._cost, 1.0
        for share in self._shares:
            by_chance = error * (1.0 - share)
            found = share + by_chance
            total += log(found)
            doubt *= by_chance / found
        return total, 1.0 - doubt, error


def _lowest(held: Held, slots: Slots, count: int, limit: int) -> tuple[Slots, int]:
    """Of `slots` those up to some level that are `limit` at the least and not many more; and that level."""
    planes = held.size_class.planes
    narrow, enough = held.narrow, limit + _FEW
    sure: Slots = slots ^ slots
    known, level, turn = 0, 0, len(planes)
    while turn and known + count > enough:
        turn -= 1
        plane = planes[turn]
        if not plane.ones:
            continue
        high = slots & (plane.number() if narrow else plane.words())
        above = _count(high)
        if above == 0:
            continue
        low = count - above
        if known + low >= limit:
            slots, count = slots ^ high, low
        else:
            if low:
                sure, known = sure | (slots ^ high), known + low
            slots, count, level = high, above, level | 1 << turn
    return sure | slots, level | (1 << turn) - 1


def _count(slots: Slots) -> int:
    return slots.bit_count() if isinstance(slots, int) else int(np.bitwise_count(slots).sum())


def _numbers(slots: Slots) -> list[int]:
    """The slots of a set, in no order."""
    if isinstance(slots, int):
        if slots.bit_count() <= 64:
            numbers = []
            while slots:
                last = slots.bit_length() - 1
                numbers.append(last)
                slots ^= 1 << last
            return numbers
        slots = np.frombuffer(slots.to_bytes(-(-slots.bit_length() // 64) * 8, "little"), dtype=np.uint64)
    words = np.flatnonzero(slots)
    bits = np.unpackbits(slots[words].view(np.uint8), bitorder="little").view(np.bool_)
    at = np.flatnonzero(bits)
    return cast(list[int], (words[at >> 6] * 64 + (at & 63)).tolist())
