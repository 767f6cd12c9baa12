"""What the memory says of its topics, told to the mesh: digest to all, topics to librarians.

A thread of its own follows the store. It waits for a write, collects for a moment, and then rests ten times
as long as the work took, so that a large memory costs a tenth of a core at most.
"""

from __future__ import annotations

import logging
import threading
import time

from node.feeds import LibrarianFeeds
from node.memory.store import Store
from node.net.driver import Driver, now
from protocol.digest import Announced, Digest
from protocol.errors import MeshError
from protocol.keyring import newest

_log = logging.getLogger(__name__)

_COLLECT_S = 0.05
_REST = 10  # Times the work took; a change of a memory of 100,000 topics is told within 3 s.


def announced(store: Store) -> list[Announced]:
    """The topics that may be announced, as the store counts them."""
    return [Announced(term, memories, weight) for term, memories, weight in store.announced_topics()]


class Announcer:
    """Call `changed` after every write, and when the key of the digests is another."""

    def __init__(self, store: Store, driver: Driver, feeds: LibrarianFeeds) -> None:
        self._store, self._driver, self._feeds = store, driver, feeds
        self._changed = threading.Event()
        self._closed = threading.Event()
        self._told: tuple[int, int] | None = None
        self._thread = threading.Thread(target=self._run, name="avm-announcer", daemon=True)

    def start(self) -> None:
        """Tell what is there already, and follow the store from now on."""
        self._changed.set()
        self._thread.start()

    def changed(self) -> None:
        """Something was written; returns at once."""
        self._changed.set()

    def close(self) -> None:
        """End the thread. May be called twice."""
        self._closed.set()
        self._changed.set()
        if self._thread.is_alive():
            self._thread.join()

    def tell(self) -> None:
        """Tell the mesh now, if there is something new."""
        engine = self._driver.peer.engine
        with self._driver.lock:
            epoch, key = newest(engine.gate.keys)
        told = self._store.topics_revision, epoch
        if told == self._told:
            return
        topics = announced(self._store) if engine.record.role == "agent" else []
        digest = Digest.of(topics, key_epoch=epoch, key=key)
        with self._driver.lock:
            peer = self._driver.peer
            peer.perform(now(), peer.engine.set_digest(now(), digest))
            self._feeds.set_topics(topics)
        self._driver.transport.wake()
        self._told = told
        _log.debug("announced %d topics in %d bytes", digest.topics, digest.size_bytes)

    def _run(self) -> None:
        while True:
            self._changed.wait()
            if self._closed.wait(_COLLECT_S):
                return
            self._changed.clear()
            started = time.perf_counter()
            try:
                self.tell()
            except MeshError as error:
                _log.error("could not read the topics to announce, until the next write: %s", error)
            if self._closed.wait(_REST * (time.perf_counter() - started)):
                return
