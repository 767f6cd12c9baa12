"""A running node, from another process of the same user: what `MemoryNode` does, over a socket."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from node.config import NodeConfig
from node.memory.access import Grant
from node.memory.backup import Copy, Health
from node.memory.listing import TopicCount
from node.memory.log import Changes, Difference
from node.memory.records import Draft, Hit, Memory, Receipt, Statistics, Summary, Version, Visibility
from node.memory.relations import Link, Step
from node.memory.transfer import exported
from node.net.control import ControlClient
from node.net.endpoint import MemberInfo
from node.net.register import Register
from node.questions import check_timeout
from node.recall.recall import Recall
from node.recall.survey import Survey
from node.results import NodeStatus, Via, WhoKnows
from protocol.errors import InvalidInput, NotFound
from protocol.names import check_agent_name

_LONG_S = 600.0  # For a large batch of memories.


class NodeClient:
    """Close it, or use it in a `with`; the node goes on."""

    def __init__(self, agent: str, *, config: NodeConfig | None = None) -> None:
        """Raises `NotFound` where no node of this name runs on this host."""
        self.agent = check_agent_name(agent)
        self.config = config if config is not None else NodeConfig.load()
        entry = Register(self.config.folder).running(self.agent)
        if entry is None or entry.role == "librarian":
            raise NotFound(
                f"no node of agent {agent} runs in mesh {self.config.mesh}; start it: avm node {agent}"
            )
        self.pid = entry.pid
        self._control = ControlClient(entry.control)

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
        """See `MemoryNode.remember`."""
        if isinstance(tags, str):
            raise InvalidInput("tags", f"{tags[:80]!r} is one string", "give a sequence of them")
        return self._control.call(
            Receipt,
            "remember",
            text=text,
            path=path,
            title=title,
            tags=tuple(tags),
            importance=importance,
            visibility=visibility,
            metadata=metadata,
            expires_at=expires_at,
        )

    def remember_many(self, drafts: Sequence[Draft]) -> list[Receipt]:
        """See `MemoryNode.remember_many`."""
        return self._control.call(list[Receipt], "remember_many", answer_s=_LONG_S, drafts=list(drafts))

    def forget(self, path: str) -> Receipt:
        """See `MemoryNode.forget`."""
        return self._control.call(Receipt, "forget", path=path)

    def erase(self, path: str) -> Receipt:
        """See `MemoryNode.erase`."""
        return self._control.call(Receipt, "erase", answer_s=_LONG_S, path=path)

    def read(self, path: str, version: int | None = None, *, at: float | None = None) -> Memory:
        """See `MemoryNode.read`."""
        return self._control.call(Memory, "read", path=path, version=version, at=at)

    def diff(self, path: str, since: int = 0) -> Difference:
        """See `MemoryNode.diff`."""
        return self._control.call(Difference, "diff", path=path, since=since)

    def changes(self, cursor: int = 0, limit: int = 100, *, since: float = 0.0) -> Changes:
        """See `MemoryNode.changes`."""
        return self._control.call(Changes, "changes", cursor=cursor, limit=limit, since=since)

    def history(self, path: str) -> list[Version]:
        """See `MemoryNode.history`."""
        return self._control.call(list[Version], "history", path=path)

    def browse(self, prefix: str = "/", limit: int = 50, after: str = "") -> list[Summary]:
        """See `MemoryNode.browse`."""
        return self._control.call(list[Summary], "browse", prefix=prefix, limit=limit, after=after)

    def timeline(self, prefix: str = "/", limit: int = 50, before: int | None = None) -> list[Summary]:
        """See `MemoryNode.timeline`."""
        return self._control.call(list[Summary], "timeline", prefix=prefix, limit=limit, before=before)

    def topics(self, prefix: str = "/", limit: int = 50) -> list[TopicCount]:
        """See `MemoryNode.topics`."""
        return self._control.call(list[TopicCount], "topics", prefix=prefix, limit=limit)

    def link(self, path: str, to: str, kind: str = "related", weight: float = 1.0) -> Link:
        """See `MemoryNode.link`."""
        return self._control.call(Link, "link", path=path, to=to, kind=kind, weight=weight)

    def unlink(self, path: str, to: str, kind: str | None = None) -> int:
        """See `MemoryNode.unlink`."""
        return self._control.call(int, "unlink", path=path, to=to, kind=kind)

    def links(self, path: str) -> list[Link]:
        """See `MemoryNode.links`."""
        return self._control.call(list[Link], "links", path=path)

    def explore(self, path: str, depth: int = 2, limit: int = 50) -> list[Step]:
        """See `MemoryNode.explore`."""
        return self._control.call(list[Step], "explore", path=path, depth=depth, limit=limit)

    def grant(self, path: str, agent: str) -> Grant:
        """See `MemoryNode.grant`."""
        return self._control.call(Grant, "grant", path=path, agent=agent)

    def revoke(self, path: str, agent: str) -> None:
        """See `MemoryNode.revoke`."""
        self._control.call(type(None), "revoke", path=path, agent=agent)

    def grants(self) -> list[Grant]:
        """See `MemoryNode.grants`."""
        return self._control.call(list[Grant], "grants")

    def search(self, query: str, limit: int = 10) -> list[Hit]:
        """See `MemoryNode.search`."""
        return self._control.call(list[Hit], "search", query=query, limit=limit)

    def recall(
        self,
        query: str,
        *,
        budget_tokens: int = 1000,
        visibilities: Collection[str] | None = None,
        explain: bool = False,
    ) -> Recall:
        """See `MemoryNode.recall`."""
        return self._control.call(
            Recall,
            "recall",
            query=query,
            budget_tokens=budget_tokens,
            visibilities=None if visibilities is None else list(visibilities),
            explain=explain,
        )

    def survey(self, query: str, *, budget_tokens: int = 500) -> Survey:
        """See `MemoryNode.survey`."""
        return self._control.call(Survey, "survey", query=query, budget_tokens=budget_tokens)

    def fetch(self, paths: Sequence[str], *, budget_tokens: int = 1000, about: str = "") -> Recall:
        """See `MemoryNode.fetch`."""
        given = paths if isinstance(paths, str) else list(paths)
        return self._control.call(Recall, "fetch", paths=given, budget_tokens=budget_tokens, about=about)

    def check_memory(self) -> Health:
        """See `MemoryNode.check_memory`."""
        return self._control.call(Health, "check_memory", answer_s=_LONG_S)

    def backup(self, target: str, *, force: bool = False) -> Copy:
        """See `MemoryNode.backup`; the node writes the file."""
        chosen = str(Path(target).expanduser().absolute())
        return self._control.call(Copy, "backup", answer_s=_LONG_S, target=chosen, force=force)

    def export(self) -> Iterator[bytes]:
        """See `MemoryNode.export`; read from the file, while the node goes on."""
        return exported(self.config.memory_file(self.agent))

    def statistics(self) -> Statistics:
        """See `MemoryNode.statistics`."""
        return self._control.call(Statistics, "statistics")

    def who_knows(self, query: str, *, limit: int = 10, via: Via = "auto") -> WhoKnows:
        """See `MemoryNode.who_knows`."""
        return self._control.call(WhoKnows, "who_knows", query=query, limit=limit, via=via)

    def ask(
        self, query: str, *, budget_tokens: int = 2000, max_peers: int = 3, timeout_s: float = 2.0
    ) -> Recall:
        """See `MemoryNode.ask`."""
        return self._control.call(
            Recall,
            "ask",
            answer_s=check_timeout(timeout_s) + 60.0,
            query=query,
            budget_tokens=budget_tokens,
            max_peers=max_peers,
            timeout_s=timeout_s,
        )

    def members(self) -> list[MemberInfo]:
        """See `MemoryNode.members`."""
        return self._control.call(list[MemberInfo], "members")

    def status(self) -> NodeStatus:
        """See `MemoryNode.status`."""
        return self._control.call(NodeStatus, "status")

    def stop(self) -> None:
        """End the node's process; it says goodbye first."""
        self._control.call(type(None), "stop")

    def close(self) -> None:
        """Close the connection; the node goes on."""
        self._control.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
