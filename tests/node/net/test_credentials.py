"""What makes an agent a member: made at a first start, checked at every one, renewed in time."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import msgspec
import pytest
import zmq.utils.z85
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from node.config import NodeConfig
from node.net.authority import Authority
from node.net.credentials import (
    Credentials,
    PrivateKeys,
    agents_of,
    issue,
    load_or_make,
    path_of,
    store,
    store_charter,
)
from protocol.errors import InvalidInput, MeshError
from protocol.identity import AHEAD_S, DAY_S, flaw_of
from protocol.messages import Charter, Epoch, Role
from protocol.names import AgentName
from tests.support.authorities import T0, name
from tests.support.settings import MakeConfig

A, B = name("a"), name("b")
SEED = "tcp://10.0.0.5:7700#" + "ab" * 32


@pytest.fixture
def config(make_config: MakeConfig) -> NodeConfig:
    return make_config()


def started(config: NodeConfig, agent: AgentName, *, at: float = T0, role: Role = "agent") -> Credentials:
    """What the agent has when it starts at this time."""
    return load_or_make(config, agent, role, clock=lambda: at)


def authority_of(config: NodeConfig, *, at: float = T0) -> Authority:
    return Authority.open(config.credentials, config.mesh, clock=lambda: at)


def lose_authority(config: NodeConfig) -> None:
    (config.credentials / "authority" / "secret.json").unlink()


def test_the_first_start_makes_an_authority_and_a_certificate_of_it(config: NodeConfig) -> None:
    made = started(config, A)

    authority = authority_of(config)
    assert made.authority == authority.public
    assert (made.agent, made.certificate.role, made.certificate.mesh) == ("a", "agent", "test")
    assert flaw_of(made.certificate, mesh="test", authority=authority.public, unix_s=T0) == ""
    assert made.charter == authority.charter()
    assert path_of(config.credentials, A).stat().st_mode & 0o777 == 0o600
    assert config.credentials.stat().st_mode & 0o777 == 0o700


def test_the_next_start_finds_the_same(config: NodeConfig) -> None:
    assert started(config, A) == started(config, A, at=T0 + DAY_S)


def test_the_others_of_the_host_are_of_the_same_authority(config: NodeConfig) -> None:
    a, b = started(config, A), started(config, B, role="librarian")

    assert a.authority == b.authority
    assert b.certificate.role == "librarian"
    assert agents_of(config.credentials) == ["a", "b"]


def test_an_agent_may_be_named_like_any_file_of_the_authority(config: NodeConfig) -> None:
    for agent in ("authority", "secret", "charter", "ledger", "lock"):
        started(config, name(agent))

    assert started(config, name("authority")).agent == "authority"
    assert len(authority_of(config).issued()) == 5


def test_the_socket_keys_are_those_of_zeromq() -> None:
    keys = PrivateKeys.drawn()

    public = zmq.curve_public(zmq.utils.z85.encode(keys.curve_secret))

    assert zmq.utils.z85.decode(public) == keys.curve_key


def test_of_many_agents_that_start_first_at_once_all_are_of_one_authority(config: NodeConfig) -> None:
    agents = [name(f"n{number % 8}") for number in range(24)]

    with ThreadPoolExecutor(12) as pool:
        made = list(pool.map(lambda agent: started(config, agent), agents))

    assert len({one.authority for one in made}) == 1
    assert len({one.certificate for one in made}) == 8
    assert len(authority_of(config).issued()) == 8


@pytest.mark.processes
def test_two_processes_that_start_first_at_once_are_of_one_authority(config: NodeConfig) -> None:
    program = (
        "import sys; from node.config import NodeConfig; from node.net.credentials import load_or_make;"
        "print(load_or_make(NodeConfig.load({'mesh': 'test'}), sys.argv[1], 'agent').authority.hex())"
    )
    environment = os.environ | {
        "AVM_CREDENTIALS_DIR": str(config.credentials_dir),
        "AVM_RUNTIME_DIR": str(config.runtime_dir),
    }
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", program, agent], env=environment, stdout=subprocess.PIPE, text=True
        )
        for agent in ("a", "b", "a", "c")
    ]

    told = [process.communicate(timeout=60)[0] for process in processes]

    assert set(told) == {authority_of(config).public.hex() + "\n"}
    assert sorted(one.agent for one in authority_of(config).issued()) == ["a", "b", "c"]


def test_what_waned_is_renewed_for_the_same_keys_and_as_long(config: NodeConfig) -> None:
    first = started(config, A)
    life = first.certificate.expires_at - T0

    kept = started(config, A, at=T0 + life * 0.66)
    renewed = started(config, A, at=T0 + life * 0.67)
    much_later = started(config, A, at=T0 + life * 9)

    assert kept == first
    assert renewed.certificate.issued_at == int(T0 + life * 0.67)
    assert much_later.certificate.expires_at - much_later.certificate.issued_at == life
    assert {one.sign_secret for one in (first, renewed, much_later)} == {first.sign_secret}
    assert {one.certificate.curve_key for one in (first, renewed, much_later)} == {first.curve_key}


def test_where_the_authority_is_elsewhere_nobody_is_made_by_the_way(config: NodeConfig) -> None:
    started(config, A)
    lose_authority(config)
    before = sorted(config.credentials.rglob("*"))

    with pytest.raises(InvalidInput, match="b has no certificate, and the authority of test is not") as told:
        started(config, B)

    assert "avm mesh issue b" in told.value.fix
    assert "avm mesh join" in told.value.fix
    assert "where the authority is lost: restore" in told.value.fix
    assert sorted(config.credentials.rglob("*")) == before


def test_without_the_authority_nodes_go_on_until_they_expire_and_are_told_how_to_recover(
    config: NodeConfig,
) -> None:
    first = started(config, A)
    end = first.certificate.expires_at
    lose_authority(config)

    assert started(config, A, at=end - 1) == first
    with pytest.raises(InvalidInput, match=r"expired 1 h ago by this clock; .*avm mesh issue a"):
        started(config, A, at=end + 3_600)


@pytest.mark.parametrize("file", ["secret.json", "charter.json", "ledger.json"])
def test_with_a_damaged_authority_nodes_go_on_and_say_so(
    file: str, config: NodeConfig, caplog: pytest.LogCaptureFixture
) -> None:
    first = started(config, A)
    (config.credentials / "authority" / file).write_bytes(b"{")

    with caplog.at_level(logging.WARNING):
        found = started(config, A, at=first.certificate.expires_at - 1)

    assert found == first
    assert f"{file}: is damaged" in caplog.text
    with pytest.raises(InvalidInput, match=f"{file}: is damaged"):
        started(config, B)


def test_a_clock_that_is_an_hour_off_makes_no_difference_and_one_that_is_days_off_is_told(
    config: NodeConfig,
) -> None:
    first = started(config, A)

    assert started(config, A, at=T0 - 3_600) == first
    assert started(config, A, at=T0 - AHEAD_S) == first
    with pytest.raises(InvalidInput, match="was issued 3 days ahead of this clock; set this clock right"):
        started(config, A, at=T0 - 3 * DAY_S)


def test_who_is_revoked_does_not_start_and_is_not_made_anew_by_removing_the_file(config: NodeConfig) -> None:
    started(config, A)
    authority_of(config).revoke(A)

    with pytest.raises(InvalidInput, match="a was revoked by the authority of mesh test"):
        started(config, A)
    with pytest.raises(InvalidInput, match="a was revoked by the authority of mesh test"):
        started(config, A, at=T0 + 300 * DAY_S)
    path_of(config.credentials, A).unlink()
    with pytest.raises(InvalidInput, match=r"a was revoked; admit it again by `avm mesh issue a --replace`"):
        started(config, A)


def test_a_name_that_is_issued_elsewhere_is_not_taken(config: NodeConfig) -> None:
    authority = Authority.create(config.credentials, "test", clock=lambda: T0)
    issue(authority, A, "agent")

    with pytest.raises(InvalidInput, match="a has a certificate for other keys"):
        started(config, A)

    assert agents_of(config.credentials) == []


@pytest.mark.parametrize(
    ("certified", "wanted"), [("agent", "librarian"), ("librarian", "agent"), ("observer", "librarian")]
)
def test_a_certificate_for_another_role_is_refused(certified: Role, wanted: Role, config: NodeConfig) -> None:
    started(config, A, role=certified)

    with pytest.raises(InvalidInput, match=f"is for role {certified}, not {wanted}"):
        started(config, A, role=wanted)


def test_an_observer_starts_as_an_agent_does(config: NodeConfig) -> None:
    started(config, A, role="observer")

    assert started(config, A, role="agent").certificate.role == "observer"


def test_the_file_of_another_authority_is_told(config: NodeConfig, make_config: MakeConfig) -> None:
    other = make_config(credentials_dir=config.credentials_dir.parent / "other")
    started(config, A)
    store(config, started(other, A))

    with pytest.raises(InvalidInput, match="is of another authority than the one on this host"):
        started(config, A)


def test_files_that_were_mixed_up_are_told(config: NodeConfig, make_config: MakeConfig) -> None:
    a, b = started(config, A), started(config, B)
    other = started(make_config(credentials_dir=config.credentials_dir.parent / "other"), A)
    desert = make_config(mesh="desert")
    path = path_of(config.credentials, A)

    def told_of(**changed: Any) -> str:
        path.write_bytes(msgspec.json.encode(msgspec.structs.replace(a, **changed)))
        with pytest.raises(InvalidInput) as raised:
            started(config, A)
        assert (raised.value.field, raised.value.exit_status) == (str(path), 2)
        return raised.value.problem

    assert told_of(certificate=b.certificate) == "is of agent b, not a"
    assert told_of(sign_secret=b.sign_secret) == "has keys that its certificate is not for"
    assert told_of(curve_secret=b.curve_secret) == "has keys that its certificate is not for"
    assert told_of(certificate=other.certificate) == "has a certificate that its authority did not sign"
    assert told_of(authority=other.authority) == "has a certificate that its authority did not sign"
    assert told_of(charter=other.charter) == "has a charter that its authority did not sign"
    assert told_of(mesh="desert") == "is of mesh 'desert', not 'test'"
    assert told_of(seeds=("tcp://10.0.0.5:7700",)).startswith("is damaged")
    assert started(desert, A).authority != a.authority


def test_a_file_that_others_may_read_is_refused(config: NodeConfig) -> None:
    started(config, A)
    path_of(config.credentials, A).chmod(0o644)

    with pytest.raises(InvalidInput, match="can be read by other users; chmod 600"):
        started(config, A)


def test_a_folder_that_others_may_enter_is_refused_before_anything_is_made(config: NodeConfig) -> None:
    config.credentials.mkdir(parents=True)
    config.credentials.chmod(0o755)

    with pytest.raises(InvalidInput, match="can be read by other users; chmod 700"):
        started(config, A)

    assert list(config.credentials.iterdir()) == []


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=40)
@given(
    content=st.binary(max_size=200) | st.sampled_from([b"[" * 100_000, b'{"x":' * 100_000, b"\xff", b"{}"]),
    data=st.data(),
)
def test_whatever_stands_in_a_file_one_line_is_said_of_it(
    content: bytes, data: st.DataObject, config: NodeConfig
) -> None:
    kept = msgspec.json.encode(started(config, A))
    path = path_of(config.credentials, A)
    cut = int(data.draw(st.floats(0, 1)) * (len(kept) - 1))
    path.write_bytes(data.draw(st.sampled_from([content, kept[:cut], kept[:cut] + content])))

    with pytest.raises(MeshError) as raised:
        started(config, A)

    assert raised.value.exit_status == 2
    assert str(path) in str(raised.value)
    assert "\n" not in str(raised.value)
    path.write_bytes(kept)


def test_a_newer_charter_is_kept_for_the_next_start_and_an_older_or_a_forged_one_is_not(
    config: NodeConfig, make_config: MakeConfig
) -> None:
    first = started(config, A)
    newer = authority_of(config).rotate()
    newest = authority_of(config).rotate()
    lose_authority(config)
    forged = Charter("test", 99, T0, (Epoch(9, bytes(32)),))

    for charter in (newer, newest, newer, forged):
        store_charter(config, A, charter)
    store_charter(config, B, newest)

    assert started(config, A) == msgspec.structs.replace(first, charter=newest)
    assert agents_of(config.credentials) == ["a"]


def test_the_charter_of_the_authority_here_is_taken_where_it_is_newer(config: NodeConfig) -> None:
    started(config, A)
    newer = authority_of(config).rotate()

    assert started(config, A).charter == newer


@pytest.mark.parametrize("how", ["start", "gossip"])
def test_a_restored_authority_learns_of_the_newest_charter(how: str, config: NodeConfig) -> None:
    started(config, A)
    path = config.credentials / "authority" / "charter.json"
    backup = path.read_bytes()
    newest = authority_of(config).rotate()
    if how == "start":
        store_charter(config, A, newest)
    path.write_bytes(backup)

    if how == "start":
        started(config, A)
    else:
        store_charter(config, A, newest)

    assert authority_of(config).charter() == newest


def test_seeds_travel_with_what_was_issued(config: NodeConfig, tmp_path: Path) -> None:
    authority = Authority.create(tmp_path / "elsewhere", "test", clock=lambda: T0)
    store(config, issue(authority, A, "agent", seeds=(SEED,)))

    assert started(config, A).seeds == (SEED,)
