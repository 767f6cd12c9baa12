"""Filters of one size side by side, a row per filter bit and in it a bit per filter.

    row[p] bit j  =  bit p of the filter in slot j

So what all filters say of one bit lies together, and a term costs a few row reads and their AND, whatever the
number of filters. Rows are cut into blocks of a fixed number of slots: growing copies one block at the most,
and reading a term in one block stays within the processor's caches.

Invariants, checked by `check()`:
 1. Slots are dense: 0 .. len - 1 hold filters, every bit past them is 0.
 2. All blocks but the last have the full width, and that one has at most a sixteenth or 63 slots to spare
    after growing; after shrinking at most half. A lone filter costs 8 times its bits.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Bytes = npt.NDArray[np.uint8]
Words = npt.NDArray[np.uint64]
Where = npt.NDArray[np.intp]

_BLOCK_BYTES = 1 << 23
_ODD_BYTES = 64  # To a row, so that rows of a full block do not all fall on the same lines of a cache.
_SPARE = 16  # A block grows by one part in so many.


class BitSlices:
    """`len()` filters of `2**log2_bits` bits each."""

    def __init__(self, log2_bits: int) -> None:
        self.bits = 1 << log2_bits
        self.block_slots = ((_BLOCK_BYTES >> log2_bits) + _ODD_BYTES) * 8
        self._blocks: list[Bytes] = []
        self._views: list[Bytes | Words] = []  # The blocks, as words where they are whole words wide.
        self._filled = 0

    def __len__(self) -> int:
        return self._filled

    @property
    def size_bytes(self) -> int:
        """Bytes of all rows, spare ones included."""
        return sum(block.nbytes for block in self._blocks)

    def append(self, bits: bytes) -> int:
        """Put a filter behind the last; its slot."""
        slot = self._filled
        number, at = divmod(slot, self.block_slots)
        if number == len(self._blocks):
            self._set_width(number, 1)
        width = self._blocks[number].shape[1]
        if at >= width * 8:
            self._set_width(number, min(_whole(width + max(1, width // _SPARE)), self.block_slots // 8))
        self._filled += 1
        column = self._blocks[number][:, at >> 3]
        column |= _column(bits, at & 7)
        return slot

    def replace(self, slot: int, bits: bytes) -> None:
        """Put another filter in `slot`."""
        number, at = divmod(slot, self.block_slots)
        column = self._blocks[number][:, at >> 3]
        column &= ~(1 << (at & 7)) & 0xFF
        column |= _column(bits, at & 7)

    def pop(self) -> None:
        """Drop the last filter."""
        self._filled -= 1
        number, at = divmod(self._filled, self.block_slots)
        block = self._blocks[number]
        block[:, at >> 3] &= ~(1 << (at & 7)) & 0xFF
        if at == 0:
            self._set_width(number, 0)
        elif at * 4 < block.shape[1] * 8:
            self._set_width(number, _whole(-(-at // 8) * 2))

    def _set_width(self, number: int, width: int) -> None:
        block = np.zeros((self.bits, width), dtype=np.uint8)
        if number < len(self._blocks):
            old = self._blocks[number]
            kept = min(width, old.shape[1])
            block[:, :kept] = old[:, :kept]
        self._blocks[number:] = [block] if width else []
        self._views[number:] = [block if width & 7 else block.view(np.uint64)] if width else []

    def bits_of(self, slot: int) -> bytes:
        """The filter in `slot`."""
        number, at = divmod(slot, self.block_slots)
        column = self._blocks[number][:, at >> 3] >> (at & 7) & 1
        return np.packbits(column, bitorder="little").tobytes()

    def all_of(self, where: Where) -> int:
        """Bit by slot, whether the filter there has all the bits `where`."""
        if len(self._views) == 1:
            return int.from_bytes(_and(self._views[0].take(where, axis=0)).tobytes(), "little")
        parts = [_and(view.take(where, axis=0)).tobytes() for view in self._views]
        return int.from_bytes(b"".join(parts), "little")

    def all_of_words(self, where: Where) -> Words:
        """The same as an array, 64 slots a word, of any number of slots."""
        found = np.zeros(-(-self._filled // 64), dtype=np.uint64)
        start = 0
        for view in self._views:
            if view.dtype == np.uint64:
                part = found[start : start + view.shape[1]]
                part[:] = _and(view.take(where, axis=0))[: len(part)]
            else:
                inside = found.view(np.uint8)[start * 8 :]
                inside[: view.shape[1]] = _and(view.take(where, axis=0))[: len(inside)]
            start += self.block_slots // 64
        return found

    def rows(self) -> Words:
        """All rows in one piece, a copy; 64 slots a word."""
        rows = np.zeros((self.bits, -(-self._filled // 64)), dtype=np.uint64)
        inside, start = rows.view(np.uint8), 0
        for block in self._blocks:
            stop = min(start + block.shape[1], inside.shape[1])
            inside[:, start:stop] = block[:, : stop - start]
            start = stop
        return rows

    def check(self) -> None:
        """Assert the invariants at the head of this module."""
        assert len(self._blocks) == -(-self._filled // self.block_slots), "not as many blocks as are needed"
        for block in self._blocks[:-1]:
            assert block.shape[1] * 8 == self.block_slots, "a block before the last that is not full"
        if self._blocks:
            used, width = self._filled - (len(self._blocks) - 1) * self.block_slots, self._blocks[-1].shape[1]
            assert used <= width * 8 <= max(4 * used, 64), "more room than is due"
            held = np.bitwise_or.reduce(self._blocks[-1], axis=0)
            assert not np.unpackbits(held, bitorder="little")[used:].any(), "bits behind the last slot"


_and = np.bitwise_and.reduce


def _column(bits: bytes, shift: int) -> Bytes:
    """By row, the bit of the filter, shifted to where its slot is in a byte."""
    column = np.unpackbits(np.frombuffer(bits, dtype=np.uint8), bitorder="little")
    if shift:
        column <<= shift
    return column


def _whole(width: int) -> int:
    """In bytes: 1, 2, 4 or whole words."""
    return 1 << (width - 1).bit_length() if width <= 8 else -(-width // 8) * 8
