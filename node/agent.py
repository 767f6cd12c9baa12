"""A node: an agent's memory and its place in the mesh, used inside the agent's own process.

Writes and reads go to the memory; gossip runs in a thread of its own. Whoever asks *who knows?*
reads the directory in its own thread, under the driver's lock: no hand-over, microseconds.
"""

from __future__ import annotations

import logging
import os
import time
from collections import Counter
from collections.abc import Callable, Iterable
from typing import Any

from node.announcer import Announcer, announced
from node.config import NodeConfig
from node.embedder import why_without
from node.feeds import LibrarianFeeds
from node.local import LocalMemory, drafts_from
from node.memory.records import Receipt
from node.net.audit import AuditLog
from node.net.endpoint import Endpoint, MemberInfo
from node.net.peer import Hooks
from node.net.register import Register
from node.questions import Questions
from node.recall.recall import Recall
from node.results import NodeStatus, Via, WhoKnows
from node.serving import Server
from protocol.effects import Effect, Route
from protocol.errors import MeshError, PeerRefused
from protocol.messages import MetadataAck, RecallRequest, Refused, Request, Who
from protocol.names import AgentName

_log = logging.getLogger(__name__)

_SMALL_BYTES = 4 * 1024 * 1024  # Counting the topics of a larger file would hold up the start.


class MemoryNode(LocalMemory):
    """A running node. `close` it, or use it in a `with`; it takes commands of its user until then."""

    _announcer: Announcer | None = None  # Not there yet while the memory is opened.

    def __init__(
        self, agent: str, *, config: NodeConfig | None = None, on_stop: Callable[[], object] | None = None
    ) -> None:
        """Start to gossip at once; nothing waits for the mesh. `on_stop`: what the command *stop* does.

        Raises `InvalidInput`, `MemoryInUse` (names the owner's pid), `MemoryUnusable`, `NameTaken`
        (the agent runs on this host already) or `AddressInUse`.
        """
        super().__init__(agent, config=config)
        self._on_stop = on_stop
        self._feeds = LibrarianFeeds()
        audit = AuditLog(self.config.audit_file(self.agent))
        self._server = Server(self._store, audit, self._understand)
        try:
            self._endpoint = self._endpoint_for(self._store.instance)
        except BaseException:
            super().close()
            raise
        self._announcer = Announcer(self._store, self._endpoint.driver, self._feeds)
        self._endpoint.on_charter = self._announcer.changed
        self._questions = Questions(self._store, self._endpoint, self._embedder)
        try:
            self._endpoint.start()
            self._announcer.start()
            if self._embedder is not None:
                self._embedder.start()
        except BaseException:
            self.close()
            raise

    def _endpoint_for(self, instance: int) -> Endpoint:
        small = self.config.memory_file(self.agent).stat().st_size <= _SMALL_BYTES
        topics = announced(self._store) if small else []
        incarnation = self._store.next_incarnation()
        return Endpoint(
            Register(self.config.folder).claim(self.agent),
            self.config,
            agent=self.agent,
            role="agent",
            instance=instance,
            incarnation=incarnation,
            hooks=Hooks(
                on_request=self._on_request,
                on_incarnation=self._store_incarnation,
                on_tick=self._on_tick,
            ),
            commands={
                name: getattr(self, name)
                for name in (
                    *("remember", "read", "history", "forget", "browse", "search", "recall"),
                    *("survey", "fetch"),
                    *("erase", "diff", "changes", "timeline", "topics"),
                    *("link", "unlink", "links", "explore", "grant", "revoke", "grants"),
                    *("check_memory", "backup"),
                    *("who_knows", "ask", "members", "status", "statistics"),
                )
            }
            | {"remember_many": self._remember_many, "stop": self._stop},
            topics=topics,
        )

    @property
    def address(self) -> str:
        """Where other members reach us."""
        return self._endpoint.address

    def on_refusal(self, action: Callable[[], object]) -> None:
        """Do `action` when the mesh refuses us (our name is taken, another mesh): we are no member then.

        It is done in the thread that gossips: it may have the node closed, but not close it itself.
        """
        self._endpoint.on_refusal = action
        if self._endpoint.refusal is not None:
            action()

    def check(self) -> None:
        """Raise what the mesh refused us for, if it did."""
        self._endpoint.check()

    def who_knows(self, query: str, *, limit: int = 10, via: Via = "auto") -> WhoKnows:
        """Who may know of `query`, most likely first, ourselves included.

        `auto` takes a librarian's answer where one is there and our own directory where not; the answer says
        which. `gossip` never leaves the process; `librarian` raises `NotFound` or `PeerSilent`
        where none answers.
        """
        self.check()
        return self._questions.who_knows(query, limit=limit, via=via)

    def ask(
        self, query: str, *, budget_tokens: int = 2000, max_peers: int = 3, timeout_s: float = 2.0
    ) -> Recall:
        """What the mesh remembers of `query`, ourselves included, in at most `budget_tokens`.

        The `max_peers` most likely agents are asked at once; those silent after `timeout_s` are named in
        `silent_peers`. Owners decide what they give: memories of visibility `mesh`.
        """
        self.check()
        return self._questions.ask(
            query, budget_tokens=budget_tokens, max_peers=max_peers, timeout_s=timeout_s
        )

    def members(self) -> list[MemberInfo]:
        """Everybody we know of, ourselves and the lately dead included, by name."""
        self.check()
        return self._endpoint.members()

    def status(self) -> NodeStatus:
        """This node at this moment."""
        memory, members = self._store.statistics(), self._endpoint.members()
        driver = self._endpoint.driver
        with driver.lock:
            record, joined = driver.peer.engine.record, driver.peer.engine.joined
            view = driver.peer.engine.members.view()
            charter = driver.peer.engine.charter_number
        net = self._endpoint.statistics()
        traffic = net.traffic
        return NodeStatus(
            agent=self.agent,
            mesh=self.config.mesh,
            pid=os.getpid(),
            uptime_s=time.time() - self._endpoint.started_at,
            address=self._endpoint.address,
            role=self._endpoint.role,
            expires_at=self._endpoint.expires_at,
            charter=charter,
            memories=memory.memories,
            versions=memory.versions,
            file_bytes=memory.file_bytes,
            cache_hits=memory.cache_hits,
            cache_misses=memory.cache_misses,
            embedded=None if self._embedder is None else self._embedder.embedded(),
            vectors=why_without(self.config) if self._embedder is None else self._embedder.trouble,
            members=dict(Counter(member.status for member in members)),
            view=f"{view:016x}",
            librarians=tuple(
                member.agent
                for member in members
                if member.role == "librarian" and member.status in ("alive", "suspect")
            ),
            joined=joined,
            topics=record.digest.topics,
            topics_left_out=record.digest.left_out,
            digest_bytes=record.digest.size_bytes,
            digest_error=record.digest.error,
            frames_in=traffic.frames_in,
            bytes_in=traffic.bytes_in,
            frames_out=traffic.frames_out,
            bytes_out=traffic.bytes_out,
            unsent=traffic.unsent,
            dropped=traffic.dropped,
            net=net,
            clock_shift_s=self._endpoint.clock_shift_s,
        )

    def close(self) -> None:
        """Say goodbye to the mesh and close the memory. May be called twice."""
        if self._announcer is not None:
            self._announcer.close()
        self._server.close()
        self._endpoint.close()
        super().close()

    def _changed(self) -> None:
        if self._announcer is not None:
            self._announcer.changed()
        if self._embedder is not None:
            self._embedder.changed()

    def _embed(self) -> None:
        """The embedder's own thread does."""

    def _remember_many(self, drafts: list[dict[str, Any]]) -> list[Receipt]:
        return self.remember_many(drafts_from(drafts))

    def _stop(self) -> None:
        if self._on_stop is None:
            raise PeerRefused(f"{self.agent} runs inside another program; end that one")
        self._on_stop()

    def _store_incarnation(self, incarnation: int) -> None:
        try:
            self._store.raise_incarnation(incarnation - 1)
        except MeshError as error:  # Too low after a restart, it is refuted and raised once more.
            _log.error("could not keep incarnation %d: %s", incarnation, error)

    def _on_tick(self, now: float) -> Iterable[Effect]:
        return self._feeds.on_tick(now, self._endpoint.driver.peer.engine)

    def _on_request(self, now: float, sender: AgentName, route: Route, request: Request) -> None:
        match request:
            case RecallRequest():
                self._server.take(self._endpoint, sender, route, request)
            case MetadataAck():
                self._feeds.on_ack(sender, request)
            case Who():
                refusal = Refused(request.request, PeerRefused.code, f"{self.agent} is no librarian")
                self._endpoint.driver.peer.send(route, refusal)
            case _:  # Metadata for a librarian that was here before; its sender will learn that it is gone.
                return
