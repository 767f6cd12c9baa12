"""How many memories are live, and how many carry each topic: counted at the first question, kept from then
on.

The writer's leader counts what each group changed after its commit; questions come from any thread.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Sequence

import apsw

from node.memory.topic_index import Carried, TopicCounts

Turn = tuple[Carried, Carried]
"""What a path was about, and what it is now."""


class Counts:
    """Of one store; None for whoever asks before `start`, or after a group was rolled back."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._topics: TopicCounts | None = None
        self._memories: int | None = None
        self.revision = 0
        """Changes whenever `announced` may have."""

    def start(self, connection: apsw.Connection, turned: Sequence[Turn]) -> None:
        """Count what the tables hold, within a transaction; `turned`: what it has changed so far."""
        kinds = [
            connection.execute("SELECT topics FROM head WHERE live AND announced = ?", (kind,))
            for kind in (1, 0)
        ]
        topics = TopicCounts(*((topics for (topics,) in rows) for rows in kinds))
        memories: int = connection.execute("SELECT count(*) FROM head WHERE live").get
        with self._lock:
            self.revision += len(turned)
            self._topics, self._memories = topics, memories

    def follow(self, grown: int, turned: Iterable[Turn]) -> None:
        """A group was committed: so many more memories live, and these paths have other topics now."""
        with self._lock:
            if self._memories is not None:
                self._memories += grown
            for old, new in turned:
                if self._topics is not None:
                    self._topics.remove(*old)
                    self._topics.add(*new)
                self.revision += int(old[1] or new[1])

    def forget(self) -> None:
        """Counted in a group that was rolled back, they would hold what is not there."""
        with self._lock:
            self._topics = self._memories = None

    def memories(self) -> int | None:
        """How many are live."""
        return self._memories

    def announced(self) -> list[tuple[str, int, float]] | None:
        """(topic, number of announced memories that carry it, its mean weight there), by topic."""
        with self._lock:
            return None if self._topics is None else self._topics.listing()

    def topics(self) -> dict[str, int] | None:
        """By topic, the live memories that carry it, private ones too."""
        with self._lock:
            return None if self._topics is None else self._topics.all()

    def carriers(self, topics: Iterable[str]) -> dict[str, int] | None:
        """By each of these topics, the live memories that carry it."""
        with self._lock:
            return None if self._topics is None else self._topics.among(topics)
