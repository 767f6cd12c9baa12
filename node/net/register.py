"""Which members of a mesh run on this host: a file for each, in a folder only their user can read.

A new member writes its own file before it reads the others, so of two that start at the same
moment at least one sees the other. A file whose owner was killed is told by its socket, which
refuses connections, and is passed over.
"""

from __future__ import annotations

import os
import secrets
import socket
from collections import deque
from hashlib import sha256
from pathlib import Path
from random import Random

import msgspec
from filelock import FileLock, Timeout

from protocol.errors import MeshError, NameTaken, StorageFailure
from protocol.messages import Role
from protocol.names import AgentName, is_agent_name

_PLAIN_CHARS, _SHOWN_CHARS, _HASH_CHARS = 24, 11, 12  # A socket's path is limited, see `MAX_SOCKET_CHARS`.


class Entry(msgspec.Struct, frozen=True, kw_only=True):
    """One member of this host. `started_at` in seconds since the epoch."""

    agent: str
    role: Role
    pid: int
    router: str
    publisher: str
    control: str
    started_at: float


class Register:
    """One mesh's folder on this host."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def control_path(self, agent: AgentName) -> str:
        """Where this agent's process takes commands; of a long name a hash stands in its place."""
        short = agent
        if len(agent) > _PLAIN_CHARS:
            short = AgentName(f"{agent[:_SHOWN_CHARS]}~{sha256(agent.encode()).hexdigest()[:_HASH_CHARS]}")
        return str(self.folder / f"{short}.sock")

    def claim(self, agent: AgentName) -> Claim:
        """Reserve the name on this host. Raises `NameTaken` where a process has it."""
        try:
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            self.folder.chmod(0o700)  # Refused where it is another user's: that one could read our commands.
            return Claim(self, agent)
        except Timeout:
            entry = self.read(agent)
            owner = f"process {entry.pid}" if entry else "another process"
            raise NameTaken(
                f"agent {agent} already runs on this host as {owner}; stop that one first"
            ) from None
        except OSError as error:
            raise _failure(self.folder, error) from error

    def read(self, agent: AgentName) -> Entry | None:
        """The entry of this name, whether or not its process lives; None where there is none."""
        try:
            entry = msgspec.json.decode((self.folder / f"{agent}.json").read_bytes(), type=Entry)
        except (OSError, msgspec.DecodeError):
            return None
        return entry if entry.agent == agent else None

    def running(self, agent: AgentName) -> Entry | None:
        """The entry of this name, where its process takes commands."""
        entry = self.read(agent)
        return entry if entry is not None and _listens(entry.control) else None

    def all_running(self) -> list[Entry]:
        """The members of this host that take commands, the longest running first."""
        return [entry for entry in self._entries() if _listens(entry.control)]

    def some_running(self, count: int, *, besides: AgentName, rng: Random) -> list[Entry]:
        """The longest running member of this host but `besides`, and others at random, `count` at most.

        Not more of them are knocked at than that takes: hundreds may be started here at once.
        """
        waiting = deque(entry for entry in self._entries() if entry.agent != besides)
        found: list[Entry] = []
        while waiting and len(found) < count:
            if found:  # Once the oldest is found, the turn of the others is drawn.
                waiting.rotate(rng.randrange(len(waiting)))
            entry = waiting.popleft()
            if _listens(entry.control):
                found.append(entry)
        return found

    def _entries(self) -> list[Entry]:
        """All that are there, whether or not their processes live, the longest running first."""
        names = [path.stem for path in self.folder.glob("*.json") if is_agent_name(path.stem)]
        entries = [entry for name in names if (entry := self.read(AgentName(name))) is not None]
        return sorted(entries, key=lambda entry: (entry.started_at, entry.agent))


class Claim:
    """A name reserved on this host until `release`, or until the process ends."""

    def __init__(self, register: Register, agent: AgentName) -> None:
        self._file = register.folder / f"{agent}.json"
        self._control = Path(register.control_path(agent))
        self._lock = FileLock(register.folder / f"{agent}.lock", mode=0o600, thread_local=False)
        self._lock.acquire(timeout=0)

    def instance(self) -> int:
        """63 random bits that stay the same for this name on this host, for a member without a memory."""
        kept = self._file.with_suffix(".instance")
        try:
            if not kept.exists():
                kept.write_text(str(secrets.randbits(63)))
            return int(kept.read_text())
        except (OSError, ValueError) as error:
            raise StorageFailure(f"{kept}: unreadable ({error}); remove it") from error

    def publish(self, entry: Entry) -> None:
        """Let the others of this host find us."""
        draft = self._file.with_suffix(".new")
        try:
            draft.write_bytes(msgspec.json.encode(entry))
            draft.replace(self._file)
        except OSError as error:
            raise _failure(self._file, error) from error

    def release(self) -> None:
        """Withdraw the entry and give the name back. May be called twice."""
        if self._lock.is_locked:
            self._file.unlink(missing_ok=True)
            self._control.unlink(missing_ok=True)
            self._lock.release()


def _listens(path: str) -> bool:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(1.0)
        try:
            probe.connect(os.fspath(path))
        except (OSError, ValueError):
            return False
    return True


def _failure(path: Path, error: OSError) -> MeshError:
    return StorageFailure(f"{path}: {error.strerror or error}")
