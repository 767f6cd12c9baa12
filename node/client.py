"""A running node, from another process of the same user: what `MemoryNode` does, over a socket."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from types import TracebackType
from typing import Self

from node.config import NodeConfig
from node.memory.records import Draft, Hit, Memory, Receipt, Statistics, Summary, Version, Visibility
from node.net.control import ControlClient
from node.net.endpoint import MemberInfo
from node.net.register import Register
from node.questions import check_timeout
from node.recall.recall import Recall
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
        if entry is None or entry.role != "agent":
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
        )

    def remember_many(self, drafts: Sequence[Draft]) -> list[Receipt]:
        """See `MemoryNode.remember_many`."""
        return self._control.call(list[Receipt], "remember_many", answer_s=_LONG_S, drafts=list(drafts))

    def forget(self, path: str) -> Receipt:
        """See `MemoryNode.forget`."""
        return self._control.call(Receipt, "forget", path=path)

    def read(self, path: str, version: int | None = None) -> Memory:
        """See `MemoryNode.read`."""
        return self._control.call(Memory, "read", path=path, version=version)

    def history(self, path: str) -> list[Version]:
        """See `MemoryNode.history`."""
        return self._control.call(list[Version], "history", path=path)

    def browse(self, prefix: str = "/", limit: int = 50, after: str = "") -> list[Summary]:
        """See `MemoryNode.browse`."""
        return self._control.call(list[Summary], "browse", prefix=prefix, limit=limit, after=after)

    def search(self, query: str, limit: int = 10) -> list[Hit]:
        """See `MemoryNode.search`."""
        return self._control.call(list[Hit], "search", query=query, limit=limit)

    def recall(
        self, query: str, *, budget_tokens: int = 1000, visibilities: Collection[str] | None = None
    ) -> Recall:
        """See `MemoryNode.recall`."""
        chosen = None if visibilities is None else list(visibilities)
        return self._control.call(
            Recall, "recall", query=query, budget_tokens=budget_tokens, visibilities=chosen
        )

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
