"""Files that nobody else may read: what is made so, and what is refused."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest

from node.net import private_files
from node.net.private_files import MAX_BYTES, locked, make_private_folder, read_private, write_private
from protocol.errors import InvalidInput, MeshError, StorageFailure


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "above" / "private"
    make_private_folder(made)
    return made


def mode_of(path: Path) -> int:
    return path.stat().st_mode & 0o777


def test_what_is_written_is_read_and_others_cannot_read_it(folder: Path) -> None:
    previous = os.umask(0)
    try:
        write_private(folder / "key", b"first")
        write_private(folder / "key", b"second")
    finally:
        os.umask(previous)

    assert read_private(folder / "key") == b"second"
    assert (mode_of(folder), mode_of(folder / "key")) == (0o700, 0o600)
    assert os.listdir(folder) == ["key"]


def test_what_is_not_there_is_none(folder: Path, tmp_path: Path) -> None:
    assert read_private(folder / "key") is None
    assert read_private(tmp_path / "nowhere" / "key") is None


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o620, 0o601])
def test_a_file_that_others_may_use_is_refused_with_the_command_that_closes_it(
    mode: int, folder: Path
) -> None:
    path = folder / "a key"
    write_private(path, b"")
    path.chmod(mode)

    with pytest.raises(InvalidInput) as raised:
        read_private(path)

    assert raised.value.field == str(path)
    assert raised.value.fix == f"chmod 600 '{path}'"


@pytest.mark.parametrize("mode", [0o750, 0o705, 0o701])
def test_a_folder_that_others_may_enter_is_refused_with_the_command_that_closes_it(
    mode: int, folder: Path
) -> None:
    write_private(folder / "key", b"")
    folder.chmod(mode)

    with pytest.raises(InvalidInput) as reading:
        read_private(folder / "key")
    with pytest.raises(InvalidInput) as making:
        make_private_folder(folder)

    assert reading.value.fix == making.value.fix == f"chmod 700 {folder}"
    assert read_private(folder / "key", in_any_folder=True) == b""


def test_what_belongs_to_another_user_is_refused(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_private(folder / "key", b"")
    owner = os.geteuid()
    monkeypatch.setattr(os, "geteuid", lambda: owner + 1)

    with pytest.raises(InvalidInput, match="another user"):
        read_private(folder / "key")


def test_what_is_no_file_is_refused_and_not_waited_for(folder: Path) -> None:
    os.mkfifo(folder / "pipe", 0o600)
    (folder / "folder").mkdir(mode=0o700)
    with (folder / "huge").open("wb") as huge:
        huge.truncate(MAX_BYTES + 1)
    (folder / "huge").chmod(0o600)

    for name in ("pipe", "folder", "huge"):
        with pytest.raises(InvalidInput, match="no file of ours"):
            read_private(folder / name)


def test_what_cannot_be_written_leaves_the_old_and_no_draft(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    write_private(folder / "key", b"old")
    monkeypatch.setattr(os, "fsync", full)

    with pytest.raises(StorageFailure, match="No space left"):
        write_private(folder / "key", b"new")

    assert read_private(folder / "key") == b"old"
    assert os.listdir(folder) == ["key"]


def test_a_folder_that_cannot_be_made_is_told_on_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")

    with pytest.raises(StorageFailure, match="file") as raised:
        make_private_folder(tmp_path / "file" / "folder")

    assert "\n" not in str(raised.value)


def test_of_many_one_at_a_time_is_inside(folder: Path) -> None:
    inside, most = 0, 0

    def enter() -> None:
        nonlocal inside, most
        for _ in range(5):
            with locked(folder):
                inside += 1
                most = max(most, inside)
                inside -= 1

    threads = [threading.Thread(target=enter) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert most == 1
    assert mode_of(folder / "lock") == 0o600


def test_who_waits_too_long_for_the_lock_is_told_of_which(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(private_files, "_LOCK_S", 0.05)

    with locked(folder), pytest.raises(MeshError, match=str(folder)), locked(folder):
        raise AssertionError("entered")
