"""The one writer: drafts become versions, heads and index rows inside the transactions of `GroupCommit`.

Invariants:
 1. A version, its head and its index row are in one transaction.
 2. What lives beside the database (cache, counts) changes after COMMIT and before the caller is told.
 3. Rows of a group wait in `Pending`; what reads the tables within the transaction settles them first.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import apsw
import msgspec

from node.memory import database, erase
from node.memory.cache import Cache
from node.memory.checkpoint import Checkpoints
from node.memory.counts import Counts, Turn
from node.memory.heads import Head, head_at, heads_at, says_the_same
from node.memory.importer import Plan
from node.memory.paths import Paths
from node.memory.pending import Pending, Row
from node.memory.postings import Postings
from node.memory.prepared import Prepared, bare, prepare
from node.memory.quota import Quota
from node.memory.records import Memory, Receipt
from node.memory.similar import Similar
from protocol.errors import MeshError, NotFound
from protocol.names import AgentName

_END_LINKS = "DELETE FROM links WHERE path = ?1 OR target = ?1"
_DUE = "SELECT path FROM head WHERE expires_at <= ? ORDER BY expires_at LIMIT ?"
_NEXT_EXPIRY = "SELECT min(expires_at) FROM head WHERE expires_at IS NOT NULL"

_MANY = 8  # Writes from which it pays to look up all their heads and all that is like them at once.
_NOTHING = ("private", 0.0, "", "", "", 0, "", None)  # What a tombstone says.


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
        counts: Counts,
    ) -> None:
        self._connection, self._path, self._agent = connection, path, agent
        self._postings, self._counts = postings, counts
        self._cache, self._clock, self._quota = cache, clock, quota
        self.last_id = 0
        self.next_expiry = math.inf  # For any thread: before then nothing expires.
        self._pending = Pending(connection)
        self._checkpoints = Checkpoints(connection, path)
        self._similar = Similar(connection, self._pending)
        self._paths = Paths(connection)
        self.unfinished = ""  # Why what was erased may still stand in the files.
        self._forget_group()
        self._find_next_expiry()
        if erase.is_unfinished(connection):
            with self._checkpoints.paused():
                erase.rewrite_files(connection)

    def close(self) -> None:
        """No more commits come."""
        self._checkpoints.close()

    def _forget_group(self) -> None:
        last_id: int = self._connection.execute("SELECT coalesce(max(id), 0) FROM versions").get
        self.last_id = last_id
        self._pending.clear()
        self._heads: dict[str, Head | None] = {}  # As they are now, of the paths that this group asked for.
        self._fresh: dict[str, Memory | None] = {}
        self._turned: list[Turn] = []
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

    def settle(self) -> None:
        self._pending.settle()

    def commit(self) -> None:
        self._pending.finish()
        self._connection.execute("COMMIT")
        self._cache.take(self._fresh)
        self._postings.committed(self._pending.index_rows(), self._pending.gone)
        if self._grown or self._turned:
            self._counts.follow(self._grown, self._turned)
            self._turned.clear()
            self._grown = 0
        if self._buried:
            self._find_next_expiry()
        elif self._expires_first < self.next_expiry:
            self.next_expiry = self._expires_first
        self._buried, self._expires_first = False, math.inf
        erased, self._erased = self._erased, False
        self._pending.clear()
        self._heads.clear()
        self._fresh.clear()
        if erased:
            self._rewrite_files()

    def _rewrite_files(self) -> None:
        # The group is committed: a failure here is told to those who erase, not to all of the group.
        try:
            with self._checkpoints.paused():
                erase.rewrite_files(self._connection)
            self.unfinished = ""
        except apsw.Error as error:
            self.unfinished = str(error)

    def roll_back(self) -> None:
        try:
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")
            self._counts.forget()
            self._forget_group()
        except apsw.Error:
            # The disk is gone: nothing was written, and the next group will be told the same.
            return

    def translate(self, error: apsw.Error) -> MeshError:
        return database.translate(error, self._path)

    # Jobs.

    def write_many(self, items: Sequence[Prepared]) -> list[Receipt]:
        """All of them, in order; QuotaExceeded, and nothing written, where they would pass a quota."""
        if self._quota.is_set:
            paths = {item.draft.path for item in items if item.draft.path is not None}
            made = sum(item.draft.path is None for item in items)
            self._check_quota(paths, made, sum(len(item.draft.text) for item in items))
        if len(items) < _MANY:
            return [self._write(item) for item in items]
        asked = {item.draft.path for item in items if item.draft.path is not None} - self._heads.keys()
        self._heads |= dict.fromkeys(asked) | heads_at(self._connection, asked)
        first = self._similar.expect(items)
        return [self._write(item, entry) for entry, item in enumerate(items, first)]

    def _check_quota(self, paths: Iterable[str], made: int, bytes_more: int) -> None:
        """Refuse to write to `paths` and to `made` new ones where that would pass a quota."""
        if self._quota.max_file_bytes:
            self.settle()
            pages, free = self._connection.pragma("page_count"), self._connection.pragma("freelist_count")
            used = (pages - free) * self._connection.pragma("page_size")
            self._quota.check_file_bytes(used + bytes_more)
        if self._quota.max_memories:
            if self._counts.memories() is None:
                self.start_counting()
            fresh = sum((head := self._head(path)) is None or not head.live for path in paths)
            self._quota.check_memories((self._counts.memories() or 0) + self._grown, made + fresh)

    def _write(self, item: Prepared, expected: int = 0) -> Receipt:
        """The next version at the draft's path, or none where it says the same as what is there.

        A draft without a path that says the same as any memory is that memory. `expected`: its entry in
        the table of sketches, where it has one already.
        """
        draft = item.draft
        path = draft.path
        now = self._clock()
        likeness = self._similar.find(item, now, expected)
        if path is None:
            for known in likeness.equal if likeness is not None else ():
                head = self._head(known)
                if head is not None and says_the_same(head, item):
                    return Receipt(path=known, version=head.version, stored=False)
            path, head = self._free_path(), None
        else:
            head = self._current(path)
        if head is not None and head.live and says_the_same(head, item):
            return Receipt(path=path, version=head.version, stored=False)
        created_at = head.created_at if head is not None and head.live else now
        version = self._append(path, head, item, created_at, now, expected=expected)
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
        if likeness is None:
            return Receipt(path=path, version=version, stored=True)
        similar = tuple([other for other in likeness.similar if other != path])
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
        self.settle()
        erase.empty(self._connection, path)
        self._erased = True
        return Receipt(path=path, version=version, stored=True)

    def erase_again(self) -> None:
        """Try once more to rewrite the files, after this group's commit."""
        self._erased = True

    def bury_expired(self, most: int) -> int:
        """Tombstones for at most `most` memories whose time has come; how many there were."""
        self.settle()
        due = [path for (path,) in self._connection.execute(_DUE, (self._clock(), most))]
        for path in due:
            head = self._head(path)
            assert head is not None
            self._bury(path, head)
        self._buried = True
        return len(due)

    def merge_words(self, pages: int) -> bool:
        """A step towards an index that is read quickly; whether there may be more to do."""
        return self._pending.merge_words(pages)

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
        self.settle()
        # What came before in this group is in the rows, and must not be counted again at its commit.
        self._counts.start(self._connection, self._turned)
        self._turned.clear()
        self._grown = 0

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
        expected: int = 0,
    ) -> int:
        """The next version; without an item a tombstone, or with `forgotten` false what was erased."""
        version = 1 if head is None else head.version + 1
        self.last_id += 1
        new = self.last_id
        previous = None if head is None else head.id
        row: Row
        if item is None:
            now_head = Head(new, version, created_at, 0, 0, "", "private", 0.0, "", "", "", "", None)
            row = (new, path, version, previous, created_at, now, int(forgotten), *_NOTHING, int(erased))
            sketch = None
        else:
            draft, sketch = item.draft, item.sketch
            importance, text, expires_at = float(draft.importance), draft.text, draft.expires_at
            visibility, announced = draft.visibility, int(draft.visibility != "private")
            said = (visibility, importance, draft.title, item.tags, item.metadata)
            now_head = Head(new, version, created_at, 1, announced, item.topics, *said, text, expires_at)
            row = (new, path, version, previous, created_at, now, 0, *said, len(text), text, expires_at, 0)
            if sketch is not None:
                self._similar.add(new, sketch, expected)
            if expires_at is not None and expires_at < self._expires_first:
                self._expires_first = expires_at
            self._pending.born[new] = (path, item)
        self._heads[path] = now_head
        moved = (new, now_head.live, now_head.announced, now_head.topics, now_head.expires_at, sketch, path)
        self._pending.append(row, moved, is_first=head is None)
        if head is None:
            self._paths.note(path)

        was_live = head is not None and head.live
        if head is not None and was_live:
            self._pending.bury(head.id)
        self._grown += now_head.live - int(was_live)
        was = (head.topics, bool(head.announced)) if head is not None and was_live else ("", False)
        now_about = (now_head.topics, bool(now_head.announced))
        if was != now_about:
            self._turned.append((was, now_about))
        return version

    def _head(self, path: str) -> Head | None:
        try:
            return self._heads[path]
        except KeyError:
            head = self._heads[path] = head_at(self._connection, path)
            return head

    def _free_path(self) -> str:
        if not self._paths.knows(self.last_id + 1):
            self.settle()
        return self._paths.make(self.last_id + 1, lambda path: self._head(path) is not None)
