"""The announcer: it collects, tells the last state, and survives a memory that cannot be read."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from node import LocalMemory
from node.announcer import Announcer, announced
from node.feeds import LibrarianFeeds
from node.memory.store import Store
from node.net.endpoint import Endpoint
from protocol.digest import Digest
from protocol.errors import StorageFailure
from protocol.keyring import newest
from tests.support.endpoints import running
from tests.support.settings import MakeConfig
from tests.support.waiting import wait_for

pytestmark = pytest.mark.processes


@contextmanager
def following(make_config: MakeConfig) -> Iterator[tuple[Announcer, LocalMemory, Endpoint]]:
    """An announcer that is not started, its memory, and the member it speaks for."""
    config = make_config()
    with LocalMemory("a", config=config) as memory, running("a", config) as endpoint:
        announcer = Announcer(memory._store, endpoint.driver, LibrarianFeeds())
        try:
            yield announcer, memory, endpoint
        finally:
            announcer.close()
            announcer.close()


def version(endpoint: Endpoint) -> int:
    with endpoint.driver.lock:
        return endpoint.driver.peer.engine.record.version


def told(endpoint: Endpoint) -> Digest:
    with endpoint.driver.lock:
        return endpoint.driver.peer.engine.record.digest


def key_of(endpoint: Endpoint) -> tuple[int, bytes]:
    with endpoint.driver.lock:
        return newest(endpoint.driver.peer.engine.gate.keys)


def digest_of(memory: LocalMemory, endpoint: Endpoint) -> Digest:
    epoch, key = key_of(endpoint)
    return Digest.of(announced(memory._store), key_epoch=epoch, key=key)


def test_what_is_there_at_the_start_is_told_without_a_write(make_config: MakeConfig) -> None:
    with following(make_config) as (announcer, memory, endpoint):
        memory.remember("The zebra.", tags=["zebra"])

        announcer.start()

        wait_for(lambda: told(endpoint).may_contain("zebra", key_of(endpoint)[1]))


def test_telling_twice_tells_once(make_config: MakeConfig) -> None:
    with following(make_config) as (announcer, memory, endpoint):
        memory.remember("The zebra.", tags=["zebra"])

        announcer.tell()
        first = version(endpoint)
        announcer.tell()

        assert version(endpoint) == first == 2


def test_many_writes_make_few_announcements_and_the_last_state_is_told(make_config: MakeConfig) -> None:
    with following(make_config) as (announcer, memory, endpoint):
        announcer.start()
        for number in range(300):
            memory.remember(f"The zebra number{number}.", tags=[f"tag{number}"])
            announcer.changed()

        wait_for(lambda: told(endpoint) == digest_of(memory, endpoint))
        assert told(endpoint).may_contain("tag299", key_of(endpoint)[1])
        assert version(endpoint) < 100


def test_between_two_announcements_it_rests_ten_times_as_long_as_one_took(
    make_config: MakeConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    rests: list[float | None] = []
    with following(make_config) as (announcer, _, _):
        clock = iter([100.0, 100.5])
        monkeypatch.setattr("node.announcer.time.perf_counter", lambda: next(clock))

        def wait(timeout: float | None = None) -> bool:
            rests.append(timeout)
            return len(rests) == 2

        monkeypatch.setattr(announcer._closed, "wait", wait)
        announcer.changed()
        announcer._run()

    assert rests == [0.05, 5.0]


def test_a_memory_that_cannot_be_read_is_logged_and_tried_again_at_the_next_write(
    make_config: MakeConfig, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    with following(make_config) as (announcer, memory, endpoint):
        failed = threading.Event()

        def fail(_: Store) -> list[object]:
            failed.set()
            raise StorageFailure("the disk is gone")

        with monkeypatch.context() as broken:
            broken.setattr("node.announcer.announced", fail)
            announcer.start()
            assert failed.wait(20)
            wait_for(lambda: "the disk is gone" in caplog.text)
        memory.remember("The zebra.", tags=["zebra"])
        announcer.changed()

        wait_for(lambda: told(endpoint).may_contain("zebra", key_of(endpoint)[1]))
    assert [record.levelno for record in caplog.records if "the disk" in record.message] == [logging.ERROR]
