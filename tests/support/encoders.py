"""An encoder that needs no weights: it knows two meanings."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from node.encoder.errors import EncoderUnavailable
from node.memory.vectors import Vectors

ANIMALS = ("cat", "feline", "dog")


class StandIn:
    """Texts about animals are alike, and so are all others."""

    def __init__(self) -> None:
        self.works = True
        self.closed = False
        self.embedded = 0

    def embed(self, texts: Sequence[str], *, bulk: bool, timeout_s: float) -> Vectors:
        if not self.works:
            raise EncoderUnavailable("the stand-in is out")
        self.embedded += bulk * len(texts)
        vectors = np.zeros((len(texts), 384), np.float32)
        for row, text in zip(vectors, texts, strict=True):
            row[0 if any(word in text for word in ANIMALS) else 1] = 1.0
        return vectors

    def try_query(self, text: str, wait_s: float) -> Vectors | None:
        found: Vectors | None = self.embed([text], bulk=False, timeout_s=wait_s)[0] if self.works else None
        return found

    def close(self) -> None:
        self.closed = True
