"""Outstanding requests: who was asked what, who answered, who stays silent.

One `Ask` goes to several members at once and ends when all have answered or its
deadline passes; what came by then is the result, and the silent are named. An answer
that comes later, twice, or from somebody who was not asked is counted and dropped.

Invariants, checked by `check()`:
 1. Every outstanding member of an ask belongs to the one request number that was sent to it.
 2. At most `limit` requests are outstanding; beyond that an ask is refused at once.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import msgspec

from protocol.effects import Effect, Route, Send
from protocol.messages import Refused, Reply, Request
from protocol.names import AgentName


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """How an ask ended: replies by agent, refusals among them, and who was silent until the deadline."""

    ask: int
    replies: dict[AgentName, Reply]
    silent: tuple[AgentName, ...]
    elapsed_s: float


class _Ask:
    __slots__ = ("deadline", "outstanding", "replies", "started_at")

    def __init__(self, now: float, deadline: float, outstanding: dict[AgentName, int]) -> None:
        self.started_at, self.deadline = now, deadline
        self.outstanding = outstanding
        self.replies: dict[AgentName, Reply] = {}


class AskTable:
    """All asks of one member. Request numbers are never used twice in its life."""

    def __init__(self, *, first_request: int, limit: int = 1024) -> None:
        """Numbering starts after `first_request`; another one after each restart keeps late replies apart."""
        self.limit = limit
        self.strays = 0
        self._next = first_request
        self._asks: dict[int, _Ask] = {}
        self._requests: dict[int, tuple[int, AgentName]] = {}

    def start(
        self,
        now: float,
        peers: Mapping[AgentName, Route],
        make: Callable[[int, AgentName], Request],
        *,
        timeout_s: float,
    ) -> tuple[int, list[Effect]]:
        """Ask `peers`; `make(request, agent)` gives each its message. Returns the ask's number and the sends.

        Raises `OverflowError` where too much is outstanding already.
        """
        if len(self._requests) + len(peers) > self.limit:
            raise OverflowError(f"{len(self._requests)} requests are outstanding, {self.limit} are allowed")
        number = self._number()
        requests = {agent: self._number() for agent in peers}
        effects: list[Effect] = [Send(peers[agent], make(at, agent)) for agent, at in requests.items()]
        self._asks[number] = _Ask(now, now + timeout_s, requests)
        self._requests.update((request, (number, agent)) for agent, request in requests.items())
        return number, effects

    def on_reply(self, now: float, sender: AgentName, reply: Reply) -> Outcome | None:
        """Take an answer; the outcome where it was the last one missing."""
        number, agent = self._requests.get(reply.request, (0, None))
        if agent is None or agent != sender:
            self.strays += 1
            return None
        del self._requests[reply.request]
        ask = self._asks[number]
        del ask.outstanding[agent]
        ask.replies[agent] = reply
        return None if ask.outstanding else self._end(number, now)

    def expire(self, now: float) -> list[Outcome]:
        """End the asks whose deadline has passed, with what came."""
        due = [number for number, ask in self._asks.items() if now >= ask.deadline or not ask.outstanding]
        return [self._end(number, now) for number in due]

    def next_deadline(self) -> float:
        """When `expire` has something to do next."""
        return min((ask.deadline for ask in self._asks.values()), default=math.inf)

    def check(self) -> None:
        """Assert the invariants at the head of this module."""
        outstanding = {
            request: (number, agent)
            for number, ask in self._asks.items()
            for agent, request in ask.outstanding.items()
        }
        assert outstanding == self._requests
        assert len(self._requests) <= self.limit

    def _number(self) -> int:
        self._next += 1
        return self._next

    def _end(self, number: int, now: float) -> Outcome:
        ask = self._asks.pop(number)
        for request in ask.outstanding.values():
            del self._requests[request]
        return Outcome(
            ask=number, replies=ask.replies, silent=tuple(ask.outstanding), elapsed_s=now - ask.started_at
        )


def is_refusal(reply: Reply) -> bool:
    """Whether the peer answered no."""
    return isinstance(reply, Refused)
