"""Commands of the same user, over a socket of this host."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest
import zmq

from node.net import control
from node.net.control import ControlClient
from node.net.endpoint import Endpoint
from node.net.register import Register
from node.net.zeromq import ControlConnection
from node.net.zeromq import control as connection
from protocol.errors import (
    BY_CODE,
    InvalidInput,
    MalformedFrame,
    MeshError,
    NodeClosed,
    NotFound,
    PeerRefused,
    PeerSilent,
    WireMismatch,
)
from protocol.names import AgentName
from tests.support.endpoints import running
from tests.support.settings import MakeConfig
from tests.support.waiting import wait_for

pytestmark = pytest.mark.processes

Commands = Mapping[str, Callable[..., Any]]


@contextmanager
def commanded(make_config: MakeConfig, commands: Commands) -> Iterator[tuple[Endpoint, ControlClient]]:
    config = make_config()
    with running("a", config, commands=commands) as endpoint:
        entry = Register(config.folder).running(AgentName("a"))
        assert entry is not None
        client = ControlClient(entry.control)
        try:
            yield endpoint, client
        finally:
            client.close()


def path_of(endpoint: Endpoint) -> str:
    return Register(endpoint.config.folder).control_path(endpoint.agent)


def fail_with(error: Exception) -> None:
    raise error


def test_a_value_comes_back_in_the_type_that_was_asked_for(make_config: MakeConfig) -> None:
    with commanded(make_config, {"add": lambda one, two: {"sum": one + two}}) as (_, client):
        assert client.call(dict[str, int], "add", one=1, two=2) == {"sum": 3}


def test_an_unknown_command_is_bad_input(make_config: MakeConfig) -> None:
    with commanded(make_config, {}) as (_, client), pytest.raises(InvalidInput) as raised:
        client.call(int, "no\nsuch")

    assert raised.value.field == "command"
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("arguments", [{}, {"one": 1, "more": 2}, {"one": "text"}])
def test_wrong_arguments_are_bad_input(arguments: dict[str, Any], make_config: MakeConfig) -> None:
    with commanded(make_config, {"next": lambda one: one + 1}) as (_, client):
        with pytest.raises(InvalidInput, match=r"^arguments: "):
            client.call(int, "next", **arguments)

        assert client.call(int, "next", one=1) == 2


@pytest.mark.parametrize("argument", [object(), 2**70, "\ud800"])
def test_arguments_that_cannot_be_sent_are_bad_input(argument: object, make_config: MakeConfig) -> None:
    with commanded(make_config, {"echo": lambda value: value}) as (_, client):
        with pytest.raises(InvalidInput, match="cannot be sent"):
            client.call(int, "echo", value=argument)

        assert client.call(int, "echo", value=1) == 1


def test_every_error_has_a_code_of_its_own() -> None:
    # Those of the encoder stay within the node that asked it.
    told = [kind for kind in MeshError.__subclasses__() if not kind.__module__.startswith("node.encoder")]
    kinds: set[type[MeshError]] = {MeshError, *told}

    # Bad input arrives whole, see below; a malformed frame is told to nobody.
    assert {*BY_CODE.values(), InvalidInput, MalformedFrame} == kinds
    assert len({kind.code for kind in kinds}) == len(kinds)


@pytest.mark.parametrize("code", sorted(BY_CODE))
def test_every_error_of_ours_survives_the_way(code: str, make_config: MakeConfig) -> None:
    kind = BY_CODE[code]
    with (
        commanded(make_config, {"fail": lambda: fail_with(kind("what went wrong"))}) as (_, client),
        pytest.raises(MeshError) as raised,
    ):
        client.call(int, "fail")

    assert type(raised.value) is kind
    assert str(raised.value) == "what went wrong"


def test_bad_input_arrives_with_its_field_its_problem_and_its_fix(make_config: MakeConfig) -> None:
    error = InvalidInput("tags", "are 65", "use at most 64")
    with (
        commanded(make_config, {"fail": lambda: fail_with(error)}) as (_, client),
        pytest.raises(InvalidInput) as raised,
    ):
        client.call(int, "fail")

    assert (raised.value.field, raised.value.problem, raised.value.fix) == (
        "tags",
        "are 65",
        "use at most 64",
    )


def test_a_fault_of_ours_is_told_on_one_line_and_logged_whole(
    make_config: MakeConfig, caplog: pytest.LogCaptureFixture
) -> None:
    with (
        commanded(make_config, {"fail": lambda: fail_with(RuntimeError("two\nlines"))}) as (_, client),
        pytest.raises(MeshError, match="the node failed: RuntimeError: two lines") as raised,
    ):
        client.call(int, "fail")

    assert "\n" not in str(raised.value)
    assert "Traceback" in caplog.text


def test_a_value_that_cannot_be_sent_is_an_error_and_not_a_silence(
    make_config: MakeConfig, caplog: pytest.LogCaptureFixture
) -> None:
    with (
        commanded(make_config, {"large": lambda: 2**70}) as (_, client),
        pytest.raises(MeshError, match="cannot be sent"),
    ):
        client.call(int, "large", answer_s=20)

    assert "an answer cannot be sent" in caplog.text


def test_an_answer_of_another_version_is_told_as_such(make_config: MakeConfig) -> None:
    with (
        commanded(make_config, {"text": lambda: "text"}) as (_, client),
        pytest.raises(WireMismatch, match="another version"),
    ):
        client.call(int, "text")


@pytest.mark.parametrize("frame", [b"", b"\xc1", b"\x93\x01", b"\x93\x01\xa1x\x90", b"\x01", b"\x90"])
def test_a_frame_that_is_no_command_is_dropped(
    frame: bytes, make_config: MakeConfig, caplog: pytest.LogCaptureFixture
) -> None:
    with commanded(make_config, {"one": lambda: 1}) as (endpoint, client):
        with zmq.Context() as context, context.socket(zmq.DEALER) as raw:
            raw.connect(f"ipc://{path_of(endpoint)}")
            raw.send(frame)
            raw.send_multipart([frame, frame])
            wait_for(lambda: "dropped a command that is none" in caplog.text)

        assert client.call(int, "one") == 1


def test_an_answer_that_comes_too_late_is_not_taken_for_the_next_one(make_config: MakeConfig) -> None:
    released = threading.Event()
    commands: Commands = {"slow": lambda: released.wait(20) and "late", "one": lambda: 1}
    with commanded(make_config, commands) as (_, client):
        with pytest.raises(PeerSilent, match=r"within 0\.05 s"):
            client.call(str, "slow", answer_s=0.05)
        released.set()

        assert [client.call(int, "one") for _ in range(3)] == [1, 1, 1]


def test_two_clients_do_not_wait_for_each_other(make_config: MakeConfig) -> None:
    both = threading.Barrier(2, timeout=20)
    with commanded(make_config, {"meet": lambda: both.wait() >= 0}) as (endpoint, client):
        other = ControlClient(path_of(endpoint))
        with ThreadPoolExecutor(1) as pool:
            answer = pool.submit(other.call, bool, "meet")

            assert client.call(bool, "meet")
            assert answer.result(20)
        other.close()


def test_threads_of_one_client_each_get_their_own_answer(make_config: MakeConfig) -> None:
    with commanded(make_config, {"echo": lambda value: value}) as (_, client), ThreadPoolExecutor(8) as pool:
        numbers = list(pool.map(lambda number: client.call(int, "echo", value=number), range(200)))

    assert numbers == list(range(200))


def test_ten_megabytes_go_there_and_back(make_config: MakeConfig) -> None:
    text = "0123456789" * 1_000_000
    with commanded(make_config, {"echo": lambda value: value}) as (_, client):
        assert client.call(str, "echo", value=text) == text


def test_a_command_larger_than_the_bound_is_bad_input_before_it_is_sent(
    make_config: MakeConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(control, "MAX_CONTROL_FRAME_BYTES", 1000)
    with (
        commanded(make_config, {"echo": lambda value: value}) as (_, client),
        pytest.raises(InvalidInput, match="1000 are allowed"),
    ):
        client.call(str, "echo", value="x" * 1000)


def test_more_commands_than_may_wait_are_refused(
    make_config: MakeConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(control, "_WAITING", 1)
    started, released = threading.Event(), threading.Event()

    def slow() -> bool:
        started.set()
        return released.wait(20)

    with commanded(make_config, {"slow": slow}) as (endpoint, client), ThreadPoolExecutor(1) as pool:
        other = ControlClient(path_of(endpoint))
        answer = pool.submit(client.call, bool, "slow")
        assert started.wait(20)

        with pytest.raises(PeerRefused, match="busy"):
            other.call(bool, "slow")
        released.set()
        assert answer.result(20)
        other.close()


def test_a_command_that_runs_is_answered_before_its_node_closes(make_config: MakeConfig) -> None:
    started, released = threading.Event(), threading.Event()

    def slow() -> str:
        started.set()
        released.wait(20)
        return "done"

    with commanded(make_config, {"slow": slow}) as (endpoint, client), ThreadPoolExecutor(2) as pool:
        answer = pool.submit(client.call, str, "slow")
        assert started.wait(20)
        closing = pool.submit(endpoint.close)
        released.set()

        assert answer.result(20) == "done"
        closing.result(20)


def test_a_node_that_ends_is_noticed_and_not_waited_for(
    make_config: MakeConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection, "_CONNECT_S", 0.2)
    started, released = threading.Event(), threading.Event()

    def slow() -> bool:
        started.set()
        return released.wait(20)

    commands: Commands = {"slow": slow, "one": lambda: 1}
    with commanded(make_config, commands) as (endpoint, client), ThreadPoolExecutor(1) as pool:
        assert client.call(int, "one") == 1
        answer = pool.submit(client.call, bool, "slow", answer_s=3600)
        assert started.wait(20)

        endpoint.driver.stop()
        with pytest.raises(PeerSilent, match="ended before it answered"):
            answer.result(20)
        with pytest.raises(NodeClosed, match="is gone"):
            client.call(int, "one")
        released.set()


def test_a_client_finds_the_node_that_was_started_again(make_config: MakeConfig) -> None:
    with commanded(make_config, {"one": lambda: 1}) as (endpoint, client):
        assert client.call(int, "one") == 1
        endpoint.close()
        assert client._connection._events.poll(20_000), "the end is noticed"

        with running("a", make_config(), commands={"one": lambda: 11}):
            assert client.call(int, "one") == 11


def test_a_reply_sent_right_before_the_end_is_read(short_folder: Path) -> None:
    def answer_and_end(path: str, bound: threading.Event) -> None:
        context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        router = context.socket(zmq.ROUTER)
        router.bind(f"ipc://{path}")
        bound.set()
        router.send_multipart(router.recv_multipart())
        context.destroy(linger=5000)

    for number in range(100):
        path, bound = str(short_folder / f"{number}.sock"), threading.Event()
        server = threading.Thread(target=answer_and_end, args=(path, bound))
        server.start()
        assert bound.wait(20)
        connection = ControlConnection(path)

        assert connection.request(b"ping", timeout_s=20.0) == b"ping"

        connection.close()
        server.join(20)


def test_a_closed_client_says_so(make_config: MakeConfig) -> None:
    with commanded(make_config, {"one": lambda: 1}) as (_, client):
        client.close()
        client.close()

        with pytest.raises(NodeClosed):
            client.call(int, "one")


def test_nobody_else_reaches_the_socket(make_config: MakeConfig) -> None:
    with commanded(make_config, {"fail": lambda: fail_with(NotFound("nothing"))}) as (endpoint, _):
        folder = Path(path_of(endpoint)).parent

        assert folder.stat().st_mode & 0o777 == 0o700


def test_a_command_is_answered_under_its_own_number(make_config: MakeConfig) -> None:
    with (
        commanded(make_config, {"one": lambda: 1}) as (endpoint, _),
        zmq.Context() as context,
        context.socket(zmq.DEALER) as raw,
    ):
        raw.connect(f"ipc://{path_of(endpoint)}")
        raw.send(msgspec.msgpack.encode((41, "one", {})))
        assert raw.poll(10_000)

        assert msgspec.msgpack.decode(raw.recv()) == [41, True, 1]
