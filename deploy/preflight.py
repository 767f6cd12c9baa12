"""Whether this machine can hold so many members, before the first of them is started: one line where not.

What a member needs was measured in meshes of 20 to 400 on one machine (`benchmarks/cluster.py`). Above 64
members it hardly grows with their number: a member then hears a few, and keeps a bounded number of
connections of its own.
"""

from __future__ import annotations

import resource
from pathlib import Path

from protocol.errors import InvalidInput

FORKED_MIB, PLAIN_MIB = 24, 50
"""Memory of one member: what it does not share with others that were forked from one process, and all."""

DESCRIPTORS, DESCRIPTORS_EACH = 512, 4
"""Of one member: for itself and for connections it opened, and for each other that connects to it."""

THREADS = 12
"""Of one member, at most at once."""

_RESERVE_MIB = 256


def check_room(members: int, *, each_mib: int) -> None:
    """Raise `InvalidInput` that says what is short, and how many members there is room for.

    The soft limit of descriptors is raised where the hard one allows it; processes started later inherit it.
    """
    available = available_mib()
    if available is not None and members * each_mib + _RESERVE_MIB > available:
        fit = max(0, (available - _RESERVE_MIB) // each_mib)
        raise _too_many(members, f"{members * each_mib:,} MiB of memory", f"{available:,} MiB are free", fit)
    _, most = resource.getrlimit(resource.RLIMIT_NPROC)
    if most != resource.RLIM_INFINITY and members * THREADS > most:
        raise _too_many(
            members, f"{members * THREADS:,} threads", f"`ulimit -u` allows {most:,}", most // THREADS
        )
    needed = DESCRIPTORS + DESCRIPTORS_EACH * members
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < needed:
        fit = max(0, (hard - DESCRIPTORS) // DESCRIPTORS_EACH)
        raise _too_many(members, f"{needed:,} descriptors each", f"`ulimit -Hn` allows {hard:,}", fit)
    if soft != resource.RLIM_INFINITY and soft < needed:
        resource.setrlimit(resource.RLIMIT_NOFILE, (needed, hard))


def available_mib() -> int | None:
    """Memory that can be had without swapping, within this control group's limit; None where unknown."""
    found = [mib for mib in (_of_machine(), of_group()) if mib is not None]
    return min(found) if found else None


def _of_machine() -> int | None:
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
    except OSError:
        return None
    fields = dict(line.split(":", 1) for line in lines)
    return int(fields["MemAvailable"].split()[0]) >> 10 if "MemAvailable" in fields else None


def of_group(folder: Path = Path("/sys/fs/cgroup")) -> int | None:
    """What a control group of version 2 leaves, in MiB; None where it has no limit, or there is none."""
    try:
        most, used = ((folder / f"memory.{name}").read_text().strip() for name in ("max", "current"))
        return max(0, int(most) - int(used)) >> 20
    except (OSError, ValueError):  # There is none, or it has no limit: "max".
        return None


def _too_many(members: int, needed: str, there: str, fit: int) -> InvalidInput:
    return InvalidInput("N", f"{members} members need about {needed}, {there}", f"start {fit} at most")
