"""What the authority of a mesh signs, remembers, and refuses."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from node.net import authority as authority_module
from node.net.authority import Authority
from protocol.errors import InvalidInput, MeshError, NotFound
from protocol.identity import AHEAD_S, DAY_S, flaw_of, verify
from protocol.messages import Certificate, Role
from protocol.names import AgentName
from tests.support.authorities import T0, curve_key, name, secret

A, B = name("a"), name("b")
FILES = ["secret.json", "charter.json", "ledger.json"]


class Clock:
    """A clock that is set."""

    def __init__(self) -> None:
        self.now = float(T0)

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def authority(tmp_path: Path, clock: Clock) -> Authority:
    return Authority.create(tmp_path / "garden", "garden", clock=clock)


def issue(
    authority: Authority,
    agent: AgentName,
    *,
    keys: str = "",
    role: Role = "agent",
    days: float = 10,
    replace: bool = False,
) -> Certificate:
    """For the keys of this name."""
    keys = keys or agent
    return authority.issue(agent, role, days, secret(keys), curve_key(keys), replace=replace)


def flaw(authority: Authority, certificate: Certificate, unix_s: float = T0) -> str:
    return flaw_of(certificate, mesh="garden", authority=authority.public, unix_s=unix_s)


def test_what_it_issues_holds_from_now_for_so_many_days(authority: Authority) -> None:
    certificate = issue(authority, A, role="librarian", days=10)

    assert (certificate.agent, certificate.role, certificate.issued_at) == ("a", "librarian", T0)
    assert (certificate.verify_key, certificate.curve_key) == (secret("a"), curve_key("a"))
    assert flaw(authority, certificate) == ""
    assert flaw(authority, certificate, T0 + 10 * DAY_S - 1) == ""
    assert flaw(authority, certificate, T0 + 10 * DAY_S) == "expired"


def test_it_is_the_same_when_opened_again_and_its_files_are_its_users_alone(
    authority: Authority, tmp_path: Path
) -> None:
    issue(authority, A)

    again = Authority.open(tmp_path / "garden", "garden")

    assert again.public == authority.public
    assert [one.agent for one in again.issued()] == ["a"]
    for file in FILES:
        assert (authority.folder / file).stat().st_mode & 0o777 == 0o600
    assert authority.folder.stat().st_mode & 0o777 == 0o700


def test_a_second_one_is_not_made_where_one_is(authority: Authority, tmp_path: Path) -> None:
    before = (authority.folder / "secret.json").read_bytes()

    with pytest.raises(InvalidInput, match="is there already"):
        Authority.create(tmp_path / "garden", "garden")

    assert (authority.folder / "secret.json").read_bytes() == before


def test_of_many_that_start_at_once_one_makes_it(tmp_path: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        made = list(pool.map(lambda _: Authority.open_or_create(tmp_path / "g", "g"), range(16)))

    assert len({one.public for one in made}) == 1
    assert made[0].charter().number == 1


def test_where_none_is_none_is_opened(tmp_path: Path) -> None:
    tmp_path.chmod(0o700)

    assert not Authority.exists(tmp_path)
    with pytest.raises(InvalidInput, match=r"not on this host; .* where it is lost, restore") as raised:
        Authority.open(tmp_path, "garden")

    assert raised.value.field == str(tmp_path / "authority" / "secret.json")


def test_that_of_another_mesh_is_not_opened(authority: Authority, tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="'garden', not 'desert'"):
        Authority.open(tmp_path / "garden", "desert")


def test_a_name_is_not_given_to_two(authority: Authority) -> None:
    issue(authority, A)
    ledger = (authority.folder / "ledger.json").read_bytes()

    with pytest.raises(InvalidInput, match="has a certificate for other keys, until 2027-01-25") as raised:
        issue(authority, A, keys="other")

    assert raised.value.field == "agent"
    assert "--replace" in raised.value.fix
    assert (authority.folder / "ledger.json").read_bytes() == ledger


@pytest.mark.parametrize("keys", [("a", "b"), ("b", "a"), ("a", "a")])
def test_keys_of_one_agent_are_not_certified_for_another(keys: tuple[str, str], authority: Authority) -> None:
    issue(authority, A)

    with pytest.raises(InvalidInput, match="keys: are those of agent a"):
        authority.issue(B, "agent", 10, secret(keys[0]), curve_key(keys[1]), replace=True)


def test_of_many_that_ask_for_one_name_at_once_one_gets_it(authority: Authority) -> None:
    def attempt(number: int) -> bool:
        try:
            issue(authority, A, keys=str(number))
        except InvalidInput:
            return False
        return True

    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(attempt, range(16))) == 1


def test_a_name_is_free_again_when_its_certificate_is_over(authority: Authority, clock: Clock) -> None:
    issue(authority, A, days=10)

    clock.now += 10 * DAY_S

    assert issue(authority, A, keys="other").verify_key == secret("other")


def test_the_same_keys_may_be_certified_again_and_the_later_one_holds(authority: Authority) -> None:
    first = issue(authority, A)
    second = issue(authority, A)

    assert second.issued_at == first.issued_at + 1
    assert authority.charter().revoked == ()


def test_what_a_clock_far_ahead_has_issued_does_not_hold_up_the_clock_that_was_set_right(
    authority: Authority, clock: Clock
) -> None:
    clock.now += 9 * DAY_S
    issue(authority, A)
    clock.now = T0

    assert issue(authority, A).issued_at == T0


def test_a_replaced_name_is_revoked_for_its_earlier_keys(authority: Authority) -> None:
    first = issue(authority, A)

    second = issue(authority, A, keys="other", replace=True)

    assert authority.charter().revoked == (first.serial,)
    assert flaw(authority, second) == ""
    with pytest.raises(InvalidInput, match="other keys"):
        issue(authority, A)


def test_a_revoked_agent_is_in_the_next_charter_and_is_not_admitted_by_the_way(authority: Authority) -> None:
    held = [issue(authority, A), issue(authority, A)]
    issue(authority, B)

    charter = authority.revoke(A)

    assert (charter.number, set(charter.revoked)) == (2, {one.serial for one in held})
    assert verify(charter, authority.public)
    assert authority.charter() == charter
    assert [(one.agent, one.revoked_at) for one in authority.issued()] == [("a", T0), ("a", T0), ("b", 0)]
    with pytest.raises(InvalidInput, match="a was revoked"):
        issue(authority, A)
    assert issue(authority, A, replace=True).serial not in charter.revoked


def test_who_has_nothing_that_holds_cannot_be_revoked(authority: Authority) -> None:
    issue(authority, A)
    authority.revoke(A)

    for agent in (A, B):
        with pytest.raises(NotFound, match="no certificate"):
            authority.revoke(agent)


def test_a_revocation_stays_until_no_clock_takes_the_certificate_for_valid(
    authority: Authority, clock: Clock
) -> None:
    issue(authority, A, days=10)
    issue(authority, B, days=1000)
    (first,) = authority.revoke(A).revoked
    seen = []
    for at in (10 * DAY_S + AHEAD_S - 1, 10 * DAY_S + AHEAD_S):
        clock.now = T0 + at
        issue(authority, B, keys=str(at), days=1000, replace=True)
        seen.append(first in authority.charter().revoked)

    assert seen == [True, False]


def test_a_charter_holds_so_many_revocations_and_no_more(
    authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(authority_module, "MAX_REVOKED", 2)
    for agent in "abc":
        issue(authority, name(agent))
    authority.revoke(A)
    last = authority.revoke(B)

    with pytest.raises(InvalidInput, match="holds no more"):
        authority.revoke(name("c"))

    assert authority.charter() == last


def test_a_new_digest_key_leaves_the_one_before_it_in_force(authority: Authority) -> None:
    first = authority.charter()
    second, third = authority.rotate(), authority.rotate()

    assert [epoch.number for epoch in third.epochs] == [2, 3]
    assert third.epochs[0] == second.epochs[-1]
    assert second.epochs[0] == first.epochs[0]
    assert (third.number, verify(third, authority.public)) == (3, True)
    assert len({epoch.key for one in (first, second, third) for epoch in one.epochs}) == 3


def test_a_restored_backup_takes_up_the_newest_charter_that_is_known(
    authority: Authority, tmp_path: Path
) -> None:
    backup = (authority.folder / "charter.json").read_bytes()
    first, newest = authority.rotate(), authority.rotate()
    (authority.folder / "charter.json").write_bytes(backup)
    forged = Authority.create(tmp_path / "other", "garden")
    for _ in range(9):
        forged.rotate()

    for charter in (newest, first, forged.charter()):
        authority.adopt(charter)

    assert authority.charter() == newest
    assert authority.rotate().number == newest.number + 1


@pytest.mark.parametrize("days", [0, -1, 3651, float("nan")])
def test_days_out_of_range_are_refused(days: float, authority: Authority) -> None:
    with pytest.raises(InvalidInput) as raised:
        issue(authority, A, days=days)

    assert raised.value.field == "days"


@pytest.mark.parametrize("file", FILES)
def test_a_file_that_others_may_read_is_refused(file: str, authority: Authority, tmp_path: Path) -> None:
    (authority.folder / file).chmod(0o640)

    with pytest.raises(InvalidInput, match=f"{file}: can be read by other users; chmod 600"):
        issue(Authority.open(tmp_path / "garden", "garden"), A)


def test_where_the_secret_is_lost_no_other_one_takes_its_place(authority: Authority, tmp_path: Path) -> None:
    (authority.folder / "secret.json").unlink()
    Authority.open_or_create(tmp_path / "garden", "garden").issue(A, "agent", 1, secret("a"), curve_key("a"))
    (authority.folder / "secret.json").unlink()
    kept = sorted((path.name, path.read_bytes()) for path in authority.folder.iterdir())

    for make in (Authority.create, Authority.open_or_create):
        with pytest.raises(InvalidInput, match=r"secret\.json: is missing; restore .* or begin anew"):
            make(tmp_path / "garden", "garden")

    assert sorted((path.name, path.read_bytes()) for path in authority.folder.iterdir()) == kept


@pytest.mark.parametrize("file", FILES[1:])
def test_a_file_that_is_lost_is_told_with_the_way_to_recover(file: str, authority: Authority) -> None:
    (authority.folder / file).unlink()

    with pytest.raises(InvalidInput, match=f"{file}: is missing; restore .* from a backup, or begin anew"):
        issue(authority, A)


def test_the_charter_of_another_authority_is_refused(authority: Authority, tmp_path: Path) -> None:
    other = Authority.create(tmp_path / "other", "garden")
    os.replace(other.folder / "charter.json", authority.folder / "charter.json")

    with pytest.raises(InvalidInput, match="not signed by this authority"):
        authority.rotate()


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=40)
@given(
    file=st.sampled_from(FILES),
    content=st.binary(max_size=200) | st.sampled_from([b"[" * 100_000, b'{"x":' * 100_000, b"\xff", b"{}"]),
    data=st.data(),
)
def test_whatever_stands_in_a_file_one_line_is_said_of_it(
    file: str, content: bytes, data: st.DataObject, authority: Authority, tmp_path: Path
) -> None:
    path = authority.folder / file
    kept = path.read_bytes()
    cut = int(data.draw(st.floats(0, 1)) * (len(kept) - 1))
    path.write_bytes(data.draw(st.sampled_from([content, kept[:cut], kept[:cut] + content])))

    with pytest.raises(MeshError) as raised:
        issue(Authority.open(tmp_path / "garden", "garden"), A)

    assert raised.value.exit_status == 2
    assert "\n" not in str(raised.value)
    path.write_bytes(kept)
