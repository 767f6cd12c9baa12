"""The vectors of one memory: searched by cosine, in two passes, with numpy alone.

A vector is kept as 8-bit numbers with a scale of its own, and as the signs of its numbers (48 bytes for 384).
Up to `EXACT_UP_TO` vectors a search multiplies them all. Beyond that it counts differing signs first, which
is a tenth of the reading, and multiplies only the nearest `SHORTLIST`. A graph (HNSW) answers faster, but
takes minutes to build where this takes none, and finds less: see benchmarks/vectors.py for the figures.

Invariants
1. One writer at a time, any number of readers without a lock: a row once written never changes, a removed one
   is only marked, and arrays that grow or shrink are replaced as a whole.
2. An id is there once; adding it again replaces its vector.
3. Equal contents give equal answers: ties go to the lower id.
4. Saving replaces the file in one step; a damaged or stale file loads as none, and is to be built again.
"""

from __future__ import annotations

import contextlib
import os
import threading
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

from protocol.errors import StorageFailure

EXACT_UP_TO = 4_096
"""Vectors that are all multiplied, about 1 ms; more of them cost in proportion."""
SHORTLIST = 1_000
"""Vectors multiplied in the second pass, and at least 8 for each one wanted."""
_PER_WANTED = 8
_MOST_DEAD = 0.2
"""Share of removed rows at which the arrays are packed."""
_BLOCK = 1_024
"""Rows turned into floats at once: 1.5 MiB, which stays in the cache."""
_EXACT_SUM = 1 << 24
_DEAD = -1
_SAMPLE = 1_024
"""Vectors that stand for all where a mean or a spread is asked for."""
_FORMAT = 1
_NO_DISTANCE = np.iinfo(np.uint16).max

Array = NDArray[Any]
Floats = NDArray[np.float32]


class _Rows(NamedTuple):
    """Arrays of one length: int64, int8 (rows, width), float32, uint64 (rows, width / 64)."""

    ids: Array
    codes: Array
    scales: Array
    signs: Array

    def parts(self) -> tuple[Array, Array, Array, Array]:
        """The four, in the order of a saved file."""
        return self.ids, self.codes, self.scales, self.signs


class _Header(msgspec.Struct, frozen=True):
    format: int
    stamp: str
    width: int
    count: int
    crc: int


class VectorIndex:
    """Ids, 0 to 2^63 - 1, and their unit vectors of `width` numbers, a multiple of 64."""

    def __init__(self, width: int = 384) -> None:
        if width <= 0 or width % 64:
            raise ValueError(f"a width of {width} is no multiple of 64")
        self.width = width
        self._lock = threading.Lock()
        self._rows, self._count = _empty(0, width), 0
        self._dead = 0
        self._ordered: tuple[_Rows, int, int, Array, Array] | None = None
        self._sampled: tuple[_Rows, int, int, Floats, Floats] | None = None

    def __len__(self) -> int:
        return self._count - self._dead

    @property
    def memory_bytes(self) -> int:
        """What the arrays take, room to grow included."""
        return sum(part.nbytes for part in self._rows.parts())

    def add(self, ids: Sequence[int], vectors: Floats) -> None:
        """Add or replace; of an id given twice the last one counts. Vectors need not have length 1."""
        given = np.asarray(vectors, np.float32)
        if given.shape != (len(ids), self.width):
            raise ValueError(f"{given.shape} vectors for {len(ids)} ids of width {self.width}")
        if not np.isfinite(given).all():
            raise ValueError("a vector holds something that is no finite number")
        last = {number: row for row, number in enumerate(ids)}
        if not last:
            return
        if min(last) < 0:
            raise ValueError("an id below 0")
        numbers = np.fromiter(last, np.int64, len(last))
        new = _compact(numbers, given[list(last.values())])
        with self._lock:
            self._mark(numbers)
            self._reserve(len(numbers))
            start, end = self._count, self._count + len(numbers)
            for part, values in zip(self._rows.parts(), new.parts(), strict=True):
                part[start:end] = values
            self._count = end  # Readers see the rows from here on.

    def remove(self, ids: Sequence[int]) -> int:
        """Take these out; how many there were."""
        with self._lock:
            gone = self._mark(np.asarray(ids, np.int64))
            if self._dead > _MOST_DEAD * self._count:
                self._reserve(0)
            return gone

    def search(self, vector: Floats, k: int) -> list[tuple[int, float]]:
        """The `k` nearest and their cosines, the nearest first, ties to the lower id."""
        query = np.asarray(vector, np.float32).reshape(-1)
        if query.shape != (self.width,):
            raise ValueError(f"a vector of {len(query)} numbers where {self.width} are due")
        length = float(np.linalg.norm(query))
        with self._lock:  # Only to read both at the same moment.
            rows, count = self._rows, self._count
        if k <= 0 or count == 0 or not 0 < length < np.inf:
            return []
        ids = rows.ids[:count]
        wanted = max(SHORTLIST, _PER_WANTED * k)
        if count <= EXACT_UP_TO or count <= wanted:
            chosen: slice | Array = slice(0, count)
        else:
            chosen = _nearest_signs(rows, count, query, wanted)
        found, cosines = ids[chosen], _multiply(rows, chosen, query / length)
        alive = found != _DEAD
        found, cosines = found[alive], cosines[alive]
        if len(found) > k:
            edge = np.partition(cosines, len(cosines) - k)[len(cosines) - k]
            found, cosines = found[cosines >= edge], cosines[cosines >= edge]
        order = np.lexsort((found, -cosines))[:k]
        return list(zip(found[order].tolist(), np.clip(cosines[order], -1, 1).tolist(), strict=True))

    def products(self, ids: NDArray[np.int64], vector: Floats) -> Floats:
        """The products of these vectors with another one, to eight bits; NaN for an id that is not there."""
        rows, ordered, order = self._by_id()
        found = np.full(len(ids), np.nan, np.float32)
        if not len(ordered) or not len(ids):
            return found
        places = np.searchsorted(ordered, ids).clip(max=len(ordered) - 1)
        has = ordered[places] == ids
        chosen = order[places[has]]
        found[has] = (rows.codes[chosen].astype(np.float32) @ vector) * rows.scales[chosen]
        return found

    def _by_id(self) -> tuple[_Rows, Array, Array]:
        """The rows, the ids among them in ascending order, and the row of each."""
        with self._lock:
            rows, count, dead, kept = self._rows, self._count, self._dead, self._ordered
        if kept is not None and kept[0] is rows and kept[1:3] == (count, dead):
            return rows, kept[3], kept[4]
        alive = np.flatnonzero(rows.ids[:count] != _DEAD)
        order = alive[np.argsort(rows.ids[alive], kind="stable")]
        ordered = rows.ids[order]
        self._ordered = (rows, count, dead, ordered, order)
        return rows, ordered, order

    def vector(self, at: int) -> Floats | None:
        """The vector of this id, to eight bits; None where it is not there."""
        rows, ordered, order = self._by_id()
        place = int(np.searchsorted(ordered, at))
        if place == len(ordered) or ordered[place] != at:
            return None
        found: Floats = rows.codes[order[place]].astype(np.float32) * rows.scales[order[place]]
        return found

    def sample(self) -> Floats:
        """About 1,024 of the vectors, evenly from all of them; one row of zeros where there is none."""
        return self._sample()[0]

    def mean(self) -> Floats:
        """The mean of `sample`."""
        return self._sample()[1]

    def _sample(self) -> tuple[Floats, Floats]:
        with self._lock:
            rows, count, dead, kept = self._rows, self._count, self._dead, self._sampled
        if kept is not None and kept[0] is rows and kept[1:3] == (count, dead):
            return kept[3], kept[4]
        alive = np.flatnonzero(rows.ids[:count] != _DEAD)
        chosen = alive[:: max(1, len(alive) // _SAMPLE)]
        vectors = rows.codes[chosen].astype(np.float32) * rows.scales[chosen, None]
        if not len(chosen):
            vectors = np.zeros((1, self.width), np.float32)
        mean: Floats = vectors.mean(axis=0)
        self._sampled = (rows, count, dead, vectors, mean)
        return vectors, mean

    def save(self, path: Path, stamp: str = "") -> None:
        """Write all to `path`, in one step. `stamp` says what it was made from. Raises StorageFailure."""
        with self._lock:
            kept = np.flatnonzero(self._rows.ids[: self._count] != _DEAD)
            parts = [np.ascontiguousarray(part[kept]) for part in self._rows.parts()]
        crc = 0
        for part in parts:
            crc = zlib.crc32(_bytes(part), crc)
        header = msgspec.msgpack.encode(_Header(_FORMAT, stamp, self.width, len(parts[0]), crc))
        draft = path.with_name(f"{path.name}.{os.getpid()}.new")
        try:
            with draft.open("wb") as file:
                file.write(len(header).to_bytes(4, "big") + header)
                for part in parts:
                    part.tofile(file)
            draft.replace(path)
        except OSError as error:
            with contextlib.suppress(OSError):
                draft.unlink(missing_ok=True)
            raise StorageFailure(f"{path}: {error.strerror or error}") from error

    @classmethod
    def load(cls, path: Path, stamp: str = "", *, width: int = 384) -> VectorIndex | None:
        """What was saved there under the same stamp; None where it is missing, stale or damaged."""
        index = cls(width)
        try:
            with path.open("rb") as file:
                size = int.from_bytes(file.read(4), "big")
                header = msgspec.msgpack.decode(file.read(min(size, 1 << 16)), type=_Header)
                if (header.format, header.stamp, header.width) != (_FORMAT, stamp, width):
                    return None
                row_bytes = sum(part.itemsize * part[0].size for part in _empty(1, width).parts())
                if header.count < 0 or path.stat().st_size != 4 + size + header.count * row_bytes:
                    return None
                rows, crc = _empty(header.count, width), 0
                for part in rows.parts():
                    view = _bytes(part)
                    file.readinto(view)
                    crc = zlib.crc32(view, crc)
        except (OSError, msgspec.DecodeError):
            return None
        if crc != header.crc:
            return None
        index._rows, index._count = rows, header.count
        return index

    def check(self) -> None:
        """Assert the invariants; for tests."""
        ids = self._rows.ids[: self._count]
        alive = ids[ids != _DEAD]
        assert len(np.unique(alive)) == len(alive) == len(self)
        assert all(len(part) >= self._count for part in self._rows.parts())

    def _mark(self, numbers: NDArray[np.int64]) -> int:
        """Mark these as removed; how many there were."""
        ids = self._rows.ids[: self._count]
        if len(numbers) == 1:
            hits = np.flatnonzero(ids == numbers[0])
        else:
            hits = np.flatnonzero(np.isin(ids, numbers[numbers >= 0]))
        hits = hits[ids[hits] != _DEAD]
        ids[hits] = _DEAD
        self._dead += len(hits)
        return len(hits)

    def _reserve(self, extra: int) -> None:
        """Make room for `extra` rows, packed where rows are dead; readers keep the arrays they have."""
        if extra and self._count + extra <= len(self._rows.ids):
            return
        kept = np.flatnonzero(self._rows.ids[: self._count] != _DEAD)
        needed = len(kept) + extra
        rows = _empty(needed + needed // 8 if extra else needed, self.width)
        for part, old in zip(rows.parts(), self._rows.parts(), strict=True):
            part[: len(kept)] = old[kept]
        self._rows, self._count, self._dead = rows, len(kept), 0


def _bytes(part: Array) -> memoryview:
    """The same memory as plain bytes."""
    return part.reshape(-1).view(np.uint8).data


def _empty(count: int, width: int) -> _Rows:
    return _Rows(
        np.empty(count, np.int64),
        np.empty((count, width), np.int8),
        np.empty(count, np.float32),
        np.empty((count, width // 64), np.uint64),
    )


def _compact(ids: NDArray[np.int64], vectors: Floats) -> _Rows:
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    unit = vectors / np.maximum(lengths, np.float32(1e-12))
    scales = np.maximum(np.abs(unit).max(axis=1), np.float32(1e-12)) / 127
    codes = np.rint(unit / scales[:, None]).astype(np.int8)
    return _Rows(ids, codes, scales.astype(np.float32), _signs(vectors))


def _signs(vectors: Floats) -> NDArray[np.uint64]:
    return np.packbits(vectors > 0, axis=-1).view(np.uint64)


def _nearest_signs(rows: _Rows, count: int, query: Floats, wanted: int) -> NDArray[np.intp]:
    """The rows whose signs differ least from the query's; a few more than `wanted` where they tie."""
    signs = _signs(query)
    ones = np.ones(len(signs), np.float32)  # A product adds up so short rows twice as fast as `sum`.
    distances = np.empty(count, np.uint16)
    for start in range(0, count, _BLOCK * 8):
        block = slice(start, min(start + _BLOCK * 8, count))
        distances[block] = np.bitwise_count(rows.signs[block] ^ signs).astype(np.float32) @ ones
    distances[rows.ids[:count] == _DEAD] = _NO_DISTANCE  # They would fill the shortlist.
    below = np.cumsum(np.bincount(distances, minlength=1))
    edge = int(np.searchsorted(below, min(wanted, count)))
    return np.flatnonzero(distances <= edge)


def _multiply(rows: _Rows, chosen: slice | NDArray[np.intp], query: Floats) -> Floats:
    """Cosines with a query of length 1.

    The query is rounded to whole numbers so small (11 bits, mostly) that every sum stays below 2^24: floats
    add those exactly, in whatever order the processor's library likes, so equal inputs give equal outputs.
    """
    step = (_EXACT_SUM / 127 - len(query)) / float(np.abs(query).sum())
    whole = np.rint(query * step)
    codes = rows.codes[chosen]
    sums = np.empty(len(codes), np.float32)
    for start in range(0, len(codes), _BLOCK):
        block = codes[start : start + _BLOCK].astype(np.float32)
        np.dot(block, whole, out=sums[start : start + _BLOCK])
    cosines: Floats = (sums * (rows.scales[chosen] / step)).astype(np.float32, copy=False)
    return cosines
