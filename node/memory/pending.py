"""What a group of writes leaves to be inserted, many rows with one call: half of a small insert is the call.

Invariants:
 1. `settle` writes all versions and heads so far: whoever reads those tables within a transaction calls it.
 2. Index rows are written last before COMMIT: FTS5 flushes what it holds, 40 us, whenever a statement with
    triggers begins, so a row in between would pay that for each write of a group.
"""

from __future__ import annotations

from typing import Any

import apsw

from node.memory.prepared import Prepared

_INSERT_VERSION = """
    INSERT INTO versions (id, path, version, previous, created_at, written_at, forgotten, visibility,
                          importance, title, tags, metadata, length_chars, text, expires_at,
                          erased)
    VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"""
_INSERT_HEAD = """
    INSERT INTO head (latest, live, announced, topics, expires_at, sketch, path)
    VALUES (?, ?, ?, ?, ?, ?, ?)"""
_UPDATE_HEAD = """
    UPDATE head SET latest = ?, live = ?, announced = ?, topics = ?, expires_at = ?, sketch = ?
    WHERE path = ?"""
_INSERT_WORDS = "INSERT INTO words (rowid, title, text, topics) VALUES (?, ?, ?, ?)"
_DELETE_WORDS = "DELETE FROM words WHERE rowid = ?"
_MERGE_FROM = "INSERT INTO words (words, rank) VALUES ('usermerge', 2)"  # Segments; as few as there may be.
_MERGE = "INSERT INTO words (words, rank) VALUES ('merge', ?)"

Row = tuple[Any, ...]


class Pending:
    """Rows of one transaction. `born`: by version id, path and content of what it wrote and lives; `gone`:
    ids of what lived before and lives no more.
    """

    def __init__(self, connection: apsw.Connection) -> None:
        self._connection = connection
        self._versions: list[Row] = []
        self._heads: list[Row] = []
        self._moved: list[Row] = []
        self.gone: list[int] = []
        self.born: dict[int, tuple[str, Prepared]] = {}

    def append(self, version: Row, head: Row, *, is_first: bool) -> None:
        """A row of the log, and the head it becomes: a path's first, or one in place of another."""
        self._versions.append(version)
        (self._heads if is_first else self._moved).append(head)

    def bury(self, version_id: int) -> None:
        """A version lives no more."""
        if self.born.pop(version_id, None) is None:
            self.gone.append(version_id)

    def settle(self) -> None:
        """Write the versions and heads; a path's first head before those that take its place."""
        run = self._connection.executemany
        for statement, rows in (
            (_INSERT_VERSION, self._versions),
            (_INSERT_HEAD, self._heads),
            (_UPDATE_HEAD, self._moved),
        ):
            if rows:
                run(statement, rows)
                rows.clear()

    def finish(self) -> None:
        """Write all; COMMIT follows."""
        self.settle()
        if self.gone:
            self._connection.executemany(_DELETE_WORDS, [(gone,) for gone in self.gone])
        if self.born:
            rows = [(at, *words) for at, words in self.index_rows().items()]
            self._connection.executemany(_INSERT_WORDS, rows)

    def index_rows(self) -> dict[int, tuple[str, str, str]]:
        """By version id the terms of title, text and topics, each as one text."""
        return {at: item.words for at, (_, item) in self.born.items()}

    def merge_words(self, pages: int) -> bool:
        """Merge about so many pages of the index's segments into fewer; whether there were any to merge."""
        connection = self._connection
        connection.execute(_MERGE_FROM)
        before = connection.total_changes()
        connection.execute(_MERGE, (pages,))
        return connection.total_changes() - before >= 2  # As the manual of FTS5 says it is to be told.

    def clear(self) -> None:
        """Forget all: it was committed, or is not to be."""
        self._versions.clear()
        self._heads.clear()
        self._moved.clear()
        self.gone.clear()
        self.born.clear()
