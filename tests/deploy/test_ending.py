"""Processes that are to end: the right ones, to the last."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator

import psutil
import pytest

from deploy.ending import Ending
from node.net.register import Entry, Register
from protocol.names import AgentName
from tests.support.members import MemberProcess, member_process
from tests.support.settings import MakeConfig
from tests.support.waiting import wait_for

pytestmark = pytest.mark.processes

A = AgentName("a")


@pytest.fixture
def member(make_config: MakeConfig) -> Iterator[tuple[MemberProcess, Register, Entry]]:
    """A node's process, and its entry."""
    config = make_config()
    with member_process(A, config) as process:
        register = Register(config.folder)
        entry = register.running(A)
        assert entry is not None
        yield process, register, entry


@pytest.fixture(params=[True, False], ids=["by-descriptor", "by-register"])
def ending(
    request: pytest.FixtureRequest,
    monkeypatch: pytest.MonkeyPatch,
    member: tuple[MemberProcess, Register, Entry],
) -> Iterator[Ending]:
    """What ends it, with and without a descriptor of the process."""

    def none_left(_pid: int) -> int:
        raise OSError("no descriptors left")

    if not request.param:
        monkeypatch.setattr(os, "pidfd_open", none_left, raising=False)
    ending = Ending(member[1], member[2])
    yield ending
    ending.close()


def test_one_that_was_asked_to_ends(ending: Ending) -> None:
    assert not ending.has_ended(knock=True)

    ending.signal(signal.SIGTERM)

    wait_for(lambda: ending.has_ended(knock=False))


def test_one_that_is_killed_has_ended_although_its_entry_stays(
    ending: Ending, member: tuple[MemberProcess, Register, Entry]
) -> None:
    _, register, entry = member

    ending.signal(signal.SIGKILL)

    wait_for(lambda: ending.has_ended(knock=True))
    assert register.read(A) == entry


def test_one_whose_number_is_anothers_by_now_is_left_in_peace(
    ending: Ending, member: tuple[MemberProcess, Register, Entry], monkeypatch: pytest.MonkeyPatch
) -> None:
    process, _, entry = member
    process.kill()
    signalled: list[int] = []
    monkeypatch.setattr(os, "kill", lambda pid, _number: signalled.append(pid))

    ending.signal(signal.SIGKILL)

    assert ending.has_ended(knock=True)
    assert signalled == []
    assert not psutil.pid_exists(entry.pid)
