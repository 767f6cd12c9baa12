"""The CURVE keys of one member's sockets (Curve25519, RFC 7748), as raw bytes."""

from __future__ import annotations

from collections.abc import Callable

import msgspec
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey


class SocketKeys(msgspec.Struct, frozen=True, kw_only=True):
    """`public` and `secret`: 32 bytes each. `is_admitted`: whether the owner of this public key is a member,
    and may hear what we publish; asked while the lock of the transport's owner is held.
    """

    public: bytes
    secret: bytes
    is_admitted: Callable[[bytes], bool]


def make_pair() -> tuple[bytes, bytes]:
    """A new public key and its secret."""
    made = X25519PrivateKey.generate()
    return made.public_key().public_bytes_raw(), made.private_bytes_raw()


def public_of(secret: bytes) -> bytes:
    """The public key that belongs to 32 secret bytes."""
    return X25519PrivateKey.from_private_bytes(secret).public_key().public_bytes_raw()
