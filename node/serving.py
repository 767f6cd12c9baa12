"""What other members may ask of a node: the one place where text leaves it.

Requests are answered by two threads of their own, so that they hold up neither the gossip nor our
user's commands. What waits is bounded; beyond that the asker is told that we are busy.
"""

from __future__ import annotations

import logging
import threading
from collections import Counter
from collections.abc import Callable, Collection
from concurrent.futures import Future
from functools import partial

from node.memory.store import Store
from node.net.audit import AuditLog
from node.net.control import Workers
from node.net.endpoint import Endpoint
from node.permissions import Permissions
from node.recall.recall import Item, Understand
from node.recall.recall import recall as recall_from
from protocol import wire
from protocol.effects import Route
from protocol.errors import MalformedFrame, MeshError, PeerRefused
from protocol.messages import Quote, RecallReply, RecallRequest, Refused, Role
from protocol.names import AgentName

_log = logging.getLogger(__name__)

MAX_SERVED_TOKENS = 20_000
"""Of one reply: some 80 KiB of English, what fits a frame beside its envelope."""

MAX_QUOTES = 1000
"""Of one reply, as the wire format allows."""

_THREADS = 2
_WAITING = 64
_AT_ONCE = 16
"""Questions of one asker that wait or run; a quarter of all, so that no one keeps the others out."""


class Server:
    """Answers recall requests. `understand` makes what finds memories by meaning among those readable."""

    def __init__(
        self,
        store: Store,
        audit: AuditLog,
        understand: Callable[[Collection[str]], Understand | None],
    ) -> None:
        self._store, self._audit, self._understand = store, audit, understand
        self._lock = threading.Lock()
        self._under_way: Counter[AgentName] = Counter()
        self._permissions = Permissions(store.relations.readable_by)
        self._workers = Workers("avm-serving", threads=_THREADS, limit=_WAITING)

    def take(self, endpoint: Endpoint, sender: AgentName, route: Route, request: RecallRequest) -> None:
        """Answer `request` along `route`, soon. Called by the driver."""
        role = endpoint.role_of(sender)
        done = partial(self._answer, endpoint, sender, role, route, request)
        job = partial(self._recall, endpoint.agent, sender, role, request)
        with self._lock:
            is_too_much = self._under_way[sender] >= _AT_ONCE
            self._under_way[sender] += not is_too_much
        if is_too_much or not self._workers.submit(job, done):
            if not is_too_much:
                self._over(sender)
            busy = Refused(request.request, PeerRefused.code, f"{endpoint.agent} is busy")
            endpoint.driver.send(route, wire.encode(endpoint.agent, busy))

    def _over(self, sender: AgentName) -> None:
        with self._lock:
            self._under_way[sender] -= 1
            if not self._under_way[sender]:
                del self._under_way[sender]

    def close(self) -> None:
        """Finish what runs, drop what waits."""
        self._workers.close()

    def _recall(self, owner: AgentName, asker: AgentName, role: Role | None, request: RecallRequest) -> bytes:
        """The reply's frame, of what `asker` may read; where not one quote fits, all are cut to less."""
        budget = min(request.budget_tokens, MAX_SERVED_TOKENS)
        readable = self._permissions.readable(asker, role)
        while True:
            found = recall_from(
                self._store,
                request.query,
                budget,
                visibilities=readable,
                understand=self._understand(readable),
            )
            frame = _frame(owner, request.request, [_quote(item) for item in found.items])
            if frame is not None:
                self._audit.answered(
                    asker,
                    role or "",
                    "recall",
                    request.query,
                    gave=len(found.items),
                    paths=(item.path for item in found.items),
                )
                return frame
            budget //= 2

    def _answer(
        self,
        endpoint: Endpoint,
        sender: AgentName,
        role: Role | None,
        route: Route,
        request: RecallRequest,
        future: Future[bytes],
    ) -> None:
        self._over(sender)
        if future.cancelled():
            return
        error = future.exception()
        if error is None:
            endpoint.driver.send(route, future.result())
            return
        if not isinstance(error, MeshError):
            _log.error("a recall for %s failed by our fault", sender, exc_info=error)
        code = error.code if isinstance(error, MeshError) else MeshError.code
        reason = str(error)[:256] if isinstance(error, MeshError) else "failed"
        self._audit.refused(sender, role or "", "recall", request.query, reason=reason)
        refusal = Refused(request.request, code, reason)
        endpoint.driver.send(route, wire.encode(endpoint.agent, refusal))


def _frame(sender: AgentName, request: int, quotes: list[Quote]) -> bytes | None:
    """The reply; what does not fit a frame is left out, the least fitting first. None where nothing fits."""
    for kept in range(min(len(quotes), MAX_QUOTES), 0, -1):
        try:
            return wire.encode(sender, RecallReply(request, tuple(quotes[:kept])))
        except MalformedFrame:
            continue
    return None if quotes else wire.encode(sender, RecallReply(request, ()))


def _quote(item: Item) -> Quote:
    return Quote(
        path=item.path,
        version=item.version,
        title=item.title,
        text=item.text,
        tokens=item.tokens,
        score=item.score,
        source=item.source,
        cut=item.cut,
    )
