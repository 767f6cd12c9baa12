"""Links between memories, and grants to other agents: what may be changed without a new version.

A link goes from one live memory to another and ends with either of them. A grant stays whatever happens at
its path, until it is revoked or the path is erased.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import apsw
import msgspec

from node.memory.access import Grant, check_granted, readable_by
from node.memory.commit import GroupCommit
from node.memory.database import Readers
from node.memory.records import MAX_PAGE, check_count, check_label, check_path
from protocol.errors import InvalidInput, NotFound
from protocol.names import AgentName, check_agent_name

MAX_DEPTH = 4
MAX_KIND_CHARS = 64

_IS_LIVE = "SELECT 1 FROM head WHERE path = ? AND live AND (expires_at IS NULL OR expires_at > ?)"
_LINK = "INSERT OR REPLACE INTO links (path, target, kind, weight) VALUES (?, ?, ?, ?)"
_UNLINK = "DELETE FROM links WHERE path = ? AND target = ? AND (kind = ? OR ? IS NULL)"
_LINKS = """
    SELECT path, target, kind, weight FROM links WHERE path = ?1
    UNION SELECT path, target, kind, weight FROM links WHERE target = ?1
    ORDER BY weight DESC, path, target, kind"""
_AROUND = """
    SELECT l.path, l.target, l.kind, l.weight, v.title
    FROM json_each(?1) at JOIN links l ON l.path = at.value
    JOIN head h ON h.path = l.target JOIN versions v ON v.id = h.latest
    UNION ALL
    SELECT l.target, l.path, l.kind, l.weight, v.title
    FROM json_each(?1) at JOIN links l ON l.target = at.value
    JOIN head h ON h.path = l.path JOIN versions v ON v.id = h.latest"""

_LINKED = """
    SELECT at.value, h.latest, l.weight FROM json_each(?1) at JOIN versions v ON v.id = at.value
    JOIN links l ON l.path = v.path JOIN head h ON h.path = l.target
    UNION
    SELECT at.value, h.latest, l.weight FROM json_each(?1) at JOIN versions v ON v.id = at.value
    JOIN links l ON l.target = v.path JOIN head h ON h.path = l.path"""


class Link(msgspec.Struct, frozen=True, kw_only=True):
    """From `path` to `target`; `weight` is above 0 and at most 1."""

    path: str
    target: str
    kind: str
    weight: float


class Step(msgspec.Struct, frozen=True, kw_only=True):
    """A memory reached over links in either direction: `depth` links away, the last of them from `origin`.

    `strength` is the product of the weights on the way.
    """

    path: str
    title: str
    depth: int
    strength: float
    kind: str
    origin: str


class Relations:
    """The links and grants of one store, in any thread."""

    def __init__(
        self, connection: apsw.Connection, commits: GroupCommit, readers: Readers, clock: Callable[[], float]
    ) -> None:
        self._connection, self._commits, self._readers, self._clock = connection, commits, readers, clock

    def link(self, path: str, to: str, kind: str, weight: float) -> Link:
        """Make a link, or give it another weight. Raises NotFound where either memory is not there."""
        check_path(path)
        if check_path(to) == path:
            raise InvalidInput("to", "is the memory itself", "name another one")
        check_label("kind", kind, MAX_KIND_CHARS)
        if isinstance(weight, bool) or not isinstance(weight, int | float) or not 0.0 < weight <= 1.0:
            raise InvalidInput("weight", f"{weight!r} is out of range", "use a number above 0, at most 1")
        made = Link(path=path, target=to, kind=kind, weight=float(weight))

        def job() -> None:
            for end in (path, to):
                if self._connection.execute(_IS_LIVE, (end, self._clock())).fetchone() is None:
                    raise NotFound(f"{end}: nothing is remembered there")
            self._connection.execute(_LINK, (path, to, kind, made.weight))

        self._commits.run(job)
        return made

    def unlink(self, path: str, to: str, kind: str | None) -> int:
        """Remove the link of this kind, or of every kind; how many there were. Raises NotFound for none."""
        check_path(path)
        check_path(to)
        if kind is not None:
            check_label("kind", kind, MAX_KIND_CHARS)
        removed = self._changes(_UNLINK, (path, to, kind, kind))
        if not removed:
            raise NotFound(f"{path}: has no such link to {to}")
        return removed

    def links(self, path: str) -> list[Link]:
        """Links from and to `path`, the heaviest first."""
        rows = self._readers.rows(_LINKS, (check_path(path),))
        return [Link(path=at, target=to, kind=kind, weight=weight) for at, to, kind, weight in rows]

    def linked(self, ids: Iterable[int]) -> list[tuple[int, int, float]]:
        """(one of these versions, the latest version of a memory linked with it either way, weight)."""
        values = (msgspec.json.encode(list(ids)).decode(),)
        return [(at, to, weight) for at, to, weight in self._readers.rows(_LINKED, values)]

    def explore(self, path: str, depth: int, limit: int) -> list[Step]:
        """What is linked with `path` over at most `depth` links: nearest, then strongest first."""
        check_path(path)
        check_count("depth", depth, MAX_DEPTH)
        check_count("limit", limit, MAX_PAGE)
        strengths = {path: 1.0}
        found: list[Step] = []
        frontier = [path]
        for distance in range(1, depth + 1):
            rows = self._readers.rows(_AROUND, (msgspec.json.encode(frontier).decode(),))
            best: dict[str, Step] = {}
            for origin, to, kind, weight, title in rows:
                if to in strengths:
                    continue
                strength = strengths[origin] * weight
                known = best.get(to)
                if known is None or (-strength, origin, kind) < (-known.strength, known.origin, known.kind):
                    best[to] = Step(
                        path=to, title=title, depth=distance, strength=strength, kind=kind, origin=origin
                    )
            level = sorted(best.values(), key=lambda step: (-step.strength, step.path))
            found += level
            if not level or len(found) >= limit:
                break
            strengths |= {step.path: step.strength for step in level}
            frontier = [step.path for step in level]
        return found[:limit]

    def grant(self, path: str, agent: str) -> Grant:
        """Let an agent read a listed memory, or all below a path that ends in /, if there is one or not."""
        made = Grant(agent=check_agent_name(agent), path=check_granted(path))
        self._changes("INSERT OR IGNORE INTO grants (agent, path) VALUES (?, ?)", (made.agent, made.path))
        return made

    def revoke(self, path: str, agent: str) -> None:
        """Take a grant back, spelled as it was given. Raises NotFound where there is none."""
        given = (check_agent_name(agent), check_granted(path))
        if not self._changes("DELETE FROM grants WHERE agent = ? AND path = ?", given):
            raise NotFound(f"{path}: is not granted to {agent}")

    def grants(self) -> list[Grant]:
        """All grants, by agent and path."""
        rows = self._readers.rows("SELECT agent, path FROM grants ORDER BY agent, path")
        return [Grant(agent=agent, path=path) for agent, path in rows]

    def readable_by(self, asker: AgentName) -> frozenset[str]:
        """What `asker` may read here, as `node.memory.access` says it."""
        rows = self._readers.rows("SELECT agent, path FROM grants WHERE agent = ?", (asker,))
        return readable_by(asker, (Grant(agent=agent, path=path) for agent, path in rows))

    def _changes(self, statement: str, values: tuple[Any, ...]) -> int:
        def job() -> int:
            self._connection.execute(statement, values)
            return self._connection.changes()

        return self._commits.run(job)
