"""The encoder's process: one per host and model, shared by all nodes of a user.

    python -P -m node.encoder.server SOCKET [--model FOLDER] [--engine auto|onnx|torch] [--device cpu]
                                            [--threads N] [--idle-s SECONDS]

Started by the first client that needs it, see `node.encoder.client`; the protocol is in `node.encoder.wire`.

1. One at a time: a lock beside the socket, held to the end. Who does not get it ends with status 0.
2. The socket listens before the model is loaded: early requests wait in it. A model that cannot be loaded is
   told to whoever asks for a few seconds, then the process ends with status 1.
3. One thread: between two batches it reads what came. A query waits for one bulk batch at most,
   which is small while queries come.
4. Memory is bounded: frames, texts in a request, what waits, connections, what a slow reader has not taken.
5. It ends by itself `idle_s` after the last request, and at once by SIGTERM, which it leaves to the system: a
   client whose request is lost asks a new process.
"""

from __future__ import annotations

import argparse
import logging
import os
import selectors
import socket
import sys
import time
from pathlib import Path

import numpy as np
from filelock import FileLock, Timeout

from node.encoder import wire
from node.encoder.batching import Queue
from node.encoder.engine import ENGINES, Engine, load_engine
from node.encoder.errors import EncoderRefused, EncoderUnavailable
from node.encoder.memory import return_unused_memory

log = logging.getLogger(__name__)

BUDGET_TOKENS = 512
"""In a batch. Twice as much is no faster, and lets queries wait twice as long."""
BUDGET_BESIDE_QUERIES_TOKENS = 192
"""While queries come: bulk work loses a tenth, and a query waits 10 to 15 ms instead of 20 to 40."""
QUERIES_S = 1.0
"""How long after the last query more of them are expected."""
MAX_WAITING_TEXTS = 20_000
MAX_WAITING_BYTES = 16 << 20
MAX_CONNECTIONS = 128
MAX_UNREAD_BYTES = 8 << 20
"""Answers a client has not taken; past that it is cut off."""
IDLE_S = 300.0
FAILED_S = 3.0
"""How long a process whose model could not be loaded tells so."""
_READ_BYTES = 1 << 18
_READS = 4
"""From one connection before it is the next one's turn."""


class _Connection:
    def __init__(self, stream: socket.socket) -> None:
        self.stream = stream
        self.came = bytearray()
        self.going = bytearray()
        self.closed = False


class _Job:
    """A request of which vectors are still missing."""

    def __init__(self, connection: _Connection, number: int, count: int, width: int) -> None:
        self.connection, self.number, self.missing = connection, number, count
        self.vectors = np.empty((count, width), "<f2")


class Server:
    """Serves a listening socket until `idle_s` after the last request, or until told to stop."""

    def __init__(self, listener: socket.socket, *, idle_s: float = IDLE_S) -> None:
        self._listener, self._idle_s = listener, idle_s
        self._engine: Engine | None = None
        self._failure: EncoderUnavailable | None = None
        self._queue: Queue[_Job] = Queue(max_texts=MAX_WAITING_TEXTS, max_bytes=MAX_WAITING_BYTES)
        self._connections: set[_Connection] = set()
        self._selector = selectors.DefaultSelector()
        self._stopped = False
        self._last = time.monotonic()
        self._last_query = -QUERIES_S

    def run(self, engine: Engine | EncoderUnavailable) -> None:
        """Answer with this engine, or with why there is none."""
        if isinstance(engine, EncoderUnavailable):
            self._failure, self._idle_s = engine, FAILED_S
        else:
            self._engine = engine
        self._last = time.monotonic()
        self._listener.setblocking(False)
        self._selector.register(self._listener, selectors.EVENT_READ)
        while not self._stopped:
            left = self._last + self._idle_s - time.monotonic()
            if left <= 0 and not self._queue:
                break
            self._poll(0.0 if self._queue else left)
            if self._queue and not self._stopped:
                self._encode_some()

    def close(self) -> None:
        """Close every connection."""
        for connection in list(self._connections):
            self._drop(connection)
        self._selector.close()

    def _poll(self, timeout_s: float) -> None:
        for key, events in self._selector.select(timeout_s):
            if key.fileobj is self._listener:
                self._accept()
                continue
            connection: _Connection = key.data
            if events & selectors.EVENT_WRITE:
                self._flush(connection)
            if events & selectors.EVENT_READ and not connection.closed:
                self._read(connection)

    def _accept(self) -> None:
        try:
            stream, _ = self._listener.accept()
        except OSError:  # It went away before we came, or descriptors ran out.
            return
        if len(self._connections) >= MAX_CONNECTIONS:
            stream.close()
            return
        stream.setblocking(False)
        connection = _Connection(stream)
        self._connections.add(connection)
        self._selector.register(stream, selectors.EVENT_READ, connection)
        self._read(connection)  # A query that came with it goes into the next batch.

    def _read(self, connection: _Connection) -> None:
        """What came, while there is more: an end behind a request is seen before work is done for it."""
        for _ in range(_READS):
            try:
                data = connection.stream.recv(_READ_BYTES)
            except BlockingIOError:
                return
            except OSError:
                data = b""
            if not data:
                self._drop(connection)
            else:
                self._feed(connection, data)
            if connection.closed:
                return

    def _feed(self, connection: _Connection, data: bytes) -> None:
        connection.came += data
        try:
            for body in wire.split_frames(connection.came):
                self._take(connection, wire.read_request(body))
        except wire.Malformed as error:
            log.warning("a connection dropped: %s", error)
            self._drop(connection)

    def _take(self, connection: _Connection, request: wire.Request) -> None:
        self._last = time.monotonic()
        if request.kind == "stop":
            self._stopped = True
            return
        if self._engine is None:
            failure = self._failure or EncoderUnavailable("no model")
            self._send(connection, [request.id, False, failure.code, str(failure)])
            return
        texts = request.texts
        if not 0 < len(texts) <= wire.MAX_TEXTS:
            self._refuse(connection, request.id, f"{len(texts)} texts; 1 to {wire.MAX_TEXTS} are taken")
        elif not self._queue.has_room(texts):
            self._refuse(connection, request.id, f"{len(self._queue)} texts wait already; ask again later")
        else:
            job = _Job(connection, request.id, len(texts), self._engine.width)
            if request.kind == "query":
                self._last_query = time.monotonic()
            short = [text[: wire.MAX_TEXT_CHARS] for text in texts]
            self._queue.add(job, short, self._engine.tokens(short), urgent=request.kind == "query")

    def _refuse(self, connection: _Connection, number: int, why: str) -> None:
        self._send(connection, [number, False, EncoderRefused.code, why])

    def _encode_some(self) -> None:
        assert self._engine is not None
        queried = time.monotonic() - self._last_query < QUERIES_S
        waiting = self._queue.next_batch(BUDGET_BESIDE_QUERIES_TOKENS if queried else BUDGET_TOKENS)
        batch = [piece for piece in waiting if not piece.job.connection.closed]
        if not batch:
            return
        vectors = self._engine.encode([piece.text for piece in batch])
        for piece, vector in zip(batch, vectors, strict=True):
            job = piece.job
            job.vectors[piece.place] = vector
            job.missing -= 1
            if not job.missing:
                self._send(job.connection, [job.number, True, len(job.vectors), job.vectors.tobytes()])
        self._last = time.monotonic()

    def _send(self, connection: _Connection, body: object) -> None:
        if not connection.closed:
            connection.going += wire.frame(body)
            self._flush(connection)

    def _flush(self, connection: _Connection) -> None:
        try:
            while connection.going:
                del connection.going[: connection.stream.send(connection.going)]
        except BlockingIOError:
            pass
        except OSError:
            self._drop(connection)
            return
        if len(connection.going) > MAX_UNREAD_BYTES:
            log.warning("a connection dropped: it does not take its answers")
            self._drop(connection)
            return
        wanted = selectors.EVENT_READ | (selectors.EVENT_WRITE if connection.going else 0)
        self._selector.modify(connection.stream, wanted, connection)

    def _drop(self, connection: _Connection) -> None:
        if not connection.closed:
            connection.closed = True
            self._connections.discard(connection)
            self._selector.unregister(connection.stream)
            connection.stream.close()


def main(arguments: list[str] | None = None) -> int:
    """Serve until idle; the exit status."""
    parser = argparse.ArgumentParser(prog="node.encoder.server", description="Text to vectors for this host.")
    parser.add_argument("socket", type=Path)
    parser.add_argument("--model", default="", help="a folder; empty for the packaged model")
    parser.add_argument("--engine", choices=ENGINES, default="auto")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, default=0)
    parser.add_argument("--idle-s", type=float, default=IDLE_S)
    options = parser.parse_args(arguments)
    logging.basicConfig(
        level="INFO", stream=sys.stderr, format="%(asctime)s %(levelname)s %(name)s: %(message)s"
    )
    path: Path = options.socket
    lock = FileLock(path.with_suffix(".lock"), mode=0o600, thread_local=False)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        return 0
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
            path.unlink(
                missing_ok=True
            )  # Of one that was killed: nobody else listens while we have the lock.
            listener.bind(str(path))
            path.chmod(0o600)
            listener.listen(MAX_CONNECTIONS)
            engine: Engine | EncoderUnavailable
            try:
                engine = load_engine(
                    options.model, options.engine, threads=options.threads, device=options.device
                )
                engine.encode(["warm"])
                return_unused_memory()
                log.info("process %d serves %s by %s", os.getpid(), path.name, engine.name)
            except EncoderUnavailable as error:
                log.error("%s", error)
                engine = error
            server = Server(listener, idle_s=options.idle_s)
            try:
                server.run(engine)
            finally:
                path.unlink(missing_ok=True)
                server.close()
    finally:
        lock.release()
    return 1 if isinstance(engine, EncoderUnavailable) else 0


if __name__ == "__main__":
    sys.exit(main())
