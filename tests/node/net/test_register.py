"""Who runs on this host."""

from __future__ import annotations

import os
import socket
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from random import Random

import pytest

from node.net.register import Entry, Register
from protocol.errors import NameTaken, StorageFailure
from protocol.names import AgentName
from tests.support.members import member_process
from tests.support.settings import MakeConfig

A, B = AgentName("a"), AgentName("b")


def entry_of(agent: str, control: str = "", started_at: float = 0.0) -> Entry:
    return Entry(
        agent=agent,
        role="agent",
        pid=os.getpid(),
        router="tcp://127.0.0.1:1",
        publisher="tcp://127.0.0.1:2",
        control=control,
        started_at=started_at,
    )


@pytest.fixture
def register(short_folder: Path) -> Register:
    return Register(short_folder / "run" / "test")


def test_a_name_is_taken_until_it_is_given_back(register: Register) -> None:
    claim = register.claim(A)
    with pytest.raises(NameTaken, match="agent a already runs on this host"):
        register.claim(A)
    register.claim(B).release()

    claim.release()
    claim.release()

    register.claim(A).release()


def test_who_finds_a_name_taken_is_told_by_which_process(register: Register) -> None:
    claim = register.claim(A)
    claim.publish(entry_of("a"))

    with pytest.raises(NameTaken, match=f"process {os.getpid()};"):
        register.claim(A)

    claim.release()


def test_of_many_that_claim_a_name_at_once_one_gets_it(register: Register) -> None:
    def attempt(_: int) -> object:
        try:
            return register.claim(A)
        except NameTaken:
            return None

    with ThreadPoolExecutor(16) as pool:
        claims = list(pool.map(attempt, range(64)))

    assert sum(claim is not None for claim in claims) == 1


def test_an_entry_whose_socket_nobody_serves_is_passed_over(register: Register) -> None:
    claim = register.claim(A)
    path = register.control_path(A)
    claim.publish(entry_of("a", path))
    assert register.read(A) == entry_of("a", path)
    assert register.running(A) is None

    with socket.socket(socket.AF_UNIX) as served:
        served.bind(path)
        served.listen()
        assert register.running(A) == entry_of("a", path)
        assert register.all_running() == [entry_of("a", path)]

    assert register.running(A) is None
    claim.release()
    assert register.read(A) is None


def test_the_longest_running_comes_first(register: Register) -> None:
    with socket.socket(socket.AF_UNIX) as served:
        register.claim(A).publish(entry_of("a", register.control_path(A), started_at=2.0))
        register.claim(B).publish(entry_of("b", register.control_path(A), started_at=1.0))
        served.bind(register.control_path(A))
        served.listen()

        assert [entry.agent for entry in register.all_running()] == ["b", "a"]


@pytest.mark.parametrize("content", [b"", b"{}", b'{"agent": "b"}', b"\xff", b"null"])
def test_a_file_that_is_no_entry_is_passed_over(content: bytes, register: Register) -> None:
    register.claim(A)
    (register.folder / "a.json").write_bytes(content)
    (register.folder / "Not A Name.json").write_bytes(content)

    assert register.read(A) is None
    assert register.all_running() == []


def test_an_entry_under_another_name_is_passed_over(register: Register) -> None:
    register.claim(A).publish(entry_of("b"))

    assert register.read(A) is None


def test_a_folder_that_others_could_read_is_closed_to_them(register: Register) -> None:
    register.folder.mkdir(parents=True, mode=0o755)

    register.claim(A).release()

    assert register.folder.stat().st_mode & 0o777 == 0o700


def test_a_folder_that_cannot_be_made_is_told_on_one_line(short_folder: Path) -> None:
    (short_folder / "file").write_text("")

    with pytest.raises(StorageFailure, match="file") as raised:
        Register(short_folder / "file" / "test").claim(A)

    assert "\n" not in str(raised.value)


def test_an_instance_stays_the_same_for_a_name(register: Register) -> None:
    claim = register.claim(A)
    first = claim.instance()
    claim.release()

    assert register.claim(A).instance() == first
    assert register.claim(B).instance() != first


def test_an_instance_that_is_none_is_told(register: Register) -> None:
    claim = register.claim(A)
    (register.folder / "a.instance").write_text("nothing")

    with pytest.raises(StorageFailure, match="remove it"):
        claim.instance()


@pytest.mark.processes
def test_the_files_of_a_killed_process_are_passed_over_and_taken_over(make_config: MakeConfig) -> None:
    config = make_config()
    register = Register(config.folder)
    with member_process("a", config) as a:
        entry = register.running(A)
        assert entry is not None
        assert entry.pid == a.pid
        with pytest.raises(NameTaken, match=f"process {a.pid};"):
            register.claim(A)

        a.kill()

        assert register.read(A) == entry
        assert register.running(A) is None
        assert register.all_running() == []
        register.claim(A).release()
        assert list(config.folder.glob("a.[js]*")) == []


def test_some_of_those_that_run_are_the_oldest_and_others_at_random(register: Register) -> None:
    folder = register.folder
    claims, listening = [], []
    for number in range(8):
        name = AgentName(f"n{number}")
        claims.append(register.claim(name))
        path = str(folder / f"{name}.s")
        if number not in (0, 5):  # Those were killed.
            listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            listener.bind(path)
            listener.listen()
            listening.append(listener)
        claims[-1].publish(entry_of(name, path, started_at=float(number)))

    drawn = [register.some_running(3, besides=AgentName("n2"), rng=Random(seed)) for seed in range(20)]
    all_of_them = register.some_running(9, besides=AgentName("n2"), rng=Random(0))
    for listener in listening:
        listener.close()
    for claim in claims:
        claim.release()

    assert {names[0].agent for names in drawn} == {"n1"}
    assert {len(names) for names in drawn} == {3}
    assert {entry.agent for names in drawn for entry in names} == {"n1", "n3", "n4", "n6", "n7"}
    assert sorted(entry.agent for entry in all_of_them) == ["n1", "n3", "n4", "n6", "n7"]
    assert register.some_running(3, besides=A, rng=Random(0)) == []
