"""Who may be given what: asked before anything of ours leaves this process. What is not allowed is refused.

    role        text of memories              topics, their counts
    agent       what its owner opens to it    nothing
    observer    what its owner opens to it    nothing
    librarian   nothing                       what may be announced
    none        nothing                       nothing

The role is the one that the asker's certificate names; who has none is no member. What an owner opens,
visibilities and grants say: node/memory/access.py. A digest holds what may be announced, and goes to all
members.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from protocol.errors import PeerRefused
from protocol.messages import Role
from protocol.names import AgentName

_READERS: Final[frozenset[Role]] = frozenset({"agent", "observer"})


class Permissions:
    """Of one node."""

    def __init__(self, readable_by: Callable[[AgentName], frozenset[str]]) -> None:
        """`readable_by` tells what the memory opens to an agent."""
        self._readable_by = readable_by

    def readable(self, asker: AgentName, role: Role | None) -> frozenset[str]:
        """What `asker` may read of our memory; `PeerRefused` where that is nothing at all."""
        if role is None:
            raise PeerRefused(f"{asker} is no member of this mesh, as far as is known here")
        if role not in _READERS:
            raise PeerRefused(f"a {role} is given no text")
        return self._readable_by(asker)


def may_hear_topics(role: Role) -> bool:
    """Whether who has this role is told our topics one by one."""
    return role == "librarian"
