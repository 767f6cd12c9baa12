"""The best leads of a question, found without looking at each agent that holds a term.

Score of an agent with error e that holds the terms H of a question, with p the share of agents that hold one:

    - sum over H of log(p + (1 - p) e)  -  log 2 for each term it lacks  -  1 if it is suspected

Agents of one class that hold the same terms, all suspected or none, form a group. Within it only the level
counts (fewer bits set: lower error, higher score), then freshness, then the name. So a group is narrowed to
its lowest levels on bit planes, a few ANDs and counts whatever its size, and only what is left is scored one
by one. Groups are split off term by term, the rarest first and its holders before the rest; a branch that
cannot reach the last place of a full list even without error is not followed.

Sets of slots are Python integers where the class is small, else arrays of words: both know & and ^.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from math import log, log2
from operator import itemgetter, neg
from typing import Any, Protocol, cast

import msgspec
import numpy as np

from protocol import bloom
from protocol.bitslices import Where, Words
from protocol.names import AgentName
from protocol.sizeclass import Plane, SizeClass


class Slots(Protocol):
    """A set of slots: an integer, or an array of words."""

    def __and__(self, other: Any, /) -> Any: ...
    def __or__(self, other: Any, /) -> Any: ...
    def __xor__(self, other: Any, /) -> Any: ...


_LN2 = log(2.0)
MISS_COST = _LN2  # An agent that knows the matter still lacks every other word of a question.
SUSPECT_COST = 1.0  # In nats: a suspect is asked after its equals, and before those that know less.
_FEW = 4  # So many more than the limit are scored rather than narrowed further.
_SMALL = 1 << 16  # Up to so many slots Python's integers beat arrays: nothing to set up, less to call.
_SHORT_BITS, _SPARSE = 1 << 15, 32  # Below both, a loop over the bits is the fastest.
_MANY = 16  # More than that beyond the limit are equals, and looked at in bulk.
_THIN = 4  # With fewer slots left than one for so many words, only the words that hold any are read on.
_APART = 1e-12  # Shares so near to each other, as parts of them, may have one logarithm.
_SLACK = 1e-9  # Sums of logarithms are not exact.


class Lead(msgspec.Struct, frozen=True, kw_only=True, gc=False):
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


_Ranked = tuple[float, float, AgentName, Lead]  # Minus score, minus time of confirmation: better ones first.
_Told = tuple[int, float, AgentName, int]  # Level, minus the time of confirmation, agent, slot.


class Held:
    """Who of one class holds the terms of a question: by term a set of slots, and their number."""

    def __init__(self, size_class: SizeClass, terms: Sequence[str]) -> None:
        self.size_class = size_class
        slices, log2_bits, hashes = size_class.slices, size_class.log2_bits, size_class.hashes
        key = size_class.key
        self.is_small = len(size_class) <= _SMALL
        all_of = slices.all_of if self.is_small else slices.all_of_words
        self.slots: list[Slots] = []
        self.counts: list[int] = []
        for term in terms:
            slots = all_of(bloom.places(term, log2_bits, hashes, key))
            self.slots.append(slots)
            self.counts.append(_count(slots))

    def read(self, plane: Plane) -> Slots:
        """The plane as a set of the same kind."""
        return plane.number() if self.is_small else plane.words()


class Shortlist:
    """The best `limit` of all classes that were offered. `shares`: by term of the question, how many of all
    agents hold it, 0..1.
    """

    def __init__(self, terms: Sequence[str], shares: list[float], *, now: float, limit: int) -> None:
        self._ranked: list[_Ranked] = []
        self.terms, self.shares, self._now, self._limit = terms, shares, now, limit
        self._rarest_first = sorted(range(len(shares)), key=shares.__getitem__) if len(shares) > 1 else [0]

    def leads(self) -> list[Lead]:
        """Best score first; ties by freshness, then by name."""
        return list(map(itemgetter(3), self._ranked))

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
        if turn == len(self.shares):
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
        if len(self._ranked) < self._limit:
            return True
        most = _Group(self, (*chosen, *self._rarest_first[turn:]), False)
        return most.grade(0.0)[0] - _SLACK <= self._ranked[-1][0]

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
        if count == 0:
            return
        if count > limit:
            told = self._foremost(held, slots, count, group)
        else:
            told = _told(part, _numbers(slots))
        ranked = self._ranked
        bits, hashes, suspect, matched = part.bits, part.hashes, group.suspect, group.matched
        grades: dict[int, tuple[float, float, float]] = {}
        for level, minus_heard_at, agent, _ in told:
            grade = grades.get(level)
            if grade is None:
                grade = grades[level] = group.grade((level / bits) ** hashes)
            minus_score, certainty, error = grade
            age_s = now + minus_heard_at
            lead = Lead(
                agent=agent,
                score=-minus_score,
                certainty=certainty,
                matched=matched,
                age_s=age_s if age_s > 0.0 else 0.0,
                error=error,
                suspect=suspect,
            )
            ranked.append((minus_score, minus_heard_at, agent, lead))
        ranked.sort()
        del ranked[limit:]

    def _foremost(self, held: Held, slots: Slots, count: int, group: _Group) -> Iterable[_Told]:
        """Of a group larger than the list those that may get on it."""
        part, limit = held.size_class, self._limit
        found = _lowest(held, slots, count, limit)
        told = sorted(_told(part, found)) if len(found) <= limit + _MANY else None
        highest = told[-1][0] if told else max([part.levels[slot] for slot in found])
        if not group.tells_apart(part, highest):
            found, told = _numbers(slots), None
        if told is None:
            return _told(part, self._foremost_of_many(part, found, group))
        # By level, then freshness, then name; and so by score, unless low levels tie.
        return told[:limit] if group.tells_apart(part, told[0][0]) else told

    def _foremost_of_many(self, part: SizeClass, slots: list[int], group: _Group) -> list[int]:
        """Those of a group that no `limit` others precede by score and freshness."""
        where = np.array(slots)
        levels, of = np.unique(np.frombuffer(part.levels, part.levels.typecode)[where], return_inverse=True)
        # By the very function that ranks: numpy's logarithm may differ in the last bit, and part what ties.
        minus_scores = [group.grade(part.error_at(level))[0] for level in levels.tolist()]
        minus_score = np.array(minus_scores)[of]
        last = np.partition(minus_score, self._limit - 1)[self._limit - 1]
        ahead, equal = minus_score < last, minus_score == last
        heard_at = np.frombuffer(part.confirmed)[where]
        room = self._limit - int(np.count_nonzero(ahead))
        ahead |= equal & (heard_at >= np.partition(heard_at[equal], -room)[-room])
        return cast(list[int], where[ahead].tolist())


class _Group:
    """Agents that hold the same terms of a question, all suspected or none."""

    def __init__(self, of: Shortlist, chosen: tuple[int, ...], suspect: bool) -> None:
        self.suspect = suspect
        if len(of.terms) == 1:
            self.matched: tuple[str, ...] = (of.terms[0],)
            self._shares = of.shares
            self._cost = SUSPECT_COST if suspect else 0.0
        else:
            self.matched = tuple([of.terms[term] for term in sorted(chosen)])
            self._shares = [of.shares[term] for term in chosen]  # The lowest first.
            self._cost = MISS_COST * (len(of.shares) - len(chosen)) + (SUSPECT_COST if suspect else 0.0)

    def tells_apart(self, part: SizeClass, level: int) -> bool:
        """Whether all higher levels score lower for certain, and none ties by rounding.

        If the next one does, then those above it, too: errors grow ever faster.
        """
        share, error = self._shares[0], part.error_at(level)
        return (1.0 - share) * (part.error_at(level + 1) - error) > _APART * (share + error)

    def grade(self, error: float) -> tuple[float, float, float]:
        """Minus the score, the certainty that one of the terms is really held, the error."""
        total, doubt = 0.0, 1.0
        for share in self._shares:
            by_chance = error * (1.0 - share)
            found = share + by_chance
            total += log2(found)  # Three times as fast as log.
            doubt *= by_chance / found
        return self._cost + _LN2 * total, 1.0 - doubt, error


def _told(part: SizeClass, slots: list[int]) -> Iterable[_Told]:
    """What is told of these slots."""
    of = itemgetter(*slots, 0)  # Of one slot more, or a lone one would come without its tuple.
    return zip(of(part.levels), map(neg, of(part.confirmed)), of(part.agents), slots, strict=False)


def _lowest(held: Held, slots: Slots, count: int, limit: int) -> list[int]:
    """Of `slots` those up to some level: `limit` at the least and, but for equals, not many more."""
    planes = held.size_class.planes
    small, enough = held.is_small, limit + _FEW
    taken: Where | None = None  # The words that are looked at, once most of them are empty.
    sure = slots ^ slots
    known, turn = 0, len(planes)
    while turn and known + count > enough:
        turn -= 1
        plane = planes[turn]
        if not plane.ones:
            continue
        if small:
            high = slots & plane.number()
            above = high.bit_count()
        else:
            if taken is None and (known + count) * _THIN < len(cast(Words, slots)):
                taken = np.flatnonzero(sure | slots)
                slots, sure = cast(Words, slots)[taken], sure[taken]
            high = slots & (plane.words() if taken is None else plane.words()[taken])
            above = _count(high)
        if above == 0:
            continue
        low = count - above
        if known + low >= limit:
            slots, count = slots ^ high, low
        else:
            if low:
                sure, known = sure | (slots ^ high), known + low
            slots, count = high, above
    return _numbers(sure | slots, taken)


def _count(slots: Slots) -> int:
    if isinstance(slots, int):
        return slots.bit_count()
    return int(np.add.reduce(np.bitwise_count(cast(Words, slots))))


def _numbers(slots: Slots, taken: Where | None = None) -> list[int]:
    """The slots of a set, in no order; `taken`: which words of a larger one these are."""
    if isinstance(slots, int):
        size_bits = slots.bit_length()
        if size_bits < _SHORT_BITS and slots.bit_count() <= _SPARSE:
            numbers = []
            while slots:
                last = slots.bit_length() - 1
                numbers.append(last)
                slots ^= 1 << last
            return numbers
        words = np.frombuffer(slots.to_bytes(-(-size_bits // 64) * 8, "little"), dtype=np.uint64)
    else:
        words = cast(Words, slots)
    if taken is None:
        taken = np.flatnonzero(words)
        words = words[taken]
    bits = np.unpackbits(words.view(np.uint8), bitorder="little").view(np.bool_)
    at = np.flatnonzero(bits)
    return cast(list[int], (taken[at >> 6] * 64 + (at & 63)).tolist())
