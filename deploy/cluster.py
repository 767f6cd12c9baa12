"""A cluster on this machine: nodes in the background, found again by the register of this host.

Each member that `up` started is noted in a file of its own, `<name>.started` with the number of its process,
beside the register's entries, so that `down` ends those and no others.
"""

from __future__ import annotations

import signal
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import msgspec

from deploy import preflight
from deploy.children import Children
from deploy.ending import Ending
from deploy.forked import Forked
from deploy.waves import Progress, Starter, start_in_waves, wait_until_all_know
from node.config import NodeConfig
from node.embedder import stop_encoder
from node.net.control import ControlClient
from node.net.register import Entry, Register
from protocol.errors import InvalidInput, NameTaken, NodeClosed, PeerRefused, PeerSilent
from protocol.messages import Role
from protocol.names import AgentName, check_agent_name

MAX_NODES = 1000
_POLL_S = 0.05
_KNOCK_EVERY = 10
_ANSWER_S = 3.0
_ASKED_AT_ONCE = 8
_END_S = 5.0
_END_EACH_S = 0.1  # Of CPU, for a goodbye that all others hear.


class Started(msgspec.Struct, frozen=True, kw_only=True):
    """Names of what was started; seconds until all took commands, and until each knew all."""

    members: list[str]
    started_s: float
    took_s: float


class MemberState(msgspec.Struct, frozen=True, kw_only=True):
    """One member of this host. `members`: how many living ones it knows, itself included; `answer_s`: how
    long it took to say so, None where it did not answer; `view`: a hash of all it holds of the mesh.
    """

    agent: str
    role: str
    pid: int
    address: str
    memories: int | None
    members: int
    view: str
    answer_s: float | None


class Overview(msgspec.Struct, frozen=True, kw_only=True):
    """The members of this host, by name, and what they make together.

    `standings`: how many of all views of one member on another are alive, suspect, dead, left. `converged`:
    all answer, hold equal views, and none of them suspects or misses another; not where there is none.
    """

    members: list[MemberState]
    answering: int
    standings: dict[str, int]
    converged: bool
    slowest: str


class Ended(msgspec.Struct, frozen=True, kw_only=True):
    """Who was ended, who of those still runs, and who was not started by `up` and goes on."""

    ended: list[str]
    left: list[str]
    others: list[str]


class _Told(msgspec.Struct, frozen=True):
    """The part of a member's own status that is shown; a librarian has no memories."""

    members: dict[str, int]
    memories: int | None = None
    view: str = ""


def up(
    config: NodeConfig,
    nodes: int,
    *,
    librarians: int = 0,
    prefix: str = "agent",
    progress: Progress = lambda _what, _done: None,
) -> Started:
    """Start `nodes` nodes and `librarians` librarians; they go on when this process ends.

    Returns when every one of them knows all. Raises `InvalidInput` where this machine has no room for
    them, `NameTaken`, or `MeshError` that names one that ended or did not come up, and its log; then all that
    were started are ended again.
    """
    if not 1 <= nodes <= MAX_NODES:
        raise InvalidInput("N", f"{nodes} is out of range", f"use 1 to {MAX_NODES}")
    if not 0 <= librarians <= 10:
        raise InvalidInput("librarians", f"{librarians} is out of range", "use 0 to 10")
    width = len(str(nodes))
    names = [f"{prefix}-{number:0{width}}" for number in range(1, nodes + 1)]
    chosen: list[tuple[AgentName, Role]] = [
        *((check_agent_name(f"librarian-{number + 1}"), "librarian") for number in range(librarians)),
        *((check_agent_name(name), "agent") for name in names),
    ]
    register = Register(config.folder)
    for name, _ in chosen:
        if register.running(name) is not None:
            raise NameTaken(f"{name} already runs in mesh {config.mesh}; end it with `avm cluster down`")
    preflight.check_room(len(chosen), each_mib=preflight.FORKED_MIB if _forks() else preflight.PLAIN_MIB)

    started_at = time.monotonic()
    starter: Starter = Forked(config) if _forks() else Children(config)
    try:
        entries = start_in_waves(config, starter, chosen, progress)
        up_at = time.monotonic()
        for entry in entries:
            _note(config, entry.agent).write_text(str(entry.pid))
        wait_until_all_know(config, starter, entries, progress)
    except BaseException:
        starter.end()
        for name, _ in chosen:
            _note(config, name).unlink(missing_ok=True)
        stop_encoder(config)
        raise
    starter.release()
    return Started(
        members=[*names, *(name for name, role in chosen if role == "librarian")],
        started_s=up_at - started_at,
        took_s=time.monotonic() - started_at,
    )


def status(config: NodeConfig) -> Overview:
    """The members of this mesh that run on this host; one that does not answer knows nobody."""
    entries = sorted(Register(config.folder).all_running(), key=lambda entry: entry.agent)
    with ThreadPoolExecutor(_ASKED_AT_ONCE) as pool:
        asked = list(pool.map(_ask, entries))
    members = [state for state, _ in asked]
    answering = [state for state in members if state.answer_s is not None]
    standings: Counter[str] = Counter()
    for _, told in asked:
        standings.update(told)
    slowest = max(answering, key=lambda state: state.answer_s or 0.0, default=None)
    return Overview(
        members=members,
        answering=len(answering),
        standings=dict(standings),
        converged=(
            len({(state.view, state.members) for state in members}) == 1
            and members[0].members >= len(members)
            and not standings["suspect"]
        ),
        slowest=slowest.agent if slowest is not None else "",
    )


def down(
    config: NodeConfig,
    *,
    everybody: bool = False,
    progress: Callable[[int, int], None] = lambda _done, _of: None,
) -> Ended:
    """End what `up` started of this mesh on this host; with `everybody`, all its members but those that run
    inside another program. `progress` is told how many have ended, of how many.
    """
    register = Register(config.folder)
    endings = [Ending(register, entry) for entry in register.all_running()]
    asked = [one for one in endings if _is_ours(config, one.entry)]
    others = [one for one in endings if one not in asked]
    left: list[Ending] = []
    for one in asked:
        one.signal(signal.SIGTERM)
    if everybody:
        for one in others:
            (asked if _told_to_stop(one) else left).append(one)
        others = []

    def told(waiting: int) -> None:
        progress(len(asked) - waiting, len(asked))

    waiting = _until_ended(asked, _END_S + _END_EACH_S * len(asked), told)
    for one in waiting:  # Stopped, or stuck.
        one.signal(signal.SIGKILL)
    waiting = _until_ended(waiting, _END_S, told)
    left += waiting
    for note in config.folder.glob("*.started"):
        if note.stem not in [one.entry.agent for one in waiting]:
            note.unlink(missing_ok=True)
    if not left and not others:  # Whoever of another mesh wants it starts it again.
        stop_encoder(config)
    for one in endings:
        one.close()
    return Ended(
        ended=_names(one for one in asked if one not in waiting), left=_names(left), others=_names(others)
    )


def _names(endings: Iterable[Ending]) -> list[str]:
    return sorted(one.entry.agent for one in endings)


def _forks() -> bool:
    """Elsewhere a process that has loaded system libraries must not fork."""
    return sys.platform == "linux"


def _note(config: NodeConfig, name: str) -> Path:
    return config.folder / f"{name}.started"


def _is_ours(config: NodeConfig, entry: Entry) -> bool:
    try:
        return int(_note(config, entry.agent).read_text()) == entry.pid
    except (OSError, ValueError):
        return False


def _told_to_stop(one: Ending) -> bool:
    """Whether it goes; one that runs inside another program refuses."""
    client = ControlClient(one.entry.control)
    try:
        client.call(type(None), "stop", answer_s=_ANSWER_S)
    except PeerRefused:
        return False
    except (PeerSilent, NodeClosed):
        # Gone by itself meanwhile; or its socket listens and nothing moves behind it: stopped, or stuck.
        one.signal(signal.SIGKILL)
    finally:
        client.close()
    return True


def _until_ended(endings: Iterable[Ending], timeout_s: float, told: Callable[[int], None]) -> list[Ending]:
    """Those that are still there after `timeout_s`; `told` hears how many, all the while."""
    waiting, rounds, deadline = list(endings), 0, time.monotonic() + timeout_s
    while True:
        waiting = [one for one in waiting if not one.has_ended(knock=rounds % _KNOCK_EVERY == 0)]
        told(len(waiting))
        if not waiting or time.monotonic() > deadline:
            return waiting
        rounds += 1
        time.sleep(_POLL_S)


def _ask(entry: Entry) -> tuple[MemberState, dict[str, int]]:
    """What it says of itself, and in which standings it holds how many."""
    client = ControlClient(entry.control)
    begun = time.monotonic()
    answer_s: float | None = None
    try:
        told = client.call(_Told, "status", answer_s=_ANSWER_S)
        answer_s = time.monotonic() - begun
    except (PeerSilent, PeerRefused, NodeClosed):
        told = _Told({})
    finally:
        client.close()
    state = MemberState(
        agent=entry.agent,
        role=entry.role,
        pid=entry.pid,
        address=entry.router,
        memories=told.memories,
        members=told.members.get("alive", 0),
        view=told.view,
        answer_s=answer_s,
    )
    return state, told.members
