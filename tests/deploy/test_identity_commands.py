"""Members by right: the authority's commands, a file copied, a line pasted, and what is said of bad input."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec
import pytest

from deploy.identities import overview, seeds_of
from node.config import NodeConfig
from node.net import credentials
from node.net.authority import Authority
from node.net.register import Entry, Register
from protocol.identity import DAY_S
from protocol.names import AgentName
from tests.deploy.conftest import Avm

ROOT = Path(__file__).resolve().parents[2]
KEY = "#" + "ab" * 32

OnHost = Callable[[str], Path]


@pytest.fixture
def on_host(short_folder: Path, monkeypatch: pytest.MonkeyPatch) -> OnHost:
    """From now on commands are given on the host of this name; returns its credentials of mesh default."""

    def go(name: str) -> Path:
        monkeypatch.setenv("AVM_HOME", str(short_folder / name))
        return short_folder / name / "credentials" / "default"

    return go


def files_in(folder: Path) -> list[tuple[str, bytes]]:
    return sorted((str(path), path.read_bytes()) for path in folder.rglob("*") if path.is_file())


def test_an_authority_is_made_once(avm: Avm, on_host: OnHost) -> None:
    folder = on_host("here")

    made = avm("mesh", "init", "--json")
    kept = files_in(folder)
    again = avm("mesh", "init")

    assert made.envelope["data"]["authority"] == Authority.open(folder, "default").public.hex()
    assert (again.status, again.err.count("\n")) == (2, 1)
    assert "is there already" in again.err
    assert files_in(folder) == kept


def test_a_file_that_was_issued_makes_a_member_on_another_host(avm: Avm, on_host: OnHost) -> None:
    here = on_host("here")
    avm("mesh", "init")
    issued = avm("mesh", "issue", "alice", "--role", "observer", "--days", "20", "--json").envelope["data"]
    there = on_host("there")

    joined = avm("mesh", "join", issued["file"])
    config = NodeConfig.load()
    found = credentials.load_or_make(config, AgentName("alice"), "agent")

    assert (joined.status, issued["file"]) == (0, str(here / "alice.json"))
    assert "alice is observer in mesh default until" in joined.out
    assert "start it by `avm node alice`" in joined.out
    assert (there / "alice.json").read_bytes() == (here / "alice.json").read_bytes()
    assert (there / "alice.json").stat().st_mode & 0o777 == 0o600
    assert found.certificate.expires_at - found.certificate.issued_at == 20 * DAY_S
    assert not Authority.exists(there)


def test_a_file_issued_elsewhere_is_its_users_alone_and_not_written_over(
    avm: Avm, on_host: OnHost, short_folder: Path
) -> None:
    here = on_host("here")
    avm("mesh", "init")
    out = short_folder / "alice.avm"

    first = avm("mesh", "issue", "alice", "--out", str(out))
    kept = out.read_bytes()
    second = avm("mesh", "issue", "bob", "--out", str(out))
    third = avm("mesh", "issue", "bob", "--out", str(short_folder / "nowhere" / "bob"))

    assert first.status == 0
    assert out.stat().st_mode & 0o777 == 0o600
    assert [(one.status, one.err.count("\n")) for one in (second, third)] == [(2, 1), (2, 1)]
    assert out.read_bytes() == kept
    assert not (here / "alice.json").exists()
    assert [one.agent for one in Authority.open(here, "default").issued()] == ["alice"]


def test_a_name_is_issued_once_unless_it_is_to_be_replaced(
    avm: Avm, on_host: OnHost, short_folder: Path
) -> None:
    here = on_host("here")
    avm("mesh", "init")
    avm("mesh", "issue", "alice")
    kept = files_in(here)

    same = avm("mesh", "issue", "alice")
    elsewhere = avm("mesh", "issue", "alice", "--out", str(short_folder / "a.avm"))
    assert [(one.status, one.err.count("\n")) for one in (same, elsewhere)] == [(2, 1), (2, 1)]
    assert "alice has a certificate for other keys" in elsewhere.err
    assert files_in(here) == kept

    assert avm("mesh", "issue", "alice", "--replace").status == 0
    assert [one.revoked_at > 0 for one in Authority.open(here, "default").issued()] == [True, False]


def test_what_is_here_is_not_written_over_by_a_file_unless_it_is_to_be_replaced(
    avm: Avm, on_host: OnHost
) -> None:
    here = on_host("here")
    avm("mesh", "init")
    avm("mesh", "issue", "alice")
    there = on_host("there")
    avm("mesh", "join", str(here / "alice.json"))
    first = (there / "alice.json").read_bytes()
    on_host("here")
    avm("mesh", "issue", "alice", "--replace")
    on_host("there")

    assert avm("mesh", "join", str(there / "alice.json")).status == 0
    refused = avm("mesh", "join", str(here / "alice.json"))
    assert (refused.status, "has a file here already" in refused.err) == (2, True)
    assert (there / "alice.json").read_bytes() == first

    assert avm("mesh", "join", str(here / "alice.json"), "--replace").status == 0
    assert (there / "alice.json").read_bytes() == (here / "alice.json").read_bytes()


@pytest.mark.parametrize("before", ["init", "join"])
def test_a_host_of_another_authority_is_not_mixed_with_it(before: str, avm: Avm, on_host: OnHost) -> None:
    here = on_host("here")
    avm("mesh", "init")
    avm("mesh", "issue", "alice")
    other = on_host("other")
    avm("mesh", "init")
    avm("mesh", "issue", "bob")
    there = other
    if before == "join":
        there = on_host("there")
        avm("mesh", "join", str(other / "bob.json"))
    kept = files_in(there)

    refused = avm("mesh", "join", str(here / "alice.json"), "--replace")

    assert (refused.status, refused.err.count("\n")) == (2, 1)
    assert "on this host is of another mesh default" in refused.err
    assert files_in(there) == kept


def test_a_file_goes_to_the_mesh_that_it_is_of(avm: Avm, on_host: OnHost) -> None:
    here = on_host("here").parent / "garden"
    avm("mesh", "init", "--mesh", "garden")
    avm("mesh", "issue", "alice", "--mesh", "garden")
    there = on_host("there").parent

    refused = avm("mesh", "join", str(here / "alice.json"), "--mesh", "desert")
    joined = avm("mesh", "join", str(here / "alice.json"))

    assert (refused.status, "is of mesh 'garden', not 'desert'" in refused.err) == (2, True)
    assert "start it by `avm node alice --mesh garden`" in joined.out
    assert [path.name for path in there.iterdir()] == ["garden"]


def test_a_file_that_is_no_good_is_told_and_nothing_is_written(
    avm: Avm, on_host: OnHost, short_folder: Path
) -> None:
    here = on_host("here")
    avm("mesh", "init")
    avm("mesh", "issue", "alice")
    good = (here / "alice.json").read_bytes()
    late = msgspec.json.encode(
        credentials.issue(
            Authority.open(here, "default", clock=lambda: time.time() + 9 * DAY_S), AgentName("l"), "agent"
        )
    )
    over = msgspec.json.encode(
        credentials.issue(
            Authority.open(here, "default", clock=lambda: time.time() - 9 * DAY_S), AgentName("o"), "agent", 1
        )
    )
    there = on_host("there")
    file = short_folder / "file"

    def told_of(content: bytes, mode: int = 0o600) -> str:
        file.write_bytes(content)
        file.chmod(mode)
        ran = avm("mesh", "join", str(file))
        assert (ran.status, ran.err.count("\n"), ran.out) == (2, 1, "")
        assert str(file) in ran.err
        return ran.err

    assert "can be read by other users; chmod 600" in told_of(good, 0o644)
    assert "is damaged" in told_of(good[:-9])
    assert "is damaged" in told_of(b"")
    assert "expired 8 days ago" in told_of(over)
    assert "was issued 9 days ahead of this clock" in told_of(late)
    assert avm("mesh", "join", str(short_folder / "nothing")).status == 2
    assert not there.exists()


def test_the_authority_is_needed_where_something_is_issued(avm: Avm, on_host: OnHost) -> None:
    here = on_host("here")
    avm("mesh", "init")
    avm("mesh", "issue", "alice")
    there = on_host("there")
    avm("mesh", "join", str(here / "alice.json"))
    kept = files_in(there)

    for command in (["issue", "bob"], ["revoke", "alice"], ["rotate"], ["invite", "bob"], ["init"]):
        refused = avm("mesh", *command)
        assert (refused.status, refused.err.count("\n"), refused.out) == (2, 1, "")
        assert "where it is lost" in refused.err
    assert files_in(there) == kept


@pytest.mark.parametrize("file", ["secret.json", "charter.json", "ledger.json"])
def test_a_damaged_or_open_authority_is_told_and_nothing_is_written(
    file: str, avm: Avm, on_host: OnHost
) -> None:
    here = on_host("here")
    avm("mesh", "init")
    path = here / "authority" / file

    path.chmod(0o644)
    opened = avm("mesh", "issue", "alice")
    path.chmod(0o600)
    path.write_bytes(b"{")
    damaged = avm("mesh", "issue", "alice")

    assert [(one.status, one.err.count("\n")) for one in (opened, damaged)] == [(2, 1), (2, 1)]
    assert f"{path}: can be read by other users; chmod 600 {path}" in opened.err
    assert f"{path}: is damaged" in damaged.err
    assert "from a backup, or begin anew" in damaged.err
    assert not (here / "alice.json").exists()


@pytest.mark.parametrize(
    ("words", "field"),
    [
        (["issue", "No Name"], "agent"),
        (["issue", "a", "--role", "king"], "role"),
        (["issue", "a", "--days", "0"], "days"),
        (["issue", "a", "--days", "3651"], "days"),
        (["issue", "a", "--mesh", "No Mesh"], "mesh"),
        (["invite", "a", "--role", "king"], "role"),
        (["invite", "a", "--days", "0"], "days"),
        (["invite", "a", "--minutes", "0"], "minutes"),
        (["invite", "a", "--minutes", "nan"], "minutes"),
        (["invite", "a", "--listen", "10.0.0.5"], "listen"),
        (["invite", "a", "--listen", "tcp://192.0.2.1:0"], "listen"),
        (["invite", "a", "--listen", "tcp://0.0.0.0:0"], "advertise"),
        (["revoke", "No Name"], "agent"),
        (["join", "tcp://10.0.0.5:7700"], "line"),
        (["join", "tcp://10.0.0.5:7700#ab/cd"], "line"),
    ],
)
def test_bad_input_names_its_field_and_nothing_is_written(
    words: list[str], field: str, avm: Avm, on_host: OnHost
) -> None:
    here = on_host("here")
    avm("mesh", "init")
    kept = files_in(here)

    plain, asked = avm("mesh", *words), avm("mesh", *words, "--json")

    assert (plain.status, plain.err.count("\n"), plain.out) == (2, 1, "")
    assert asked.status == 2
    assert asked.envelope["error"]["field"] == field
    assert files_in(here) == kept


def test_what_there_is_is_shown_without_a_key(avm: Avm, on_host: OnHost) -> None:
    folder = on_host("here")
    nothing = avm("mesh", "show")
    avm("mesh", "init")
    avm("mesh", "issue", "alice")
    avm("mesh", "issue", "bob", "--days", "20", "--role", "librarian")
    rotated = avm("mesh", "rotate")
    revoked = avm("mesh", "revoke", "alice")

    seen = avm("mesh", "show", "--json")
    told = avm("mesh", "show")

    assert (nothing.status, nothing.err.count("\n")) == (1, 1)
    assert "nodes that are away keep working through one rotation" in rotated.out
    assert "alice is revoked, by charter 3" in revoked.out
    data = seen.envelope["data"]
    assert (data["charter"], data["epochs"], data["secret_here"]) == (3, [1, 2], True)
    assert [
        (one["agent"], one["role"], one["revoked_at"] > 0, one["here"]) for one in data["certificates"]
    ] == [("alice", "agent", True, True), ("bob", "librarian", False, True)]
    assert data["warnings"] == ["the certificate of bob expires in 20 days"]
    assert data["fingerprint"] in told.out
    assert "bob expires in 20 days" in told.out
    authority = Authority.open(folder, "default")
    secrets = [epoch.key for epoch in authority.charter().epochs]
    secrets.append(msgspec.json.decode((authority.folder / "secret.json").read_bytes())["secret"].encode())
    for secret in secrets:
        assert secret.hex() not in seen.out + told.out
        assert secret not in (seen.out + told.out).encode()


def test_without_the_authority_what_this_host_holds_is_shown(avm: Avm, on_host: OnHost) -> None:
    here = on_host("here")
    avm("mesh", "init")
    avm("mesh", "issue", "alice")
    avm("mesh", "issue", "bob")
    there = on_host("there")
    avm("mesh", "join", str(here / "alice.json"))
    avm("mesh", "join", str(here / "bob.json"))
    (there / "bob.json").write_bytes(b"{")

    found = avm("mesh", "show", "--json").envelope["data"]

    assert found["secret_here"] is False
    assert found["authority"] == Authority.open(here, "default").public.hex()
    assert [(one["agent"], one["here"]) for one in found["certificates"]] == [("alice", True)]
    assert len(found["warnings"]) == 1
    assert "bob.json: is damaged" in found["warnings"][0]


def test_only_the_last_certificate_of_an_agent_is_warned_of(short_folder: Path) -> None:
    config = NodeConfig(credentials_dir=short_folder / "c", runtime_dir=short_folder / "r")
    clock = time.time
    authority = Authority.create(config.credentials, "default", clock=clock)
    keys = credentials.PrivateKeys.drawn()
    for days in (10.0, 100.0):
        credentials.issue(authority, AgentName("a"), "agent", days, keys=keys)

    assert overview(config, clock).warnings == ()
    assert len(overview(config, lambda: time.time() + 80 * DAY_S).warnings) == 1


def test_seeds_are_the_members_that_run_here_have_a_key_and_are_reached_from_elsewhere(
    short_folder: Path,
) -> None:
    config = NodeConfig(credentials_dir=short_folder / "c", runtime_dir=short_folder / "r")
    register = Register(config.folder)
    routers = {
        "a": "tcp://10.0.0.5:7700" + KEY,
        "b": "tcp://127.0.0.1:7700" + KEY,
        "c": "tcp://10.0.0.5:7702",
        "d": "tcp://[fd00::1]:7703" + KEY,
    }
    with socket.socket(socket.AF_UNIX) as served:
        for agent, router in routers.items():
            claim = register.claim(AgentName(agent))
            claim.publish(
                Entry(
                    agent=agent,
                    role="agent",
                    pid=os.getpid(),
                    router=router,
                    publisher=router,
                    control=str(config.folder / "s"),
                    started_at=1.0,
                )
            )
        nobody_listens = seeds_of(config)
        served.bind(str(config.folder / "s"))
        served.listen()

        assert seeds_of(config) == (routers["a"], routers["d"])
    assert nobody_listens == ()


@contextmanager
def inviting(*words: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """`avm mesh invite` as a process, and the line it prints."""
    process = subprocess.Popen(
        [sys.executable, "-P", "-m", "deploy.cli", "mesh", "invite", *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    )
    try:
        assert process.stdout is not None
        first = process.stdout.readline()
        if "--json" in words:
            first = msgspec.json.decode(first)["data"]["line"]
        assert first.startswith("avm mesh join tcp://127.0.0.1:"), first
        yield process, first.split()[-1]
    finally:
        process.kill()
        process.communicate()


@pytest.mark.processes
def test_a_pasted_line_makes_a_member_and_the_private_keys_stay_where_they_were_drawn(
    avm: Avm, on_host: OnHost
) -> None:
    here = on_host("here")
    avm("mesh", "init")
    with inviting("alice", "--role", "librarian") as (process, line):
        there = on_host("there")
        joined = avm("mesh", "join", line)
        out, err = process.communicate(timeout=20)
        again = avm("mesh", "join", line, "--replace")

    assert (process.returncode, err) == (0, "")
    assert "joined: alice is librarian in mesh default" in out
    assert (joined.status, "start it by `avm librarian alice`" in joined.out) == (0, True)
    found = credentials.load_or_make(NodeConfig.load(), AgentName("alice"), "librarian")
    assert found.authority == Authority.open(here, "default").public
    assert not (here / "alice.json").exists()
    assert (there / "alice.json").stat().st_mode & 0o777 == 0o600
    assert (again.status, again.err.count("\n")) == (1, 1)
    assert "the invitation is over" in again.err


@pytest.mark.processes
def test_an_invitation_can_be_read_by_programs(avm: Avm, on_host: OnHost) -> None:
    on_host("here")
    avm("mesh", "init")
    with inviting("alice", "--json") as (process, line):
        on_host("there")
        joined = avm("mesh", "join", line, "--json")
        out, _ = process.communicate(timeout=20)

    assert process.returncode == 0
    assert out.count("\n") == 1
    ended = msgspec.json.decode(out)
    assert (ended["status"], ended["command"]) == ("ok", "invite")
    assert ended["data"]["serial"] == joined.envelope["data"]["serial"]


@pytest.mark.processes
def test_a_line_is_not_used_up_by_a_host_that_has_no_place_for_it(avm: Avm, on_host: OnHost) -> None:
    on_host("here")
    avm("mesh", "init")
    with inviting("alice") as (process, line):
        other = on_host("other")
        avm("mesh", "init")
        kept = files_in(other)
        mixed = avm("mesh", "join", line)
        elsewhere = avm("mesh", "join", line, "--mesh", "desert")
        there = on_host("there")
        joined = avm("mesh", "join", line)
        process.communicate(timeout=20)

    assert (mixed.status, "of another mesh default" in mixed.err) == (2, True)
    assert (elsewhere.status, "the invitation is to default, not desert" in elsewhere.err) == (2, True)
    assert files_in(other) == kept
    assert not (other.parent / "desert").exists()
    assert (joined.status, process.returncode) == (0, 0)
    assert (there / "alice.json").exists()


@pytest.mark.processes
def test_an_invitation_of_a_name_that_is_taken_is_not_begun(avm: Avm, on_host: OnHost) -> None:
    on_host("here")
    avm("mesh", "init")
    avm("mesh", "issue", "alice")

    refused = avm("mesh", "invite", "alice")

    assert (refused.status, refused.out, refused.err.count("\n")) == (2, "", 1)
    assert "alice has a certificate for other keys" in refused.err


@pytest.mark.processes
def test_an_invitation_ends_with_an_error_when_its_time_is_over(avm: Avm, on_host: OnHost) -> None:
    on_host("here")
    avm("mesh", "init")

    over = avm("mesh", "invite", "alice", "--minutes", "0.005")

    assert over.status == 1
    assert over.err.count("\n") == 1
    assert "nobody joined within 0.005 minutes; nothing was issued" in over.err


@pytest.mark.processes
def test_an_invitation_ends_by_ctrl_c_and_leaves_nothing_issued(avm: Avm, on_host: OnHost) -> None:
    here = on_host("here")
    avm("mesh", "init")
    with inviting("alice") as (process, _):
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=20)

    assert (process.returncode, err) == (130, "")
    assert Authority.open(here, "default").issued() == ()


@pytest.mark.processes
def test_a_lost_authority_stops_nobody_and_a_new_one_begins_anew(avm: Avm, on_host: OnHost) -> None:
    folder = on_host("here")
    config = NodeConfig.load()
    first = credentials.load_or_make(config, AgentName("alice"), "agent")
    shutil.rmtree(folder / "authority")

    went_on = credentials.load_or_make(config, AgentName("alice"), "agent")
    refused = avm("mesh", "issue", "bob")
    folder.rename(folder.with_name("away"))
    anew = [avm("mesh", "init"), avm("mesh", "issue", "alice")]

    assert went_on == first
    assert "restore" in refused.err
    assert f"move {folder} away, `avm mesh init`, then `avm mesh issue` for each agent" in refused.err
    assert [one.status for one in anew] == [0, 0]
    assert credentials.load_or_make(config, AgentName("alice"), "agent").authority != first.authority
