"""What a question means beside one memory's vectors: who is nearest, and how near any of them are.

The question's vector is first drawn away from the mean of all vectors, by `FROM_MEAN`: a memory that is a
little near to everything says little. And it may be drawn towards a memory that answers well (`towards`):
what else that one speaks of tells what the matter is about (Rocchio, 1971).
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import Self

import numpy as np
from numpy.typing import NDArray

from node.encoder.index import Floats, VectorIndex

FROM_MEAN = 0.5
MOST_READ = 4_096
"""Nearest memories looked through for those that an asker may read."""

Readable = Callable[[Sequence[int]], Collection[int]]
"""Those of these memories that an asker may read."""


class Meaning:
    """A question beside an index. Cosines are of the question as it was drawn, from about -1 to 1."""

    def __init__(self, index: VectorIndex, vector: Floats, readable: Readable | None = None) -> None:
        self._index, self._readable = index, readable
        self._vector = _unit(vector)
        self._drawn = _unit(self._vector - np.float32(FROM_MEAN) * index.mean())

    def nearest(self, count: int) -> list[int]:
        """The `count` nearest ids, the nearest first, only of those that are readable.

        They are looked for among the nearest `MOST_READ`, so that what an asker may not read takes no place
        from what it may.
        """
        most = count
        while True:
            near = [at for at, _ in self._index.search(self._drawn, most)]
            if self._readable is None:
                return near
            allowed = frozenset(self._readable(near))
            found = [at for at in near if at in allowed]
            if len(found) >= count or len(near) < most or most >= MOST_READ:
                return found[:count]
            most = min(most * 8, MOST_READ)

    def cosines(self, ids: NDArray[np.int64]) -> Floats:
        """Of each of these; NaN where a memory has no vector yet."""
        return self._index.products(ids, self._drawn)

    def spread(self) -> tuple[float, float]:
        """Mean and standard deviation of the cosines of all memories, by a sample."""
        products = self._index.sample() @ self._drawn
        return float(products.mean()), max(float(products.std()), 1e-6)

    def towards(self, at: int, share: float) -> Self:
        """The question with `share` of a memory's vector added; itself where that one has none."""
        vector = self._index.vector(at)
        if vector is None:
            return self
        return type(self)(self._index, self._vector + np.float32(share) * vector, self._readable)


def _unit(vector: Floats) -> Floats:
    unit: Floats = vector / max(float(np.linalg.norm(vector)), 1e-12)
    return unit.astype(np.float32, copy=False)
