"""Signatures prove who said what, and nothing else passes for one."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.identity import AHEAD_S, DAY_S, Signer, flaw_of, statement, verify
from protocol.messages import Certificate, Charter, Record
from tests.support.authorities import T0, TestAuthority, secret, signed
from tests.support.messages import messages_of

GARDEN = TestAuthority()
CERTIFICATE = GARDEN.certificate("bob")


def flaw(certificate: Certificate, *, unix_s: float = T0) -> str:
    return flaw_of(certificate, mesh="garden", authority=GARDEN.public, unix_s=unix_s)


def test_a_certificate_of_the_authority_proves_who_its_owner_is() -> None:
    assert flaw(CERTIFICATE) == ""


@pytest.mark.parametrize(
    ("changed", "why"),
    [
        ({"agent": "carol"}, "not signed by the authority of this mesh"),
        ({"role": "librarian"}, "not signed by the authority of this mesh"),
        ({"expires_at": T0 + 1_000 * DAY_S}, "not signed by the authority of this mesh"),
        ({"curve_key": bytes(32)}, "not signed by the authority of this mesh"),
        ({"verify_key": bytes(32)}, "not signed by the authority of this mesh"),
        ({"signature": b""}, "not signed by the authority of this mesh"),
        ({"mesh": "desert"}, "wrong mesh"),
    ],
)
def test_a_certificate_that_was_changed_proves_nothing(changed: dict[str, Any], why: str) -> None:
    assert flaw(msgspec.structs.replace(CERTIFICATE, **changed)) == why


def test_a_certificate_of_another_authority_proves_nothing() -> None:
    other = TestAuthority(name="another authority")

    assert flaw(other.certificate("bob")) == "not signed by the authority of this mesh"


def test_a_certificate_holds_from_its_issue_a_day_of_grace_before_to_its_end() -> None:
    assert flaw(CERTIFICATE, unix_s=CERTIFICATE.issued_at - AHEAD_S) == ""
    assert flaw(CERTIFICATE, unix_s=CERTIFICATE.issued_at - AHEAD_S - 1) == "issued in the future"
    assert flaw(CERTIFICATE, unix_s=CERTIFICATE.expires_at - 1) == ""
    assert flaw(CERTIFICATE, unix_s=CERTIFICATE.expires_at) == "expired"


def test_what_one_kind_is_signed_as_is_no_other_kind() -> None:
    record, charter = signed("bob"), GARDEN.charter()

    assert len({statement(value)[:20] for value in (record, charter, CERTIFICATE)}) == 3
    assert verify(record, Signer(secret("bob")).public)
    assert verify(charter, GARDEN.public)


def test_the_bytes_that_are_signed_are_pinned() -> None:
    bare = Charter("garden", 2, 3, (), (4,), bytes(64))

    assert statement(bare) == b"avm-mesh charter 1\0" + b"\x96\xa6garden\x02\x03\x90\x91\x04\xc4\x00"


@given(
    value=messages_of(Certificate) | messages_of(Charter) | messages_of(Record),
    public=st.binary(min_size=32, max_size=32) | st.binary(max_size=40),
)
def test_nothing_verifies_by_chance_and_nothing_raises(
    value: Certificate | Charter | Record, public: bytes
) -> None:
    assert not verify(value, public)
    if isinstance(value, Certificate):
        assert flaw(value) != ""


@given(data=st.data())
def test_a_changed_byte_of_a_signature_or_a_field_is_noticed(data: st.DataObject) -> None:
    record = signed("bob", version=7)
    at = data.draw(st.integers(0, 63))
    bit = data.draw(st.integers(0, 7))
    forged = bytearray(record.signature)
    forged[at] ^= 1 << bit

    assert not verify(msgspec.structs.replace(record, signature=bytes(forged)), Signer(secret("bob")).public)
    assert not verify(msgspec.structs.replace(record, version=8), Signer(secret("bob")).public)
