"""Commands on what stands beside the texts."""

from __future__ import annotations

import inspect

import pytest

from node import LocalMemory, MemoryNode, NodeClient
from tests.deploy.conftest import Avm
from tests.support.waiting import wait_for


def test_memories_are_linked_walked_and_unlinked(avm: Avm) -> None:
    for name in "abc":
        avm("remember", f"note {name}", "-a", "alice", "--path", f"/{name}", "--title", name.upper())

    assert "linked: /a -> /b" in avm("link", "/a", "/b", "--kind", "supersedes", "--weight", "0.5").out
    assert avm("link", "/b", "/c").status == 0
    assert "supersedes 0.5" in avm("links", "/b").out
    assert avm("explore", "/a").out.split() == ["/b", "B", "supersedes", "/c", "C", "related"]
    assert avm("unlink", "/a", "/b").status == 0
    assert avm("unlink", "/a", "/b").status == 1
    assert avm("links", "/a").out == "no links\n"
    assert avm("link", "/a", "/a").status == 2
    assert avm("explore", "/a", "--depth", "9").status == 2


def test_grants_are_given_listed_and_taken_back(avm: Avm) -> None:
    avm("remember", "note", "-a", "alice", "--path", "/n/a")

    assert avm("grant", "/n/", "bob").out == "granted: bob may read /n/\n"
    assert avm("grants").out == "bob  /n/\n"
    assert avm("revoke", "/n/", "bob").status == 0
    assert avm("revoke", "/n/", "bob").status == 1
    assert avm("grants").out == "no grants\n"


def test_without_a_keyword_there_are_topics_and_ages(avm: Avm) -> None:
    avm("remember", "Zebras graze.", "-a", "alice", "--path", "/1")
    avm("remember", "Zebras sleep.", "--path", "/2")

    assert avm("topics", "--limit", "1").out.split() == ["2", "zebra"]
    cut = avm("timeline", "--limit", "1").out
    assert "/2" in cut
    assert "--before 2" in cut
    assert "/1" in avm("timeline", "--before", "2").out


@pytest.mark.processes
def test_a_running_node_takes_these_commands_and_gives_granted_text_to_whom_it_is_granted(avm: Avm) -> None:
    with MemoryNode("alice") as alice, MemoryNode("bob") as bob, MemoryNode("carol") as carol:
        alice.remember("The ingress needs a certificate.", path="/n/a")
        alice.remember("The egress needs none.", path="/n/b")
        for node in (bob, carol):
            wait_for(lambda node=node: node.who_knows("ingress").leads)  # type: ignore[misc]
        assert bob.ask("ingress").items == ()

        assert avm("grant", "/n/", "bob", "-a", "alice").status == 0
        assert avm("link", "/n/a", "/n/b", "-a", "alice").status == 0

        assert bob.ask("ingress").items[0].path == "/n/a"
        assert carol.ask("ingress").items == ()
        for command in (["grants"], ["links", "/n/a"], ["explore", "/n/a"], ["topics"], ["timeline"]):
            assert avm(*command, "-a", "alice", "--json").envelope["count"] >= 1
        assert avm("unlink", "/n/a", "/n/b", "-a", "alice").status == 0
        assert avm("revoke", "/n/", "bob", "-a", "alice").status == 0
        assert bob.ask("ingress").items == ()


@pytest.mark.processes
def test_whatever_a_memory_does_its_node_does_for_a_client(avm: Avm) -> None:
    public = {name for name, _ in inspect.getmembers(LocalMemory, callable) if not name.startswith("_")}
    with MemoryNode("alice") as alice:
        commands = set(alice._endpoint._control._commands)

    only_without_a_node = {"close", "take_over"}
    methods = public - only_without_a_node
    assert methods <= {name for name, _ in inspect.getmembers(NodeClient, callable)}
    assert methods - {"export"} <= commands
