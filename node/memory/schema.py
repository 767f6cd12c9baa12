"""The tables of a memory, as ordered migrations, and the check that a file is one of ours.

    versions   the log: one row a write, never changed, never deleted; the database itself refuses both, but
               for an erasure under way (a row `erasing` in meta), which may empty a row and mark it erased
    head       path -> its latest version, its topics, and whether they may be announced; derived from the log
    links      path -> path, both live
    grants     agent -> a path, or all paths below one that ends in /
    words      FTS5 over the terms of each live memory's latest version; rowid = versions.id

`words` keeps no text: it is fed with terms of `protocol.words`, parted by spaces, so the index knows
exactly the words that digests and queries know. Its column `topics` is the topic index: tags, titles and
names; lighter topics are words of the text and found there. A look-up is one hop for all columns, and a
column of a log-structured table costs a write nearly nothing. (A B-tree row for each topic of each memory
dirtied a dozen pages a write.)
"""

from __future__ import annotations

import secrets
from pathlib import Path

import apsw

from protocol.errors import MemoryUnusable
from protocol.names import AgentName

APPLICATION_ID = 0x41564D31  # "AVM1"

MIGRATIONS: tuple[str, ...] = (
    """
    CREATE TABLE meta (name TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT, WITHOUT ROWID;

    -- The text comes last: whoever wants the other columns need not read its pages.
    CREATE TABLE versions (
        id INTEGER PRIMARY KEY,
        path TEXT NOT NULL,
        version INTEGER NOT NULL,
        previous INTEGER REFERENCES versions (id),
        created_at REAL NOT NULL,
        written_at REAL NOT NULL,
        forgotten INTEGER NOT NULL,
        visibility TEXT NOT NULL,
        importance REAL NOT NULL,
        title TEXT NOT NULL,
        tags TEXT NOT NULL,
        metadata TEXT NOT NULL,
        length_chars INTEGER NOT NULL,
        text TEXT NOT NULL
    ) STRICT;

    CREATE TRIGGER versions_are_never_changed BEFORE UPDATE ON versions
        BEGIN SELECT RAISE(ABORT, 'versions are append-only'); END;
    CREATE TRIGGER versions_are_never_deleted BEFORE DELETE ON versions
        BEGIN SELECT RAISE(ABORT, 'versions are append-only'); END;

    CREATE TABLE head (
        path TEXT PRIMARY KEY,
        latest INTEGER NOT NULL,
        live INTEGER NOT NULL,
        announced INTEGER NOT NULL,
        topics TEXT NOT NULL
    ) STRICT, WITHOUT ROWID;

    -- Terms hold letters, digits and _ . ' only; `ascii` takes everything beyond ASCII as part of a term.
    CREATE VIRTUAL TABLE words USING fts5 (
        title, text, topics,
        content = '', contentless_delete = 1, detail = full,
        tokenize = "ascii tokenchars '_.'''"
    );
    -- Merging later, 8 segments at a time and not 4, makes a write a tenth cheaper.
    INSERT INTO words (words, rank) VALUES ('automerge', 8);
    CREATE VIRTUAL TABLE vocabulary USING fts5vocab (words, row);
    """,
    """
    ALTER TABLE versions ADD COLUMN expires_at REAL;
    ALTER TABLE versions ADD COLUMN erased INTEGER NOT NULL DEFAULT 0;
    ALTER TABLE head ADD COLUMN expires_at REAL;
    -- NULL for what was written before this schema: it is not compared with later texts.
    ALTER TABLE head ADD COLUMN sketch INTEGER;
    CREATE INDEX head_by_expiry ON head (expires_at) WHERE expires_at IS NOT NULL;

    DROP TRIGGER versions_are_never_changed;
    CREATE TRIGGER versions_are_never_changed BEFORE UPDATE ON versions
        WHEN NOT EXISTS (SELECT 1 FROM meta WHERE name = 'erasing')
            OR (new.title, new.tags, new.metadata, new.length_chars, new.text, new.erased)
                IS NOT ('', '', '', 0, '', 1)
            OR (new.id, new.path, new.version, new.previous, new.created_at, new.written_at, new.forgotten)
                IS NOT (old.id, old.path, old.version, old.previous, old.created_at, old.written_at,
                        old.forgotten)
        BEGIN SELECT RAISE(ABORT, 'versions are append-only'); END;

    CREATE TABLE links (
        path TEXT NOT NULL,
        target TEXT NOT NULL,
        kind TEXT NOT NULL,
        weight REAL NOT NULL,
        PRIMARY KEY (path, target, kind)
    ) STRICT, WITHOUT ROWID;
    CREATE INDEX links_by_target ON links (target, path, kind);

    CREATE TABLE grants (
        agent TEXT NOT NULL,
        path TEXT NOT NULL,
        PRIMARY KEY (agent, path)
    ) STRICT, WITHOUT ROWID;
    """,
    """
    CREATE TABLE vectors (id INTEGER PRIMARY KEY, scale REAL NOT NULL, vector BLOB NOT NULL) STRICT;
    """,
    """
    DROP TABLE vocabulary;
    CREATE VIRTUAL TABLE occurrences USING fts5vocab (words, instance);
    """,
)
VERSION = len(MIGRATIONS)


def prepare(connection: apsw.Connection, path: Path, agent: AgentName) -> None:
    """Check that `path` is `agent`'s memory and bring it to `VERSION`; a new file becomes one.

    Raises MemoryUnusable for a foreign database, another agent's or a newer one; nothing is written then.
    """
    application = connection.pragma("application_id")
    found = connection.pragma("user_version")
    tables = connection.execute("SELECT count(*) FROM sqlite_schema").get
    if application != APPLICATION_ID and (application or found or tables):
        raise MemoryUnusable(f"{path}: a database, but no memory of an agent; give another file")
    if found > VERSION:
        raise MemoryUnusable(f"{path}: schema {found}, this program knows up to {VERSION}; upgrade avm-mesh")
    if found:
        owner = connection.execute("SELECT value FROM meta WHERE name = 'agent'").get
        if owner != agent:
            raise MemoryUnusable(f"{path}: the memory of agent {owner!r}, not of {agent!r}")
    if found == VERSION:
        return
    with connection:
        for number in range(found, VERSION):
            connection.execute(MIGRATIONS[number])
        if not found:
            made = [("agent", agent), ("instance", str(secrets.randbits(63))), ("incarnation", "0")]
            connection.executemany("INSERT INTO meta (name, value) VALUES (?, ?)", made)
        connection.pragma("application_id", APPLICATION_ID)
        connection.pragma("user_version", VERSION)
