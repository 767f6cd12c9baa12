"""What a question means, made up: an index of vectors that have given cosines with it."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from node.encoder.index import VectorIndex
from node.encoder.meaning import Meaning

WIDTH = 64


def understanding(cosines: Mapping[int, float]) -> Callable[[str], Meaning]:
    """Whatever is asked, the memories have about these cosines with it; at most 62 of them."""
    index = VectorIndex(WIDTH)
    vectors = np.zeros((len(cosines), WIDTH), np.float32)
    for row, cosine in enumerate(cosines.values()):
        vectors[row, 0], vectors[row, row + 1] = cosine, np.sqrt(1.0 - cosine * cosine)
    index.add(list(cosines), vectors)
    question = np.zeros(WIDTH, np.float32)
    question[0] = 1.0
    return lambda _question: Meaning(index, question)
