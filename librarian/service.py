"""A librarian as a running member: takes topics from nodes, answers *who knows?* within its policy.

Both are done in the thread that gossips, where they take microseconds: there is nothing to
wait for, neither a disk nor another member.

Invariant: exactly living agents stand in the catalogue, so an answer never names one that is dead or
left. Metadata is taken of living agents only, and who ceases to be one is dropped in the same step.
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

from librarian.catalogue import Catalogue
from librarian.config import LibrarianConfig
from librarian.policy import Policy, disclosed
from node.net.driver import now
from node.net.endpoint import Endpoint, MemberInfo
from node.net.peer import Hooks, PeerStatistics
from node.net.register import Register
from protocol.effects import MemberChanged, Route
from protocol.errors import InvalidInput, PeerRefused
from protocol.feed import FeedReceiver
from protocol.messages import (
    MAX_QUERY_CHARS,
    Holder,
    Metadata,
    RecallRequest,
    Refused,
    Request,
    Who,
    WhoReply,
)
from protocol.names import AgentName, check_agent_name
from protocol.topics import query_terms

_log = logging.getLogger(__name__)

MAX_HOLDERS = 1000
_GONE = ("dead", "left", "forgotten")


class LibrarianStatus(msgspec.Struct, frozen=True, kw_only=True):
    """A librarian at one moment.

    `agents` and `topics` are those in its catalogue, a topic counted once for each agent that announced it.
    `metadata_refused` counts messages of senders that are no living agents, `topics_refused` what passed
    the catalogue's bounds, `dropped` frames of peers that were refused, by reason; `net` has all that is
    known of peers, sockets and gossip. `view` is a hash of all it holds of the mesh, equal where all of that
    is equal. `clock_shift_s`: by how much the system's clock was set meanwhile.
    """

    agent: str
    mesh: str
    pid: int
    uptime_s: float
    address: str
    policy: Policy
    agents: int
    topics: int
    questions: int
    metadata_taken: int
    metadata_refused: int
    topics_refused: int
    members: dict[str, int]
    view: str
    dropped: dict[str, int]
    net: PeerStatistics
    clock_shift_s: float


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """What a librarian says to its own user: the same as to an agent. `agents_known`: over so many agents."""

    query: str
    terms: tuple[str, ...]
    policy: Policy
    agents_known: int
    holders: tuple[Holder, ...]


class Librarian:
    """A running librarian. `close` it, or use it in a `with`; it takes commands of its user until then."""

    def __init__(
        self,
        name: str = "librarian",
        config: LibrarianConfig | None = None,
        on_stop: Callable[[], object] | None = None,
    ) -> None:
        """Start to gossip at once. `on_stop`: what the command *stop* does.

        Raises `InvalidInput`, `NameTaken` (the name runs on this host already) or `AddressInUse`.
        """
        self.agent = check_agent_name(name)
        self.config = config if config is not None else LibrarianConfig.load()
        self.config.checked()
        self.catalogue = Catalogue()
        self._on_stop = on_stop
        self._receivers: dict[AgentName, FeedReceiver] = {}
        self._questions = self._metadata_taken = self._metadata_refused = 0
        claim = Register(self.config.folder).claim(self.agent)
        try:
            instance = claim.instance()
        except BaseException:
            claim.release()
            raise
        self._endpoint = Endpoint(
            claim,
            self.config,
            agent=self.agent,
            role="librarian",
            instance=instance,
            incarnation=int(time.time() * 1000),
            hooks=Hooks(on_request=self._on_request, on_member_changed=self._on_member_changed),
            commands={
                "status": self.status,
                "members": self.members,
                "who_knows": self.who_knows,
                "stop": self._stop,
            },
        )
        try:
            self._endpoint.start()
        except BaseException:
            self.close()
            raise

    @property
    def address(self) -> str:
        """Where other members reach us."""
        return self._endpoint.address

    def on_refusal(self, action: Callable[[], object]) -> None:
        """Do `action` when the mesh refuses us (our name is taken, another mesh): we are no member then.

        It is done in the thread that gossips: it may have the librarian closed, but not close it itself.
        """
        self._endpoint.on_refusal = action
        if self._endpoint.refusal is not None:
            action()

    def check(self) -> None:
        """Raise what the mesh refused us for, if it did."""
        self._endpoint.check()

    def who_knows(self, query: str, *, limit: int = 10) -> Answer:
        """Who announced topics of `query`, best first, at most `limit` (1 to 1,000), as the policy allows."""
        self.check()
        if not isinstance(query, str) or not query.strip() or len(query) > MAX_QUERY_CHARS:
            raise InvalidInput("query", "is no question", f"write 1 to {MAX_QUERY_CHARS:,} characters")
        if not isinstance(limit, int) or isinstance(limit, bool) or not 1 <= limit <= MAX_HOLDERS:
            raise InvalidInput("limit", f"{limit!r} is out of range", f"use 1 to {MAX_HOLDERS:,}")
        terms = tuple(query_terms(query))
        with self._endpoint.driver.lock:
            reply = self._reply(now(), Who(0, terms, limit))
        return Answer(
            query=query,
            terms=terms,
            policy=reply.policy,
            agents_known=reply.agents_known,
            holders=reply.holders,
        )

    def members(self) -> list[MemberInfo]:
        """Everybody we know of, ourselves and the lately dead included, by name."""
        self.check()
        return self._endpoint.members()

    def status(self) -> LibrarianStatus:
        """This librarian at this moment."""
        members, net = self._endpoint.members(), self._endpoint.statistics()
        with self._endpoint.driver.lock:
            return LibrarianStatus(
                agent=self.agent,
                mesh=self.config.mesh,
                pid=os.getpid(),
                uptime_s=time.time() - self._endpoint.started_at,
                address=self.address,
                policy=self.config.policy,
                agents=len(self.catalogue),
                topics=self.catalogue.topics,
                questions=self._questions,
                metadata_taken=self._metadata_taken,
                metadata_refused=self._metadata_refused,
                topics_refused=self.catalogue.refused_topics,
                members=dict(Counter(member.status for member in members)),
                view=f"{self._endpoint.driver.peer.engine.members.view():016x}",
                dropped=net.traffic.dropped,
                net=net,
                clock_shift_s=self._endpoint.clock_shift_s,
            )

    def close(self) -> None:
        """Say goodbye to the mesh; what was catalogued is gone. May be called twice."""
        self._endpoint.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    # -- in the driver's thread, or under its lock

    def _on_request(self, moment: float, sender: AgentName, route: Route, request: Request) -> None:
        peer = self._endpoint.driver.peer
        match request:
            case Who():
                self._questions += 1
                peer.send(route, self._reply(moment, request))
            case Metadata():
                self._take(moment, sender, route, request)
            case RecallRequest():
                reason = f"{self.agent} is a librarian, it has no memory"
                peer.send(route, Refused(request.request, PeerRefused.code, reason))
            case _:  # An acknowledgement: we send nothing that asks for one.
                return

    def _reply(self, moment: float, who: Who) -> WhoReply:
        policy = self.config.policy
        if policy == "none":
            return WhoReply(who.request, policy, 0, ())
        found = self.catalogue.lookup(who.terms, who.limit, moment)
        return WhoReply(who.request, policy, len(self.catalogue), disclosed(policy, found))

    def _take(self, moment: float, sender: AgentName, route: Route, metadata: Metadata) -> None:
        """Unanswered, a message comes again: of a member whose record is still under way, too."""
        if not self._is_living_agent(sender):
            self._metadata_refused += 1
            return
        receiver = self._receivers.get(sender)
        if receiver is None:
            receiver = self._receivers[sender] = FeedReceiver()
        intake = receiver.take(metadata)
        match intake.action:
            case "replace":
                is_held = self.catalogue.replace(sender, metadata.topics, moment)
            case "change":
                is_held = self.catalogue.change(sender, metadata.topics, metadata.removed, moment)
            case "nothing":
                is_held = True
        if not is_held:
            _log.warning("no room for agent %s: %d are catalogued", sender, len(self.catalogue))
            self._metadata_refused += 1
            del self._receivers[sender]
            return
        self._metadata_taken += intake.action != "nothing"
        self._endpoint.driver.peer.send(route, intake.ack)

    def _is_living_agent(self, name: AgentName) -> bool:
        member = self._endpoint.driver.peer.engine.members.get(name)
        return (
            member is not None
            and member.is_living
            and member.record is not None
            and member.record.role == "agent"
        )

    def _on_member_changed(self, _moment: float, change: MemberChanged) -> None:
        if change.after in _GONE or not self._is_living_agent(change.agent):
            self._receivers.pop(change.agent, None)
            if self.catalogue.drop(change.agent):
                _log.info("dropped the topics of agent %s, which is %s", change.agent, change.after)

    def _stop(self) -> None:
        if self._on_stop is None:
            raise PeerRefused(f"{self.agent} runs inside another program; end that one")
        self._on_stop()
