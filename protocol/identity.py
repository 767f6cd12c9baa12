"""Who says what: signatures of the mesh authority and of agents, and what a certificate proves.

    statement   what is signed: the name of its kind, a zero byte, then the MessagePack array of all its
                fields, the signature left empty. Equal fields give equal bytes in every implementation
    authority   signs certificates and charters; its public key is the identity of the mesh
    agent       signs its records with the key that its certificate names

The manner is that of SSH and Nebula: no registry, no chain; whoever holds the authority's public key can
tell a member from a stranger. Signatures are Ed25519 (RFC 8032).

Invariant: `verify` and `flaw_of` never raise, whatever bytes a peer sent.
"""

from __future__ import annotations

from typing import Final, TypeVar

import msgspec
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from protocol.messages import Certificate, Charter, Record

DAY_S: Final = 86_400
AHEAD_S: Final = DAY_S
"""How far ahead of ours the clock of whoever signed may be. Higher forgives worse clocks, and lets a member
date its records further into the future."""

_KINDS: Final[dict[type, bytes]] = {
    Certificate: b"avm-mesh certificate 1\0",
    Charter: b"avm-mesh charter 1\0",
    Record: b"avm-mesh record 1\0",
}
_encoder = msgspec.msgpack.Encoder()

Signed = Certificate | Charter | Record
S = TypeVar("S", Certificate, Charter, Record)


class Signer:
    """A private key, of 32 bytes."""

    def __init__(self, secret: bytes) -> None:
        self._key = Ed25519PrivateKey.from_private_bytes(secret)
        self.public: bytes = self._key.public_key().public_bytes_raw()

    def sign(self, value: S) -> S:
        """`value` with our signature, instead of any it had."""
        return msgspec.structs.replace(value, signature=self._key.sign(statement(value)))


def statement(value: Signed) -> bytes:
    """The bytes that a signature of `value` is made over."""
    return _KINDS[type(value)] + _encoder.encode(msgspec.structs.replace(value, signature=b""))


def verify(value: Signed, public: bytes) -> bool:
    """Whether the owner of `public` signed `value` as it stands."""
    try:
        Ed25519PublicKey.from_public_bytes(public).verify(value.signature, statement(value))
    except (InvalidSignature, ValueError):
        return False
    return True


def flaw_of(certificate: Certificate, *, mesh: str, authority: bytes, unix_s: float) -> str:
    """Why `certificate` proves nothing at this time, in a word or two; empty where it does."""
    if certificate.mesh != mesh:
        return "wrong mesh"
    if not verify(certificate, authority):
        return "not signed by the authority of this mesh"
    if certificate.issued_at > unix_s + AHEAD_S:
        return "issued in the future"
    if certificate.expires_at <= unix_s:
        return "expired"
    return ""
