"""`avm members`, once and again and again."""

from __future__ import annotations

import io
import json
import os
import select
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from node import MemoryNode
from node.config import NodeConfig
from tests.deploy.conftest import Avm
from tests.support.waiting import wait_for

pytestmark = pytest.mark.processes

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def alice(avm: Avm) -> Iterator[MemoryNode]:
    """A running node, in the same home as the commands."""
    with MemoryNode("alice", config=NodeConfig.load()) as node:
        yield node


@contextmanager
def start(*options: str) -> Iterator[subprocess.Popen[str]]:
    """The command as a process of its own, ended at the latest with the block."""
    watch = ("members", "-a", "alice", "--watch", "--interval", "0.1")
    with subprocess.Popen(
        [sys.executable, "-m", "deploy.cli", *watch, *options],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": ""},
    ) as command:
        try:
            yield command
        finally:
            command.kill()


def test_a_single_look_keeps_its_envelope(avm: Avm, alice: MemoryNode) -> None:
    envelope = avm("members", "-a", "alice", "--json").envelope

    assert (envelope["status"], envelope["count"]) == ("ok", 1)
    assert [one["agent"] for one in envelope["data"]] == ["alice"]


def test_each_look_is_one_line_of_json_with_members_and_statistics(avm: Avm, alice: MemoryNode) -> None:
    ran = avm("members", "-a", "alice", "--watch", "--interval", "0.1", "--times", "3", "--json")

    looks = [json.loads(line) for line in ran.out.splitlines()]
    assert ran.status == 0
    assert [(one["status"], one["command"], one["count"]) for one in looks] == [("ok", "members", 1)] * 3
    assert looks[0]["data"]["members"][0]["agent"] == "alice"
    assert looks[0]["data"]["net"]["gossip"]["health"] == 0
    assert max(one["duration_ms"] for one in looks[1:]) < 5000


def test_into_a_pipe_each_look_is_a_table(avm: Avm, alice: MemoryNode) -> None:
    ran = avm("members", "-a", "alice", "--watch", "--interval", "0.1", "--times", "2")

    assert ran.out.count("alice: 1 alive") == 2
    assert ran.out.count("health 0 of 8") == 2
    assert "\x1b" not in ran.out


def test_a_terminal_shows_one_table_that_is_drawn_over(
    avm: Avm, alice: MemoryNode, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    screen = Terminal()
    monkeypatch.setattr("sys.stdout", screen)
    monkeypatch.setenv("TERM", "xterm")

    avm("members", "-a", "alice", "--watch", "--interval", "0.1", "--times", "2")

    drawn = screen.getvalue()
    assert "\x1b[2K" in drawn, "nothing was drawn over"
    assert drawn.endswith("\x1b[?25h"), "the cursor is not given back"


@pytest.mark.parametrize("options", [("--interval", "0"), ("--interval", "1e9"), ("--times", "-1")])
def test_settings_that_are_none_are_refused(avm: Avm, options: tuple[str, str]) -> None:
    ran = avm("members", "-a", "alice", "--watch", *options)

    assert ran.status == 2
    assert ran.err.startswith(f"avm: {options[0].strip('-')}: ")


def test_it_ends_when_nobody_reads_any_more(alice: MemoryNode) -> None:
    with start("--json") as command:
        assert command.stdout is not None
        assert command.stderr is not None
        assert json.loads(command.stdout.readline())["status"] == "ok"
        command.stdout.close()

        assert command.wait(30) == 0
        assert command.stderr.read() == ""


def test_each_look_is_shown_at_once_and_ctrl_c_ends_it_without_a_word(alice: MemoryNode) -> None:
    with start("--interval", "3000") as command:
        assert command.stdout is not None
        assert command.stderr is not None
        seen, _, _ = select.select([command.stdout], [], [], 30)
        command.send_signal(signal.SIGINT)

        assert command.wait(30) == 130
        assert seen, "it was kept back"
        assert command.stderr.read() == ""


def test_it_ends_with_one_line_when_the_node_does(alice: MemoryNode) -> None:
    with start("--json") as command:
        assert command.stdout is not None
        assert command.stderr is not None
        command.stdout.readline()
        alice.close()

        wait_for(lambda: command.poll() is not None)
        last = command.stdout.readlines()[-1]
        assert command.returncode == 1
        assert json.loads(last)["status"] == "error"
        assert command.stderr.read() == ""
