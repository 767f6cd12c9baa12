"""Members that a nursery forks: real processes."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator

import psutil
import pytest

from deploy.forked import Forked
from node.client import NodeClient
from node.net.register import Register
from protocol.errors import MeshError
from protocol.names import AgentName
from tests.support.settings import MakeConfig
from tests.support.waiting import wait_for

pytestmark = [
    pytest.mark.processes,
    pytest.mark.skipif(sys.platform != "linux", reason="members are forked on Linux only"),
]


@pytest.fixture
def forked(make_config: MakeConfig) -> Iterator[Forked]:
    """A nursery, whose members are ended after the test."""
    forked = Forked(make_config())
    yield forked
    forked.end()


def up(forked: Forked, *names: str) -> None:
    register = Register(forked.config.folder)
    for name in names:
        forked.start(name, "agent")

    def all_run() -> bool:
        forked.check()
        return all(register.running(AgentName(name)) is not None for name in names)

    wait_for(all_run)


def test_forked_nodes_are_processes_with_memories_and_ends_of_their_own(forked: Forked) -> None:
    up(forked, "a", "b")

    with NodeClient("a", config=forked.config) as a, NodeClient("b", config=forked.config) as b:
        a.remember("A note on volcanoes.", path="/note")
        assert {a.pid, b.pid} == set(forked.pids.values())
        assert (a.statistics().memories, b.statistics().memories) == (1, 0)
        wait_for(lambda: len(b.members()) == 2)
        assert [psutil.Process(pid).num_fds() > 0 for pid in forked.pids.values()] == [True, True]


def test_one_that_was_killed_is_named_with_its_status_and_log(forked: Forked) -> None:
    up(forked, "a", "b")

    os.kill(forked.pids["b"], signal.SIGKILL)

    def told() -> bool:
        try:
            forked.check()
        except MeshError as error:
            return str(error).startswith("b ended with status -9: no word (log: ")
        return False

    wait_for(told)


def test_ending_reaches_those_that_were_asked_for_and_are_not_forked_yet(make_config: MakeConfig) -> None:
    forked = Forked(make_config())
    for name in "abc":
        forked.start(name, "agent")

    forked.end()

    assert sorted(forked.pids) == ["a", "b", "c"]
    assert not [pid for pid in forked.pids.values() if psutil.pid_exists(pid)]


def test_a_nursery_that_fails_is_told_in_its_own_last_words(make_config: MakeConfig) -> None:
    forked = Forked(make_config(), nursery="deploy.no_such_nursery")

    def told() -> bool:
        try:
            forked.check()
        except MeshError as error:
            return "No module named deploy.no_such_nursery" in str(error)
        return False

    wait_for(told)
    forked.end()


def test_members_of_a_nursery_that_was_killed_are_ended_all_the_same(forked: Forked) -> None:
    up(forked, "a", "b")
    (nursery,) = {psutil.Process(pid).ppid() for pid in forked.pids.values()}
    members = [psutil.Process(pid) for pid in forked.pids.values()]

    os.kill(nursery, signal.SIGKILL)
    forked.end()

    wait_for(lambda: all(not one.is_running() or one.status() == psutil.STATUS_ZOMBIE for one in members))
