"""The nursery of `deploy.nursery`, whose members also note when their directory takes a digest.

Each writes one line, `seconds agent topics`, to $AVM_OBSERVED/<its process's number>; the seconds are of the
clock that all processes of a machine share (CLOCK_MONOTONIC). So nobody has to ask hundreds of nodes for the
moment at which they hear of a change: it costs each some microseconds then, and nothing at any other time.
"""

from __future__ import annotations

import os
import time
from pathlib import Path

from deploy import nursery
from protocol.digest import Digest
from protocol.directory import Directory
from protocol.names import AgentName

FOLDER = "AVM_OBSERVED"


def observe(folder: Path) -> None:
    """Have every directory of this process, and of those forked from it, note what it takes."""
    put = Directory.put
    opened: list[int] = []

    def noting(self: Directory, agent: AgentName, digest: Digest, *, now: float) -> None:
        put(self, agent, digest, now=now)
        if not opened:
            opened.append(os.open(folder / str(os.getpid()), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600))
        os.write(opened[0], f"{time.monotonic():.6f} {agent} {digest.topics}\n".encode())

    Directory.put = noting  # type: ignore[method-assign]


def seen(folder: Path, pid: int, agent: str, since: float) -> float | None:
    """When that process took a digest of `agent` with any topics, after `since`; None where it did not."""
    for line in (folder / str(pid)).read_text().splitlines():
        at, name, topics = line.split()
        if name == agent and topics != "0" and float(at) > since:
            return float(at)
    return None


if __name__ == "__main__":
    observe(Path(os.environ[FOLDER]))
    nursery.main()
