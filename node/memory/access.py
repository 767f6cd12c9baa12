"""Who may read what: the one rule, for a row in Python and for rows in SQL.

What an asker may read is a set of strings, `readable`: names of visibilities, all of whose memories may be
read, and beside them granted paths, which open memories of visibility `listed` only. A granted path that ends
in / opens everything below it. `private` memories are opened by neither, unless their owner asks.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable

import msgspec

from node.memory.records import check_path, check_prefix
from protocol.names import AgentName

ANY_MEMBER: frozenset[str] = frozenset({"mesh"})
"""Visibilities whose text any member of the mesh may read."""

GRANTABLE = "listed"


class Grant(msgspec.Struct, frozen=True, kw_only=True):
    """Leave for one agent to read a listed memory, or all below a path that ends in /."""

    agent: str
    path: str


def check_granted(path: str) -> str:
    """A path of a memory, or one that ends in / for all below it; / is all."""
    if isinstance(path, str) and path.endswith("/"):
        return check_prefix(path) if path == "/" else f"{check_path(path[:-1])}/"
    return check_path(path)


def readable_by(asker: AgentName, grants: Iterable[Grant]) -> frozenset[str]:
    """What `asker` may read of a memory with these grants."""
    return ANY_MEMBER.union(grant.path for grant in grants if grant.agent == asker)


def may_read(visibility: str, path: str, readable: Collection[str]) -> bool:
    """Whether a memory is among what is `readable`."""
    if visibility in readable:
        return True
    return visibility == GRANTABLE and (
        path in readable or any(one.endswith("/") and path.startswith(one) for one in readable)
    )


def condition(row: str, parameter: str) -> str:
    """`may_read` in SQL, for a row of `versions`; the parameter is `readable` as a JSON array."""
    return f"""({row}.visibility IN (SELECT value FROM json_each({parameter}))
        OR instr({parameter}, '"/') AND {row}.visibility = '{GRANTABLE}'
            AND EXISTS (SELECT 1 FROM json_each({parameter}) granted WHERE granted.value = {row}.path
                OR granted.value LIKE '%/'
                    AND substr({row}.path, 1, length(granted.value)) = granted.value))"""
