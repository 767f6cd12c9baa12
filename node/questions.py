"""Questions to the mesh: who may know, and what its owners say.

*Who knows* asks a librarian where one is there, a second one if the first is silent, and our own
directory in the end. *Ask* sends the question to the most likely owners at once, recalls from our own memory
meanwhile, and merges what came by the deadline into one budget. Nobody is waited for past it.
"""

from __future__ import annotations

import time
from collections.abc import Sequence

from node.embedder import Embedder, why_by_words
from node.memory.records import check_count, check_query
from node.memory.store import Store
from node.net.driver import now
from node.net.endpoint import Endpoint
from node.recall.recall import Item, Recall, merge
from node.recall.recall import recall as recall_from
from node.results import Lead, Via, WhoKnows
from protocol.effects import Route
from protocol.errors import InvalidInput, NotFound, PeerSilent
from protocol.messages import (
    MAX_BUDGET_TOKENS,
    MAX_QUERY_CHARS,
    Quote,
    RecallReply,
    RecallRequest,
    Refused,
    Who,
    WhoReply,
)
from protocol.names import AgentName
from protocol.topics import query_terms

MAX_LEADS = 1000
MAX_PEERS = 32
MAX_TIMEOUT_S = 3600.0
LIBRARIAN_S = 0.25
"""How long one librarian may take. Higher waits longer for a dead one before gossip answers."""
_LIBRARIANS = 2  # Asked one after the other, before gossip.


class Questions:
    """Of one node. From any thread but the driver's."""

    def __init__(self, store: Store, endpoint: Endpoint, embedder: Embedder | None) -> None:
        self._store, self._endpoint, self._embedder = store, endpoint, embedder

    def who_knows(self, query: str, *, limit: int, via: Via) -> WhoKnows:
        """See `MemoryNode.who_knows`."""
        check_count("limit", limit, MAX_LEADS)
        if via not in ("auto", "gossip", "librarian"):
            raise InvalidInput("via", f"{via!r} is none", "use auto, gossip or librarian")
        query = _sendable(check_query(query))
        terms = query_terms(query)
        started = time.perf_counter()
        note = ""
        if via != "gossip":
            found, note = self._by_librarian(query, terms, limit, started)
            if found is not None and (via == "librarian" or not found.note):
                return found
            if via == "librarian":
                if not note:
                    raise NotFound("no librarian is in the mesh; start one with `avm librarian`")
                raise PeerSilent(note)
            note = note or (found.note if found else "")
        return self._by_gossip(query, terms, limit, started, note)

    def _by_gossip(self, query: str, terms: list[str], limit: int, started: float, note: str) -> WhoKnows:
        driver = self._endpoint.driver
        with driver.lock:
            leads = driver.peer.engine.directory.who_knows(terms, now=now(), limit=limit)
        return WhoKnows(
            query=query,
            terms=tuple(terms),
            source="gossip",
            librarian="",
            leads=tuple(
                Lead(
                    agent=lead.agent,
                    score=lead.score,
                    certainty=lead.certainty,
                    matched=lead.matched,
                    age_s=0.0 if lead.agent == self._endpoint.agent else lead.age_s,
                    error=lead.error,
                    status="suspect" if lead.suspect else "alive",
                )
                for lead in leads
            ),
            elapsed_s=time.perf_counter() - started,
            note=note,
        )

    def _by_librarian(
        self, query: str, terms: list[str], limit: int, started: float
    ) -> tuple[WhoKnows | None, str]:
        """An answer, or why there is none. An answer with a note is no better than what gossip knows."""
        endpoint, note = self._endpoint, ""
        for agent, route in endpoint.librarians()[:_LIBRARIANS]:
            outcome = endpoint.driver.ask(
                {agent: route},
                lambda number, _: Who(number, tuple(terms), limit),
                timeout_s=LIBRARIAN_S,
            ).wait()
            match outcome.replies.get(agent):
                case WhoReply() as reply:
                    found = WhoKnows(
                        query=query,
                        terms=tuple(terms),
                        source="librarian",
                        librarian=agent,
                        leads=tuple(
                            Lead(
                                agent=holder.agent,
                                score=holder.score,
                                certainty=1.0,
                                matched=holder.matched,
                                age_s=holder.age_s,
                                error=0.0,
                                status="alive",
                                memories=holder.memories if reply.policy == "full" else None,
                            )
                            for holder in reply.holders
                            if holder.agent
                        ),
                        elapsed_s=time.perf_counter() - started,
                        note=self._shortcoming(agent, reply),
                    )
                    return found, ""
                case Refused() as refusal:
                    note = f"librarian {agent} refused: {refusal.reason}"
                case _:
                    note = f"librarian {agent} did not answer within {LIBRARIAN_S:g} s"
        return None, note

    def _shortcoming(self, agent: AgentName, reply: WhoReply) -> str:
        if reply.policy == "none":
            return f"the policy of librarian {agent} tells nothing"
        if reply.policy == "existence":
            knows = "somebody knows" if reply.holders else "nobody knows"
            return f"the policy of librarian {agent} tells only that {knows}"
        if reply.holders:
            return ""
        living = self._endpoint.agents()
        if reply.agents_known < living:
            return f"librarian {agent} has heard of {reply.agents_known} of {living} agents so far"
        return ""

    def ask(self, query: str, *, budget_tokens: int, max_peers: int, timeout_s: float) -> Recall:
        """See `MemoryNode.ask`."""
        check_count("budget_tokens", budget_tokens, MAX_BUDGET_TOKENS)
        check_count("max_peers", max_peers, MAX_PEERS)
        check_timeout(timeout_s)
        query = _sendable(check_query(query))
        found = self.who_knows(query, limit=max_peers + 1, via="auto")
        peers = self._routes([lead.agent for lead in found.leads])[:max_peers]
        pending = self._endpoint.driver.ask(
            dict(peers),
            lambda number, _: RecallRequest(number, query[:MAX_QUERY_CHARS], budget_tokens),
            timeout_s=timeout_s,
        )
        understand = None if self._embedder is None else self._embedder.understand
        own = recall_from(self._store, query, budget_tokens, understand=understand)
        outcome = pending.wait()

        parts: list[Sequence[Item]] = [own.items]
        notes = [found.note] if found.note else []
        notes += why_by_words(self._embedder, own.hops)
        for agent, reply in outcome.replies.items():
            match reply:
                case RecallReply():
                    parts.append([_item(agent, quote) for quote in reply.quotes])
                case Refused():
                    notes.append(f"{agent} refused: {reply.reason}")
                case _:
                    notes.append(f"{agent} answered something else")
        hops = {**own.hops, "peer": int(bool(peers)), "librarian": int(found.source == "librarian")}
        return merge(query, parts, budget_tokens, hops=hops, silent_peers=outcome.silent, notes=tuple(notes))

    def _routes(self, agents: list[str]) -> list[tuple[AgentName, Route]]:
        others = [AgentName(agent) for agent in agents if agent != self._endpoint.agent]
        routes = [(agent, self._endpoint.route_to(agent)) for agent in others]
        return [(agent, route) for agent, route in routes if route is not None]


def check_timeout(timeout_s: float) -> float:
    """Seconds to wait for peers: more than 0, at most an hour."""
    if not isinstance(timeout_s, int | float) or not 0.0 < timeout_s <= MAX_TIMEOUT_S:
        fix = f"use seconds, more than 0 and at most {MAX_TIMEOUT_S:.0f}"
        raise InvalidInput("timeout_s", f"{timeout_s!r} is out of range", fix)
    return timeout_s


def _sendable(query: str) -> str:
    """The wire takes no lone surrogates, which a shell makes of bytes that are no UTF-8."""
    return query if query.isascii() else query.encode(errors="replace").decode()


def _item(agent: AgentName, quote: Quote) -> Item:
    return Item(
        agent=agent,
        path=quote.path,
        version=quote.version,
        title=quote.title,
        text=quote.text,
        tokens=quote.tokens,
        score=quote.score,
        source=quote.source,
        cut=quote.cut,
    )
