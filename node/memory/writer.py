"""The one writer: drafts become versions, heads and index rows inside the transactions of `GroupCommit`.

Invariants:
 1. A version, its head and its index row are in one transaction.
 2. What lives beside the database (cache, counts) changes after COMMIT and before the caller is told.
 3. Index rows are written last before COMMIT: FTS5 flushes what it holds, 40 us, whenever a statement with
    triggers begins, so a row in between would pay that for each write of a group.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

import apsw
import msgspec

from node.memory import database, topic_index
from node.memory.cache import Cache
from node.memory.records import Draft, Memory, Receipt, Visibility, encode_metadata
from protocol.errors import MeshError, NotFound
from protocol.names import AgentName
from protocol.topics import analyse

_HEAD = """
    SELECT v.id, v.version, v.created_at, h.live, h.announced, h.topics, v.visibility, v.importance,
           v.title, v.tags, v.metadata, v.text
    FROM head h JOIN versions v ON v.id = h.latest WHERE h.path = ?"""
_INSERT_VERSION = """
    INSERT INTO versions (id, path, version, previous, created_at, written_at, forgotten, visibility,
                          importance, title, tags, metadata, length_chars, text)
    VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"""
_INSERT_HEAD = "INSERT INTO head (latest, live, announced, topics, path) VALUES (?, ?, ?, ?, ?)"
_UPDATE_HEAD = "UPDATE head SET latest = ?, live = ?, announced = ?, topics = ? WHERE path = ?"
_INSERT_WORDS = "INSERT INTO words (rowid, title, text, topics) VALUES (?, ?, ?, ?)"
_DELETE_WORDS = "DELETE FROM words WHERE rowid = ?"


INDEXED_PERCENT = 80
"""Topics from this weight on stand in the column `topics`: tags, titles, names of several words. The lighter
ones are words of the text, where the same look-up finds them; to index them twice costs a write 25 us."""


class Prepared(msgspec.Struct, frozen=True):
    """A checked draft with all that can be worked out before it is this writer's turn."""

    draft: Draft
    tags: str
    metadata: str
    words: tuple[str, str, str]
    topics: str


class _Head(msgspec.Struct, frozen=True):
    """The latest version at a path."""

    id: int
    version: int
    created_at: float
    live: int
    announced: int
    topics: str
    visibility: Visibility
    importance: float
    title: str
    tags: str
    metadata: str
    text: str


def prepare(draft: Draft) -> Prepared:
    """The parts of the row and of the index row; the draft must have passed `check_draft`."""
    found = analyse(draft.text, title=draft.title, tags=draft.tags)
    return Prepared(
        draft,
        msgspec.json.encode(draft.tags).decode() if draft.tags else "",
        encode_metadata(draft.metadata) if draft.metadata else "",
        (
            " ".join(found.title),
            " ".join(found.text),
            " ".join([topic_index.token(term) for term, weight in found.topics if weight >= INDEXED_PERCENT]),
        ),
        topic_index.encode(found.topics),
    )


class Writer:
    """Owns the writing connection. All but `announced_topics` and `memories` is for the leader of a group."""

    def __init__(
        self,
        connection: apsw.Connection,
        path: Path,
        agent: AgentName,
        cache: Cache,
        clock: Callable[[], float],
    ) -> None:
        self._connection, self._path, self._agent = connection, path, agent
        self._cache, self._clock = cache, clock
        self._counts: topic_index.TopicCounts | None = None
        self._memories: int | None = None
        self._lock = threading.Lock()  # Guards _counts and _memories against their readers.
        self.topics_revision = 0
        self.last_id = 0
        self._forget_group()

    def _forget_group(self) -> None:
        last_id: int = self._connection.execute("SELECT coalesce(max(id), 0) FROM versions").get
        self.last_id = last_id
        self._born: dict[int, tuple[str, str, str]] = {}
        self._gone: list[int] = []
        self._fresh: dict[str, Memory | None] = {}
        self._announced: list[tuple[str, str]] = []  # What was announced, what is now.
        self._grown = 0

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
        if self._grown or self._announced:
            self._count_group()
        self._born.clear()
        self._gone.clear()
        self._fresh.clear()

    def roll_back(self) -> None:
        try:
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")
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
            for old, new in self._announced:
                if self._counts is not None:
                    self._counts.remove(old)
                    self._counts.add(new)
            self.topics_revision += len(self._announced)
        self._announced.clear()
        self._grown = 0

    # Jobs.

    def write(self, item: Prepared) -> Receipt:
        """The next version at the draft's path, or none where it says the same as the latest."""
        draft = item.draft
        path = draft.path
        if path is None:
            path, head = self._free_path(), None
        else:
            head = self._head(path)
        if head is not None and head.live and _says_the_same(head, item):
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
        )
        return Receipt(path=path, version=version, stored=True)

    def forget(self, path: str) -> Receipt:
        """A tombstone as the next version. Raises NotFound where nothing is remembered."""
        head = self._head(path)
        if head is None or not head.live:
            raise NotFound(f"{path}: nothing is remembered there")
        version = self._append(path, head, None, head.created_at, self._clock())
        self._fresh[path] = None
        return Receipt(path=path, version=version, stored=True)

    def raise_incarnation(self, above: int) -> int:
        """A number higher than `above` and than every one before, kept across restarts."""
        found: str = self._connection.execute("SELECT value FROM meta WHERE name = 'incarnation'").get
        raised = max(int(found), above) + 1
        self._connection.execute("UPDATE meta SET value = ? WHERE name = 'incarnation'", (str(raised),))
        return raised

    def start_counting(self) -> None:
        """Count once; from then on every commit keeps the counts up to date."""
        rows = self._connection.execute("SELECT topics FROM head WHERE announced")
        counts = topic_index.TopicCounts(topics for (topics,) in rows)
        memories: int = self._connection.execute("SELECT count(*) FROM head WHERE live").get
        # What came before in this group is in the rows, and must not be counted again at its commit.
        with self._lock:
            self.topics_revision += len(self._announced)
            self._counts, self._memories = counts, memories
        self._announced.clear()
        self._grown = 0

    # For any thread.

    def announced_topics(self) -> list[tuple[str, int, float]] | None:
        """The counts, or None before `start_counting`."""
        with self._lock:
            return None if self._counts is None else self._counts.listing()

    def memories(self) -> int | None:
        """How many are live, or None before `start_counting`."""
        return self._memories

    def _append(
        self, path: str, head: _Head | None, item: Prepared | None, created_at: float, now: float
    ) -> int:
        version = 1 if head is None else head.version + 1
        self.last_id += 1
        new = self.last_id
        previous = None if head is None else head.id
        if item is None:
            row = (new, path, version, previous, created_at, now, 1, "private", 0.0, "", "", "", 0, "")
            live, announced, topics = 0, 0, ""
        else:
            draft = item.draft
            said = (
                float(draft.importance),
                draft.title,
                item.tags,
                item.metadata,
                len(draft.text),
                draft.text,
            )
            row = (new, path, version, previous, created_at, now, 0, draft.visibility, *said)
            live, announced, topics = 1, int(draft.visibility != "private"), item.topics
            self._born[new] = item.words
        execute = self._connection.execute
        execute(_INSERT_VERSION, row)
        execute(_INSERT_HEAD if head is None else _UPDATE_HEAD, (new, live, announced, topics, path))

        was_live = head is not None and head.live
        if head is not None and was_live and self._born.pop(head.id, None) is None:
            self._gone.append(head.id)
        self._grown += live - int(was_live)
        old_topics = head.topics if head is not None and head.announced else ""
        new_topics = topics if announced else ""
        if old_topics != new_topics:
            self._announced.append((old_topics, new_topics))
        return version

    def _head(self, path: str) -> _Head | None:
        row = self._connection.execute(_HEAD, (path,)).fetchone()
        return None if row is None else _Head(*row)

    def _free_path(self) -> str:
        stem = path = f"/memories/{self.last_id + 1:06d}"
        attempt = 1
        while self._connection.execute("SELECT 1 FROM head WHERE path = ?", (path,)).fetchone() is not None:
            attempt += 1
            path = f"{stem}-{attempt}"
        return path


def _says_the_same(head: _Head, item: Prepared) -> bool:
    draft = item.draft
    return (
        head.text == draft.text
        and head.title == draft.title
        and head.tags == item.tags
        and head.visibility == draft.visibility
        and head.importance == draft.importance
        and head.metadata == item.metadata
    )
