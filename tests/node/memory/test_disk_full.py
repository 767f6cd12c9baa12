"""A disk that fills up: what does not fit is refused and told, and nothing that was acknowledged is lost."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from node.memory import Draft, Store, checkpoint
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


def take_all_room(folder: Path) -> Path:
    """A file as large as what is left."""
    ballast = folder / "ballast"
    with ballast.open("wb", buffering=0) as file:
        try:
            while file.write(bytes(4_096)):
                pass
        except OSError:
            pass
    return ballast


def room(folder: Path) -> int:
    found = os.statvfs(folder)
    return found.f_bavail * found.f_bsize


def until_the_log_begins_anew(store: Store, below: str) -> list[str]:
    """Write until the log has been folded and has room of its own; the paths."""
    log, before = store.path.with_name(store.path.name + "-wal"), -1
    done: list[str] = []
    while log.stat().st_size != before:
        before = log.stat().st_size
        draft = Draft(text=f"walrus {below} {len(done)} " * 200, path=f"{below}/{len(done)}")
        done.append(store.remember(draft).path)
    return done


def test_a_disk_that_fills_up_before_the_log_is_folded_loses_nothing_and_is_told_once(
    small_disk: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(checkpoint, "CHECKPOINT_PAGES", 40)
    monkeypatch.setattr(checkpoint, "MOST_PAGES", 40)
    monkeypatch.setattr(checkpoint.Checkpoints, "_start", lambda _self: None)
    with Store.open(small_disk / "alice.db", ALICE) as store:
        done = until_the_log_begins_anew(store, "/before")
        monkeypatch.setattr(checkpoint, "MOST_PAGES", 20)  # To be folded before it needs more room itself.
        store._writer._checkpoints._due = 20
        ballast = take_all_room(small_disk)
        assert room(small_disk) < 4_096

        refused: list[str] = []
        for n in range(40):  # At first the log has room of its own, but the file has none.
            try:
                done.append(store.remember(Draft(text=f"seal {n} " * 200, path=f"/full/{n}")).path)
            except StorageFailure as error:
                refused.append(str(error))
        trouble = store._writer._checkpoints.trouble
        assert all(store.read(path).version == 1 for path in done)
        ballast.unlink()
        after = store.remember(Draft(text="room again", path="/room"))
        done += [after.path, *until_the_log_begins_anew(store, "/after")]

        assert set(refused) == {f"{store.path}: no room left on the disk; nothing was written"}
        assert "no room left" in trouble
        assert store._writer._checkpoints.trouble == ""
        assert len([one for one in caplog.records if one.name == checkpoint.__name__]) == 1

    with Store.open(small_disk / "alice.db", ALICE) as store:
        assert [path for path in done if store.read(path).version != 1] == []
        assert store.check().problems == ()


def test_a_memory_closed_on_a_full_disk_is_whole_when_there_is_room_again(small_disk: Path) -> None:
    with Store.open(small_disk / "alice.db", ALICE) as store:
        done = fill(store)
        ballast = take_all_room(small_disk)

    ballast.unlink()
    with Store.open(small_disk / "alice.db", ALICE) as store:
        assert [path for path in done if store.read(path).version != 1] == []


def test_a_copy_that_did_not_fit_fits_when_there_is_room_again(small_disk: Path) -> None:
    with Store.open(small_disk / "alice.db", ALICE) as store:
        done = [store.remember(Draft(text=f"walrus {n} " * 50, path=f"/{n}")).path for n in range(20)]
        ballast = take_all_room(small_disk)
        with pytest.raises(MeshError, match="room") as told:
            store.backup(small_disk / "copy")
        assert "\n" not in str(told.value)
        assert all(store.read(path).version == 1 for path in done)

        ballast.unlink()

        assert store.backup(small_disk / "copy").memories == len(done)
        assert store.remember(Draft(text="goes on")).stored
