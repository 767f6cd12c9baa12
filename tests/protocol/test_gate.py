"""Whom a member believes: certificates, records, charters, and for how long."""

from __future__ import annotations

import msgspec
import pytest

from protocol.gate import REVOKED, UNKNOWN, Guarded, Open, attested
from protocol.identity import AHEAD_S, DAY_S
from protocol.keyring import newest
from tests.support.authorities import T0, TestAuthority, curve_key, name, signed
from tests.support.engines import record

GARDEN = TestAuthority()
BOB = GARDEN.certificate("bob")


def gate_with(*agents: str, limit: int = 100) -> Guarded:
    gate = GARDEN.gate("alice", limit=limit)
    for agent in agents:
        assert gate.admit(GARDEN.certificate(agent), 0.0) == ""
    gate.check()
    return gate


def test_who_shows_a_certificate_is_admitted_and_known_by_the_key_of_its_sockets() -> None:
    gate = gate_with("bob")

    assert gate.key_of(name("bob")) == curve_key("bob").hex()
    assert gate.is_admitted(curve_key("bob"))
    assert gate.owner_of(curve_key("bob")) == "bob"
    assert gate.role_of(name("bob")) == "agent"
    assert not gate.is_admitted(curve_key("mallory"))
    assert gate.owner_of(curve_key("mallory")) == ""
    assert gate.key_of(name("mallory")) == ""


def test_a_record_is_believed_where_its_owner_signed_it() -> None:
    gate = gate_with("bob")

    assert gate.flaw_of(signed("bob"), 0.0) == ""
    assert gate.flaw_of(signed("carol"), 0.0) == UNKNOWN
    assert gate.flaw_of(signed("bob", signer="mallory"), 0.0) == "not signed by its owner"
    assert gate.flaw_of(record("bob"), 0.0) == "not signed by its owner"
    assert gate.flaw_of(signed("bob", role="librarian"), 0.0) == "bob is no librarian but agent"
    assert gate.flaw_of(signed("bob", signed_at=T0 + AHEAD_S), 0.0) == ""
    assert gate.flaw_of(signed("bob", signed_at=T0 + AHEAD_S + 1), 0.0) == "a record from the future"


def test_our_own_record_is_signed_and_dated() -> None:
    alice, bob = GARDEN.gate("alice"), gate_with("alice", "bob")

    own = alice.sign(record("alice"), 5.0)

    assert own.signed_at == T0 + 5
    assert bob.flaw_of(own, 5.0) == ""


def test_of_two_certificates_for_a_name_the_one_issued_later_holds() -> None:
    gate = gate_with("bob")
    renewed = GARDEN.certificate("bob", serial=5, issued_at=T0, curve_key=curve_key("bob's new"))

    assert gate.admit(renewed, 0.0) == ""
    assert gate.admit(BOB, 0.0) == "superseded"

    gate.check()
    assert gate.key_of(name("bob")) == curve_key("bob's new").hex()
    assert not gate.is_admitted(curve_key("bob"))


def test_nobody_replaces_our_own_certificate() -> None:
    gate = gate_with()

    assert gate.admit(GARDEN.certificate("alice", serial=5, issued_at=T0), 0.0) == "superseded"


def test_whoever_is_revoked_is_a_member_no_more_until_a_new_certificate_is_issued() -> None:
    gate = gate_with("bob", "carol")

    assert gate.take(GARDEN.charter(2, revoked=(BOB.serial,))) == ""

    gate.check()
    assert gate.lapsed(0.0) == [(name("bob"), "revoked")]
    assert gate.lapsed(0.0) == []
    assert gate.is_barred(name("bob"))
    assert not gate.is_admitted(curve_key("bob"))
    assert gate.owner_of(curve_key("bob")) == "bob"
    assert gate.flaw_of(signed("bob"), 0.0) == REVOKED
    assert gate.admit(BOB, 0.0) == REVOKED
    gate.forget(name("bob"))
    assert gate.is_barred(name("bob"))

    assert gate.admit(GARDEN.certificate("bob", serial=5, issued_at=T0), 0.0) == ""
    assert not gate.is_barred(name("bob"))
    assert gate.is_admitted(curve_key("bob"))
    gate.check()


def test_whoever_expires_is_a_member_no_more() -> None:
    gate = GARDEN.gate("alice")
    gate.admit(GARDEN.certificate("bob", expires_at=T0 + 100), 0.0)
    gate.admit(GARDEN.certificate("carol", expires_at=T0 + 200), 0.0)

    assert gate.lapsed(99.0) == []
    assert gate.lapsed(100.0) == [(name("bob"), "expired")]
    assert gate.flaw_of(signed("bob"), 100.0) == "expired"
    assert gate.lapsed(250.0) == [(name("carol"), "expired")]


def test_a_clock_that_is_set_counts_from_then_on() -> None:
    gate = GARDEN.gate("alice")
    gate.admit(GARDEN.certificate("bob", expires_at=T0 + 100), 0.0)

    gate.set_clock(T0 + 3_600.0, 1.0)

    assert gate.lapsed(1.0) == [(name("bob"), "expired")]


def test_a_charter_is_taken_where_it_is_newer_and_the_authoritys() -> None:
    gate = gate_with()
    other = TestAuthority(name="another authority")

    assert gate.take(other.charter(9)) != ""
    assert gate.take(msgspec.structs.replace(GARDEN.charter(2), number=9)) != ""
    assert gate.take(TestAuthority("desert").charter(9)) != ""
    assert gate.charter == GARDEN.charter(1)
    assert gate.take(GARDEN.charter(3, epochs=2)) == ""
    assert gate.take(GARDEN.charter(2)) == ""

    assert gate.charter == GARDEN.charter(3, epochs=2)
    assert list(gate.keys) == [1, 2]
    assert newest(gate.keys)[0] == 2


def test_so_many_certificates_are_held_and_no_more() -> None:
    gate = gate_with("bob", "carol", limit=3)

    assert gate.admit(GARDEN.certificate("dave"), 0.0) == "no room"
    gate.forget(name("bob"))

    assert gate.admit(GARDEN.certificate("dave"), 0.0) == ""
    gate.check()


@pytest.mark.parametrize("gate", [Open(), gate_with("bob")], ids=["open", "guarded"])
def test_records_travel_with_the_certificates_of_their_owners(gate: Open | Guarded) -> None:
    told = attested((signed("bob"), signed("carol")), gate)

    assert told.records == (signed("bob"), signed("carol"))
    assert told.certificates == (() if isinstance(gate, Open) else (BOB,))


def test_claims_have_room_up_to_the_clock_and_a_day() -> None:
    assert GARDEN.gate("alice").latest(7.0) == (T0 + 7 + DAY_S) * 1_000
