"""The one writer: drafts become versions, heads and index rows inside the transactions of `GroupCommit`.

Invariants:
 1. A version, its head and its index row are in one transaction.
 2. What lives beside the database (cache, counts) changes after COMMIT and before the caller is told.
 3. Index rows are written last before COMMIT: FTS5 flushes what it holds, 40 us, whenever a statement with
    triggers begins, so a row in between would pay that for each write of a group.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import apsw
import msgspec

from node.memory import database, erase, topic_index
from node.memory.cache import Cache
from node.memory.heads import Head, head_at, says_the_same
from node.memory.importer import Plan
from node.memory.postings import Postings
from node.memory.prepared import Prepared, bare, prepare
from node.memory.quota import Quota
from node.memory.records import Memory, Receipt
from node.memory.similar import Similar
from protocol.errors import MeshError, NotFound
from protocol.names import AgentName

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
_END_LINKS = "DELETE FROM links WHERE path = ?1 OR target = ?1"
_DUE = "SELECT path FROM head WHERE expires_at <= ? ORDER BY expires_at LIMIT ?"
_NEXT_EXPIRY = "SELECT min(expires_at) FROM head WHERE expires_at IS NOT NULL"
_INSERT_WORDS = "INSERT INTO words (rowid, title, text, topics) VALUES (?, ?, ?, ?)"
_DELETE_WORDS = "DELETE FROM words WHERE rowid = ?"


class Writer:
    """Owns the writing connection. All but what says `for any thread` is for the leader of a group."""

    def __init__(
        self,
        connection: apsw.Connection,
        path: Path,
        agent: AgentName,
        cache: Cache,
        clock: Callable[[], float],
        quota: Quota,
        postings: Postings,
    ) -> None:
        self._connection, self._path, self._agent = connection, path, agent
        self._postings = postings
        self._cache, self._clock, self._quota = cache, clock, quota
        self._counts: topic_index.TopicCounts | None = None
        self._memories: int | None = None
        self._lock = threading.Lock()  # Guards _counts and _memories against their readers.
        self.topics_revision = 0
        self.last_id = 0
        self.next_expiry = math.inf  # For any thread: before then nothing expires.
        self._similar = Similar(connection)
        self.unfinished = ""  # Why what was erased may still stand in the files.
        self._forget_group()
        self._find_next_expiry()
        if erase.is_unfinished(connection):
            erase.rewrite_files(connection)

    def _forget_group(self) -> None:
        last_id: int = self._connection.execute("SELECT coalesce(max(id), 0) FROM versions").get
        self.last_id = last_id
        self._born: dict[int, tuple[str, str, str]] = {}
        self._gone: list[int] = []
        self._fresh: dict[str, Memory | None] = {}
        self._turned: list[
            tuple[topic_index.Carried, topic_index.Carried]
        ] = []  # What a path was about, what it is now.
        self._grown = 0
        self._expires_first = math.inf
        self._buried = False
        self._erased = False

    def _find_next_expiry(self) -> None:
        found: float | None = self._connection.execute(_NEXT_EXPIRY).get
        self.next_expiry = math.inf if found is None else found

    # The transaction of GroupCommit.

    def begin(self) -> None:
        self._connection.execute("BEGIN IMMEDIATE")

    def commit(self) -> None:
        execute = self._connection.execute
        for gone in self._gone:
            execute(_DELETE_WORDS, (gone,))
        for born, words in self._born.items():
            execute(_INSERT_WORDS, (born, *words))
        execute("COMMIT")
        cache = self._cache
        for path, memory in self._fresh.items():
            if memory is None:
                cache.drop(path)
            else:
                cache.put(memory)
        self._postings.committed(self._born, self._gone)
        if self._grown or self._turned:
            self._count_group()
        if self._buried:
            self._find_next_expiry()
        elif self._expires_first < self.next_expiry:
            self.next_expiry = self._expires_first
        self._buried, self._expires_first = False, math.inf
        erased, self._erased = self._erased, False
        self._born.clear()
        self._gone.clear()
        self._fresh.clear()
        if erased:
            self._rewrite_files()

    def _rewrite_files(self) -> None:
        # The group is committed: a failure here is told to those who erase, not to all of the group.
        try:
            erase.rewrite_files(self._connection)
            self.unfinished = ""
        except apsw.Error as error:
            self.unfinished = str(error)

    def roll_back(self) -> None:
        try:
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")
            with self._lock:  # Counted in this group, they would hold what is not there.
                self._counts = self._memories = None
            self._forget_group()
        except apsw.Error:
            # The disk is gone: nothing was written, and the next group will be told the same.
            return

    def translate(self, error: apsw.Error) -> MeshError:
        return database.translate(error, self._path)

    def _count_group(self) -> None:
        with self._lock:
            if self._memories is not None:
                self._memories += self._grown
            for old, new in self._turned:
                if self._counts is not None:
                    self._counts.remove(*old)
                    self._counts.add(*new)
            self.topics_revision += sum(old[1] or new[1] for old, new in self._turned)
        self._turned.clear()
        self._grown = 0

    # Jobs.

    def write_many(self, items: Sequence[Prepared]) -> list[Receipt]:
        """All of them, in order; QuotaExceeded, and nothing written, where they would pass a quota."""
        if self._quota.is_set:
            paths = {item.draft.path for item in items if item.draft.path is not None}
            made = sum(item.draft.path is None for item in items)
            self._check_quota(paths, made, sum(len(item.draft.text) for item in items))
        return [self._write(item) for item in items]

    def _check_quota(self, paths: Iterable[str], made: int, bytes_more: int) -> None:
        """Refuse to write to `paths` and to `made` new ones where that would pass a quota."""
        if self._quota.max_file_bytes:
            pages, free = self._connection.pragma("page_count"), self._connection.pragma("freelist_count")
            used = (pages - free) * self._connection.pragma("page_size")
            self._quota.check_file_bytes(used + bytes_more)
        if self._quota.max_memories:
            if self._memories is None:
                self.start_counting()
            fresh = sum((head := self._head(path)) is None or not head.live for path in paths)
            self._quota.check_memories((self._memories or 0) + self._grown, made + fresh)

    def _write(self, item: Prepared) -> Receipt:
        """The next version at the draft's path, or none where it says the same as what is there.

        A draft without a path that says the same as any memory is that memory.
        """
        draft = item.draft
        path = draft.path
        likeness = self._similar.find(item, self._clock())
        if path is None:
            for known in likeness.equal:
                head = self._head(known)
                if head is not None and says_the_same(head, item):
                    return Receipt(path=known, version=head.version, stored=False)
            path, head = self._free_path(), None
        else:
            head = self._current(path)
        if head is not None and head.live and says_the_same(head, item):
            return Receipt(path=path, version=head.version, stored=False)
        now = self._clock()
        created_at = head.created_at if head is not None and head.live else now
        version = self._append(path, head, item, created_at, now)
        self._fresh[path] = Memory(
            agent=self._agent,
            path=path,
            version=version,
            title=draft.title,
            text=draft.text,
            tags=draft.tags,
            importance=float(draft.importance),
            visibility=draft.visibility,
            created_at=created_at,
            updated_at=now,
            metadata=msgspec.json.decode(item.metadata) if item.metadata else {},
            expires_at=draft.expires_at,
        )
        similar = tuple(other for other in likeness.similar if other != path) if likeness.similar else ()
        return Receipt(path=path, version=version, stored=True, similar=similar)

    def forget(self, path: str) -> Receipt:
        """A tombstone as the next version. Raises NotFound where nothing is remembered."""
        head = self._head(path)
        if head is None or not head.live or self._expired(head):
            raise NotFound(f"{path}: nothing is remembered there")
        return Receipt(path=path, version=self._bury(path, head), stored=True)

    def erase(self, path: str) -> Receipt:
        """Remove what all versions at `path` say; a tombstone logs it. NotFound where there never was one."""
        head = self._head(path)
        if head is None:
            raise NotFound(f"{path}: nothing was ever remembered there")
        version = self._bury(path, head)
        erase.empty(self._connection, path)
        self._erased = True
        return Receipt(path=path, version=version, stored=True)

    def erase_again(self) -> None:
        """Try once more to rewrite the files, after this group's commit."""
        self._erased = True

    def bury_expired(self, most: int) -> int:
        """Tombstones for at most `most` memories whose time has come; how many there were."""
        due = [path for (path,) in self._connection.execute(_DUE, (self._clock(), most))]
        for path in due:
            head = self._head(path)
            assert head is not None
            self._bury(path, head)
        self._buried = True
        return len(due)

    def take_over(self, plan: Plan) -> int:
        """Append versions of an import with the numbers and times they have; how many there were."""
        bytes_more = sum(len(line.text) for line in plan.versions)
        self._check_quota({path for path, _ in plan.last}, 0, bytes_more)
        for line in plan.versions:
            item: Prepared | None = None
            if not line.is_empty:
                is_last = (line.path, line.version) in plan.last
                item = prepare(line.draft()) if is_last else bare(line.draft())
            self._append(
                line.path,
                self._head(line.path),
                item,
                line.created_at,
                line.written_at,
                forgotten=line.forgotten,
                erased=line.erased,
            )
            if line.forgotten:
                self._connection.execute(_END_LINKS, (line.path,))
            self._fresh[line.path] = None
        return len(plan.versions)

    def raise_incarnation(self, above: int) -> int:
        """A number higher than `above` and than every one before, kept across restarts."""
        found: str = self._connection.execute("SELECT value FROM meta WHERE name = 'incarnation'").get
        raised = max(int(found), above) + 1
        self._connection.execute("UPDATE meta SET value = ? WHERE name = 'incarnation'", (str(raised),))
        return raised

    def start_counting(self) -> None:
        """Count once; from then on every commit keeps the counts up to date."""
        kinds = [
            self._connection.execute("SELECT topics FROM head WHERE live AND announced = ?", (kind,))
            for kind in (1, 0)
        ]
        counts = topic_index.TopicCounts(*((topics for (topics,) in rows) for rows in kinds))
        memories: int = self._connection.execute("SELECT count(*) FROM head WHERE live").get
        # What came before in this group is in the rows, and must not be counted again at its commit.
        with self._lock:
            self.topics_revision += len(self._turned)
            self._counts, self._memories = counts, memories
        self._turned.clear()
        self._grown = 0

    # For any thread.

    def announced_topics(self) -> list[tuple[str, int, float]] | None:
        """The counts, or None before `start_counting`."""
        with self._lock:
            return None if self._counts is None else self._counts.listing()

    def topics(self) -> dict[str, int] | None:
        """By topic, the live memories that carry it, private ones too; None before `start_counting`."""
        with self._lock:
            return None if self._counts is None else self._counts.all()

    def memories(self) -> int | None:
        """How many are live, or None before `start_counting`."""
        return self._memories

    def _current(self, path: str) -> Head | None:
        """The latest version at a path, where one that expired has been buried."""
        head = self._head(path)
        if head is not None and self._expired(head):
            self._bury(path, head)
            head = self._head(path)
        return head

    def _expired(self, head: Head) -> bool:
        return head.expires_at is not None and head.expires_at <= self._clock()

    def _bury(self, path: str, head: Head) -> int:
        version = self._append(path, head, None, head.created_at, self._clock())
        self._connection.execute(_END_LINKS, (path,))
        self._fresh[path] = None
        return version

    def _append(
        self,
        path: str,
        head: Head | None,
        item: Prepared | None,
        created_at: float,
        now: float,
        *,
        forgotten: bool = True,
        erased: bool = False,
    ) -> int:
        """The next version; without an item a tombstone, or with `forgotten` false what was erased."""
        version = 1 if head is None else head.version + 1
        self.last_id += 1
        new = self.last_id
        previous = None if head is None else head.id
        expires_at: float | None = None
        sketch: int | None
        row: tuple[object, ...]
        if item is None:
            nothing = ("private", 0.0, "", "", "", 0, "", None)
            row = (new, path, version, previous, created_at, now, int(forgotten), *nothing, int(erased))
            live, announced, topics, sketch = 0, 0, "", None
        else:
            draft = item.draft
            said = (
                float(draft.importance),
                draft.title,
                item.tags,
                item.metadata,
                len(draft.text),
                draft.text,
                draft.expires_at,
            )
            row = (new, path, version, previous, created_at, now, 0, draft.visibility, *said, 0)
            live, announced, topics = 1, int(draft.visibility != "private"), item.topics
            expires_at, sketch = draft.expires_at, item.sketch
            if sketch is not None:
                self._similar.add(new, sketch)
            if expires_at is not None and expires_at < self._expires_first:
                self._expires_first = expires_at
            self._born[new] = item.words
        execute = self._connection.execute
        execute(_INSERT_VERSION, row)
        execute(
            _INSERT_HEAD if head is None else _UPDATE_HEAD,
            (new, live, announced, topics, expires_at, sketch, path),
        )

        was_live = head is not None and head.live
        if head is not None and was_live and self._born.pop(head.id, None) is None:
            self._gone.append(head.id)
        self._grown += live - int(was_live)
        was = (head.topics, bool(head.announced)) if head is not None and was_live else ("", False)
        now_about = (topics, bool(announced))
        if was != now_about:
            self._turned.append((was, now_about))
        return version

    def _head(self, path: str) -> Head | None:
        return head_at(self._connection, path)

    def _free_path(self) -> str:
        stem = path = f"/memories/{self.last_id + 1:06d}"
        attempt = 1
        while self._connection.execute("SELECT 1 FROM head WHERE path = ?", (path,)).fetchone() is not None:
            attempt += 1
            path = f"{stem}-{attempt}"
        return path
