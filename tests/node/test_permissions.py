"""What each role may be given: the table at the head of the module."""

from __future__ import annotations

import pytest

from node.permissions import Permissions, may_hear_topics
from protocol.errors import PeerRefused
from protocol.messages import Role
from protocol.names import AgentName

BOB = AgentName("bob")
OPENED = frozenset({"mesh", "/granted"})


def opened(asker: AgentName) -> frozenset[str]:
    return OPENED if asker == BOB else frozenset()


@pytest.mark.parametrize("role", ["agent", "observer"])
def test_who_may_read_reads_what_the_memory_opens(role: Role) -> None:
    assert Permissions(opened).readable(BOB, role) == OPENED
    assert Permissions(opened).readable(AgentName("eve"), role) == frozenset()


@pytest.mark.parametrize(("role", "why"), [("librarian", "is given no text"), (None, "no member")])
def test_who_may_not_read_is_refused_whatever_the_memory_opens(role: Role | None, why: str) -> None:
    with pytest.raises(PeerRefused, match=why):
        Permissions(opened).readable(BOB, role)


def test_topics_go_to_librarians_alone() -> None:
    assert may_hear_topics("librarian")
    assert not may_hear_topics("agent")
    assert not may_hear_topics("observer")
