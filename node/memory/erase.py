"""The right to be forgotten: what a memory said is removed from every table, index and file.

The skeleton stays: path, version numbers, times, each version marked erased, and a tombstone that logs the
erasure. The steps are two. The first is part of a transaction and takes the text out of every table; a row
in meta says that an erasure is under way, which is also what lets the log's triggers pass. The second
rewrites the files, so that no free page, no dead index entry and no frame of the write-ahead log holds what
was erased, and then removes that row. Where the second was interrupted it is done at the next opening.
"""

from __future__ import annotations

import apsw

_MARK = "INSERT OR REPLACE INTO meta (name, value) VALUES ('erasing', '1')"
_UNMARK = "DELETE FROM meta WHERE name = 'erasing'"
_IS_MARKED = "SELECT count(*) FROM meta WHERE name = 'erasing'"
_LOG = """
    WITH RECURSIVE log (id) AS (
        SELECT latest FROM head WHERE path = ?
        UNION ALL SELECT v.previous FROM log JOIN versions v ON v.id = log.id WHERE v.previous IS NOT NULL)"""
_EMPTY = f"""{_LOG}
    UPDATE versions SET title = '', tags = '', metadata = '', length_chars = 0, text = '', erased = 1,
        visibility = 'private', importance = 0.0, expires_at = NULL
    WHERE id IN (SELECT id FROM log)"""


def empty(connection: apsw.Connection, path: str) -> None:
    """Take what all versions at `path` said, and its grants, out of the tables; part of a transaction."""
    connection.pragma("secure_delete", True)
    connection.execute(_MARK)
    connection.execute(_EMPTY, (path,))
    connection.execute(f"{_LOG} DELETE FROM vectors WHERE id IN (SELECT id FROM log)", (path,))
    connection.execute("DELETE FROM grants WHERE path = ?", (path,))


def is_unfinished(connection: apsw.Connection) -> bool:
    """Whether the files may still hold what the tables do not."""
    marked: int = connection.execute(_IS_MARKED).get
    return marked > 0


def rewrite_files(connection: apsw.Connection) -> None:
    """Leave in the files only what is in the tables. Takes as long as copying them; no transaction is open.

    The copy of a large memory goes through a temporary file, not through our own memory.
    """
    connection.execute("INSERT INTO words (words) VALUES ('optimize')")
    connection.pragma("temp_store", "file")
    try:
        connection.execute("VACUUM")
    finally:
        connection.pragma("temp_store", "memory")
    connection.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_TRUNCATE)
    connection.execute(_UNMARK)
    connection.pragma("secure_delete", False)
