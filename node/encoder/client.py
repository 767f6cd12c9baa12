"""A node's side of the encoder: ask its process for vectors, and start it where it does not run.

Invariants
1. No call waits longer than its caller said, whatever the encoder does.
2. A process that died is replaced; a request that died with it is asked again, which is harmless.
3. A process that cannot start is not started again for `RETRY_S`; until then the reason is raised at once.
"""

from __future__ import annotations

import contextlib
import itertools
import logging
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from hashlib import sha256
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from node.encoder import wire
from node.encoder.errors import BY_CODE, EncoderUnavailable
from node.encoder.weights import WIDTH, why_unavailable

log = logging.getLogger(__name__)

RETRY_S = 30.0
"""After the encoder's process failed to start."""
COLD_S = 30.0
"""Default patience. From cold to the first answer takes about a second."""
_STEP_S = 0.01
_RESPAWN_S = 0.3
_CHUNK_BYTES = 1 << 18
_CHUNK_TEXTS = 128
_TRIES = 4

Vectors = NDArray[np.float32]


class EncoderClient:
    """Vectors from this host's encoder. Safe to use from several threads; each waits for its own answers.

    `model` is empty for the packaged one or a folder, `engine` is auto, onnx or torch. Clients with the same
    folder, model, engine and device share one process.
    """

    def __init__(
        self,
        runtime_dir: Path,
        *,
        model: str = "",
        engine: str = "auto",
        device: str = "cpu",
        threads: int = 0,
        idle_s: float = 300.0,
    ) -> None:
        where = str(Path(model).expanduser().absolute()) if model else ""
        key = sha256(f"{wire.FORMAT} {where} {engine} {device}".encode()).hexdigest()[:12]
        self.path = runtime_dir / f"encoder-{key}.sock"
        self.log_path = self.path.with_suffix(".log")
        self._options = [f"--model={where}", f"--engine={engine}", f"--device={device}"]
        self._options += [f"--threads={threads}", f"--idle-s={idle_s:g}"]
        self._missing = why_unavailable(model)
        self._numbers = itertools.count(1)
        self._idle: list[socket.socket] = []
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._started = self._blocked_until = 0.0
        self._failure = ""
        self._width = 0 if model else WIDTH
        self._closed = False

    def embed(self, texts: Sequence[str], *, bulk: bool = False, timeout_s: float = COLD_S) -> Vectors:
        """One unit vector a text, float32 (texts, width), in their order.

        `bulk` lets the queries of others go first. Of a text only the first 256 tokens count. Raises
        EncoderUnavailable where there is none in time, EncoderRefused where too much waits there.
        """
        deadline = time.monotonic() + timeout_s
        if not texts:
            return np.empty((0, self._width), np.float32)
        parts = [self._ask(chunk, "bulk" if bulk else "query", deadline) for chunk in _chunks(texts)]
        return np.concatenate(parts)

    def try_query(self, text: str, wait_s: float) -> Vectors | None:
        """The text's vector (width,), or None where there is none within `wait_s`.

        A cold encoder is started, so that a later query finds it warm. Never raises for want of an encoder.
        """
        try:
            vector: Vectors = self._ask([wire.sendable(text)], "query", time.monotonic() + wait_s)[0]
        except tuple(BY_CODE.values()) as error:
            log.debug("no vector for a query: %s", error)
            return None
        return vector

    def warm_up(self) -> None:
        """Start the process if it does not run; do not wait for it. Raises EncoderUnavailable at once."""
        with contextlib.suppress(TimeoutError):
            self._keep(self._connect(time.monotonic()))

    def stop_server(self, timeout_s: float = 10.0) -> bool:
        """End the process, whoever started it; True where one ran. Requests that wait there are lost."""
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as stream:
            stream.settimeout(timeout_s)
            try:
                stream.connect(str(self.path))
                stream.sendall(wire.frame([0, "stop", []]))
                while stream.recv(1):
                    pass
                ran = True
            except OSError:
                ran = False
        process = self._process
        if process is not None:
            if not ran:
                process.terminate()  # It is about to listen, or to find that another does.
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(timeout_s)
        for child in list(_children) if ran else ():  # It may be that of a client that was closed.
            if str(self.path) in map(str, child.args if isinstance(child.args, list) else ()):
                with contextlib.suppress(subprocess.TimeoutExpired):
                    child.wait(timeout_s)
        return ran

    def close(self) -> None:
        """Close the connections. The process stays, for others and until it has been idle for long."""
        with self._lock:
            self._closed = True
            idle, self._idle = self._idle, []
            process = self._process
        for stream in idle:
            stream.close()
        if process is not None and process.poll() is None:
            _children.append(process)

    def __enter__(self) -> EncoderClient:
        return self

    def __exit__(self, *_exception: object) -> None:
        self.close()

    def _ask(self, texts: list[str], kind: wire.Kind, deadline: float) -> Vectors:
        reason = "it ended at each try"
        for _ in range(_TRIES):
            try:
                stream = self._take(deadline)
            except TimeoutError:
                raise EncoderUnavailable("the encoder does not run yet; ask again later") from None
            try:
                answer = self._exchange(stream, [next(self._numbers), kind, texts], deadline)
            except TimeoutError:
                stream.close()
                raise EncoderUnavailable("the encoder did not answer in time; ask again later") from None
            except (OSError, EOFError, wire.Malformed) as error:
                stream.close()
                reason = str(error) or type(error).__name__
                continue
            self._keep(stream)
            return self._vectors(answer, len(texts))
        raise EncoderUnavailable(f"the encoder failed: {reason}; see {self.log_path}")

    def _exchange(self, stream: socket.socket, request: list[object], deadline: float) -> tuple[object, ...]:
        stream.settimeout(max(deadline - time.monotonic(), 1e-3))
        stream.sendall(wire.frame(request))
        while True:
            size = wire.body_length(_receive(stream, wire.HEADER_BYTES, deadline))
            answer = wire.read_answer(_receive(stream, size, deadline))
            if answer[0] == request[0]:
                return answer

    def _vectors(self, answer: tuple[object, ...], count: int) -> Vectors:
        _, good, first, second = answer
        if not good:
            raise BY_CODE.get(str(first), EncoderUnavailable)(str(second))
        if first != count or not isinstance(second, bytes) or not second or len(second) % (2 * count):
            raise EncoderUnavailable("the encoder's answer does not fit the request")
        vectors = np.frombuffer(second, "<f2").reshape(count, -1).astype(np.float32)
        self._width = vectors.shape[1]
        return vectors

    def _take(self, deadline: float) -> socket.socket:
        with self._lock:
            if self._closed:
                raise EncoderUnavailable("this client is closed")
            if self._idle:
                return self._idle.pop()
        return self._connect(deadline)

    def _keep(self, stream: socket.socket) -> None:
        with self._lock:
            if self._process is not None:
                self._process.poll()  # One that found another running has ended: no zombie stays.
            if not self._closed:
                self._idle.append(stream)
                return
        stream.close()

    def _connect(self, deadline: float) -> socket.socket:
        """Raises TimeoutError where nobody listens in time; one try and one start in any case."""
        while True:
            stream = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            try:
                stream.settimeout(max(deadline - time.monotonic(), 1e-3))
                stream.connect(str(self.path))
            except (FileNotFoundError, ConnectionRefusedError, BlockingIOError):
                stream.close()
            except TimeoutError:
                stream.close()
                raise
            except OSError as error:
                stream.close()
                raise EncoderUnavailable(f"{self.path}: {error.strerror or error}") from error
            else:
                return stream
            self._start()
            left = deadline - time.monotonic()
            if left <= 0:
                raise TimeoutError
            time.sleep(min(_STEP_S, left))

    def _start(self) -> None:
        if self._missing:
            raise EncoderUnavailable(self._missing)
        with self._lock:
            now = time.monotonic()
            if now < self._blocked_until:
                raise EncoderUnavailable(self._failure)
            status = self._process.poll() if self._process is not None else 0
            if status is None or now < self._started + _RESPAWN_S:
                return
            if status > 0:  # Below 0 a signal ended it: start another.
                self._process, self._blocked_until = None, now + RETRY_S
                self._failure = f"the encoder ended with status {status}: {self._last_words()}"
                raise EncoderUnavailable(self._failure)
            self._started = now
            try:
                self._process = self._spawn()
            except OSError as error:
                raise EncoderUnavailable(f"{self.path.parent}: {error.strerror or error}") from error

    def _spawn(self) -> subprocess.Popen[bytes]:
        self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.path.parent.chmod(0o700)  # Refused where it is another user's: that one could read our texts.
        _children[:] = [child for child in _children if child.poll() is None]
        with self.log_path.open("ab") as errors:
            # -P: a folder called `node` where the user happens to stand must not shadow ours.
            return subprocess.Popen(
                [sys.executable, "-P", "-m", "node.encoder.server", str(self.path), *self._options],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=errors,
                env=os.environ | {"TOKENIZERS_PARALLELISM": "false"},
                start_new_session=True,
            )

    def _last_words(self) -> str:
        try:
            words = self.log_path.read_text(errors="replace").strip().splitlines()
        except OSError:
            words = []
        return words[-1] if words else "no word"


_children: list[subprocess.Popen[bytes]] = []
"""Encoders that outlived the client that started them; kept so that their end is noticed."""


def _chunks(texts: Sequence[str]) -> Iterator[list[str]]:
    """Requests of a size that the encoder takes, and that let others in between."""
    chunk: list[str] = []
    size = 0
    for text in map(wire.sendable, texts):
        length = 4 * len(text)
        if chunk and (len(chunk) == _CHUNK_TEXTS or size + length > _CHUNK_BYTES):
            yield chunk
            chunk, size = [], 0
        chunk.append(text)
        size += length
    yield chunk


def _receive(stream: socket.socket, count: int, deadline: float) -> bytes:
    data = bytearray()
    while len(data) < count:
        stream.settimeout(max(deadline - time.monotonic(), 1e-3))
        part = stream.recv(min(count - len(data), 1 << 18))
        if not part:
            raise EOFError("the connection ended")
        data += part
    return bytes(data)
