"""A Bloom filter over mmh3 double hashing: which topics somebody announced, in a few hundred bytes.

Bits are numbered little-endian: bit `p` is `bits[p >> 3] >> (p & 7) & 1`. The
`hashes` positions of a term are `h1 + i * h2 mod m` with `h1, h2` the halves
of its 128-bit hash and `h2` made odd, so that they walk the whole filter
(Kirsch and Mitzenmacher, Less Hashing, Same Performance, 2006).

With a key (1 to 64 bytes; keyring.py) not the term is hashed but its keyed
BLAKE2b (RFC 7693), so that without the key no word can be tested.

Invariant: a term that was put in is always found by the key it was put in with.
There are no false negatives.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from functools import lru_cache
from hashlib import blake2b

import mmh3
import numpy as np
import numpy.typing as npt

MIN_LOG2_BITS = 10
MAX_LOG2_BITS = 16  # 8 KiB, 6,800 topics at 1 %: what one frame can carry beside others.
CLASSIC_LOG2_BITS = 10
CLASSIC_HASHES = 3  # 128 bytes with 3 hashes: past 258 topics over 15 % of the answers are false.
HASHES = 7  # The best number at 1 %. Fixed, so that all filters of one size share the rows of a directory.
_KEYED_BYTES = 16  # As many as mmh3 makes of them.


@lru_cache(maxsize=65_536)
def hash_pair(term: str, key: bytes = b"") -> tuple[int, int]:
    """The two 64-bit hashes of `term` under `key` (empty: none); the second is odd."""
    hashed = term.encode("utf-8", "surrogatepass")
    if key:
        hashed = blake2b(hashed, digest_size=_KEYED_BYTES, key=key).digest()
    first, second = mmh3.hash64(hashed, signed=False)
    return first, second | 1


def positions(term: str, log2_bits: int, hashes: int, key: bytes = b"") -> list[int]:
    """Where `term` has its bits, each in 0 .. 2**log2_bits - 1; `hashes` of them, possibly equal ones."""
    first, second = hash_pair(term, key)
    mask = (1 << log2_bits) - 1
    return [(first + turn * second) & mask for turn in range(hashes)]


@lru_cache(maxsize=4_096)
def places(term: str, log2_bits: int, hashes: int, key: bytes = b"") -> npt.NDArray[np.intp]:
    """The `positions` as an array, to take rows by; it cannot be written to."""
    where = np.array(positions(term, log2_bits, hashes, key), dtype=np.intp)
    where.flags.writeable = False
    return where


def error_of(topics: int, log2_bits: int, hashes: int) -> float:
    """Expected share of false positives with `topics` distinct terms put in (Bloom, 1970)."""
    return float((1.0 - math.exp(-hashes * topics / (1 << log2_bits))) ** hashes)


def error_of_fill(ones: int, log2_bits: int, hashes: int) -> float:
    """Share of false positives of one filter at hand, from the number of its bits that are set."""
    return float((ones / (1 << log2_bits)) ** hashes)


def capacity(log2_bits: int, hashes: int, error: float) -> int:
    """How many topics a filter of this size holds at `error` or below."""
    return int(-math.log1p(-(error ** (1.0 / hashes))) * (1 << log2_bits) / hashes)


def log2_bits_for(topics: int, error: float) -> int:
    """The smallest size, in log2 of its bits, that holds `topics` at `error`; the cap where none does.

    Halving the error costs about 1.44 bits a topic; sizes are powers of two, so a filter is
    up to twice as large as it had to be, and its error then far below what was asked.
    """
    for log2_bits in range(MIN_LOG2_BITS, MAX_LOG2_BITS):
        if topics <= capacity(log2_bits, HASHES, error):
            return log2_bits
    return MAX_LOG2_BITS


def build(terms: Iterable[str], log2_bits: int, hashes: int, key: bytes = b"") -> bytes:
    """The bits of a filter that holds `terms`; 2**log2_bits / 8 bytes."""
    pairs = np.array([hash_pair(term, key) for term in terms], dtype=np.uint64).reshape(-1, 2)
    turns = np.arange(hashes, dtype=np.uint64)
    where = pairs[:, :1] + turns * pairs[:, 1:]  # uint64 wraps, which the mask below makes harmless
    filled = np.zeros(1 << log2_bits, dtype=np.bool_)
    filled[(where & np.uint64((1 << log2_bits) - 1)).ravel()] = True
    return np.packbits(filled, bitorder="little").tobytes()


def contains(bits: bytes, term: str, hashes: int, key: bytes = b"") -> bool:
    """Whether `term` may be in the filter; certain where the answer is no."""
    log2_bits = (len(bits) * 8).bit_length() - 1
    return all(bits[at >> 3] >> (at & 7) & 1 for at in positions(term, log2_bits, hashes, key))
