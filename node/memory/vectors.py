"""Vectors beside the log: one of the latest version of each live memory, in eight bits a number.

The log itself is the queue. A cursor in `meta` says up to which version everything has been embedded; it
moves in the transaction that stores the vectors, so a crash loses no work and a write pays nothing. Vectors
of another model than the one in use are dropped, and the cursor goes back to the start.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence

import apsw
import msgspec
import numpy as np
from msgspec import json
from numpy.typing import NDArray

from node.memory import access
from node.memory.commit import GroupCommit
from node.memory.database import Readers

Vectors = NDArray[np.float32]

_PENDING = """
    SELECT v.id, v.previous, h.latest IS NOT NULL, v.title, v.text
    FROM versions v LEFT JOIN head h ON h.path = v.path AND h.latest = v.id AND h.live
    WHERE v.id > ? ORDER BY v.id LIMIT ?"""
_ALL = """
    SELECT x.id, x.scale, x.vector FROM vectors x JOIN versions v ON v.id = x.id
    JOIN head h ON h.path = v.path AND h.latest = v.id AND h.live"""
_READABLE = f"""
    SELECT v.id FROM json_each(?2) wanted JOIN versions v ON v.id = wanted.value
    JOIN head h ON h.path = v.path AND h.latest = v.id AND h.live
    WHERE {access.condition("v", "?1")}"""
_MOST_CHARS = 4_096  # Of a text; the model reads 256 tokens.


class Pending(msgspec.Struct, frozen=True):
    """The next stretch of the log: what to embed, which vectors are out of date, and where it ends."""

    ids: list[int]
    texts: list[str]
    superseded: list[int]
    upto: int


class VectorTable:
    """Of one store. From any thread."""

    def __init__(self, connection: apsw.Connection, commits: GroupCommit, readers: Readers) -> None:
        self._connection, self._commits, self._readers = connection, commits, readers

    def use(self, model: str) -> None:
        """From now on vectors are `model`'s; those of another one are dropped."""

        def job() -> None:
            execute = self._connection.execute
            found = execute("SELECT value FROM meta WHERE name = 'vectors_model'").get
            if found != model:
                execute("DELETE FROM vectors")
                execute("INSERT OR REPLACE INTO meta (name, value) VALUES ('vectors_model', ?)", (model,))
                execute("INSERT OR REPLACE INTO meta (name, value) VALUES ('vectors_upto', '0')")

        self._commits.run(job)

    def pending(self, limit: int) -> Pending | None:
        """The next `limit` versions of the log; None where everything is embedded."""
        connection = self._readers.get()
        after = int(connection.execute("SELECT value FROM meta WHERE name = 'vectors_upto'").get)
        rows = list(connection.execute(_PENDING, (after, limit)))
        if not rows:
            return None
        wanted = [(at, title, text) for at, _, live, title, text in rows if live]
        return Pending(
            [at for at, _, _ in wanted],
            [_said(title, text) for _, title, text in wanted],
            [previous for _, previous, _, _, _ in rows if previous is not None],
            rows[-1][0],
        )

    def readable(self, ids: Sequence[int], readable: Collection[str]) -> frozenset[int]:
        """Those of these versions that are the latest of a live memory and `readable`, see `access`."""
        values = (json.encode(sorted(readable)).decode(), json.encode(list(ids)).decode())
        return frozenset(at for (at,) in self._readers.rows(_READABLE, values))

    def add(self, pending: Pending, vectors: Vectors) -> None:
        """Store the vectors of `pending`, drop what they supersede, move the cursor: one transaction."""
        scales = np.maximum(np.abs(vectors).max(axis=1, initial=0.0), 1e-12) / 127.0
        small = np.rint(vectors / scales[:, None]).astype(np.int8)
        rows = [
            (at, float(scale), row.tobytes())
            for at, scale, row in zip(pending.ids, scales, small, strict=True)
        ]

        def job() -> None:
            execute = self._connection.execute
            for row in rows:
                execute("INSERT OR REPLACE INTO vectors (id, scale, vector) VALUES (?, ?, ?)", row)
            for at in pending.superseded:
                execute("DELETE FROM vectors WHERE id = ?", (at,))
            execute("UPDATE meta SET value = ? WHERE name = 'vectors_upto'", (str(pending.upto),))

        self._commits.run(job)

    def stored(self, batch: int = 4_096) -> Iterator[tuple[list[int], Vectors]]:
        """All vectors of live memories, in batches."""
        ids: list[int] = []
        scales: list[float] = []
        rows: list[bytes] = []
        for at, scale, vector in self._readers.get().execute(_ALL):
            ids.append(at)
            scales.append(scale)
            rows.append(vector)
            if len(ids) == batch:
                yield ids, _floats(scales, rows)
                ids, scales, rows = [], [], []
        if ids:
            yield ids, _floats(scales, rows)


def _floats(scales: Sequence[float], rows: Sequence[bytes]) -> Vectors:
    small = np.frombuffer(b"".join(rows), np.int8).reshape(len(rows), -1)
    floats: Vectors = small.astype(np.float32) * np.asarray(scales, np.float32)[:, None]
    return floats


def _said(title: str, text: str) -> str:
    beginning = text[:_MOST_CHARS]
    return beginning if not title or beginning.startswith(title) else f"{title}\n{beginning}"
