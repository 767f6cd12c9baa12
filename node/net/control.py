"""Commands to a running member, over a socket that only its user can reach.

One frame each way, MessagePack: `[id, method, arguments]` and `[id, true, value]` or
`[id, false, [code, message]]`. Values are the structs that the methods return, as maps.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from typing import Any, TypeVar

import msgspec

from node.net.zeromq import MAX_CONTROL_FRAME_BYTES, ControlConnection
from protocol.effects import Route
from protocol.errors import InvalidInput, MeshError, PeerRefused, WireMismatch, from_code

_log = logging.getLogger(__name__)

T = TypeVar("T")
Commands = Mapping[str, Callable[..., Any]]

_THREADS = 8  # Some of them wait for peers; idle ones are used again before another is started.
_WAITING = 256
_ANSWER_S = 60.0


class Workers:
    """A few threads for what must not hold up the gossip, and a bound on what may wait for them."""

    def __init__(self, name: str, *, threads: int, limit: int) -> None:
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix=name)
        self._room = threading.BoundedSemaphore(limit)
        self.refused = 0

    def submit(self, job: Callable[[], T], done: Callable[[Future[T]], None]) -> bool:
        """Run `job`, then `done` with its outcome; False where too much waits already, or after `close`."""
        if not self._room.acquire(blocking=False):
            self.refused += 1
            return False
        try:
            future = self._pool.submit(job)
        except RuntimeError:
            self._room.release()
            return False
        future.add_done_callback(lambda _: self._room.release())
        future.add_done_callback(done)
        return True

    def close(self) -> None:
        """Finish what runs, drop what waits."""
        self._pool.shutdown(wait=True, cancel_futures=True)


class ControlServer:
    """Answers commands; `send` puts a frame on its way back."""

    def __init__(self, commands: Commands, send: Callable[[Route, bytes], None]) -> None:
        self._commands, self._send = commands, send
        self._workers = Workers("avm-control", threads=_THREADS, limit=_WAITING)

    def on_frame(self, frame: bytes, route: Route) -> None:
        """Take one command; the answer comes from a worker. A frame that is none is dropped."""
        try:
            number, method, arguments = msgspec.msgpack.decode(frame, type=tuple[int, str, dict[str, Any]])
        except (msgspec.DecodeError, msgspec.ValidationError) as error:
            _log.warning("dropped a command that is none: %s", error)
            return
        command = self._commands.get(method)
        if command is None:
            self._fail(route, number, InvalidInput("command", f"{method[:80]!r} is none", "upgrade the node"))
            return
        job = partial(command, **arguments)
        if not self._workers.submit(job, partial(self._answer, route, number)):
            self._fail(route, number, PeerRefused("the node is busy, or closing; try again"))

    def close(self) -> None:
        """Finish the commands that run."""
        self._workers.close()

    def _answer(self, route: Route, number: int, future: Future[Any]) -> None:
        if future.cancelled():
            return
        error = future.exception()
        if error is None:
            self._succeed(route, number, future.result())
        elif isinstance(error, MeshError):
            self._fail(route, number, error)
        elif isinstance(error, TypeError | ValueError):  # What a caller in Python would have got as well.
            self._fail(route, number, InvalidInput("arguments", str(error), "see the command's help"))
        else:
            _log.error("a command failed by our fault", exc_info=error)
            self._fail(route, number, MeshError(f"the node failed: {type(error).__name__}: {error}"))

    def _succeed(self, route: Route, number: int, value: object) -> None:
        try:
            frame = msgspec.msgpack.encode((number, True, value))
        except (TypeError, ValueError, OverflowError) as error:  # Without an answer the client would wait.
            _log.error("an answer cannot be sent", exc_info=error)
            self._fail(route, number, MeshError(f"the node's answer cannot be sent: {error}"))
        else:
            self._send(route, frame)

    def _fail(self, route: Route, number: int, error: MeshError) -> None:
        message = " ".join(str(error).splitlines())
        self._send(route, msgspec.msgpack.encode((number, False, (error.code, message))))


class ControlClient:
    """The other end. One command at a time; several threads take turns, and so does `close`."""

    def __init__(self, path: str) -> None:
        self._connection = ControlConnection(path)
        self._lock = threading.Lock()
        self._number = 0

    def call(self, kind: type[T], method: str, /, *, answer_s: float = _ANSWER_S, **arguments: Any) -> T:
        """Run a command in the node; its value as `kind`. Raises what the node raised.

        `PeerSilent`: no answer in time, or the node ended; it may have been done. `NodeClosed`: it was not.
        """
        with self._lock:
            self._number += 1
            request = _command(self._number, method, arguments)
            number, worked, value = 0, False, msgspec.Raw()
            while number != self._number:  # What answers an earlier command, too late, is passed over.
                reply = self._connection.request(request, timeout_s=answer_s)
                number, worked, value = _decoded(reply, tuple[int, bool, msgspec.Raw])
                request = b""
        if not worked:
            code, message = _decoded(value, tuple[str, str])
            raise from_code(code, message)
        return _decoded(value, kind)

    def close(self) -> None:
        """Close the connection; the node goes on. May be called twice."""
        with self._lock:
            self._connection.close()


def _command(number: int, method: str, arguments: dict[str, Any]) -> bytes:
    try:
        frame = msgspec.msgpack.encode((number, method, arguments))
    except (TypeError, ValueError, OverflowError, RecursionError) as error:
        problem = f"cannot be sent ({error})"
        raise InvalidInput("arguments", problem, "use text, numbers, lists and dicts") from None
    if len(frame) > MAX_CONTROL_FRAME_BYTES:
        problem = f"are {len(frame)} bytes, {MAX_CONTROL_FRAME_BYTES} are allowed"
        raise InvalidInput("arguments", problem, "send less at once")
    return frame


def _decoded(value: bytes | msgspec.Raw, kind: type[T]) -> T:
    try:
        return msgspec.msgpack.decode(value, type=kind)
    except msgspec.MsgspecError as error:
        raise WireMismatch(f"the node answers as another version does ({error}); start it again") from None
