"""What is known of a version beside the database and cheap to work out again: its size in tokens.

Eight bytes a version, by id, zero where it is not known. From any thread; whoever counts puts in what others
would count as well, so that it does not matter who was first.
"""

from __future__ import annotations

import threading
from array import array
from typing import NamedTuple

_ROOM = 1_024
_LARGEST = (1 << 32) - 1


class Size(NamedTuple):
    """Tokens of a text by itself, and where another one follows."""

    alone: int
    before_another: int


class Sizes:
    """Of the versions of one store."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._alone = array("I")
        self._before = array("I")
        self.known_up_to = 0
        """All live versions up to this one are known; for who counts in the background."""

    def get(self, at: int) -> Size | None:
        """The size of version `at`, or None."""
        if not 0 < at < len(self._before):
            return None
        before = self._before[at]
        return Size(self._alone[at], before) if before else None

    def put(self, at: int, size: Size) -> None:
        """Version `at` has this size."""
        if size.before_another > _LARGEST:
            return
        with self._lock:
            if at >= len(self._before):
                more = bytes(4 * (at + _ROOM - len(self._before)))
                self._alone.frombytes(more)
                self._before.frombytes(more)
            self._alone[at], self._before[at] = size
