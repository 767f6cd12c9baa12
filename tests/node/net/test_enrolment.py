"""One line lets one new host in, once, for a few minutes."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from node.net import enrolment
from node.net.authority import Authority
from node.net.credentials import PrivateKeys
from node.net.enrolment import MAX_WRONG, Admission, Invitation, Line, Offer, Request, join, parse_line, serve
from node.net.zeromq import enrolment as sockets
from node.net.zeromq.enrolment import MAX_REQUEST_BYTES, EnrolmentListener
from protocol.errors import AddressInUse, InvalidInput, MeshError, PeerRefused, PeerSilent
from protocol.messages import Certificate
from tests.support.authorities import T0, curve_key, name, secret

SEED = "tcp://10.0.0.5:7700#" + "ab" * 32
MAYBE = st.binary(max_size=40)


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority.create(tmp_path_factory.mktemp("g") / "garden", "garden", clock=lambda: T0)


@pytest.fixture
def invitation(authority: Authority, request: pytest.FixtureRequest) -> Invitation:
    """For an agent that is named after the test."""
    agent = request.node.originalname.lower()[:60]
    return Invitation(authority, name(agent), "observer", 10, seeds=(SEED,), replace=True)


def answer(invitation: Invitation, **fields: Any) -> list[Any]:
    """The reply's fields, its kind first."""
    request = msgspec.structs.replace(Request(1, invitation.secret), **fields)
    reply: list[Any] = msgspec.msgpack.decode(invitation.answer(msgspec.msgpack.encode(request)))
    return reply


def keys_of(who: str) -> dict[str, bytes]:
    return {"verify_key": secret(who), "curve_key": curve_key(who)}


def test_who_has_the_secret_is_told_what_it_would_be_and_nothing_is_issued(
    invitation: Invitation, authority: Authority
) -> None:
    kind, mesh, agent, role, public = answer(invitation)

    assert (kind, mesh, role, public) == ("offer", "garden", "observer", authority.public)
    assert agent not in [one.agent for one in authority.issued()]
    assert invitation.admitted is None


def test_who_sends_keys_gets_a_certificate_for_them_and_may_ask_again(invitation: Invitation) -> None:
    first = answer(invitation, **keys_of("first"))
    again = answer(invitation, **keys_of("first"))

    assert first == again
    certificate = msgspec.convert(first[1], Certificate)
    assert certificate == invitation.admitted
    assert (certificate.verify_key, certificate.curve_key) == (secret("first"), curve_key("first"))
    assert first[3] == [SEED]
    assert not invitation.is_used_up


def test_a_second_host_gets_none(invitation: Invitation) -> None:
    answer(invitation, **keys_of("host one"))

    refused = answer(invitation, **keys_of("host two"), stored=True)

    assert refused[:2] == ["refusal", "peer-refused"]
    assert "used by another host already" in refused[2]
    assert not invitation.is_used_up


def test_it_is_used_up_when_the_new_host_says_that_it_has_stored_it(invitation: Invitation) -> None:
    answer(invitation, stored=True)
    assert not invitation.is_used_up

    answer(invitation, **keys_of("stored"), stored=True)

    assert invitation.is_used_up


def test_who_wants_into_another_mesh_is_refused_and_nothing_is_issued(invitation: Invitation) -> None:
    refused = answer(invitation, mesh="desert", **keys_of("desert"))

    assert refused[:2] == ["refusal", "invalid-input"]
    assert answer(invitation, mesh="garden")[0] == "offer"
    assert invitation.admitted is None


@given(secret=MAYBE, verify_key=MAYBE, curve_key=MAYBE, frame=st.binary(max_size=100), stored=st.booleans())
def test_nothing_is_told_or_issued_without_the_secret_and_nothing_raises(
    authority: Authority, secret: bytes, verify_key: bytes, curve_key: bytes, frame: bytes, stored: bool
) -> None:
    invitation = Invitation(authority, name("nobody"), "agent", 10)
    request = Request(1, secret, "", verify_key, curve_key, stored)

    for sent in (msgspec.msgpack.encode(request), frame, b"\x91" * 90_000):
        reply: list[Any] = msgspec.msgpack.decode(invitation.answer(sent))
        assert reply[:2] == ["refusal", "peer-refused"]

    assert invitation.wrong == 3
    assert invitation.admitted is None


@given(verify_key=MAYBE, curve_key=MAYBE)
def test_keys_that_are_none_get_no_certificate(
    authority: Authority, verify_key: bytes, curve_key: bytes
) -> None:
    invitation = Invitation(authority, name("nobody"), "agent", 10)

    kind = answer(invitation, verify_key=verify_key[:31], curve_key=curve_key)[0]

    assert kind in ("refusal", "offer")
    assert invitation.admitted is None


@pytest.mark.parametrize(
    "text",
    [
        "",
        "tcp://10.0.0.5:7700",
        f"tcp://10.0.0.5:7700#{'a' * 64}",
        f"tcp://10.0.0.5:7700#{'a' * 63}/{'b' * 32}",
        f"tcp://10.0.0.5:7700#{'a' * 64}/{'b' * 31}",
        f"tcp://10.0.0.5:7700#{'A' * 64}/{'b' * 32}",
        f"tcp://10.0.0.5:77000#{'a' * 64}/{'b' * 32}",
        f"tcp://10.0.0.5#{'a' * 64}/{'b' * 32}",
        f"udp://10.0.0.5:7700#{'a' * 64}/{'b' * 32}",
        f"tcp://10.0.0.5:7700#{'a' * 64}/{'b' * 32}\n",
    ],
)
def test_a_line_that_is_not_whole_is_told_on_one_line(text: str) -> None:
    with pytest.raises(InvalidInput) as raised:
        parse_line(text)

    assert raised.value.field == "line"
    assert "\n" not in str(raised.value)


@given(text=st.text(max_size=200))
def test_any_text_is_a_line_or_is_refused(text: str) -> None:
    try:
        line = parse_line(text)
    except InvalidInput:
        return
    assert str(line) == text


def test_a_line_is_what_its_parts_are() -> None:
    line = Line("tcp://[::1]:7700", secret("key"), secret("one time")[:16])

    assert parse_line(str(line)) == line


@contextmanager
def served(invitation: Invitation, seconds: float = 20.0) -> Iterator[tuple[Line, list[object]]]:
    """What leads to it, and how serving it ended."""
    outcome: list[object] = []
    with EnrolmentListener("tcp://127.0.0.1:0") as listener:

        def run() -> None:
            try:
                outcome.append(serve(invitation, listener, seconds=seconds))
            except MeshError as error:
                outcome.append(error)

        thread = threading.Thread(target=run)
        thread.start()
        try:
            yield Line(listener.address, listener.key, invitation.secret), outcome
        finally:
            thread.join(30)


def enrol(line: Line, keys: PrivateKeys) -> Admission:
    kept: list[Admission] = []
    join(line, keys, mesh=None, accept=lambda _: None, keep=lambda _, admission: kept.append(admission))
    return kept[0]


@pytest.mark.processes
def test_a_host_with_the_line_joins_and_the_invitation_ends(invitation: Invitation) -> None:
    keys = PrivateKeys.drawn()

    with served(invitation) as (line, outcome):
        admission = enrol(line, keys)

    assert outcome == [admission.certificate]
    assert (admission.certificate.verify_key, admission.certificate.curve_key) == (
        keys.verify_key,
        keys.curve_key,
    )
    assert admission.seeds == (SEED,)


@pytest.mark.processes
def test_of_two_hosts_with_the_line_one_joins(
    invitation: Invitation, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(enrolment, "ANSWER_S", 4.0)

    def attempt(_: int) -> bool:
        try:
            enrol(line, PrivateKeys.drawn())
        except (PeerRefused, PeerSilent):
            return False
        return True

    with served(invitation) as (line, outcome), ThreadPoolExecutor(2) as pool:
        assert sum(pool.map(attempt, range(2))) == 1

    assert isinstance(outcome[0], Certificate)


@pytest.mark.processes
def test_a_host_that_has_no_place_for_it_uses_nothing_up(invitation: Invitation) -> None:
    def accept(_: Offer) -> None:
        raise InvalidInput("agent", "has a file here already", "add --replace")

    with served(invitation) as (line, _):
        with pytest.raises(InvalidInput, match="already"):
            join(line, PrivateKeys.drawn(), mesh=None, accept=accept, keep=lambda _, __: None)
        assert invitation.admitted is None
        enrol(line, PrivateKeys.drawn())


@pytest.mark.processes
def test_wrong_secrets_end_it_after_a_few(invitation: Invitation) -> None:
    with served(invitation) as (line, outcome):
        for _ in range(MAX_WRONG):
            with pytest.raises(PeerRefused, match="not the one of the invitation"):
                enrol(line._replace(secret=bytes(16)), PrivateKeys.drawn())

    assert isinstance(outcome[0], PeerRefused)
    assert "5 times somebody came with a wrong secret; nothing was issued" in str(outcome[0])


@pytest.mark.processes
def test_it_is_over_when_its_time_is(invitation: Invitation, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(enrolment, "ANSWER_S", 0.4)
    with served(invitation, seconds=0.05) as (line, outcome):
        pass

    with pytest.raises(PeerSilent, match="the invitation is over"):
        enrol(line, PrivateKeys.drawn())
    assert isinstance(outcome[0], PeerSilent)
    assert "nothing was issued" in str(outcome[0])


@pytest.mark.processes
def test_where_the_new_host_was_not_heard_again_it_is_told_what_to_do(invitation: Invitation) -> None:
    def lost(_: Offer, __: Admission) -> None:
        raise PeerSilent("the host lost its power")

    with served(invitation, seconds=1.0) as (line, outcome), pytest.raises(PeerSilent, match="power"):
        join(line, PrivateKeys.drawn(), mesh=None, accept=lambda _: None, keep=lost)

    assert "avm mesh revoke" in str(outcome[0])


@pytest.mark.processes
def test_whoever_has_another_key_gets_nothing_through_and_the_invitation_goes_on(
    invitation: Invitation, monkeypatch: pytest.MonkeyPatch
) -> None:
    with served(invitation) as (line, outcome):
        stranger = line._replace(key=PrivateKeys.drawn().curve_key)
        with monkeypatch.context() as hurried:
            hurried.setattr(enrolment, "ANSWER_S", 0.6)
            with pytest.raises(PeerSilent):
                enrol(stranger, PrivateKeys.drawn())
        enrol(line, PrivateKeys.drawn())

    assert isinstance(outcome[0], Certificate)
    assert invitation.wrong == 0


@pytest.mark.processes
def test_who_connects_and_says_nothing_is_cut_off(
    invitation: Invitation, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sockets, "_HANDSHAKE_MS", 200)
    with served(invitation) as (line, _):
        host, port = line.address.removeprefix("tcp://").split(":")
        with socket.create_connection((host, int(port)), timeout=5) as silent:
            while silent.recv(1024):
                pass
        enrol(line, PrivateKeys.drawn())


@pytest.mark.processes
def test_who_announces_a_large_frame_is_cut_off_before_it_comes(
    invitation: Invitation, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sockets, "_HANDSHAKE_MS", 60_000)
    greeting = b"\xff" + bytes(8) + b"\x7f\x03\x00CURVE" + bytes(15) + bytes(32)
    long_command = b"\x06" + (MAX_REQUEST_BYTES + 1).to_bytes(8)
    with served(invitation) as (line, _):
        host, port = line.address.removeprefix("tcp://").split(":")
        with socket.create_connection((host, int(port)), timeout=5) as loud:
            loud.sendall(greeting + long_command)
            while loud.recv(1024):
                pass
        enrol(line, PrivateKeys.drawn())


@pytest.mark.processes
def test_where_it_cannot_listen_one_line_is_said() -> None:
    with (
        EnrolmentListener("tcp://127.0.0.1:0") as listener,
        pytest.raises(AddressInUse, match="belongs to another process"),
    ):
        EnrolmentListener(listener.address)
    with pytest.raises(InvalidInput, match="cannot listen on"):
        EnrolmentListener("tcp://192.0.2.1:0")
