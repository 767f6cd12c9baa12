"""An encoder that ends with the test: a process with real weights, or a thread with an engine of paper."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from node.encoder.client import EncoderClient
from node.encoder.engine import Engine, Vectors
from node.encoder.errors import EncoderUnavailable
from node.encoder.server import Server
from node.encoder.weights import why_unavailable

MakeClient = Callable[..., EncoderClient]
Serve = Callable[..., EncoderClient]


class PaperEngine:
    """A text's vector points along the axis of its length. Waits for `gate` before each batch."""

    name = "paper"
    width = 8

    def __init__(self) -> None:
        self.gate = threading.Event()
        self.gate.set()
        self.entered = threading.Event()
        self.batches: list[list[str]] = []

    def tokens(self, texts: Sequence[str]) -> list[int]:
        return [max(1, len(text)) for text in texts]

    def encode(self, texts: Sequence[str]) -> Vectors:
        self.batches.append(list(texts))
        self.entered.set()
        assert self.gate.wait(20)
        return np.eye(self.width, dtype=np.float32)[[len(text) % self.width for text in texts]]


@pytest.fixture
def weights() -> None:
    """Skips without the extra."""
    reason = why_unavailable()
    if reason:
        pytest.skip(reason)


@pytest.fixture
def make_client(weights: None, short_folder: Path) -> Iterator[MakeClient]:
    """A factory of clients; the processes they start end with the test."""
    made: list[EncoderClient] = []

    def make(**options: Any) -> EncoderClient:
        made.append(EncoderClient(short_folder, **options))
        return made[-1]

    yield make
    for client in made:
        client.stop_server()
        client.close()


@pytest.fixture
def serve(short_folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Serve]:
    """Serve an engine in a thread; gives a client of it that starts no process."""

    def no_start(self: EncoderClient) -> None:
        raise EncoderUnavailable("the test's server has ended")

    monkeypatch.setattr(EncoderClient, "_start", no_start)
    with ExitStack() as stack:

        def start(engine: Engine | EncoderUnavailable, *, idle_s: float = 60.0) -> EncoderClient:
            client = stack.enter_context(EncoderClient(short_folder))
            listener = stack.enter_context(socket.socket(socket.AF_UNIX))
            listener.bind(str(client.path))
            listener.listen()
            server = Server(listener, idle_s=idle_s)

            def run() -> None:
                server.run(engine)
                listener.close()
                server.close()

            thread = threading.Thread(target=run, name="avm-test-encoder")
            thread.start()
            stack.callback(thread.join, 20)
            stack.callback(client.stop_server)
            return client

        yield start
