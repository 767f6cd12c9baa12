"""The keys of the mesh's digests: under them a term is keyed before it is hashed into a digest.

    open mesh      epoch 0 with no key: terms are hashed as they are, and any word can be tested
    secured mesh   epochs from 1 on with 32 bytes each; two of them from one change of the key to the next

mmh3 is no MAC: terms go through a keyed BLAKE2b before it (bloom.py). A digest tells its epoch, never its
key; so the number of an epoch is used for one key only.

Invariant: epoch 0 has the empty key and no other has, so that no digest is called keyed that is not.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

Keyring = Mapping[int, bytes]
"""Key by epoch."""

UNKEYED: Final[Keyring] = MappingProxyType({0: b""})


def check_key(epoch: int, key: bytes) -> None:
    """Raise `ValueError` where `epoch` cannot have this key."""
    if (epoch == 0) != (key == b""):
        raise ValueError(f"key epoch {epoch} with a key of {len(key)} bytes, where epoch 0 alone has none")


def newest(keys: Keyring) -> tuple[int, bytes]:
    """The epoch and the key that digests are made with."""
    epoch = max(keys)
    return epoch, keys[epoch]
