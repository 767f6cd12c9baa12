"""The write-ahead log is folded into the file beside the writer, and never grows without end."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path

import apsw
import pytest

from node.memory import Draft, Store, checkpoint
from protocol.names import AgentName

ALICE = AgentName("alice")
PAGE_BYTES = 4_096 + 24


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Store]:
    monkeypatch.setattr(checkpoint, "CHECKPOINT_PAGES", 50)
    monkeypatch.setattr(checkpoint, "MOST_PAGES", 200)
    with Store.open(tmp_path / "alice.db", ALICE) as opened:
        yield opened


def log_pages(store: Store) -> int:
    log = store.path.with_name(store.path.name + "-wal")
    return log.stat().st_size // PAGE_BYTES if log.exists() else 0


def write(store: Store, first: int, count: int) -> None:
    for n in range(first, first + count):
        store.remember(Draft(text=f"walrus {n} " * 100, path=f"/{n}"))


def threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name == "avm-checkpoint"]


def test_the_log_stays_short_however_much_is_written(store: Store) -> None:
    write(store, 0, 1_000)

    assert log_pages(store) <= 200 + 50
    assert store.path.stat().st_size > 200 * 4_096
    assert store.count() == 1_000


def test_a_thread_folds_the_log_and_the_writer_begins_it_anew(store: Store) -> None:
    checkpoints = store._writer._checkpoints
    n = 0
    while not checkpoints._wanted.is_set():
        write(store, n, 1)
        n += 1
    while not checkpoints._is_almost_done:
        time.sleep(0.001)
    write(store, n, 1)
    before = log_pages(store)

    write(store, n + 1, 5)

    assert before >= 50
    assert not checkpoints._is_almost_done
    assert log_pages(store) == before  # The file keeps its length and is written from its beginning again.
    assert checkpoints._due == 50


def test_without_its_thread_the_writer_folds_the_log_itself(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store._writer._checkpoints, "_start", lambda: None)

    write(store, 0, 1_000)

    assert threads() == []
    assert log_pages(store) <= 200 + 50


def test_a_reader_that_holds_on_to_the_log_is_not_waited_for_and_loses_nothing(store: Store) -> None:
    write(store, 0, 10)
    reader = apsw.Connection(str(store.path), flags=apsw.SQLITE_OPEN_READONLY)
    reader.execute("BEGIN")
    seen = reader.execute("SELECT count(*) FROM versions").get

    write(store, 10, 500)

    assert reader.execute("SELECT count(*) FROM versions").get == seen == 10
    reader.close()
    write(store, 510, 500)
    before = log_pages(store)
    write(store, 1_010, 500)
    assert log_pages(store) == before
    assert store.count() == 1_510


def test_an_erasure_waits_for_the_thread_and_leaves_nothing_in_the_log(store: Store) -> None:
    for n in range(5):
        store.remember(Draft(text=f"narwhal {n}", path="/secret"))
        write(store, n * 40, 40)

        store.erase("/secret")

        assert log_pages(store) <= 1


def test_what_keeps_the_log_from_being_folded_is_told_once_and_tried_again(
    store: Store, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    checkpoints = store._writer._checkpoints
    monkeypatch.setattr(checkpoints, "_start", lambda: None)

    class Full:
        def wal_checkpoint(self, mode: int) -> tuple[int, int]:
            raise apsw.FullError("database or disk is full")

    for _ in range(3):
        checkpoints._fold(Full(), 300)  # type: ignore[arg-type]

    told = [record for record in caplog.records if record.name == checkpoint.__name__]
    assert len(told) == 1
    assert "no room left on the disk" in told[0].getMessage()
    assert checkpoints._due == 350
    write(store, 0, 400)
    assert checkpoints.trouble == ""
    assert log_pages(store) <= 400 + 50


def test_the_thread_ends_with_the_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checkpoint, "CHECKPOINT_PAGES", 50)
    run = checkpoint.Checkpoints._run

    def run_long(self: checkpoint.Checkpoints) -> None:
        run(self)
        time.sleep(0.05)  # Whoever does not wait for the thread leaves it behind.

    monkeypatch.setattr(checkpoint.Checkpoints, "_run", run_long)
    with Store.open(tmp_path / "a.db", ALICE) as store:
        write(store, 0, 100)
        assert threads() == ["avm-checkpoint"]

    assert threads() == []
    assert not (tmp_path / "a.db-wal").exists()


def test_a_thread_that_ends_its_copy_while_the_store_closes_ends_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its last act of a copy is to clear the event by which it is woken, to be closed as well."""
    monkeypatch.setattr(checkpoint, "CHECKPOINT_PAGES", 50)
    is_copied, is_closing = threading.Event(), threading.Event()
    copy = checkpoint.Checkpoints._copy

    def copy_until_closing(self: checkpoint.Checkpoints, connection: apsw.Connection) -> bool:
        is_complete = copy(self, connection)
        if threading.current_thread().name == "avm-checkpoint":
            is_copied.set()
            assert is_closing.wait(10)
        return is_complete

    monkeypatch.setattr(checkpoint.Checkpoints, "_copy", copy_until_closing)
    store = Store.open(tmp_path / "a.db", ALICE)
    write(store, 0, 100)
    assert is_copied.wait(10)
    checkpoints = store._writer._checkpoints
    wake = checkpoints._wanted.set

    def wake_first() -> None:
        wake()
        is_closing.set()  # From here on the thread goes on, to its `clear`.

    monkeypatch.setattr(checkpoints._wanted, "set", wake_first)
    closer = threading.Thread(target=store.close)
    closer.start()
    closer.join(10)

    is_stuck = closer.is_alive()
    wake()  # Nothing is left behind where it was.
    closer.join()
    assert not is_stuck
    assert threads() == []
