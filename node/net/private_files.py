"""Small files that nobody but their user may read: keys, certificates, what is known of a mesh.

A file is written whole or not at all, also through a loss of power: a draft beside it, flushed, takes its
place. What others could read is refused rather than closed to them quietly: whoever could read a key may have
it, and the user has to hear of that.

Invariant: a file that is written here is at no moment readable by others.
"""

from __future__ import annotations

import contextlib
import os
import shlex
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Final, TypeVar

import msgspec
from filelock import FileLock, Timeout

from protocol.errors import InvalidInput, MeshError, StorageFailure

_LOCK_S: Final = 60.0  # Hundreds of nodes may start at once, and each waits for a disk.
_LOOK_S: Final = 0.01
_OTHERS: Final = stat.S_IRWXG | stat.S_IRWXO
MAX_BYTES: Final = 16 << 20
"""Of one file: some 40,000 certificates in a ledger."""

T = TypeVar("T")


class Damaged(InvalidInput):
    """A file that is not as we wrote it, or is gone."""


def make_private_folder(folder: Path) -> None:
    """Make it, 0700, or look that it is; `InvalidInput` where others can read it."""
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        _check(folder, folder.stat(), "700")
    except OSError as error:
        raise _failure(folder, error) from error


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Of all threads and processes one at a time is inside. Not to be entered again from within."""
    make_private_folder(folder)
    lock = FileLock(folder / "lock", mode=0o600, thread_local=False)
    try:
        lock.acquire(timeout=_LOCK_S, poll_interval=_LOOK_S)
    except Timeout:
        raise MeshError(
            f"{folder}: another process has held its lock for {_LOCK_S:g} s; see which one, and end it"
        ) from None
    except OSError as error:
        raise _failure(folder / "lock", error) from error
    try:
        yield
    finally:
        lock.release()


def write_private(path: Path, content: bytes) -> None:
    """Put `content` in the place of what is there, in a folder of `make_private_folder`."""
    try:
        handle, draft = tempfile.mkstemp(prefix=f".{path.name}-", suffix=".new", dir=path.parent)  # 0600.
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            os.replace(draft, path)
        except BaseException:
            with contextlib.suppress(OSError):
                os.unlink(draft)
            raise
    except OSError as error:
        raise _failure(path, error) from error


def read_private(path: Path, *, in_any_folder: bool = False) -> bytes | None:
    """What is in it; None where it is not there.

    Raises `InvalidInput` where others can read it or its folder, or it belongs to another user. The folder is
    not looked at for a file that is on its way to ours: `in_any_folder`.
    """
    try:
        if not in_any_folder:
            _check(path.parent, path.parent.stat(), "700")
        handle = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0))  # A pipe is not waited for.
        try:
            found = os.fstat(handle)
            if not stat.S_ISREG(found.st_mode) or found.st_size > MAX_BYTES:
                raise InvalidInput(str(path), "is no file of ours", "move it away")
            _check(path, found, "600")
            with open(handle, "rb", closefd=False) as file:
                return file.read(MAX_BYTES)
        finally:
            os.close(handle)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise _failure(path, error) from error


def decoded(path: Path, content: bytes, kind: type[T], *, fix: str) -> T:
    """`content` of the file `path` as JSON of this kind; `Damaged` with this `fix` where it is none."""
    try:
        return msgspec.json.decode(content, type=kind)
    except (msgspec.DecodeError, ValueError, RecursionError) as error:
        raise Damaged(str(path), f"is damaged ({error})", fix) from None


def _check(path: Path, found: os.stat_result, mode: str) -> None:
    if os.name != "posix":  # Elsewhere the bits say nothing of who may read.
        return
    if found.st_uid != os.geteuid():
        raise InvalidInput(
            str(path), "belongs to another user", f"sudo chown {os.geteuid()} {shlex.quote(str(path))}"
        )
    if found.st_mode & _OTHERS:
        raise InvalidInput(str(path), "can be read by other users", f"chmod {mode} {shlex.quote(str(path))}")


def _failure(path: Path, error: OSError) -> MeshError:
    return StorageFailure(f"{path}: {error.strerror or error}")
