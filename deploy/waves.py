"""The start of many members: a few at a time, and then until each knows all."""

from __future__ import annotations

import os
import time
from collections import deque
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Protocol

import msgspec

from deploy.children import log_of
from node.config import NodeConfig
from node.net.control import ControlClient
from node.net.register import Entry, Register
from protocol.errors import MeshError, NodeClosed, PeerRefused, PeerSilent
from protocol.messages import Role
from protocol.names import AgentName

START_S = 60.0
"""For one member, from its start until it takes commands. Higher forgives a machine that is busy."""

_STEP_S, _LONGEST_STEP_S = 0.02, 0.5
_ANSWER_S = 3.0

Progress = Callable[[str, int], None]
"""What is done (`started`, `knowing`), and by how many members."""


class Starter(Protocol):
    """`Children`, or `Forked`."""

    @property
    def pids(self) -> Mapping[str, int]:
        """The processes that are there, by name."""

    def start(self, name: str, role: Role) -> None:
        """Have one started; returns before it is there."""

    def check(self) -> None:
        """Raise `MeshError` where one has ended."""

    def end(self) -> None:
        """End all."""

    def release(self) -> None:
        """Let all go on."""


class _Knows(msgspec.Struct, frozen=True):
    members: dict[str, int]


def start_in_waves(
    config: NodeConfig,
    starter: Starter,
    members: Iterable[tuple[AgentName, Role]],
    progress: Progress,
    *,
    at_once: int = 0,
) -> list[Entry]:
    """Start them in this order, `at_once` at a time (0: four for each core), until all take commands.

    Raises `MeshError` that names who ended or did not come up, and its log.
    """
    at_once = at_once or 4 * (os.cpu_count() or 1)
    register = Register(config.folder)
    coming: dict[AgentName, float] = {}
    came: list[Entry] = []

    def settle(room: int) -> None:
        """Wait until no more than `room` are on their way."""
        while len(coming) > room:
            starter.check()
            for name in list(coming):
                entry = register.read(name)
                if entry is not None and entry.pid == starter.pids.get(name):
                    came.append(entry)
                    del coming[name]
                    progress("started", len(came))
                elif time.monotonic() > coming[name] + START_S:
                    log = log_of(config, name)
                    raise MeshError(f"{name} did not come up within {START_S:.0f} s (log: {log})")
            if len(coming) > room:
                time.sleep(_STEP_S)

    for name, role in members:
        settle(at_once - 1)
        coming[name] = time.monotonic()
        starter.start(name, role)
    settle(0)
    return came


def wait_until_all_know(
    config: NodeConfig, starter: Starter, members: Collection[Entry], progress: Progress
) -> None:
    """Until each holds all of `members` alive. They are asked one after the other and not again once they
    do, so that asking hundreds does not hold up what is waited for.

    Raises `MeshError` that names one who does not in time, or has ended, and its log.
    """
    expected = len(members)
    deadline = time.monotonic() + 30.0 + 0.5 * expected
    waiting, step_s = deque(members), _STEP_S
    while waiting:
        starter.check()
        if known_alive(waiting[0]) >= expected:
            waiting.popleft()
            progress("knowing", expected - len(waiting))
            step_s = _STEP_S
        elif time.monotonic() > deadline:
            name = waiting[0].agent
            raise MeshError(
                f"{len(waiting)} of {expected} members do not know all others yet, "
                f"{name} among them (log: {log_of(config, name)})"
            )
        else:
            waiting.rotate(-1)
            time.sleep(step_s)
            step_s = min(1.5 * step_s, _LONGEST_STEP_S)


def known_alive(entry: Entry) -> int:
    """How many living members this one knows, itself included; 0 where it does not answer."""
    client = ControlClient(entry.control)
    try:
        return client.call(_Knows, "status", answer_s=_ANSWER_S).members.get("alive", 0)
    except (PeerSilent, PeerRefused, NodeClosed):
        return 0
    finally:
        client.close()
