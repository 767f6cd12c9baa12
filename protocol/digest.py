"""A digest: what one agent announces of its topics, one small versioned value.

It says *may know*: every announced topic is found in it (no false negatives), and
others at its stated error. It carries no text, no title, no path. In a secured mesh only
who has the key it was made with can ask it for a word (keyring.py).
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Annotated, Self

import msgspec

from protocol import bloom
from protocol.keyring import check_key

FORMAT = 1
DEFAULT_ERROR = 0.01


Count = Annotated[int, msgspec.Meta(ge=0, le=2**32)]


class Announced(msgspec.Struct, frozen=True, array_like=True):
    """A topic that may be announced: its term, how many memories carry it, its weight (0..1)."""

    term: Annotated[str, msgspec.Meta(min_length=1, max_length=256)]
    memories: Count
    weight: Annotated[float, msgspec.Meta(ge=0.0, le=1.0)]

    @property
    def significance(self) -> float:
        """By this the least significant topics are left out where not all fit."""
        return self.weight * math.sqrt(self.memories)


class Digest(msgspec.Struct, frozen=True, array_like=True):
    """Wire form: an array in this order. New fields are appended with a default.

    `topics` counts the distinct topics inside, `left_out` those for which no room was left,
    `bits` is the Bloom filter (`2**log2_bits / 8` bytes), `key_epoch` the mesh's digest key it was made with
    (0: none), `centroids` the semantic part (empty: none).
    """

    fmt: Annotated[int, msgspec.Meta(ge=0, le=255)] = FORMAT
    key_epoch: Annotated[int, msgspec.Meta(ge=0, le=2**32)] = 0
    topics: Count = 0
    left_out: Count = 0
    log2_bits: Annotated[int, msgspec.Meta(ge=bloom.MIN_LOG2_BITS, le=bloom.MAX_LOG2_BITS)] = (
        bloom.MIN_LOG2_BITS
    )
    hashes: Annotated[int, msgspec.Meta(ge=1, le=16)] = bloom.HASHES
    bits: Annotated[bytes, msgspec.Meta(max_length=(1 << bloom.MAX_LOG2_BITS) // 8)] = bytes(
        (1 << bloom.MIN_LOG2_BITS) // 8
    )
    centroids: Annotated[bytes, msgspec.Meta(max_length=1024)] = b""

    def __post_init__(self) -> None:
        if len(self.bits) * 8 != 1 << self.log2_bits:
            raise ValueError(f"{len(self.bits)} bytes of filter where 2**{self.log2_bits} bits are due")

    @classmethod
    def of(
        cls,
        announced: Iterable[Announced],
        *,
        error: float = DEFAULT_ERROR,
        key_epoch: int = 0,
        key: bytes = b"",
    ) -> Self:
        """The digest of these topics, as small as `error` (0..1) allows; equal topics give equal bytes.

        A smaller `error` makes fewer false leads and a larger digest: see `bloom.log2_bits_for`.
        Past the cap the least significant topics are left out and counted; ties go by term.

        Under another key other bits are set. Raises `ValueError` where `key_epoch` cannot have that key.
        """
        chosen = sorted(announced, key=lambda topic: (-topic.significance, topic.term))
        log2_bits = bloom.log2_bits_for(len(chosen), error)
        room = bloom.capacity(log2_bits, bloom.HASHES, error)
        return cls._with(chosen[:room], len(chosen[room:]), log2_bits, bloom.HASHES, key_epoch, key)

    @classmethod
    def classic(cls, announced: Iterable[Announced], *, key_epoch: int = 0, key: bytes = b"") -> Self:
        """The 1,024-bit, 3-hash form of the original: 128 bytes whatever is put in."""
        chosen = list(announced)
        return cls._with(chosen, 0, bloom.CLASSIC_LOG2_BITS, bloom.CLASSIC_HASHES, key_epoch, key)

    @classmethod
    def _with(
        cls, chosen: list[Announced], left_out: int, log2_bits: int, hashes: int, key_epoch: int, key: bytes
    ) -> Self:
        check_key(key_epoch, key)
        return cls(
            key_epoch=key_epoch,
            topics=len(chosen),
            left_out=left_out,
            log2_bits=log2_bits,
            hashes=hashes,
            bits=bloom.build((topic.term for topic in chosen), log2_bits, hashes, key),
        )

    def may_contain(self, term: str, key: bytes = b"") -> bool:
        """Whether the agent may have announced `term` (already normalised); `key` is that of `key_epoch`.

        By another key the answer is chance: yes at the filter's own error.
        """
        return bloom.contains(self.bits, term, self.hashes, key)

    @property
    def level(self) -> int:
        """The number of bits that are set in the filter; from it follows the error."""
        return int.from_bytes(self.bits).bit_count()

    @property
    def error(self) -> float:
        """Chance that a topic which is not inside is found all the same, from the bits that are set."""
        return bloom.error_of_fill(self.level, self.log2_bits, self.hashes)

    @property
    def size_bytes(self) -> int:
        """Bytes of filter and semantic part, without the few of the envelope."""
        return len(self.bits) + len(self.centroids)


EMPTY = Digest()
