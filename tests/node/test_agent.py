"""A node in its agent's process: what it writes becomes known, what must not leave does not."""

from __future__ import annotations

import inspect
import socket
from pathlib import Path

import pytest

from node import Draft, LocalMemory, MemoryNode, NodeClient
from node.net.register import Register
from protocol.errors import (
    AddressInUse,
    InvalidInput,
    MemoryInUse,
    NameTaken,
    NodeClosed,
    NotFound,
    PeerRefused,
)
from protocol.keyring import newest
from protocol.names import AgentName
from protocol.topics import query_terms
from tests.support.members import member_process
from tests.support.settings import MakeConfig
from tests.support.waiting import wait_for

pytestmark = pytest.mark.processes


def leads(node: MemoryNode, query: str) -> list[str]:
    return [lead.agent for lead in node.who_knows(query, via="gossip").leads]


def announces(node: MemoryNode, word: str) -> bool:
    """Whether the digest that the node told the mesh last holds any term of `word`."""
    with node._endpoint.driver.lock:
        engine = node._endpoint.driver.peer.engine
        digest, (_, key) = engine.record.digest, newest(engine.gate.keys)
    return any(digest.may_contain(term, key) for term in query_terms(word))


def test_what_one_remembers_the_others_know_of_within_moments(make_config: MakeConfig) -> None:
    config = make_config()
    with MemoryNode("a", config=config) as a, MemoryNode("b", config=config) as b:
        a.remember("The zebra crossed the river at dawn.", tags=["zebra"])

        wait_for(lambda: leads(b, "zebra") == ["a"])
        wait_for(lambda: leads(a, "zebra") == ["a"])
        found = b.who_knows("zebra", via="gossip").leads[0]
        assert found.status == "alive"
        assert found.matched
        assert 0.9 < found.certainty <= 1.0


def test_a_topic_that_is_forgotten_vanishes_from_the_others(make_config: MakeConfig) -> None:
    config = make_config()
    with MemoryNode("a", config=config) as a, MemoryNode("b", config=config) as b:
        a.remember("The zebra crossed.", path="/z", tags=["zebra"])
        a.remember("The giraffe stayed.", path="/g", tags=["giraffe"])
        wait_for(lambda: leads(b, "zebra") == leads(b, "giraffe") == ["a"])

        a.forget("/z")

        wait_for(lambda: leads(b, "zebra") == [])
        assert leads(b, "giraffe") == ["a"]


def test_a_private_memory_is_never_announced(make_config: MakeConfig) -> None:
    with MemoryNode("a", config=make_config()) as a:
        a.remember("The zebra is a secret.", tags=["zebra"], visibility="private")
        a.remember("The giraffe is none.", tags=["giraffe"])
        wait_for(lambda: announces(a, "giraffe"))
        assert not announces(a, "zebra")
        assert not announces(a, "secret")

        a.remember("The giraffe is one now.", tags=["okapi"], path="/o", visibility="private")
        a.remember("A lion.", tags=["lion"])
        wait_for(lambda: announces(a, "lion"))

        assert not announces(a, "okapi")
        assert a.recall("zebra").items, "its owner finds it all the same"


def test_a_memory_made_private_is_announced_no_more(make_config: MakeConfig) -> None:
    with MemoryNode("a", config=make_config()) as a:
        a.remember("The zebra.", tags=["zebra"], path="/z")
        wait_for(lambda: announces(a, "zebra"))

        a.remember("The zebra again.", tags=["zebra"], path="/z", visibility="private")

        wait_for(lambda: not announces(a, "zebra"))


def test_the_end_of_the_block_says_goodbye_and_closes_the_memory(make_config: MakeConfig) -> None:
    config = make_config()
    with MemoryNode("b", config=config) as b:
        with MemoryNode("a", config=config) as a:
            a.remember("The zebra.", tags=["zebra"])
            wait_for(lambda: leads(b, "zebra") == ["a"])

        wait_for(lambda: leads(b, "zebra") == [])
        assert {member.agent: member.status for member in b.members()} == {"a": "left", "b": "alive"}
        a.close()
        with pytest.raises(NodeClosed):
            a.remember("Too late.")
        with pytest.raises(NodeClosed):
            a.read("/z")
        with pytest.raises(NodeClosed):
            a.ask("zebra")


def test_a_node_that_starts_again_announces_what_it_remembers(make_config: MakeConfig) -> None:
    config = make_config()
    with MemoryNode("b", config=config) as b:
        with MemoryNode("a", config=config) as a:
            a.remember("The zebra.", tags=["zebra"])

        with MemoryNode("a", config=config):
            wait_for(lambda: leads(b, "zebra") == ["a"])


def test_a_large_memory_is_announced_after_the_start_without_a_write(
    make_config: MakeConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("node.agent._SMALL_BYTES", 0)
    config = make_config()
    with LocalMemory("a", config=config) as memory:
        memory.remember("The zebra.", tags=["zebra"])

    with MemoryNode("a", config=config) as a:
        wait_for(lambda: leads(a, "zebra") == ["a"])


def test_an_incarnation_rises_with_every_start(make_config: MakeConfig) -> None:
    config = make_config()
    incarnations = []
    for _ in range(3):
        with MemoryNode("a", config=config) as a:
            incarnations += [member.incarnation for member in a.members()]

    assert incarnations == sorted(set(incarnations))
    assert len(incarnations) == 3


def test_a_port_in_use_leaves_nothing_behind_and_the_next_try_works(make_config: MakeConfig) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        config = make_config(listen=f"tcp://127.0.0.1:{taken.getsockname()[1]}")

        with pytest.raises(AddressInUse) as raised:
            MemoryNode("a", config=config)
    assert "\n" not in str(raised.value)

    with MemoryNode("a", config=make_config()) as a:
        a.remember("It works.")


def test_a_start_that_fails_late_leaves_nothing_behind(
    make_config: MakeConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = make_config()
    (config.folder / "a.new").mkdir(parents=True)  # Where the entry of the register is drafted.

    with pytest.raises(Exception, match=r"a\.json"):
        MemoryNode("a", config=config)

    (config.folder / "a.new").rmdir()
    with MemoryNode("a", config=config) as a:
        a.remember("It works.")


def test_a_second_node_on_the_same_memory_is_told_by_whom_it_is_held(make_config: MakeConfig) -> None:
    config = make_config()
    with member_process("a", config) as a:
        with pytest.raises(MemoryInUse, match=f"process {a.pid};") as raised:
            MemoryNode("a", config=config)
        assert "\n" not in str(raised.value)

        elsewhere = make_config(data_dir=config.data_dir.parent / "other")
        with pytest.raises(NameTaken, match=f"process {a.pid};") as taken:
            MemoryNode("a", config=elsewhere)
        assert "\n" not in str(taken.value)
        LocalMemory("a", config=elsewhere).close()


def test_commands_do_what_the_node_does_and_stop_is_refused_inside_another_program(
    make_config: MakeConfig,
) -> None:
    config = make_config()
    with MemoryNode("a", config=config) as a, NodeClient("a", config=config) as client:
        receipt = client.remember("The zebra.", tags=["zebra"], metadata={"n": 1}, visibility="mesh")
        assert client.read(receipt.path) == a.read(receipt.path)
        assert client.history(receipt.path) == a.history(receipt.path)
        assert client.browse() == a.browse()
        assert client.search("zebra") == a.search("zebra")
        assert client.recall("zebra") == a.recall("zebra")
        assert client.recall("zebra", visibilities=["private"]).items == ()
        assert client.members()[0].agent == "a"
        assert client.status().memories == client.statistics().memories == 1
        assert client.ask("zebra").items == a.ask("zebra").items
        wait_for(lambda: client.who_knows("zebra").leads)

        with pytest.raises(PeerRefused, match="inside another program"):
            client.stop()
        with pytest.raises(NotFound):
            client.read("/nothing")
        with pytest.raises(InvalidInput) as raised:
            client.remember("x", importance=2.0)
        assert raised.value.field == "importance"
        for timeout_s in (0.0, float("inf"), "soon"):
            with pytest.raises(InvalidInput, match="timeout_s: "):
                client.ask("zebra", timeout_s=timeout_s)  # type: ignore[arg-type]
        with pytest.raises(InvalidInput, match="tags: 'zebra' is one string"):
            client.remember("x", tags="zebra")


def test_a_batch_over_the_socket_is_written_or_refused_as_one(make_config: MakeConfig) -> None:

    config = make_config()
    with MemoryNode("a", config=config) as a, NodeClient("a", config=config) as client:
        receipts = client.remember_many([Draft(text=f"Number {number}.") for number in range(100)])
        assert len(receipts) == 100

        with pytest.raises(InvalidInput, match=r"drafts\[1\]"):
            client.remember_many([Draft(text="good"), Draft(text="")])
        with pytest.raises(InvalidInput, match=r"drafts\[0\]\.text: expected `str`, got `int`"):
            client.remember_many([Draft(text=5)])  # type: ignore[arg-type]

        assert a.statistics().memories == 100


def test_a_client_of_nobody_is_told_how_to_start_a_node(make_config: MakeConfig) -> None:
    with pytest.raises(NotFound, match="avm node a"):
        NodeClient("a", config=make_config())


def test_a_client_has_every_method_of_a_node_with_its_parameters() -> None:
    inside_only = {"address", "check", "on_refusal", "take_over"}
    for name, method in inspect.getmembers(MemoryNode):
        if name.startswith("_") or name in inside_only:
            continue
        remote = getattr(NodeClient, name)
        assert inspect.signature(remote).parameters == inspect.signature(method).parameters, name


def test_a_name_is_held_while_the_node_runs_and_free_afterwards(make_config: MakeConfig) -> None:
    config = make_config()
    register = Register(config.folder)
    with MemoryNode("a", config=config) as a:
        entry = register.running(AgentName("a"))
        assert entry is not None
        assert entry.router == a.address

    assert register.running(AgentName("a")) is None
    assert sorted(path.name for path in Path(config.folder).iterdir()) == ["a.lock"]
