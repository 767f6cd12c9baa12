"""The store: one agent's memory in one SQLite file, for one process, for any number of its threads.

Invariants:
 1. A write that returned is committed: a SIGKILL does not undo it (`normal`), nor a loss of power (`full`).
 2. Versions are only ever appended; a path's version numbers are 1, 2, 3 ... over all its lives.
 3. A read in any thread that begins after a write returned sees it.
 4. What is private is never among the announced topics, nor in a result restricted to other visibilities.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import apsw
import msgspec

from node.memory import database, schema, search
from node.memory.cache import Cache
from node.memory.commit import GroupCommit
from node.memory.database import Durability, Readers
from node.memory.lock import OwnerLock
from node.memory.records import (
    MAX_PAGE,
    Draft,
    Hit,
    Memory,
    Receipt,
    Statistics,
    Summary,
    Version,
    check_count,
    check_draft,
    check_path,
    check_prefix,
    check_query,
)
from node.memory.search import Found, Search
from node.memory.writer import Prepared, Writer, prepare
from protocol.errors import InvalidInput, NotFound
from protocol.names import AgentName
from protocol.topics import query_terms

_COLUMNS = """v.path, v.version, v.title, v.text, v.tags, v.importance, v.visibility, v.created_at,
    v.written_at, v.metadata"""
_READ = f"SELECT {_COLUMNS} FROM head h JOIN versions v ON v.id = h.latest WHERE h.path = ? AND h.live"
_LOG = """
    WITH RECURSIVE log (id) AS (
        SELECT latest FROM head WHERE path = ?
        UNION ALL SELECT v.previous FROM log JOIN versions v ON v.id = log.id WHERE v.previous IS NOT NULL)"""
_READ_VERSION = f"""{_LOG}
    SELECT {_COLUMNS} FROM log JOIN versions v ON v.id = log.id WHERE v.version = ? AND NOT v.forgotten"""
_HISTORY = f"""{_LOG}
    SELECT v.path, v.version, v.written_at, v.title, v.length_chars, v.forgotten
    FROM log JOIN versions v ON v.id = log.id"""
_BROWSE = """
    SELECT v.path, v.version, v.title, v.tags, v.written_at, v.length_chars
    FROM head h JOIN versions v ON v.id = h.latest
    WHERE h.path >= ? AND h.path > ? AND h.path < ? AND h.live ORDER BY h.path LIMIT ?"""
_PAST_EVERY_PATH = "\U0010ffff"

_decode_tags = msgspec.json.Decoder(tuple[str, ...]).decode
_decode_metadata = msgspec.json.Decoder(dict[str, object]).decode


class Store:
    """An agent's memory, opened. May be used by several threads; close it once."""

    def __init__(
        self,
        path: Path,
        agent: AgentName,
        *,
        lock: OwnerLock,
        connection: apsw.Connection,
        cache_entries: int,
        clock: Callable[[], float],
    ) -> None:
        """Use `Store.open`."""
        self.path, self.agent = path, agent
        self._lock, self._connection = lock, connection
        self._cache = Cache(cache_entries)
        self._entries = self._cache.entries
        self._readers = Readers(path)
        self._writer = Writer(connection, path, agent, self._cache, clock)
        self._commits = GroupCommit(self._writer)
        self._search = Search()
        self.instance = int(connection.execute("SELECT value FROM meta WHERE name = 'instance'").get)

    @classmethod
    def open(
        cls,
        path: Path,
        agent: AgentName,
        *,
        durability: Durability = "normal",
        cache_entries: int = 1024,
        clock: Callable[[], float] = time.time,
    ) -> Store:
        """Open `agent`'s memory at `path`, or make it. `cache_entries` = 0 keeps nothing in the process.

        Raises MemoryInUse where another process has it open, MemoryUnusable where the file is not this
        agent's memory or of a newer schema; then nothing was changed.
        """
        path = Path(path)
        if cache_entries:
            check_count("cache_entries", cache_entries)
        connection: apsw.Connection | None = None
        lock = OwnerLock(path)
        try:
            connection = database.open_writer(path, durability)
            schema.prepare(connection, path, agent)
            database.tune_writer(connection, durability)
            return cls(
                path, agent, lock=lock, connection=connection, cache_entries=cache_entries, clock=clock
            )
        except BaseException as error:
            if connection is not None:
                connection.close()
            lock.release()
            if isinstance(error, apsw.Error):
                raise database.translate(error, path) from error
            raise

    def remember(self, draft: Draft) -> Receipt:
        """Commit one memory. The same content at the same path makes no new version."""
        return self._commits.run(partial(self._writer.write, prepare(check_draft(draft))))

    def remember_many(self, drafts: Sequence[Draft]) -> list[Receipt]:
        """Commit all of them in one transaction, or none: a bad one is named as drafts[i]."""
        prepared: list[Prepared] = []
        for at, draft in enumerate(drafts):
            try:
                prepared.append(prepare(check_draft(draft)))
            except InvalidInput as error:
                raise InvalidInput(f"drafts[{at}].{error.field}", error.problem, error.fix) from None
        if not prepared:
            return []
        return self._commits.run(lambda: [self._writer.write(item) for item in prepared])

    def forget(self, path: str) -> Receipt:
        """Append a tombstone. The versions before stay readable by number. Raises NotFound."""
        return self._commits.run(partial(self._writer.forget, check_path(path)))

    def read(self, path: str, version: int | None = None) -> Memory:
        """The latest version at `path`, or the one with that number. Raises NotFound."""
        if version is None:
            entries = self._entries
            try:
                memory = entries[path]
                entries.move_to_end(path)
            except KeyError:
                return self._read_latest(path)
            self._cache.hits += 1
            return memory
        return self._read_version(check_path(path), check_count("version", version))

    def history(self, path: str) -> list[Version]:
        """All versions at `path`, latest first, tombstones too. Raises NotFound where there never was one."""
        rows = self._rows(_HISTORY, (check_path(path),))
        if not rows:
            raise NotFound(f"{path}: nothing was ever remembered there")
        return [
            Version(path=at, version=n, written_at=when, title=title, length_chars=size, forgotten=bool(gone))
            for at, n, when, title, size, gone in rows
        ]

    def browse(self, prefix: str = "/", limit: int = 50, after: str = "") -> list[Summary]:
        """Live memories whose path begins with `prefix`, by path, from the first one past `after`."""
        check_prefix(prefix)
        check_count("limit", limit, MAX_PAGE)
        rows = self._rows(_BROWSE, (prefix, after, prefix + _PAST_EVERY_PATH, limit))
        return [
            Summary(
                path=path,
                version=version,
                title=title,
                tags=_decode_tags(tags) if tags else (),
                updated_at=updated_at,
                length_chars=chars,
            )
            for path, version, title, tags, updated_at, chars in rows
        ]

    def search(
        self, query: str, limit: int = 10, *, visibilities: Collection[str] | None = None
    ) -> list[Hit]:
        """Memories that hold words of `query`, best first; nothing in it is an operator.

        Only those of `visibilities` are looked at, where given.
        """
        check_count("limit", limit, MAX_PAGE)
        wanted = query_terms(check_query(query))
        return [search.hit(found, wanted) for found in self.find(wanted, limit, visibilities=visibilities)]

    def find(
        self, wanted: Sequence[str], limit: int, *, visibilities: Collection[str] | None = None
    ) -> list[Found]:
        """As `search`, by terms from `query_terms`, with whole texts: the candidates of recall."""
        try:
            return self._search.find(self._readers.get(), wanted, limit=limit, visibilities=visibilities)
        except apsw.Error as error:
            raise database.translate(error, self.path) from error

    def announced_topics(self) -> list[tuple[str, int, float]]:
        """(topic, number of listed and mesh memories that carry it, its mean weight there), by topic."""
        listing = self._writer.announced_topics()
        if listing is None:
            self._commits.run(self._writer.start_counting)
            listing = self._writer.announced_topics()
        return listing or []

    @property
    def topics_revision(self) -> int:
        """Changes whenever `announced_topics` may have; compares within one opening only."""
        return self._writer.topics_revision

    def next_incarnation(self) -> int:
        """The number of this life of the node: higher than every one before, kept in the file."""
        return self.raise_incarnation(0)

    def raise_incarnation(self, above: int) -> int:
        """A number higher than `above` and than every one before, kept in the file."""
        return self._commits.run(partial(self._writer.raise_incarnation, above))

    def count(self) -> int:
        """How many memories are live."""
        memories = self._writer.memories()
        if memories is None:
            self._commits.run(self._writer.start_counting)
            memories = self._writer.memories()
        return memories or 0

    def statistics(self) -> Statistics:
        """Sizes and cache counters, now."""
        sizes = (self.path, self.path.with_name(self.path.name + "-wal"))
        return Statistics(
            memories=self.count(),
            versions=self._writer.last_id,
            file_bytes=sum(file.stat().st_size for file in sizes if file.exists()),
            cache_hits=self._cache.hits,
            cache_misses=self._cache.misses,
        )

    def close(self) -> None:
        """Fold the log into the file and let the next owner in. Doing it twice does nothing."""
        self._readers.close()
        self._cache.clear()
        self._commits.close()
        self._connection.close()
        self._lock.release()

    def __enter__(self) -> Store:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _read_latest(self, path: str) -> Memory:
        cache = self._cache
        stamp = cache.stamp(path)
        try:
            row = self._readers.get().execute(_READ, (path,)).fetchone()
        except (apsw.Error, TypeError, ValueError) as error:
            check_path(path)
            if isinstance(error, apsw.Error):
                raise database.translate(error, self.path) from error
            raise
        if row is None:
            raise NotFound(f"{check_path(path)}: nothing is remembered there")
        memory = self._memory(row)
        cache.misses += 1
        cache.fill(memory, stamp)
        return memory

    def _read_version(self, path: str, version: int) -> Memory:
        rows = self._rows(_READ_VERSION, (path, version))
        if not rows:
            raise NotFound(f"{path}: has no version {version} that can be read")
        return self._memory(rows[0])

    def _memory(self, row: tuple[Any, ...]) -> Memory:
        path, version, title, text, tags, importance, visibility, created_at, updated_at, metadata = row
        return Memory(
            agent=self.agent,
            path=path,
            version=version,
            title=title,
            text=text,
            tags=_decode_tags(tags) if tags else (),
            importance=importance,
            visibility=visibility,
            created_at=created_at,
            updated_at=updated_at,
            metadata=_decode_metadata(metadata) if metadata else {},
        )

    def _rows(self, statement: str, values: tuple[Any, ...]) -> list[tuple[Any, ...]]:
        try:
            return list(self._readers.get().execute(statement, values))
        except apsw.Error as error:
            raise database.translate(error, self.path) from error
