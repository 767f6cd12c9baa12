"""What a memory wants done now and then, in a thread of its own: to bury what has expired, to finish an
erasure that could not be finished at once, and, while nobody writes, to merge the full-text index and to
count tokens."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from functools import partial

from node.memory.store import Store
from node.recall.counting import count_some
from protocol.errors import MeshError, NodeClosed

_log = logging.getLogger(__name__)

EVERY_S = 5.0
"""Seconds between two rounds. What expires is in no answer all the same; only its topics stay announced
until it is buried. Lower wakes an idle process more often."""

_PAUSE_S = 0.005


class Housekeeper:
    """Looks after one store; `on_change` is called when it buried something."""

    def __init__(self, store: Store, on_change: Callable[[], None], *, every_s: float = EVERY_S) -> None:
        self._store, self._on_change, self._every_s = store, on_change, every_s
        self._closed = threading.Event()
        self._written = self._merged = 0  # The log's last version in the round before; when all was merged.
        self._trouble = ""
        self._thread = threading.Thread(target=self._run, name="avm-housekeeper", daemon=True)

    def start(self) -> None:
        """The first round comes after `every_s`."""
        self._thread.start()

    def close(self) -> None:
        """End the thread. May be called twice."""
        self._closed.set()
        if self._thread.is_alive():
            self._thread.join()

    def tidy(self) -> None:
        """One round."""
        if self._store.sweep():
            self._on_change()
        self._store.finish_erasing()
        written, self._written = self._written, self._store.last_id
        if written != self._written:
            return
        if written != self._merged and self._until_written(self._store.merge_index):
            self._merged = written
        self._until_written(partial(count_some, self._store))

    def _until_written(self, step: Callable[[], bool]) -> bool:
        """Repeat `step` until there is no more to do (true), or something is written: whoever writes is to
        wait for one small step at most.
        """
        while self._store.last_id == self._written and not self._closed.wait(_PAUSE_S):
            if not step():
                return True
        return False

    def _run(self) -> None:
        while not self._closed.wait(self._every_s):
            try:
                self.tidy()
                self._trouble = ""
            except NodeClosed:
                return
            except MeshError as error:
                if str(error) != self._trouble:  # A full disk stays full for many rounds.
                    _log.warning("could not look after the memory, will try again: %s", error)
                self._trouble = str(error)
