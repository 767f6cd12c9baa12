"""The audit log: every decision once, in order, bounded, readable by its user alone."""

from __future__ import annotations

import stat
import threading
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from node.net import audit
from node.net.audit import AuditEntry, AuditLog, read_audit


@pytest.fixture
def log(tmp_path: Path) -> AuditLog:
    return AuditLog(tmp_path / "a.audit.jsonl")


def read(log: AuditLog, limit: int = 100, **given: float | str) -> list[AuditEntry]:
    return read_audit(log.path, limit=limit, **given)  # type: ignore[arg-type]


def test_what_was_decided_is_read_back_in_order(log: AuditLog) -> None:
    log.answered("bob", "agent", "recall", "who \n knows \x1b[31m?", gave=2, paths=iter(("/a", "/b")))
    log.refused("eve", "", "recall", "tea", reason="no member")

    first, second = read(log)

    assert (first.asker, first.decision, first.gave, first.paths) == ("bob", "answered", 2, ("/a", "/b"))
    assert first.question == "who \n knows \x1b[31m?"
    assert (second.asker, second.decision, second.reason) == ("eve", "refused", "no member")
    assert len(log.path.read_bytes().splitlines()) == 2


def test_nobody_else_can_read_it(log: AuditLog) -> None:
    log.refused("bob", "agent", "recall", "tea", reason="x")

    assert stat.S_IMODE(log.path.stat().st_mode) == 0o600


def test_what_is_long_is_cut(log: AuditLog) -> None:
    log.answered("bob", "agent", "recall", "x" * 10_000, gave=500, paths=(f"/{n}" for n in range(500)))

    (entry,) = read(log)

    assert len(entry.question) == 200
    assert entry.gave == 500
    assert len(entry.paths) == 20


def test_two_files_are_kept_at_most(log: AuditLog, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(audit, "MAX_BYTES", 2_000)

    for number in range(100):
        log.refused("bob", "agent", "recall", f"question {number}", reason="x")

    files = sorted(log.path.parent.iterdir())
    assert [file.name for file in files] == ["a.audit.jsonl", "a.audit.jsonl.1"]
    assert all(file.stat().st_size <= 2_300 for file in files)
    questions = [entry.question for entry in read(log)]
    assert questions == [f"question {number}" for number in range(100 - len(questions), 100)]
    assert len(questions) > 10


def test_it_is_searched_by_asker_and_time(log: AuditLog) -> None:
    for asker in ("bob", "eve", "bob"):
        log.answered(asker, "agent", "who-knows", "tea", gave=1)
    last = read(log)[-1].at

    assert len(read(log, asker="bob")) == 2
    assert len(read(log, limit=1)) == 1
    assert read(log, since=last + 1) == []


def test_a_log_that_cannot_be_written_is_told_once_and_holds_up_nobody(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    log = AuditLog(tmp_path / "missing" / "a.jsonl")

    for _ in range(3):
        log.refused("bob", "agent", "recall", "tea", reason="x")

    assert len(caplog.records) == 1
    assert read(log) == []


def test_several_threads_write_whole_lines(log: AuditLog) -> None:
    def write(asker: str) -> None:
        for _ in range(50):
            log.answered(asker, "agent", "recall", "tea", gave=1)

    threads = [threading.Thread(target=write, args=(name,)) for name in ("bob", "eve", "dan")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len(read(log, limit=1_000)) == 150


@settings(max_examples=50)
@given(torn=st.binary(max_size=300))
def test_what_is_no_entry_is_passed_over(torn: bytes, tmp_path_factory: pytest.TempPathFactory) -> None:
    log = AuditLog(tmp_path_factory.mktemp("audit") / "a.jsonl")
    log.refused("bob", "agent", "recall", "tea", reason="x")
    log.path.write_bytes(log.path.read_bytes() + torn.replace(b"\n", b"") + b"\n")
    log.refused("eve", "agent", "recall", "tea", reason="x")

    assert [entry.asker for entry in read(log)] == ["bob", "eve"]
