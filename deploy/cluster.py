"""A cluster on this machine: nodes in the background, found again by the register of this host."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable

import msgspec

from deploy.children import Children
from node.config import NodeConfig
from node.embedder import stop_encoder
from node.net.control import ControlClient
from node.net.register import Entry, Register
from protocol.errors import InvalidInput, MeshError, NameTaken, NodeClosed, PeerRefused, PeerSilent
from protocol.names import check_agent_name

MAX_NODES = 1000
_POLL_S = 0.05
_ANSWER_S = 3.0
_END_S = 5.0


class Started(msgspec.Struct, frozen=True, kw_only=True):
    """Names of what was started, and how long it took until all knew all."""

    members: list[str]
    took_s: float


class Status(msgspec.Struct, frozen=True, kw_only=True):
    """One member of this host; `members`: how many living ones it knows, itself included."""

    agent: str
    role: str
    pid: int
    address: str
    memories: int | None
    members: int


class Ended(msgspec.Struct, frozen=True, kw_only=True):
    """Who was ended, and who still runs."""

    ended: list[str]
    left: list[str]


class _Told(msgspec.Struct, frozen=True):
    """The part of a member's own status that is shown; a librarian has no memories."""

    members: dict[str, int]
    memories: int | None = None


def up(
    config: NodeConfig,
    nodes: int,
    *,
    librarians: int = 0,
    prefix: str = "agent",
    progress: Callable[[int, int], None] = lambda _done, _all: None,
) -> Started:
    """Start `nodes` nodes and `librarians` librarians; they go on when this process ends.

    Returns when every one of them knows all. Raises `NameTaken`, or `MeshError` with the last
    words of one that ended; then all that were started are ended again.
    """
    if not 1 <= nodes <= MAX_NODES:
        raise InvalidInput("N", f"{nodes} is out of range", f"use 1 to {MAX_NODES}")
    if not 0 <= librarians <= 10:
        raise InvalidInput("librarians", f"{librarians} is out of range", "use 0 to 10")
    width = len(str(nodes))
    agents = [check_agent_name(f"{prefix}-{number:0{width}}") for number in range(1, nodes + 1)]
    keepers = [check_agent_name(f"librarian-{number}") for number in range(1, librarians + 1)]
    register = Register(config.folder)
    for name in (*agents, *keepers):
        if register.running(name) is not None:
            raise NameTaken(f"{name} already runs in mesh {config.mesh}; end it with `avm cluster down`")

    started_at = time.monotonic()
    children = Children(config)
    try:
        for keeper in keepers:
            children.start_librarian(keeper)
        for agent in agents:
            children.start_node(agent)
        _wait(config, children, len(agents) + len(keepers), progress)
    except BaseException:
        children.end()
        stop_encoder(config)
        raise
    return Started(members=[*agents, *keepers], took_s=time.monotonic() - started_at)


def status(config: NodeConfig) -> list[Status]:
    """The members of this mesh that run on this host, by name; one that does not answer knows nobody."""
    return sorted(
        (_status(entry) for entry in Register(config.folder).all_running()), key=lambda one: one.agent
    )


def down(config: NodeConfig) -> Ended:
    """End all members of this mesh on this host, but those that run inside another program."""
    register = Register(config.folder)
    ended: list[str] = []
    left: list[str] = []
    asked: list[Entry] = []
    for entry in register.all_running():
        client = ControlClient(entry.control)
        try:
            client.call(type(None), "stop", answer_s=_ANSWER_S)
            asked.append(entry)
        except PeerRefused:
            left.append(entry.agent)
        except (PeerSilent, NodeClosed):
            # Gone by itself meanwhile; or its socket listens and nothing moves behind it: stopped, or stuck.
            if register.running(check_agent_name(entry.agent)) is not None:
                os.kill(entry.pid, signal.SIGKILL)
            asked.append(entry)
        finally:
            client.close()
    deadline = time.monotonic() + _END_S
    for entry in asked:
        name = check_agent_name(entry.agent)
        while register.running(name) is not None and time.monotonic() < deadline:
            time.sleep(_POLL_S)
        (left if register.running(name) is not None else ended).append(entry.agent)
    if not left:  # Whoever of another mesh wants it starts it again.
        stop_encoder(config)
    return Ended(ended=sorted(ended), left=sorted(left))


def _wait(
    config: NodeConfig, children: Children, expected: int, progress: Callable[[int, int], None]
) -> None:
    """Until each of `expected` members knows all of them."""
    deadline = time.monotonic() + 30.0 + 0.5 * expected
    while True:
        children.check()
        knowing = sum(one.members >= expected for one in status(config))
        progress(knowing, expected)
        if knowing >= expected:
            return
        if time.monotonic() > deadline:
            raise MeshError(f"{expected - knowing} of {expected} members do not know all others yet")
        time.sleep(_POLL_S)


def _status(entry: Entry) -> Status:
    client = ControlClient(entry.control)
    try:
        told = client.call(_Told, "status", answer_s=_ANSWER_S)
    except (PeerSilent, PeerRefused, NodeClosed):
        told = _Told({})
    finally:
        client.close()
    return Status(
        agent=entry.agent,
        role=entry.role,
        pid=entry.pid,
        address=entry.router,
        memories=told.memories,
        members=told.members.get("alive", 0),
    )
