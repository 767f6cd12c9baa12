"""Group commit: one transaction for all that wait, nobody told too early, nobody left waiting."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from types import FrameType
from typing import Any, NoReturn, cast

import apsw
import pytest

from node.memory.commit import GroupCommit, _Ticket
from protocol.errors import MeshError, NodeClosed, NotFound, StorageFailure


class Journal:
    """A transaction that notes what happens to it."""

    def __init__(self) -> None:
        self.seen: list[str] = []
        self.settled: list[int] = []
        self.fail: apsw.Error | None = None
        self.before_commit: Callable[[], None] = lambda: None

    def begin(self) -> None:
        self.seen.append("begin")

    def settle(self) -> None:
        self.settled.append(len(self.seen))

    def commit(self) -> None:
        self.before_commit()
        if self.fail is not None:
            raise self.fail
        self.seen.append("commit")

    def roll_back(self) -> None:
        self.seen.append("roll back")

    def translate(self, error: apsw.Error) -> MeshError:
        return StorageFailure(f"translated: {error}")

    def job(self, name: str) -> Callable[[], str]:
        def run() -> str:
            self.seen.append(name)
            return f"{name} done"

        return run


class Crowd:
    """A leader held inside its job, and callers that wait behind it."""

    def __init__(self, commits: GroupCommit, pool: ThreadPoolExecutor) -> None:
        self._commits, self._pool = commits, pool
        self._entered, self._go = threading.Event(), threading.Event()
        self.leader = pool.submit(commits.run, self._hold)
        self._entered.wait()

    def _hold(self) -> str:
        self._entered.set()
        self._go.wait()
        return "leader done"

    def join(self, job: Callable[[], Any]) -> Future[Any]:
        """One more caller; returns when it waits, so that callers wait in the order of these calls."""
        waiting = len(self._commits._waiting)
        future = self._pool.submit(self._commits.run, job)
        while len(self._commits._waiting) == waiting:
            time.sleep(0.001)
        return future

    def release(self) -> None:
        self._go.set()


def test_a_caller_alone_has_a_transaction_of_its_own() -> None:
    journal = Journal()
    commits = GroupCommit(journal)

    assert commits.run(journal.job("a")) == "a done"
    assert commits.run(journal.job("b")) == "b done"
    assert journal.seen == ["begin", "a", "commit", "begin", "b", "commit"]


def test_a_job_that_reads_the_tables_finds_settled_what_others_left_for_later() -> None:
    journal = Journal()
    commits = GroupCommit(journal)

    with ThreadPoolExecutor(8) as pool:
        crowd = Crowd(commits, pool)
        later = [pool.submit(commits.run, journal.job(name), settled=False) for name in "ab"]
        while len(commits._waiting) < 2:
            time.sleep(0.001)
        reading = crowd.join(journal.job("c"))
        journal.settled.clear()
        crowd.release()
        for future in (*later, reading):
            future.result()

    assert journal.settled == [len(journal.seen) - 2]


def test_callers_that_come_during_a_transaction_share_the_next_in_the_order_they_came() -> None:
    journal = Journal()
    commits = GroupCommit(journal)

    with ThreadPoolExecutor(8) as pool:
        crowd = Crowd(commits, pool)
        waiting = [crowd.join(journal.job(name)) for name in "abcde"]
        crowd.release()

        assert crowd.leader.result() == "leader done"
        assert [future.result() for future in waiting] == [f"{name} done" for name in "abcde"]
    assert journal.seen == ["begin", "commit", "begin", *"abcde", "commit"]


def test_nobody_is_told_before_the_commit_that_holds_its_job() -> None:
    journal = Journal()
    commits = GroupCommit(journal)
    told_early: list[Future[Any]] = []

    with ThreadPoolExecutor(8) as pool:
        crowd = Crowd(commits, pool)
        waiting = [crowd.join(journal.job(name)) for name in "abc"]
        journal.before_commit = lambda: told_early.extend(
            # The pause is there for a caller told too early to come back; a right one only makes it wait.
            wait(waiting if "a" in journal.seen else (), timeout=0.05, return_when=FIRST_COMPLETED).done
        )
        crowd.release()
        for future in waiting:
            future.result()

    assert told_early == []
    assert journal.seen[-4:] == ["a", "b", "c", "commit"]


def test_a_group_too_large_is_committed_in_parts_and_leadership_goes_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("node.memory.commit.MAX_GROUP", 2)
    journal = Journal()
    commits = GroupCommit(journal)

    with ThreadPoolExecutor(8) as pool:
        crowd = Crowd(commits, pool)
        waiting = [crowd.join(journal.job(name)) for name in "abcde"]
        crowd.release()
        told = [future.result() for future in waiting]

    assert told == [f"{name} done" for name in "abcde"]
    assert journal.seen == [
        *("begin", "commit"),
        *("begin", "a", "b", "commit"),
        *("begin", "c", "d", "commit"),
        *("begin", "e", "commit"),
    ]


def test_a_job_that_is_refused_fails_alone() -> None:
    journal = Journal()
    commits = GroupCommit(journal)

    def refuse() -> NoReturn:
        raise NotFound("nothing there")

    with ThreadPoolExecutor(8) as pool:
        crowd = Crowd(commits, pool)
        before, refused, after = (crowd.join(job) for job in (journal.job("a"), refuse, journal.job("b")))
        crowd.release()

        assert (before.result(), after.result()) == ("a done", "b done")
        with pytest.raises(NotFound):
            refused.result()
    assert journal.seen[-4:] == ["begin", "a", "b", "commit"]


def test_a_commit_that_fails_is_told_to_all_of_its_group_and_the_next_goes_on() -> None:
    journal = Journal()
    commits = GroupCommit(journal)

    with ThreadPoolExecutor(8) as pool:
        crowd = Crowd(commits, pool)
        journal.fail = apsw.FullError("disk full")
        waiting = [crowd.join(journal.job(name)) for name in "ab"]
        crowd.release()

        for future in (crowd.leader, *waiting):
            with pytest.raises(StorageFailure, match="translated: disk full"):
                future.result()
    journal.fail = None
    assert commits.run(journal.job("c")) == "c done"
    assert journal.seen == ["begin", "roll back", "begin", "a", "b", "roll back", "begin", "c", "commit"]


def test_an_error_of_our_own_takes_the_group_with_it_and_nobody_waits_for_ever() -> None:
    journal = Journal()
    commits = GroupCommit(journal)

    def fail() -> NoReturn:
        raise ZeroDivisionError("our bug")

    with ThreadPoolExecutor(8) as pool:
        crowd = Crowd(commits, pool)
        first, failing, last = (crowd.join(job) for job in (journal.job("a"), fail, journal.job("b")))
        crowd.release()

        assert crowd.leader.result() == "leader done"
        # The leader of the group is the first that waited: it sees the bug itself.
        with pytest.raises(ZeroDivisionError):
            first.result()
        for future in (failing, last):
            with pytest.raises(StorageFailure, match="nothing was written"):
                future.result()
    assert journal.seen == ["begin", "commit", "begin", "a", "roll back"]
    assert commits.run(journal.job("c")) == "c done"


def test_a_caller_interrupted_while_it_waits_leaves_and_the_others_go_on() -> None:
    journal = Journal()
    commits = GroupCommit(journal)

    def interrupt(_number: int, _frame: FrameType | None) -> NoReturn:
        raise KeyboardInterrupt

    def interrupt_when_it_waits(main: int) -> None:
        while not commits._waiting:
            time.sleep(0.001)
        signal.pthread_kill(main, signal.SIGUSR1)

    before = signal.signal(signal.SIGUSR1, interrupt)
    try:
        with ThreadPoolExecutor(8) as pool:
            crowd = Crowd(commits, pool)
            pool.submit(interrupt_when_it_waits, threading.get_ident())
            with pytest.raises(KeyboardInterrupt):
                commits.run(journal.job("gone"))
            after = crowd.join(journal.job("a"))
            crowd.release()

            assert after.result() == "a done"
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert journal.seen == ["begin", "commit", "begin", "a", "commit"]


def test_a_caller_interrupted_when_it_is_to_lead_hands_leadership_on() -> None:
    journal = Journal()
    commits = GroupCommit(journal)

    class Interrupted:
        def acquire(self) -> NoReturn:
            raise KeyboardInterrupt

    chosen, following = _Ticket(journal.job("chosen")), _Ticket(journal.job("following"))
    following.wake = threading.Lock()
    following.wake.acquire()
    commits._led, chosen.promoted, commits._waiting = True, True, [following]

    with pytest.raises(KeyboardInterrupt):
        commits._wait_to_lead(chosen, cast(Any, Interrupted()))

    assert following.promoted
    assert not following.wake.locked()
    assert commits._waiting == []


def test_closing_waits_for_those_that_came_before_and_takes_no_more() -> None:
    journal = Journal()
    commits = GroupCommit(journal)

    with ThreadPoolExecutor(8) as pool:
        crowd = Crowd(commits, pool)
        last = crowd.join(journal.job("last"))
        closing = pool.submit(commits.close)
        while len(commits._waiting) < 2:
            time.sleep(0.001)
        assert not closing.done()
        crowd.release()
        closing.result()

        assert last.done()
    commits.close()
    with pytest.raises(NodeClosed):
        commits.run(journal.job("late"))
    assert "late" not in journal.seen


def test_many_callers_all_get_their_own_result() -> None:
    journal = Journal()
    commits = GroupCommit(journal)

    with ThreadPoolExecutor(16) as pool:
        told = list(pool.map(lambda n: commits.run(journal.job(str(n))), range(2_000)))

    assert told == [f"{n} done" for n in range(2_000)]
    assert journal.seen.count("begin") == journal.seen.count("commit") <= 2_000
    assert not commits._led
