"""What a memory wants done now and then, in a thread of its own: to bury what has expired,
and to finish an erasure that could not be finished at once."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

from node.memory.store import Store
from protocol.errors import MeshError, NodeClosed

_log = logging.getLogger(__name__)

EVERY_S = 5.0
"""Seconds between two rounds. What expires is in no answer all the same; only its topics stay announced
until it is buried. Lower wakes an idle process more often."""


class Housekeeper:
    """Looks after one store; `on_change` is called when it buried something."""

    def __init__(self, store: Store, on_change: Callable[[], None], *, every_s: float = EVERY_S) -> None:
        self._store, self._on_change, self._every_s = store, on_change, every_s
        self._closed = threading.Event()
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

    def _run(self) -> None:
        while not self._closed.wait(self._every_s):
            try:
                self.tidy()
            except NodeClosed:
                return
            except MeshError as error:
                _log.warning("could not look after the memory, will try again: %s", error)
