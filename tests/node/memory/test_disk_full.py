"""A disk that fills up: what does not fit is refused and told, and nothing that was acknowledged is lost."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from node.memory import Draft, Store
from protocol.errors import MeshError, StorageFailure
from protocol.names import AgentName

ALICE = AgentName("alice")


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "disk"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(folder)]
    try:
        mounted = subprocess.run(command, capture_output=True, check=False).returncode == 0
    except OSError:
        mounted = False
    if not mounted:
        pytest.skip("mounting a small disk is not allowed here")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def fill(store: Store) -> list[str]:
    """Write until the disk is full; the paths that were acknowledged."""
    done: list[str] = []
    for n in range(2_000):
        try:
            receipt = store.remember(Draft(text=f"walrus {n} " * 200, path=f"/{n}"))
        except StorageFailure:
            return done
        done.append(receipt.path)
    raise AssertionError("the disk took it all")


def test_a_write_that_does_not_fit_is_refused_and_those_before_are_there(small_disk: Path) -> None:
    with Store.open(small_disk / "alice.db", ALICE) as store:
        done = fill(store)
        with pytest.raises(StorageFailure):
            store.remember_many([Draft(text=f"long {n} " * 20_000) for n in range(20)])
        assert all(store.read(path).version == 1 for path in done)

    with Store.open(small_disk / "alice.db", ALICE) as store:
        assert [path for path in done if store.read(path).version != 1] == []
        assert store.count() >= len(done) > 10


def test_a_copy_that_does_not_fit_is_refused_and_leaves_nothing(small_disk: Path) -> None:
    with Store.open(small_disk / "alice.db", ALICE) as store:
        done = fill(store)

        with pytest.raises(MeshError):
            store.backup(small_disk / "copy")

        assert not (small_disk / "copy").exists()
        assert not list(small_disk.glob(".*part*"))
        assert store.read(done[0]).version == 1
