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
from collections.abc import Iterable

import mmh3
import numpy as np

FEWEST_TERMS = 6
SIMILAR = 0.8  # Jaccard similarity of their terms from which two texts are told to be near-duplicates.

_ENDS = [(number << 29) - (1 << 31) for number in range(1, 9)]  # Of the bins of 32-bit signed hashes.
_PAST_EVERY_HASH = 1 << 31
_EQUAL_BYTES = 5
"""Fewer, of 8, are no candidate. At a similarity of 0.8 that loses 6 of 100; 4 would lose 1, and have half of
all writes read a memory for nothing where many share their common words: a tenth of a write's time."""
_LONGEST_CHAIN = 16  # Of one band, the latest; chains grow with the memories, by one for every 65,536.
_BANDS = 4


def sketch_of(text: str, terms: frozenset[str]) -> int:
    """The sketch, signed, of a text with these terms."""
    if len(terms) < FEWEST_TERMS:
        return mmh3.hash64(text.encode())[0]
    hashes = sorted(map(mmh3.hash, terms))
    hashes.append(_PAST_EVERY_HASH)
    least: list[int] = []
    at = 0
    for end in _ENDS:
        least.append(hashes[at] & 0xFF if hashes[at] < end else -1)
        at = bisect_left(hashes, end, at)
    if -1 in least:
        least = [_borrowed(least, number) for number in range(8)]
    return int.from_bytes(bytes(least), "little", signed=True)


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
    """Version ids by sketch, 32 bytes each. Entries are only added; its owner serialises the calls."""

    def __init__(self, rows: Iterable[tuple[int, int]] = ()) -> None:
        """From (id, sketch), the older first."""
        pairs = list(rows)
        self._ids = array("q", [0, *(at for at, _ in pairs)])
        self._sketches = array("q", [0, *(sketch for _, sketch in pairs)])
        self._last = [array("I", bytes(4 << 16)) for _ in range(_BANDS)]  # By key, the latest entry.
        self._before: list[array[int]] = []  # By entry, the one before with its key.
        sketches = np.array(self._sketches, dtype=np.int64)
        for band in range(_BANDS):
            keys = (sketches >> (16 * band)) & 0xFFFF
            self._before.append(_chained(keys, self._last[band]))

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

    def like(self, sketch: int) -> list[int]:
        """Ids of candidates, the most alike first, ties to the latest."""
        near: set[tuple[int, int]] = set()
        sketches = self._sketches
        for band in range(_BANDS):
            entry = self._last[band][(sketch >> (16 * band)) & 0xFFFF]
            left = _LONGEST_CHAIN
            while entry and left:
                equal = _equal_bytes(sketches[entry], sketch)
                if equal >= _EQUAL_BYTES:
                    near.add((-equal, -entry))
                entry = self._before[band][entry]
                left -= 1
        return [self._ids[-entry] for _, entry in sorted(near)] if near else []


def _chained(keys: np.ndarray[tuple[int], np.dtype[np.int64]], last: array[int]) -> array[int]:
    """For each entry from 1 on the one before with the same key; `last` is filled in."""
    before = np.zeros(len(keys), dtype=np.uint32)
    entries = np.arange(1, len(keys))
    if len(entries):
        order = entries[np.argsort(keys[1:], kind="stable")]
        same = keys[order[1:]] == keys[order[:-1]]
        before[order[1:][same]] = order[:-1][same]
        ends = order[np.append(~same, True)]
        for key, entry in zip(keys[ends].tolist(), ends.tolist(), strict=True):
            last[key] = entry
    return array("I", before.tobytes())
