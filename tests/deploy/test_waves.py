"""Starting many: a few at a time, and clear words for who does not come up."""

from __future__ import annotations

import os
from collections.abc import Mapping

import msgspec
import pytest

from deploy import waves
from node.config import NodeConfig
from node.net.register import Entry
from protocol.errors import MeshError
from protocol.messages import Role
from protocol.names import AgentName
from tests.support.settings import MakeConfig


class FakeStarter:
    """Registers who is started as soon as it is asked how they do, but the `absent`."""

    def __init__(self, config: NodeConfig, absent: str = "") -> None:
        self.config, self.absent = config, absent
        self.on_their_way: list[str] = []
        self.started: list[str] = []
        self.most_at_once = 0
        config.folder.mkdir(parents=True)

    @property
    def pids(self) -> Mapping[str, int]:
        return dict.fromkeys(self.started, os.getpid())

    def start(self, name: str, role: Role) -> None:
        self.started.append(name)
        self.on_their_way.append(name)
        self.most_at_once = max(self.most_at_once, len(self.on_their_way))

    def check(self) -> None:
        for name in self.on_their_way:
            if name != self.absent:
                self.register(name, os.getpid())
        self.on_their_way.clear()

    def register(self, name: str, pid: int) -> None:
        entry = Entry(agent=name, role="agent", pid=pid, router="", publisher="", control="", started_at=0.0)
        (self.config.folder / f"{name}.json").write_bytes(msgspec.json.encode(entry))

    def end(self) -> None:
        raise NotImplementedError

    def release(self) -> None:
        raise NotImplementedError


def members(count: int) -> list[tuple[AgentName, Role]]:
    return [(AgentName(f"n{number}"), "agent") for number in range(count)]


def test_no_more_are_on_their_way_than_a_wave_holds_and_all_come_up(make_config: MakeConfig) -> None:
    starter = FakeStarter(make_config())
    told: list[tuple[str, int]] = []

    entries = waves.start_in_waves(
        starter.config, starter, members(10), lambda what, done: told.append((what, done)), at_once=3
    )

    assert sorted(entry.agent for entry in entries) == sorted(name for name, _ in members(10))
    assert starter.most_at_once == 3
    assert told == [("started", done) for done in range(1, 11)]


def test_who_does_not_come_up_in_time_is_named_with_its_log(
    make_config: MakeConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(waves, "START_S", 0.05)
    starter = FakeStarter(make_config(), absent="n1")

    with pytest.raises(MeshError, match=r"^n1 did not come up within .* \(log: .*n1\.log\)"):
        waves.start_in_waves(starter.config, starter, members(3), lambda _what, _done: None, at_once=2)


def test_an_entry_that_an_earlier_process_left_is_nobody_who_came_up(
    make_config: MakeConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(waves, "START_S", 0.05)
    starter = FakeStarter(make_config(), absent="n0")
    starter.register("n0", os.getpid() + 1)

    with pytest.raises(MeshError, match=r"^n0 did not come up"):
        waves.start_in_waves(starter.config, starter, members(1), lambda _what, _done: None)
