"""Room for a cluster: what is short is named before anything is started."""

from __future__ import annotations

import resource
from pathlib import Path

import pytest

from deploy import preflight
from protocol.errors import InvalidInput


@pytest.fixture
def limits(monkeypatch: pytest.MonkeyPatch) -> dict[int, tuple[int, int]]:
    """Limits of this process that are its own, and as good as none until a test says otherwise."""
    limits = {resource.RLIMIT_NOFILE: (1 << 20, 1 << 20), resource.RLIMIT_NPROC: (1 << 20, 1 << 20)}
    monkeypatch.setattr(resource, "getrlimit", limits.__getitem__)
    monkeypatch.setattr(resource, "setrlimit", limits.__setitem__)
    monkeypatch.setattr(preflight, "available_mib", lambda: 100_000)
    return limits


def test_where_there_is_room_nothing_is_said_and_nothing_changed(
    limits: dict[int, tuple[int, int]],
) -> None:
    before = dict(limits)

    preflight.check_room(400, each_mib=24)

    assert limits == before


def test_too_little_memory_is_one_line_with_how_many_would_fit(
    limits: dict[int, tuple[int, int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(preflight, "available_mib", lambda: 1256)

    with pytest.raises(InvalidInput) as caught:
        preflight.check_room(400, each_mib=20)

    told = "N: 400 members need about 8,000 MiB of memory, 1,256 MiB are free; start 50 at most"
    assert str(caught.value) == told
    preflight.check_room(50, each_mib=20)


def test_a_soft_limit_of_descriptors_is_raised_as_far_as_is_needed(
    limits: dict[int, tuple[int, int]],
) -> None:
    limits[resource.RLIMIT_NOFILE] = (1024, 65_536)

    preflight.check_room(400, each_mib=20)

    assert limits[resource.RLIMIT_NOFILE] == (2112, 65_536)


def test_a_hard_limit_of_descriptors_is_named(limits: dict[int, tuple[int, int]]) -> None:
    limits[resource.RLIMIT_NOFILE] = (1024, 1024)

    with pytest.raises(InvalidInput, match=r"`ulimit -Hn` allows 1,024; start 128 at most$"):
        preflight.check_room(400, each_mib=20)
    preflight.check_room(128, each_mib=20)


def test_too_few_threads_are_named(limits: dict[int, tuple[int, int]]) -> None:
    limits[resource.RLIMIT_NPROC] = (1200, 1200)

    with pytest.raises(InvalidInput, match=r"4,800 threads, `ulimit -u` allows 1,200; start 100 at most$"):
        preflight.check_room(400, each_mib=20)


def test_memory_is_what_the_control_group_leaves_where_that_is_less(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine = preflight.available_mib()
    (tmp_path / "memory.max").write_text("max\n")
    (tmp_path / "memory.current").write_text(f"{5 << 20}\n")
    unbounded = preflight.of_group(tmp_path)
    (tmp_path / "memory.max").write_text(f"{12 << 20}\n")

    assert machine is None or machine > 0
    assert unbounded is None
    assert preflight.of_group(tmp_path) == 7
    assert preflight.of_group(tmp_path / "none") is None
