"""Near-duplicates: a 64-bit min-wise sketch of a text's terms, and a table that finds sketches like it.

The terms' hashes fall into 8 bins by their upper bits; of each bin the least hash gives a byte (one
permutation hashing, Li, Owen and Zhang 2012; empty bins borrow from the next). The share of equal bytes
estimates the Jaccard similarity of two texts' terms. The table looks sketches up by 4 bands of 2 bytes: at a
similarity of 0.8 it finds 93 of 100. What it names is only a candidate, to be compared in full.

A text of fewer than `FEWEST_TERMS` has a hash of itself for a sketch: it is like an equal text only.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left
from collections.abc import Iterable, Sequence
from itertools import chain

import mmh3
import numpy as np
from numpy.typing import NDArray

FEWEST_TERMS = 6
SIMILAR = 0.8  # Jaccard similarity of their terms from which two texts are told to be near-duplicates.

_ENDS = [(number << 29) - (1 << 31) for number in range(1, 9)]  # Of the bins of 32-bit signed hashes.
_PAST_EVERY_HASH = 1 << 31
_EQUAL_BYTES = 5
"""Fewer, of 8, are no candidate. At a similarity of 0.8 that loses 6 of 100; 4 would lose 1, and have half of
all writes read a memory for nothing where many share their common words: a tenth of a write's time."""
_LONGEST_CHAIN = 16  # Of one band, the latest; chains grow with the memories, by one for every 65,536.
_BANDS = 4


def sketch_of(text: str, terms: set[int]) -> int:
    """The sketch, signed, of a text whose terms have these 32-bit hashes, signed."""
    if len(terms) < FEWEST_TERMS:
        return mmh3.hash64(text.encode())[0]
    hashes = sorted(terms)
    hashes.append(_PAST_EVERY_HASH)
    least: list[int] = []
    at = 0
    for end in _ENDS:
        least.append(hashes[at] & 0xFF if hashes[at] < end else -1)
        at = bisect_left(hashes, end, at)
    if -1 in least:
        least = [_borrowed(least, number) for number in range(8)]
    return int.from_bytes(bytes(least), "little", signed=True)


def sketches_of(texts: Sequence[str], terms: Sequence[set[int]]) -> list[int]:
    """`sketch_of` each, in a third of the time where there are many."""
    sizes = np.fromiter(map(len, terms), np.int64, len(terms))
    hashes = np.fromiter(chain.from_iterable(terms), np.int64, int(sizes.sum())) + _PAST_EVERY_HASH
    keys = (np.repeat(np.arange(len(terms)), sizes) << 35) | ((hashes >> 29) << 32) | hashes
    keys.sort()
    bins = keys >> 32
    first = np.ones(len(keys), bool)
    first[1:] = bins[1:] != bins[:-1]
    least = np.full((len(terms), 8), -1, np.int16)
    least.reshape(-1)[bins[first]] = keys[first] & 0xFF
    for at in np.flatnonzero((least < 0).any(axis=1) & (sizes >= FEWEST_TERMS)).tolist():
        row = least[at].tolist()
        least[at] = [_borrowed(row, number) for number in range(8)]
    sketches: list[int] = least.astype(np.uint8).view("<i8").reshape(-1).tolist()
    for at in np.flatnonzero(sizes < FEWEST_TERMS).tolist():
        sketches[at] = sketch_of(texts[at], terms[at])
    return sketches


def _borrowed(least: list[int], number: int) -> int:
    """The byte of a bin; of an empty one that of the next that is not, changed by how far it is."""
    step = 0
    while least[(number + step) % 8] < 0:
        step += 1
    return (least[(number + step) % 8] + 37 * step) & 0xFF


def may_be_similar(one: int, other: int) -> bool:
    """Whether two sketches are of texts to be compared in full."""
    return _equal_bytes(one, other) >= _EQUAL_BYTES


def _equal_bytes(one: int, other: int) -> int:
    return (one ^ other).to_bytes(8, "little", signed=True).count(0)


def similarity(one: frozenset[str], other: frozenset[str]) -> float:
    """Jaccard's: terms in common by terms in all."""
    both = len(one & other)
    return both / (len(one) + len(other) - both) if both else 0.0


class SketchTable:
    """Version ids by sketch, 32 bytes each. Entries are only added; its owner serialises the calls.

    Entries are numbered from 1 in the order they were added. One without an id yet is like nothing.
    """

    def __init__(self, rows: Iterable[tuple[int, int]] = ()) -> None:
        """From (id, sketch), the older first."""
        pairs = list(rows)
        self._ids = array("q", [0])
        self._sketches = array("q", [0])
        self._last = [array("I", bytes(4 << 16)) for _ in range(_BANDS)]  # By key, the latest entry.
        self._before = [array("I", [0]) for _ in range(_BANDS)]  # By entry, the one before with its key.
        self.add_all([sketch for _, sketch in pairs])
        self._ids = array("q", [0, *(at for at, _ in pairs)])

    def __len__(self) -> int:
        return len(self._ids) - 1

    def add(self, at: int, sketch: int) -> None:
        """One more, the latest."""
        entry = len(self._ids)
        self._ids.append(at)
        self._sketches.append(sketch)
        for band in range(_BANDS):
            key = (sketch >> (16 * band)) & 0xFFFF
            self._before[band].append(self._last[band][key])
            self._last[band][key] = entry

    def add_all(self, sketches: Sequence[int]) -> int:
        """As many more, without ids yet; the first one's entry."""
        first = len(self._ids)
        added = array("q", sketches)
        self._ids.frombytes(bytes(8 * len(added)))
        self._sketches += added
        numbers = np.frombuffer(added, np.int64)
        for band in range(_BANDS):
            last = np.frombuffer(self._last[band], np.uint32)
            before = _chained((numbers >> (16 * band)) & 0xFFFF, first, last)
            self._before[band].frombytes(before.tobytes())
        return first

    def name(self, entry: int, at: int) -> None:
        """Give an entry its id."""
        self._ids[entry] = at

    def like(self, sketch: int) -> list[int]:
        """Ids of candidates, the most alike first, ties to the latest."""
        near: set[tuple[int, int]] = set()
        sketches = self._sketches
        for band in range(_BANDS):
            entry = self._last[band][(sketch >> (16 * band)) & 0xFFFF]
            before = self._before[band]
            left = _LONGEST_CHAIN
            while entry and left:
                equal = _equal_bytes(sketches[entry], sketch)
                if equal >= _EQUAL_BYTES:
                    near.add((-equal, -entry))
                entry = before[entry]
                left -= 1
        return [at for _, entry in sorted(near) if (at := self._ids[-entry])] if near else []

    def like_each(self, first: int) -> dict[int, list[int]]:
        """By entry from `first` on, that has any: the entries of its candidates among those before it,
        in the order of `like`. At 1 us each, a twentieth of asking one by one."""
        near: dict[int, set[tuple[int, int]]] = {}
        sketches = np.frombuffer(self._sketches, np.int64).view(np.uint64)
        asked = np.arange(first, len(sketches))
        for band in self._before:
            before = np.frombuffer(band, np.uint32)
            own, entries = asked, before[asked]
            for _ in range(_LONGEST_CHAIN):
                there = entries > 0
                own, entries = own[there], entries[there]
                if not len(own):
                    break
                equal = 8 - _bytes_set(sketches[own] ^ sketches[entries])
                for at in np.flatnonzero(equal >= _EQUAL_BYTES).tolist():
                    near.setdefault(int(own[at]), set()).add((-int(equal[at]), -int(entries[at])))
                entries = before[entries]
        return {own: [-entry for _, entry in sorted(found)] for own, found in near.items()}

    def id_of(self, entry: int) -> int:
        """The id of an entry, 0 where it has none."""
        return self._ids[entry]


def _bytes_set(numbers: NDArray[np.uint64]) -> NDArray[np.uint8]:
    """How many bytes of each number are not 0."""
    low = np.uint64(0x7F7F7F7F7F7F7F7F)
    marked: NDArray[np.uint8] = np.bitwise_count((((numbers & low) + low) | numbers) & ~low)
    return marked


def _chained(keys: NDArray[np.int64], first: int, last: NDArray[np.uint32]) -> NDArray[np.uint32]:
    """For each entry from `first` on the one before with the same key; `last` is brought up to date."""
    before = np.zeros(len(keys), np.uint32)
    if len(keys):
        order = np.argsort(keys, kind="stable")
        sorted_keys = keys[order]
        same = sorted_keys[1:] == sorted_keys[:-1]
        starts = np.append(True, ~same)
        before[order[1:][same]] = order[:-1][same] + first
        before[order[starts]] = last[sorted_keys[starts]]
        ends = order[np.append(~same, True)]
        last[keys[ends]] = ends + first
    return before
