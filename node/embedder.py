"""Embeds what is remembered, in a thread of its own, by the host's encoder; finds what is near a question.

A write never waits for it: until a memory is embedded it is found by its words. Where no encoder can be had
the reason is kept for `status`, and tried again later.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence
from typing import Protocol

from node.config import NodeConfig
from node.encoder.client import EncoderClient
from node.encoder.errors import EncoderRefused, EncoderUnavailable
from node.encoder.index import VectorIndex
from node.encoder.weights import model_identity, why_unavailable
from node.memory.store import Store
from node.memory.vectors import Vectors
from protocol.errors import MeshError, NodeClosed

_log = logging.getLogger(__name__)

_BATCH = 64
_RETRY_S = 30.0
QUERY_S = 0.25
"""How long a question waits for its vector; then it is answered by words alone, and says so."""


def why_without(config: NodeConfig) -> str:
    """Why a node with these settings finds nothing by its meaning; empty where it does."""
    if config.vectors == "off":
        return "switched off by the setting vectors"
    return why_unavailable(config.encoder_model)


def embedder_for(store: Store, config: NodeConfig) -> Embedder | None:
    """An embedder as the settings want it, not started; None where `why_without` says why."""
    if why_without(config):
        return None
    client = EncoderClient(config.runtime_dir, model=config.encoder_model)
    return Embedder(store, client, model_identity(config.encoder_model))


def stop_encoder(config: NodeConfig) -> bool:
    """End the encoder of this host, which would else wait for its idle time; whether one ran."""
    if why_without(config):
        return False
    with EncoderClient(config.runtime_dir, model=config.encoder_model) as client:
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
        self.trouble = ""

    def start(self) -> None:
        """Begin to embed."""
        self._changed.set()
        self._thread.start()

    def changed(self) -> None:
        """Something was written; returns at once."""
        self._changed.set()

    def catch_up(self) -> None:
        """Embed everything now, in this thread; for who never calls `start`."""
        self._load()
        self._embed_pending()

    def embedded(self) -> int:
        """How many memories have their vector."""
        return len(self._index)

    def nearest(self, query: str, count: int) -> list[tuple[int, float]] | None:
        """(version id, cosine) of the `count` nearest, the nearest first; None without a vector in time."""
        if not len(self._index):
            return None
        vector = self._encoder.try_query(query, QUERY_S)
        return None if vector is None else self._index.search(vector, count)

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
                self._until_closed(self._embed_pending)
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

    def _embed_pending(self) -> None:
        while not self._closed.is_set():
            pending = self._store.vectors.pending(_BATCH)
            if pending is None:
                return
            try:
                vectors = self._encoder.embed(pending.texts, bulk=True, timeout_s=_RETRY_S)
            except EncoderRefused as error:
                raise EncoderUnavailable(str(error)) from None
            self._store.vectors.add(pending, vectors)
            self._index.add(pending.ids, vectors)
            self._index.remove(pending.superseded)
