"""The librarian as a member of the mesh: takes metadata, answers who-knows, drops who is gone.

Everything happens in the driver's thread; an answer takes microseconds. It has no memory and no way to
open one: this package may not import what could.
"""

from __future__ import annotations

import logging
import os
import time
from collections import Counter
from collections.abc import Callable
from types import TracebackType
from typing import Self

import msgspec

from librarian.catalogue import Catalogue, Found
from librarian.config import LibrarianConfig
from librarian.policy import Policy, disclose
from node.net.driver import now
from node.net.endpoint import Endpoint, MemberInfo
from node.net.peer import Hooks
from node.net.register import Register
from protocol.effects import MemberChanged, Route
from protocol.errors import InvalidInput, PeerRefused
from protocol.feed import FeedReceiver
from protocol.messages import Metadata, RecallRequest, Refused, Request, Who, WhoReply
from protocol.names import AgentName, check_agent_name
from protocol.topics import query_terms

_log = logging.getLogger(__name__)

DEFAULT_NAME = "librarian"


class LibrarianStatus(msgspec.Struct, frozen=True, kw_only=True):
    """A librarian at one moment. `unknown_senders`: metadata refused as its sender is no living agent."""

    agent: str
    mesh: str
    pid: int
    uptime_s: float
    address: str
    policy: Policy
    agents: int
    topics: int
    questions: int
    metadata: int
    unknown_senders: int
    refused: int
    members: dict[str, int]
    dropped: dict[str, int]


class Librarian:
    """A running librarian. `close` it, or use it in a `with`."""

    def __init__(
        self,
        name: str = DEFAULT_NAME,
        *,
        config: LibrarianConfig | None = None,
        on_stop: Callable[[], object] | None = None,
    ) -> None:
        """Start at once; nodes find it by gossip. `on_stop`: what the command *stop* does.

        Raises `InvalidInput`, `NameTaken` or `AddressInUse`.
        """
        self.agent = check_agent_name(name)
        self.config = config if config is not None else LibrarianConfig.load()
        self._on_stop = on_stop
        self._catalogue = Catalogue()
        self._receivers: dict[AgentName, FeedReceiver] = {}
        self._questions = self._metadata = self._unknown_senders = 0
        claim = Register(self.config.folder).claim(self.agent)
        self._endpoint = Endpoint(
            claim,
            self.config,
            agent=self.agent,
            role="librarian",
            instance=claim.instance(),
            incarnation=int(time.time() * 1000),  # It keeps no file to count its lives in.
            hooks=Hooks(on_request=self._on_request, on_member_changed=self._on_member_changed),
            commands={
                "status": self.status,
                "members": self.members,
                "who_knows": self.who_knows,
                "stop": self._stop,
            },
        )
        self._endpoint.start()

    @property
    def address(self) -> str:
        """Where other members reach it."""
        return self._endpoint.driver.transport.router_address

    def on_refusal(self, action: Callable[[], object]) -> None:
        """Do `action` when the mesh refuses it (its name is taken, another mesh)."""
        self._endpoint.on_refusal = action
        if self._endpoint.refusal is not None:
            action()

    def check(self) -> None:
        """Raise what the mesh refused it for, if it did."""
        self._endpoint.check()

    def who_knows(self, query: str, *, limit: int = 10) -> list[Found]:
        """Which agents announced topics of `query`, best first; not held back by the policy."""
        if not query.strip():
            raise InvalidInput("query", "is empty", "give a question or some words")
        with self._endpoint.driver.lock:
            return self._catalogue.lookup(query_terms(query), limit=limit, now=now())

    def members(self) -> list[MemberInfo]:
        """Everybody it knows of, by name."""
        return self._endpoint.members()

    def status(self) -> LibrarianStatus:
        """This librarian at this moment."""
        members = self._endpoint.members()
        with self._endpoint.driver.lock:
            traffic = self._endpoint.driver.peer.statistics()
            return LibrarianStatus(
                agent=self.agent,
                mesh=self.config.mesh,
                pid=os.getpid(),
                uptime_s=time.time() - self._endpoint.started_at,
                address=self.address,
                policy=self.config.policy,
                agents=len(self._catalogue),
                topics=self._catalogue.terms,
                questions=self._questions,
                metadata=self._metadata,
                unknown_senders=self._unknown_senders,
                refused=self._catalogue.refused,
                members=dict(Counter(member.status for member in members)),
                dropped=traffic.dropped,
            )

    def close(self) -> None:
        """Say goodbye to the mesh. May be called twice."""
        self._endpoint.close()

    def _on_request(self, moment: float, sender: AgentName, route: Route, request: Request) -> None:
        peer = self._endpoint.driver.peer
        match request:
            case Who():
                self._questions += 1
                found = self._catalogue.lookup(request.terms, limit=request.limit, now=moment)
                holders = disclose(found, self.config.policy)
                answer = WhoReply(request.request, self.config.policy, len(self._catalogue), holders)
                peer.send(route, answer)
            case Metadata():
                self._on_metadata(moment, sender, route, request)
            case RecallRequest():
                reason = f"{self.agent} is a librarian and has no memory"
                peer.send(route, Refused(request.request, PeerRefused.code, reason))
            case _:  # An acknowledgement, which only agents wait for.
                return

    def _on_metadata(self, moment: float, sender: AgentName, route: Route, metadata: Metadata) -> None:
        peer = self._endpoint.driver.peer
        member = peer.engine.members.get(sender)
        if member is None or not member.is_living or (member.record and member.record.role != "agent"):
            self._unknown_senders += 1  # A newcomer tries again, and is known by then.
            return
        self._metadata += 1
        intake = self._receivers.setdefault(sender, FeedReceiver()).take(metadata)
        if intake.action == "replace":
            self._catalogue.replace(sender, metadata.topics, moment)
        elif intake.action == "change":
            self._catalogue.change(sender, metadata.topics, metadata.removed, moment)
        peer.send(route, intake.ack)

    def _on_member_changed(self, _moment: float, change: MemberChanged) -> None:
        if change.after in ("dead", "left", "forgotten"):
            self._catalogue.drop(change.agent)
            self._receivers.pop(change.agent, None)

    def _stop(self) -> None:
        if self._on_stop is None:
            raise PeerRefused(f"{self.agent} runs inside another program; end that one")
        self._on_stop()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
