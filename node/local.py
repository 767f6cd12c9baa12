"""An agent's memory without the mesh: what a node does alone, and commands while no node runs."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import msgspec

from node.config import NodeConfig
from node.embedder import CATCH_UP_S, embedder_for, why_by_words
from node.housekeeper import Housekeeper
from node.memory.access import Grant
from node.memory.backup import Copy, Health
from node.memory.listing import TopicCount
from node.memory.log import Changes, Difference
from node.memory.quota import Quota
from node.memory.records import Draft, Hit, Memory, Receipt, Statistics, Summary, Version, Visibility
from node.memory.relations import Link, Step
from node.memory.store import Store
from node.memory.transfer import Import, Imported, exported
from node.recall.fetch import fetch as fetch_from
from node.recall.recall import Recall, Understand
from node.recall.recall import recall as recall_from
from node.recall.survey import Survey
from node.recall.survey import survey as survey_of
from protocol.errors import InvalidInput
from protocol.names import check_agent_name


class LocalMemory:
    """Opened by one process at a time, used by any of its threads. Close it, or use it in a `with`."""

    def __init__(self, agent: str, *, config: NodeConfig | None = None) -> None:
        """Raises `InvalidInput`, `MemoryInUse` (names the owner's pid) or `MemoryUnusable`."""
        self.agent = check_agent_name(agent)
        self.config = config if config is not None else NodeConfig.load()
        self._store = self._open()
        self._embedder = embedder_for(self._store, self.config)
        self._housekeeper = Housekeeper(self._store, self._changed)
        self._housekeeper.start()

    def _open(self) -> Store:
        path = self.config.memory_file(self.agent)
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        return Store.open(
            path,
            self.agent,
            durability=self.config.durability,
            cache_entries=self.config.cache_entries,
            quota=Quota(max_memories=self.config.max_memories, max_file_bytes=self.config.max_file_bytes),
        )

    def remember(
        self,
        text: str,
        *,
        path: str | None = None,
        title: str = "",
        tags: Sequence[str] = (),
        importance: float = 0.5,
        visibility: Visibility = "listed",
        metadata: Mapping[str, object] | None = None,
        expires_at: float | None = None,
    ) -> Receipt:
        """Commit one memory; at a known `path` it becomes the next version. Without a path one is made.

        Limits: text 1 MiB of UTF-8, title 512 characters, 64 tags of 64, importance 0..1, metadata 16 KiB
        of JSON. `visibility`: private (never leaves), listed (its topics may be announced), mesh (any member
        may read it). From `expires_at` (seconds since 1970, UTC) on it is in no answer.
        """
        if isinstance(tags, str):
            raise InvalidInput("tags", f"{tags[:80]!r} is one string", "give a sequence of them")
        draft = Draft(
            text=text,
            path=path,
            title=title,
            tags=tuple(tags),
            importance=importance,
            visibility=visibility,
            metadata=metadata or {},
            expires_at=expires_at,
        )
        receipt = self._store.remember(draft)
        self._changed()
        return receipt

    def remember_many(self, drafts: Sequence[Draft]) -> list[Receipt]:
        """Commit all of them in one transaction, or none; a bad one is named as drafts[i]."""
        receipts = self._store.remember_many(drafts)
        self._changed()
        return receipts

    def forget(self, path: str) -> Receipt:
        """Append a tombstone; earlier versions stay readable by number. Raises `NotFound`."""
        receipt = self._store.forget(path)
        self._changed()
        return receipt

    def erase(self, path: str) -> Receipt:
        """Remove what all versions at `path` say, from the files too; path, numbers and times stay.

        Links and grants of it go as well. Takes as long as copying the memory. Raises `NotFound`;
        `StorageFailure` where the files could not be rewritten yet: that is tried again.
        """
        receipt = self._store.erase(path)
        self._changed()
        return receipt

    def read(self, path: str, version: int | None = None, *, at: float | None = None) -> Memory:
        """The latest version, the one of this number, or what was there at that time. Raises `NotFound`."""
        return self._store.read(path, version, at=at)

    def diff(self, path: str, since: int = 0) -> Difference:
        """How the text differs from its version `since`: a unified diff, or the whole where that is shorter.

        Raises `NotFound`; `InvalidInput` where there is no such version yet.
        """
        return self._store.diff(path, since)

    def changes(self, cursor: int = 0, limit: int = 100, *, since: float = 0.0) -> Changes:
        """Versions in the order they were written, tombstones too: a page of them behind `cursor`."""
        return self._store.changes(cursor, limit, since=since)

    def history(self, path: str) -> list[Version]:
        """All versions, latest first, tombstones too. Raises `NotFound`."""
        return self._store.history(path)

    def browse(self, prefix: str = "/", limit: int = 50, after: str = "") -> list[Summary]:
        """Memories whose path begins with `prefix`, by path, from the first one past `after`."""
        return self._store.browse(prefix, limit, after)

    def timeline(self, prefix: str = "/", limit: int = 50, before: int | None = None) -> list[Summary]:
        """Memories below `prefix`, the latest written first, from the first before that `place`."""
        return self._store.timeline(prefix, limit, before)

    def topics(self, prefix: str = "/", limit: int = 50) -> list[TopicCount]:
        """What most memories below `prefix` are about."""
        return self._store.topics(prefix, limit)

    def link(self, path: str, to: str, kind: str = "related", weight: float = 1.0) -> Link:
        """Link a memory to another, or give the link another weight (above 0, at most 1).

        It ends when either memory is forgotten, expires or is erased. Raises `NotFound`.
        """
        return self._store.relations.link(path, to, kind, weight)

    def unlink(self, path: str, to: str, kind: str | None = None) -> int:
        """Remove the link of this kind, or all; how many there were. Raises `NotFound` for none."""
        return self._store.relations.unlink(path, to, kind)

    def links(self, path: str) -> list[Link]:
        """Links from and to `path`, the heaviest first."""
        return self._store.relations.links(path)

    def explore(self, path: str, depth: int = 2, limit: int = 50) -> list[Step]:
        """What is linked with `path` over at most `depth` (1 to 4) links, nearest first."""
        return self._store.relations.explore(path, depth, limit)

    def grant(self, path: str, agent: str) -> Grant:
        """Let `agent` read a listed memory, or all below a path that ends in /. Private ones stay private."""
        return self._store.relations.grant(path, agent)

    def revoke(self, path: str, agent: str) -> None:
        """Take a grant back, spelled as it was given. Raises `NotFound`."""
        self._store.relations.revoke(path, agent)

    def grants(self) -> list[Grant]:
        """All grants, by agent and path."""
        return self._store.relations.grants()

    def search(self, query: str, limit: int = 10) -> list[Hit]:
        """Memories that hold words of `query`, best first.

        What stands in double quotes must be there side by side, and a word that begins as `deploy*` does;
        other words then only rank. No text is refused but an empty one.
        """
        return self._store.search(query, limit)

    def recall(
        self,
        query: str,
        *,
        budget_tokens: int = 1000,
        visibilities: Collection[str] | None = None,
        explain: bool = False,
    ) -> Recall:
        """What we remember of `query`, in at most `budget_tokens` tokens of cl100k.

        By words, topics, and meaning where the extra `semantic` is installed; a note says when a question
        was answered by words alone though it is.
        """
        found = recall_from(
            self._store,
            query,
            budget_tokens,
            visibilities=visibilities,
            understand=self._understand(visibilities),
            explain=explain,
        )
        notes = why_by_words(self._embedder, found.hops)
        return msgspec.structs.replace(found, notes=(*found.notes, *notes)) if notes else found

    def _understand(self, readable: Collection[str] | None) -> Understand | None:
        """What finds memories by meaning among those that are `readable`, all for None."""
        if self._embedder is None:
            return None
        self._embed()
        return partial(self._embedder.understand, readable=readable)

    def _embed(self) -> None:
        """Without a node nobody embeds in the background."""
        if self._embedder is not None:
            self._embedder.catch_up_within(CATCH_UP_S)

    def survey(self, query: str, *, budget_tokens: int = 500) -> Survey:
        """What we remember of `query`, a line for each memory with what it costs to `fetch` it.

        In the order of `recall`; the listing is at most `budget_tokens` tokens of cl100k.
        """
        found = survey_of(self._store, query, budget_tokens, understand=self._understand(None))
        notes = why_by_words(self._embedder, found.hops)
        return msgspec.structs.replace(found, notes=(*found.notes, *notes)) if notes else found

    def fetch(self, paths: Sequence[str], *, budget_tokens: int = 1000, about: str = "") -> Recall:
        """The memories at `paths`, in this order, in at most `budget_tokens` tokens of cl100k.

        Where not all fit whole, the long ones are cut to what they say `about` that question, or to their
        beginnings. Paths where nothing is remembered are named in the notes; `NotFound` where that is so of
        all.
        """
        return fetch_from(self._store, paths, budget_tokens, about=about)

    def check_memory(self) -> Health:
        """Read every page of the file and compare what is derived from the log with the log."""
        return self._store.check()

    def backup(self, target: str, *, force: bool = False) -> Copy:
        """Copy the memory, as it is at one moment, to a file that must not exist unless `force`."""
        return self._store.backup(Path(target).expanduser().absolute(), force=force)

    def export(self) -> Iterator[bytes]:
        """The memory as lines of JSON, as of one moment; see `node.memory.transfer`."""
        return exported(self.config.memory_file(self.agent))

    def take_over(self, given: Import, name: str) -> Imported:
        """Add what an export (see `transfer.parse`) holds and is not here yet, all or nothing."""
        taken = self._store.take_over(given, name)
        self._changed()
        return taken

    def statistics(self) -> Statistics:
        """Sizes and cache counters of the memory."""
        return self._store.statistics()

    def close(self) -> None:
        """Fold the log into the file and let the next owner in. May be called twice."""
        if self._embedder is not None:
            self._embedder.close()
        self._housekeeper.close()
        self._store.close()

    def _changed(self) -> None:
        """Called after each committed write."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def drafts_from(values: list[dict[str, Any]]) -> list[Draft]:
    """Drafts as they come over a socket or from a file; `InvalidInput` names the first that is none."""
    try:
        return msgspec.convert(values, list[Draft])
    except msgspec.ValidationError as error:
        problem, _, at = str(error).partition(" - at `$")
        field = f"drafts{at.rstrip('`')}"
        raise InvalidInput(field, f"{problem[:1].lower()}{problem[1:]}", "correct it") from None
