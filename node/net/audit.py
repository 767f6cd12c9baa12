"""The audit log of one member: who asked it for what, and what it decided. Never a word of memory text.

One line of JSON an entry, appended as it is decided, in a file that only its user can read. It is cut at
`MAX_BYTES`: what was written before is kept once, under the same name with `.1`. Where it cannot be written
the member goes on, and says so once: who can fill a disk must not be able to silence a node.

Invariant: two files of `MAX_BYTES` and one entry at most, however much is asked.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections import deque
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Literal

import msgspec

from protocol.errors import StorageFailure

_log = logging.getLogger(__name__)

MAX_BYTES = 8 << 20
_QUESTION_CHARS = 200
_PATHS = 20

Action = Literal["recall", "who-knows"]
Decision = Literal["answered", "refused"]


class AuditEntry(msgspec.Struct, frozen=True, kw_only=True):
    """One decision. `at`: seconds since 1970. `question`: the first 200 characters of what was asked. `gave`:
    how many memories were quoted or agents named; `paths`: the first 20 of them; `reason` of a refusal.
    """

    at: float
    asker: str
    role: str
    action: Action
    question: str
    decision: Decision
    gave: int = 0
    paths: tuple[str, ...] = ()
    reason: str = ""


class AuditLog:
    """Of one member. May be used by several threads."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = threading.Lock()
        self._is_failing = False

    def answered(
        self,
        asker: str,
        role: str,
        action: Action,
        question: str,
        *,
        gave: int,
        paths: Iterable[str] = (),
    ) -> None:
        """`asker` was given this much."""
        self._note(
            AuditEntry(
                at=time.time(),
                asker=asker,
                role=role,
                action=action,
                question=question[:_QUESTION_CHARS],
                decision="answered",
                gave=gave,
                paths=tuple(islice(paths, _PATHS)),
            )
        )

    def refused(self, asker: str, role: str, action: Action, question: str, *, reason: str) -> None:
        """`asker` was given nothing."""
        self._note(
            AuditEntry(
                at=time.time(),
                asker=asker,
                role=role,
                action=action,
                question=question[:_QUESTION_CHARS],
                decision="refused",
                reason=reason[:_QUESTION_CHARS],
            )
        )

    def _note(self, entry: AuditEntry) -> None:
        line = msgspec.json.encode(entry) + b"\n"
        try:
            with self._lock:
                self._append(line)
        except OSError as error:
            if not self._is_failing:
                _log.error("the audit log %s cannot be written: %s", self.path, error.strerror or error)
            self._is_failing = True
        else:
            self._is_failing = False

    def _append(self, line: bytes) -> None:
        handle = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        try:
            os.write(handle, line)
            size = os.fstat(handle).st_size
        finally:
            os.close(handle)
        if size >= MAX_BYTES:
            self.path.replace(_before(self.path))


def read_audit(path: Path, *, limit: int, since: float = 0.0, asker: str = "") -> list[AuditEntry]:
    """The last `limit` entries that are no older than `since` (seconds since 1970) and of this asker, where
    one is named; the oldest first. A line that a crash cut short is passed over.
    """
    found: deque[AuditEntry] = deque(maxlen=limit)
    for line in _lines(path):
        try:
            entry = msgspec.json.decode(line, type=AuditEntry)
        except msgspec.DecodeError:
            continue
        if entry.at >= since and asker in ("", entry.asker):
            found.append(entry)
    return list(found)


def _lines(path: Path) -> Iterator[bytes]:
    for part in (_before(path), path):
        try:
            with part.open("rb") as file:
                yield from file
        except FileNotFoundError:
            continue
        except OSError as error:
            raise StorageFailure(f"{part}: {error.strerror or error}") from error


def _before(path: Path) -> Path:
    return path.with_name(path.name + ".1")
