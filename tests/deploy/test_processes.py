"""The command as real processes: a node's life, a local cluster, the demonstration, Ctrl-C."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from node import NodeClient
from node.config import NodeConfig
from protocol.names import AgentName
from tests.support.waiting import wait_for

pytestmark = pytest.mark.processes

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def home(short_folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A home of its own; what was started with it is ended after the test."""
    monkeypatch.setenv("AVM_HOME", str(short_folder))
    monkeypatch.setenv("AVM_PROFILE", "local")
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    yield short_folder
    for process in ours(short_folder):
        process.kill()


def ours(home: Path) -> list[psutil.Process]:
    """Processes that work in this home."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.environ().get("AVM_HOME") == str(home) and process.pid != os.getpid():
                found.append(process)
        except (psutil.NoSuchProcess, psutil.AccessDenied, psutil.ZombieProcess):
            continue
    return found


def avm(*arguments: str, timeout: float = 90) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-P", "-m", "deploy.cli", *arguments],
        check=False,
        capture_output=True,
        text=True,
        timeout=timeout,
    )


def start(*arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-P", "-m", "deploy.cli", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_node_says_where_it_is_and_ends_cleanly_by_a_signal(home: Path, number: signal.Signals) -> None:
    node = start("node", "alice")
    assert node.stdout is not None
    assert node.stdout.readline().startswith("ready at tcp://127.0.0.1:")

    node.send_signal(number)
    _, errors = node.communicate(timeout=20)

    assert (node.returncode, errors) == (0, "")
    assert not list(home.rglob("*.sock"))


def test_a_second_node_of_the_same_agent_is_told_who_has_the_memory(home: Path) -> None:
    node = start("node", "alice")
    assert node.stdout is not None
    node.stdout.readline()

    second = avm("node", "alice")
    node.terminate()
    node.communicate(timeout=20)

    assert second.returncode == 1
    assert str(node.pid) in second.stderr
    assert second.stderr.count("\n") == 1


def test_a_port_in_use_is_one_line_and_leaves_nothing(home: Path) -> None:
    node = start("node", "alice")
    assert node.stdout is not None
    address = node.stdout.readline().split()[-1]

    second = avm("node", "bob", "--listen", address)
    node.terminate()
    node.communicate(timeout=20)

    assert second.returncode == 2
    assert second.stderr.startswith("avm: listen: ")
    assert second.stderr.count("\n") == 1


@pytest.mark.parametrize("after_s", [0.05, 0.3, 0.8])
def test_ctrl_c_at_any_moment_leaves_no_cluster_behind(home: Path, after_s: float) -> None:
    up = start("cluster", "up", "4", "--librarians", "1")
    time.sleep(after_s)

    up.send_signal(signal.SIGINT)
    _, errors = up.communicate(timeout=30)

    if up.returncode != 0:  # It may have been done before.
        wait_for(lambda: not ours(home))
        # 1 while Python still sets itself up, before a line of ours is run.
        assert up.returncode in (130, -signal.SIGINT) or errors.endswith("KeyboardInterrupt\n"), errors
    else:
        assert avm("cluster", "down").returncode == 0


def test_a_cluster_comes_up_knows_itself_and_goes_down(home: Path) -> None:
    up = avm("cluster", "up", "3", "--librarians", "1", "--json")
    status = json.loads(avm("cluster", "status", "--json").stdout)["data"]
    shown = avm("cluster", "status").stdout
    twice = avm("cluster", "up", "3")
    down = json.loads(avm("cluster", "down", "--json").stdout)["data"]

    assert up.returncode == 0, up.stderr
    assert [(one["agent"], one["members"]) for one in status["members"]] == [
        ("agent-1", 4),
        ("agent-2", 4),
        ("agent-3", 4),
        ("librarian-1", 4),
    ]
    assert (status["answering"], status["standings"], status["converged"]) == (4, {"alive": 16}, True)
    assert status["slowest"] in [one["agent"] for one in status["members"]]
    assert "4 members, converged: 1 view\n" in shown
    assert twice.returncode == 1
    assert "avm cluster down" in twice.stderr
    assert down == {"ended": ["agent-1", "agent-2", "agent-3", "librarian-1"], "left": [], "others": []}
    wait_for(lambda: not ours(home))


def test_a_cluster_is_not_converged_while_one_of_it_does_not_answer(home: Path) -> None:
    assert avm("cluster", "up", "2").returncode == 0
    with NodeClient("agent-2", config=NodeConfig.load()) as client:
        os.kill(client.pid, signal.SIGSTOP)

    status = json.loads(avm("cluster", "status", "--json").stdout)["data"]
    shown = avm("cluster", "status").stdout
    avm("cluster", "down")

    assert (status["answering"], status["converged"]) == (1, False)
    assert "1 do not answer: agent-2" in shown
    wait_for(lambda: not ours(home))


def test_going_down_ends_what_came_up_and_nothing_else(home: Path) -> None:
    alice = start("node", "alice")
    assert alice.stdout is not None
    alice.stdout.readline()
    assert avm("cluster", "up", "2").returncode == 0

    down = avm("cluster", "down", "--json")
    went_on = alice.poll() is None
    everybody = avm("cluster", "down", "--all", "--json")
    alice.communicate(timeout=20)

    assert json.loads(down.stdout)["data"] == {
        "ended": ["agent-1", "agent-2"],
        "left": [],
        "others": ["alice"],
    }
    assert (down.returncode, went_on) == (0, True)
    assert json.loads(everybody.stdout)["data"]["ended"] == ["alice"]
    assert alice.returncode == 0


def test_a_member_that_cannot_start_is_named_with_its_log_and_the_others_are_ended(home: Path) -> None:
    memory = NodeConfig.load().memory_file(AgentName("agent-2"))
    memory.parent.mkdir(parents=True)
    memory.write_bytes(b"no database at all, but long enough to be taken for one" * 100)

    up = avm("cluster", "up", "3")

    assert up.returncode == 1
    assert up.stderr.startswith("avm: agent-2 ended with status 2: ")
    assert f"(log: {NodeConfig.load().folder / 'agent-2.log'})" in up.stderr
    assert up.stderr.count("\n") == 1
    wait_for(lambda: not ours(home))
    assert not list(NodeConfig.load().folder.glob("*.started"))


def test_a_cluster_goes_on_by_itself_each_member_a_process_of_its_own_name(home: Path) -> None:
    assert avm("cluster", "up", "3").returncode == 0

    members = ours(home)
    sessions = {os.getsid(member.pid) for member in members}
    names = sorted(member.name() for member in members)
    avm("cluster", "down")

    assert len(sessions) == 3
    if sys.platform == "linux":
        assert names == ["agent-1", "agent-2", "agent-3"]
    wait_for(lambda: not ours(home))


def test_a_stopped_node_goes_down_with_its_cluster(home: Path) -> None:
    assert avm("cluster", "up", "2").returncode == 0
    with NodeClient("agent-2", config=NodeConfig.load()) as client:
        os.kill(client.pid, signal.SIGSTOP)

    down = avm("cluster", "down")

    assert down.returncode == 0, down.stderr
    wait_for(lambda: not ours(home))


def test_the_demonstration_shows_every_step_and_leaves_nothing(home: Path) -> None:
    ran = avm("demo", "--json")

    assert ran.returncode == 0, ran.stderr
    steps = {step["step"]: step["result"] for step in json.loads(ran.stdout)["data"]}
    assert sum(steps["learn"].values()) > 300
    assert steps["who-knows by gossip"]["leads"]
    assert steps["who-knows by librarian"]["source"] == "librarian"
    assert 0 < steps["ask"]["tokens"] <= steps["ask"]["budget_tokens"]
    assert steps["without the librarian"]["source"] == "gossip"
    assert all(lead["agent"] != "concurrency" for lead in steps["without the killed agent"]["leads"])
    wait_for(lambda: not ours(home))


@pytest.mark.parametrize("after_s", [0.4, 2.0])
def test_ctrl_c_ends_the_demonstration_with_its_processes(home: Path, after_s: float) -> None:
    demo = start("demo")
    time.sleep(after_s)

    demo.send_signal(signal.SIGINT)
    demo.communicate(timeout=30)

    assert demo.returncode in (130, -signal.SIGINT)  # The second while Python still loads the command.
    wait_for(lambda: not ours(home))


def test_the_readmes_python_runs(home: Path) -> None:
    (code,) = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)

    ran = subprocess.run(
        [sys.executable, "-c", code], check=False, capture_output=True, text=True, timeout=60
    )

    assert ran.returncode == 0, ran.stderr
    assert "Friday" in ran.stdout
