"""Nodes that are killed, started again, moved, or started where they do not belong."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from node import MemoryNode, NodeClient
from protocol.errors import MeshError, NameTaken, NodeClosed, PeerSilent
from protocol.names import AgentName
from tests.support.members import member_process
from tests.support.settings import MakeConfig
from tests.support.waiting import wait_for

pytestmark = pytest.mark.processes

_ROOT = Path(__file__).resolve().parents[2]


def test_a_kill_loses_nothing_that_was_acknowledged_and_the_name_moves_with_the_restart(
    make_config: MakeConfig,
) -> None:
    config = make_config()
    acknowledged: list[str] = []
    ended: list[MeshError] = []
    enough = threading.Event()

    def write() -> None:
        """Until it is told that the node ended; who was about to write finds the one that came after it."""
        with NodeClient("a", config=config) as client:
            try:
                while not enough.is_set():
                    fact = f"Fact {threading.get_ident()}-{len(acknowledged)} on zebras."
                    receipt = client.remember(fact, tags=["zebra"])
                    acknowledged.append(receipt.path)
            except (PeerSilent, NodeClosed) as error:
                ended.append(error)

    with MemoryNode("b", config=config) as b, member_process("a", config) as first:
        writers = [threading.Thread(target=write) for _ in range(3)]
        for writer in writers:
            writer.start()
        wait_for(lambda: len(acknowledged) >= 300)
        wait_for(lambda: b.who_knows("zebra").leads)
        before = next(member for member in b.members() if member.agent == "a")

        first.kill()
        with member_process("a", config) as second:
            wait_for(lambda: b._endpoint.route_to(AgentName("a")) == second.address)
            enough.set()
            for writer in writers:
                writer.join(20)

            assert not any(writer.is_alive() for writer in writers), "none waited for the dead"
            assert ended, "who waited for an answer was told"
            with NodeClient("a", config=config) as client:
                assert client.pid == second.pid
                for path in acknowledged:
                    client.read(path)
                kept = client.status().memories
            assert len(acknowledged) <= kept <= len(acknowledged) + 3

            wait_for(lambda: b.who_knows("zebra").leads)
            after = next(member for member in b.members() if member.agent == "a")
            assert after.incarnation > before.incarnation
            assert after.address == second.address != before.address


def test_of_two_nodes_of_one_name_on_two_hosts_the_later_is_refused(make_config: MakeConfig) -> None:
    with MemoryNode("a", config=make_config(host="1")) as first:
        first.remember("The zebra.", tags=["zebra"])
        config = make_config(host="2", seeds=(first.address,))
        told = threading.Event()

        with MemoryNode("a", config=config) as second:
            second.on_refusal(told.set)
            assert told.wait(20)

            with pytest.raises(NameTaken, match="another live node of mesh test is called a") as raised:
                second.check()
            assert "\n" not in str(raised.value)
            for refused in (second.members, lambda: second.who_knows("zebra"), lambda: second.ask("zebra")):
                with pytest.raises(NameTaken):
                    refused()
            second.remember("Alone it may go on writing.")

        first.check()
        wait_for(lambda: [lead.agent for lead in first.who_knows("zebra").leads] == ["a"])
        assert [(member.agent, member.status) for member in first.members()] == [("a", "alive")]


def test_an_action_set_after_the_refusal_is_done_at_once(make_config: MakeConfig) -> None:
    with (
        MemoryNode("a", config=make_config(host="1")) as first,
        MemoryNode("a", config=make_config(host="2", seeds=(first.address,))) as second,
    ):
        wait_for(lambda: second._endpoint.refusal)
        told = threading.Event()

        second.on_refusal(told.set)

        assert told.is_set()


def test_a_seed_of_another_mesh_tells_us_nothing_and_takes_note_of_us(make_config: MakeConfig) -> None:
    with MemoryNode("a", config=make_config(host="1", mesh="other")) as first:
        with MemoryNode("b", config=make_config(host="2", seeds=(first.address,))) as second:
            wait_for(lambda: first.status().dropped.get("forged"))

            second.check()
            assert not second.status().joined
        (wrong,) = [one for one in first.status().net.wrong if one.reason == "forged"]
        assert wrong.who == "b"
        assert "wrong mesh" in wrong.detail
        assert [member.agent for member in first.members()] == ["a"]


def test_a_refusal_raised_many_times_does_not_grow(make_config: MakeConfig) -> None:
    def depth() -> int:
        with pytest.raises(NodeClosed) as raised:
            node.check()
        return len(raised.traceback)

    with MemoryNode("a", config=make_config()) as node:
        pass

    assert depth() == depth() == depth()


def test_the_command_stop_ends_a_process_of_its_own(make_config: MakeConfig) -> None:
    config = make_config()
    with MemoryNode("b", config=config) as b, member_process("a", config) as a:
        wait_for(lambda: len(b.members()) == 2)

        with NodeClient("a", config=config) as client:
            client.stop()

        assert a.process.wait(20) == 0
        wait_for(lambda: [member.status for member in b.members()] == ["left", "alive"])


def test_a_node_loads_nothing_heavy(make_config: MakeConfig) -> None:
    config = make_config()
    program = f"""
import json, sys
from pathlib import Path
from node import MemoryNode, NodeConfig
config = NodeConfig(profile="local", mesh="test", data_dir=Path({str(config.data_dir)!r}),
                    runtime_dir=Path({str(config.runtime_dir)!r}),
                    credentials_dir=Path({str(config.credentials_dir)!r}), vectors="off")
with MemoryNode("a", config=config) as node:
    node.remember("The zebra.", tags=["zebra"])
    node.recall("zebra")
    node.who_knows("zebra")
    node.ask("zebra")
print(json.dumps(sorted(sys.modules)))
"""
    run = subprocess.run(
        [sys.executable, "-c", program], cwd=_ROOT, capture_output=True, text=True, timeout=60, check=False
    )

    assert run.returncode == 0, run.stderr
    assert run.stderr == ""
    loaded = {name.partition(".")[0] for name in json.loads(run.stdout)}
    assert not loaded & {
        "torch",
        "sentence_transformers",
        "transformers",
        "asyncio",
        "rich",
        "typer",
        "librarian",
    }
