"""The store: one agent's memory in one SQLite file, for one process, for any number of its threads.

Invariants:
 1. A write that returned is committed: a SIGKILL does not undo it (`normal`), nor a loss of power (`full`).
 2. Versions are only ever appended; a path's version numbers are 1, 2, 3 ... over all its lives.
 3. A read in any thread that begins after a write returned sees it.
 4. A memory is in no answer from the moment it expires: whoever asks first buries it.
 5. What is private is never among the announced topics, nor in a result restricted to other visibilities.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Sequence
from functools import partial
from math import inf
from pathlib import Path
from typing import TypeVar

import apsw

from node.memory import backup, database, schema
from node.memory.backup import Copy, Health
from node.memory.cache import Cache
from node.memory.commit import GroupCommit
from node.memory.counts import Counts
from node.memory.database import Durability, Readers
from node.memory.importer import plan, write_relations
from node.memory.listing import Listing, TopicCount, most_of
from node.memory.lock import OwnerLock
from node.memory.log import Changes, Difference, Log
from node.memory.lookup import Lookup
from node.memory.postings import Postings
from node.memory.prepared import prepare, prepare_all
from node.memory.quota import Quota
from node.memory.records import (
    Draft,
    Hit,
    Memory,
    Receipt,
    Statistics,
    Summary,
    Version,
    check_count,
    check_draft,
    check_expiry,
    check_path,
)
from node.memory.relations import Relations
from node.memory.rows import COLUMNS, memory_of
from node.memory.sizes import Sizes
from node.memory.transfer import Import, Imported
from node.memory.vectors import VectorTable
from node.memory.writer import Writer
from protocol.errors import InvalidInput, NotFound, StorageFailure
from protocol.names import AgentName

_READ = f"SELECT {COLUMNS} FROM head h JOIN versions v ON v.id = h.latest WHERE h.path = ? AND h.live"
NO_QUOTA = Quota()
T = TypeVar("T")
_MERGED_AT_ONCE = 256  # Pages merged in one transaction, 10 ms.
_SWEPT_AT_ONCE = 500  # Memories buried in one transaction; more would keep writers waiting.


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
        quota: Quota,
    ) -> None:
        """Use `Store.open`."""
        self.path, self.agent = path, agent
        self._lock, self._connection = lock, connection
        self._cache = Cache(cache_entries)
        self._entries = self._cache.entries
        self._readers = Readers(path)
        postings = Postings()
        self._counts = Counts()
        self._writer = Writer(connection, path, agent, self._cache, clock, quota, postings, self._counts)
        self._commits = GroupCommit(self._writer)
        self.lookup = Lookup(path, self._readers, postings, self.sweep)
        self.sizes = Sizes()
        self._log = Log(self._readers, agent)
        self._listing = Listing(self._readers)
        self.vectors = VectorTable(connection, self._commits, self._readers)
        self._relations = Relations(connection, self._commits, self._readers, clock)
        self._clock = clock
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
        quota: Quota = NO_QUOTA,
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
                path,
                agent,
                lock=lock,
                connection=connection,
                cache_entries=cache_entries,
                clock=clock,
                quota=quota,
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
        prepared = prepare(self._checked(draft))
        return self._commits.run(partial(self._writer.write_many, (prepared,)), settled=False)[0]

    def remember_many(self, drafts: Sequence[Draft]) -> list[Receipt]:
        """Commit all of them in one transaction, or none: a bad one is named as drafts[i]."""
        checked: list[Draft] = []
        for at, draft in enumerate(drafts):
            try:
                checked.append(self._checked(draft))
            except InvalidInput as error:
                raise InvalidInput(f"drafts[{at}].{error.field}", error.problem, error.fix) from None
        if not checked:
            return []
        return self._commits.run(partial(self._writer.write_many, prepare_all(checked)), settled=False)

    def forget(self, path: str) -> Receipt:
        """Append a tombstone. The versions before stay readable by number. Raises NotFound."""
        return self._commits.run(partial(self._writer.forget, check_path(path)), settled=False)

    def erase(self, path: str) -> Receipt:
        """Remove what all versions at `path` say, from the files too; see `node.memory.erase`.

        Raises NotFound, or StorageFailure where the files could not be rewritten yet.
        """
        receipt = self._commits.run(partial(self._writer.erase, check_path(path)))
        if self._writer.unfinished:
            raise StorageFailure(
                f"{path}: erased, but free parts of the file may still hold it ({self._writer.unfinished}); "
                "it will be tried again"
            )
        return receipt

    def finish_erasing(self) -> None:
        """Rewrite the files where an erasure could not."""
        if self._writer.unfinished:
            self._commits.run(self._writer.erase_again)

    def merge_index(self) -> bool:
        """Merge a small part of the full-text index; whether there may be more to do.

        Writes leave it in many parts, and a search looks into each: that may double or treble its time.
        """
        return self._commits.run(partial(self._writer.merge_words, _MERGED_AT_ONCE), settled=False)

    @property
    def last_id(self) -> int:
        """The last version in the log: another one when something was written."""
        return self._writer.last_id

    def sweep(self) -> int:
        """Bury what has expired; how many there were."""
        buried = 0
        while self._clock() >= self._writer.next_expiry:
            buried += self._commits.run(partial(self._writer.bury_expired, _SWEPT_AT_ONCE))
        return buried

    def read(self, path: str, version: int | None = None, *, at: float | None = None) -> Memory:
        """The latest version at `path`, the one of that number, or the one of that time. Or NotFound."""
        if version is None and at is None:
            entries = self._entries
            if self._writer.next_expiry != inf:
                self.sweep()
            try:
                memory = entries[path]
                entries.move_to_end(path)
            except KeyError:
                return self._read_latest(path)
            self._cache.hits += 1
            return memory
        if version is None:
            assert at is not None
            return self._log.read_at(path, at)
        if at is not None:
            raise InvalidInput("at", "stands beside a version", "give one of the two")
        return self._log.read_version(path, version)

    def history(self, path: str) -> list[Version]:
        """All versions at `path`, latest first, tombstones too. Raises NotFound where there never was one."""
        self.sweep()
        return self._log.history(path)

    def diff(self, path: str, since: int = 0) -> Difference:
        """How the text at `path` differs from its version `since`; whole for 0. Raises NotFound."""
        return self._log.difference(self.read(path), since)

    def changes(self, cursor: int = 0, limit: int = 100, *, since: float = 0.0) -> Changes:
        """Versions in the order they were written, tombstones too, behind `cursor` and from `since` on."""
        self.sweep()
        return self._log.changes(cursor, limit, since)

    def browse(self, prefix: str = "/", limit: int = 50, after: str = "") -> list[Summary]:
        """Live memories whose path begins with `prefix`, by path, from the first one past `after`."""
        self.sweep()
        return self._listing.browse(prefix, limit, after)

    def timeline(self, prefix: str = "/", limit: int = 50, before: int | None = None) -> list[Summary]:
        """Live memories below `prefix`, the latest written first, from the first before that place."""
        self.sweep()
        return self._listing.timeline(prefix, limit, before)

    def topics(self, prefix: str = "/", limit: int = 50) -> list[TopicCount]:
        """What most live memories below `prefix` are about, private ones too. All are counted once."""
        self.sweep()
        if prefix != "/":
            return self._listing.topics(prefix, limit)
        return most_of(self._counted(self._counts.topics), limit)

    @property
    def relations(self) -> Relations:
        """Links between memories, and grants to other agents."""
        self.sweep()
        return self._relations

    def check(self) -> Health:
        """Read every page and compare what is derived from the log with the log."""
        self.sweep()
        return backup.check(self.path)

    def backup(self, target: Path, *, force: bool = False) -> Copy:
        """A copy, as the memory is at one moment, at `target`, which must not exist unless `force`."""
        return backup.backup(self.path, target, force=force)

    def take_over(self, given: Import, name: str) -> Imported:
        """Add what an export holds and is not here yet, all of it or nothing; see `node.memory.transfer`."""

        def job() -> Imported:
            chosen = plan(self._connection, given, name)
            versions = self._writer.take_over(chosen)
            links, grants = write_relations(self._connection, given)
            return Imported(versions=versions, known=chosen.known, links=links, grants=grants)

        return self._commits.run(job)

    def search(
        self, query: str, limit: int = 10, *, visibilities: Collection[str] | None = None
    ) -> list[Hit]:
        """Memories that hold words of `query`, best first; "phrases" and beginnings* of words must be there.

        Nothing else in it is an operator, see `node.memory.query`. Only those of `visibilities` are looked
        at, where given.
        """
        return self.lookup.search(query, limit, visibilities=visibilities)

    def carriers(self, topics: Collection[str]) -> dict[str, int]:
        """By each of these topics, how many memories carry it, private ones too."""
        return self._counted(partial(self._counts.carriers, topics))

    def announced_topics(self) -> list[tuple[str, int, float]]:
        """(topic, number of listed and mesh memories that carry it, its mean weight there), by topic."""
        self.sweep()
        return self._counted(self._counts.announced)

    @property
    def topics_revision(self) -> int:
        """Changes whenever `announced_topics` may have; compares within one opening only."""
        return self._counts.revision

    def next_incarnation(self) -> int:
        """The number of this life of the node: higher than every one before, kept in the file."""
        return self.raise_incarnation(0)

    def raise_incarnation(self, above: int) -> int:
        """A number higher than `above` and than every one before, kept in the file."""
        return self._commits.run(partial(self._writer.raise_incarnation, above))

    def count(self) -> int:
        """How many memories are live."""
        self.sweep()
        return self._counted(self._counts.memories)

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
        self._writer.close()
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
        memory = memory_of(self.agent, row)
        cache.misses += 1
        cache.fill(memory, stamp)
        return memory

    def _counted(self, ask: Callable[[], T | None]) -> T:
        """What the writer's counts say; they are begun by who asks first, and lost where a write failed."""
        while (found := ask()) is None:
            self._commits.run(self._writer.start_counting)
        return found

    def _checked(self, draft: Draft) -> Draft:
        return check_expiry(check_draft(draft), self._clock())
