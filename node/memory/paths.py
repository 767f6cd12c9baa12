"""Paths for memories that were given none: /memories/ and the number of their first version.

Such a path may have been taken by somebody who chose it. One look-up tells that of a thousand numbers in a
row, as paths of equally many digits sort like their numbers; from then on it is enough to hear of each new
path.
"""

from __future__ import annotations

from collections.abc import Callable

import apsw

_ANY_TAKEN = "SELECT 1 FROM head WHERE path BETWEEN ? AND ? LIMIT 1"
AHEAD = 1_024


class Paths:
    """Of one store; for the leader of a group, with all that is in its tables settled."""

    def __init__(self, connection: apsw.Connection) -> None:
        self._connection = connection
        self._free_from = self._free_to = ""  # Between them none is taken but those made here.
        self._made = ""

    def make(self, number: int, is_taken: Callable[[str], bool]) -> str:
        """A path that nobody took, for the version of this number."""
        path = f"/memories/{number:06d}"
        if not self._is_known_free(path) and not self._look_ahead(number, path):
            stem, attempt = path, 1
            while is_taken(path):
                attempt += 1
                path = f"{stem}-{attempt}"
        self._made = path
        return path

    def knows(self, number: int) -> bool:
        """Whether `make` will do without a look-up, and so without what is in the tables."""
        return self._is_known_free(f"/memories/{number:06d}")

    def note(self, path: str) -> None:
        """There is a new path, made here or not."""
        if path != self._made and self._free_from <= path <= self._free_to:
            self._free_from = self._free_to = ""

    def _is_known_free(self, path: str) -> bool:
        return self._free_from <= path <= self._free_to and len(path) == len(self._free_to)

    def _look_ahead(self, number: int, path: str) -> bool:
        digits = len(path.rpartition("/")[2])
        end = f"/memories/{min(number + AHEAD, 10**digits - 1):06d}"
        if self._connection.execute(_ANY_TAKEN, (path, end)).fetchone() is not None:
            return False
        self._free_from, self._free_to = path, end
        return True
