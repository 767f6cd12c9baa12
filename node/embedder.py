"""Embeds what is remembered, in a thread of its own, by the host's encoder; finds what is near a question.

A write never waits for it: until a memory is embedded it is found by its words. Where no encoder can be had
the reason is kept for `status`, and tried again later. Where no node runs there is no thread: a recall then
uses the vectors that are stored, and embeds what is pending as far as that takes a moment.
"""

from __future__ import annotations

import logging
import math
import threading
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from functools import partial
from typing import Protocol

from node.config import NodeConfig
from node.encoder.client import EncoderClient
from node.encoder.errors import EncoderRefused, EncoderUnavailable
from node.encoder.index import VectorIndex
from node.encoder.meaning import Meaning
from node.encoder.weights import model_identity, why_unavailable
from node.memory.store import Store
from node.memory.vectors import Vectors
from protocol.errors import MeshError, NodeClosed

_log = logging.getLogger(__name__)

_BATCH = 64
_RETRY_S = 30.0
QUERY_S = 0.25
"""How long a question waits for its vector; then it is answered by words alone, and says so."""
COLD_QUERY_S = 2.0
"""The same without a node, whose encoder may have to be started: that takes about a second."""
CATCH_UP_S = 2.0
"""How long a recall without a node may embed what is pending, its encoder started in that time."""
BY_WORDS = "found by words alone: the question had no vector in time"
NONE_EMBEDDED = "found by words alone: no memory has its vector yet"


def why_without(config: NodeConfig) -> str:
    """Why a node with these settings finds nothing by its meaning; empty where it does."""
    if config.vectors == "off":
        return "switched off by the setting vectors"
    return why_unavailable(config.encoder_model)


def embedder_for(store: Store, config: NodeConfig) -> Embedder | None:
    """An embedder as the settings want it, not started; None where `why_without` says why."""
    if why_without(config):
        return None
    return Embedder(store, _client(config), model_identity(config.encoder_model))


def _client(config: NodeConfig) -> EncoderClient:
    return EncoderClient(config.runtime_dir, model=config.encoder_model, device=config.encoder_device)


def why_by_words(embedder: Embedder | None, hops: Mapping[str, int]) -> tuple[str, ...]:
    """A note for an answer in which the memory's vectors should have had a part and had none."""
    if embedder is None or hops["vector"]:
        return ()
    return (BY_WORDS if embedder.embedded() else NONE_EMBEDDED,)


def stop_encoder(config: NodeConfig) -> bool:
    """End the encoder of this host, which would else wait for its idle time; whether one ran."""
    if why_without(config):
        return False
    with _client(config) as client:
        return client.stop_server()


class Encoder(Protocol):
    """What is used of `node.encoder.client.EncoderClient`."""

    def embed(self, texts: Sequence[str], *, bulk: bool, timeout_s: float) -> Vectors:
        """One unit vector a text."""

    def try_query(self, text: str, wait_s: float) -> Vectors | None:
        """The vector of a question, or None where there is none in time."""

    def close(self) -> None:
        """Close the connections."""


class Embedder:
    """Of one store. Call `changed` after every write."""

    def __init__(self, store: Store, encoder: Encoder, model: str) -> None:
        self._store, self._encoder, self._model = store, encoder, model
        self._index = VectorIndex()
        self._changed = threading.Event()
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._run, name="avm-embedder", daemon=True)
        self._is_loaded = False
        self._catching_up = threading.Lock()
        self._query_s = COLD_QUERY_S
        self.trouble = ""

    def start(self) -> None:
        """Begin to embed."""
        self._query_s = QUERY_S
        self._changed.set()
        self._thread.start()

    def changed(self) -> None:
        """Something was written; returns at once."""
        self._changed.set()

    def catch_up(self) -> None:
        """Embed everything now, in this thread; for who never calls `start`."""
        self._load()
        self._embed_pending(_RETRY_S)

    def catch_up_within(self, seconds: float) -> None:
        """Load what is stored and embed what is pending, as far as it takes no longer than about `seconds`.

        For who never calls `start`, from any thread. Why it could not go on is in `trouble`.
        """
        deadline = time.monotonic() + seconds
        if not self._catching_up.acquire(timeout=seconds):
            return
        try:
            if not self._is_loaded:
                self._load()
            self._embed_pending(_RETRY_S, deadline)
            self.trouble = ""
        except NodeClosed:
            raise
        except MeshError as error:
            self.trouble = str(error)
        finally:
            self._catching_up.release()

    def embedded(self) -> int:
        """How many memories have their vector."""
        return len(self._index)

    def understand(self, query: str, *, readable: Collection[str] | None = None) -> Meaning | None:
        """The question beside the vectors, of those memories that are `readable`, where given; None without a
        vector in time.
        """
        if not len(self._index):
            return None
        vector = self._encoder.try_query(query, self._query_s)
        if vector is None:
            return None
        if readable is None:
            return Meaning(self._index, vector)
        return Meaning(self._index, vector, partial(self._store.vectors.readable, readable=readable))

    def close(self) -> None:
        """End the thread; the encoder goes on for others. May be called twice."""
        self._closed.set()
        self._changed.set()
        if self._thread.is_alive():
            self._thread.join()
        self._encoder.close()

    def _run(self) -> None:
        try:
            self._until_closed(self._load)
            while not self._closed.is_set():
                self._changed.wait()
                self._changed.clear()
                self._until_closed(partial(self._embed_pending, _RETRY_S))
        except NodeClosed:
            return

    def _until_closed(self, step: Callable[[], None]) -> None:
        """Do `step`, again after a rest where it fails, until it is done or we are closed."""
        while not self._closed.is_set():
            try:
                step()
            except NodeClosed:
                raise
            except MeshError as error:
                if str(error) != self.trouble:
                    _log.warning("no vectors now: %s", error)
                self.trouble = str(error)
                self._closed.wait(_RETRY_S)
            else:
                self.trouble = ""
                return

    def _load(self) -> None:
        self._store.vectors.use(self._model)
        for ids, vectors in self._store.vectors.stored():
            self._index.add(ids, vectors)
        self._is_loaded = True

    def _embed_pending(self, patience_s: float, deadline: float = math.inf) -> None:
        """All of it, or what can be done by `deadline`. Raises EncoderUnavailable."""
        while not self._closed.is_set():
            pending = self._store.vectors.pending(_BATCH)
            if pending is None:
                return
            left = deadline - time.monotonic()
            if left <= 0:
                return
            try:
                vectors = self._encoder.embed(pending.texts, bulk=True, timeout_s=min(patience_s, left))
            except EncoderRefused as error:
                raise EncoderUnavailable(str(error)) from None
            self._store.vectors.add(pending, vectors)
            self._index.add(pending.ids, vectors)
            self._index.remove(pending.superseded)
