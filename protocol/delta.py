"""What changed in a digest, where that is smaller than the digest: the positions of the bits that flipped.

    the bits of a digest    its filter, then its centroids, bit p is byte p >> 3, p & 7 from the right
    flips                   the first position, then from each to the next, ascending, as LEB128
    check                   32-bit mmh3 (x86, seed 0) of the bits that must come out

A record becomes another one by a delta only where nothing else of it changed: same process, role, addresses,
and a digest of the same form and size. Who holds another base than the one named pulls the whole record.

Invariants:
 1. Applied to its base, the delta of two records gives the second one, or there is no delta of them.
 2. Applied to anything else it gives nothing, and any bytes are flips or refused.
"""

from __future__ import annotations

import mmh3
import msgspec
import numpy as np

from protocol.digest import Digest
from protocol.messages import Delta, Record

_MORE = 0x80


def delta_of(base: Record, record: Record, *, limit_bytes: int) -> Delta | None:
    """How `base` becomes `record`; None where that takes more than `limit_bytes` of flips, or cannot be."""
    old, new = base.digest, record.digest
    if not _is_comparable(base, record):
        return None
    before, after = _bits(old), _bits(new)
    changed = int.from_bytes(before, "little") ^ int.from_bytes(after, "little")
    if changed.bit_count() > limit_bytes:  # Each takes a byte at least.
        return None
    flips = pack_flips(_positions(changed))
    if len(flips) > limit_bytes:
        return None
    return Delta(
        record.agent,
        record.incarnation,
        record.version,
        base.incarnation,
        base.version,
        new.topics,
        new.left_out,
        flips,
        _check(after),
        record.signed_at,
        record.signature,
    )


def apply_delta(base: Record, delta: Delta) -> Record | None:
    """What `base` becomes; None where it is not the base of `delta`, or something else comes out."""
    if (base.agent, base.incarnation, base.version) != (
        delta.agent,
        delta.base_incarnation,
        delta.base_version,
    ):
        return None
    old = base.digest
    before = _bits(old)
    positions = unpack_flips(delta.flips, limit=8 * len(before))
    if positions is None:
        return None
    after = bytearray(before)
    for at in positions:
        after[at >> 3] ^= 1 << (at & 7)
    if _check(bytes(after)) != delta.check:
        return None
    width = len(old.bits)
    digest = msgspec.structs.replace(
        old,
        topics=delta.topics,
        left_out=delta.left_out,
        bits=bytes(after[:width]),
        centroids=bytes(after[width:]),
    )
    return msgspec.structs.replace(
        base,
        incarnation=delta.incarnation,
        version=delta.version,
        digest=digest,
        signed_at=delta.signed_at,
        signature=delta.signature,
    )


def pack_flips(positions: list[int]) -> bytes:
    """Ascending positions as LEB128 of the first and of the steps."""
    packed = bytearray()
    last = 0
    for at in positions:
        step, last = at - last, at
        while step >= _MORE:
            packed.append(step & 0x7F | _MORE)
            step >>= 7
        packed.append(step)
    return bytes(packed)


def unpack_flips(packed: bytes, *, limit: int) -> list[int] | None:
    """The positions, each once, below `limit`; None where they are not so."""
    positions: list[int] = []
    at, step, shift = 0, 0, 0
    for byte in packed:
        step |= (byte & 0x7F) << shift
        if byte & _MORE:
            shift += 7
            if shift > 28:
                return None
            continue
        if not step and positions:
            return None
        at += step
        if at >= limit:
            return None
        positions.append(at)
        step, shift = 0, 0
    return positions if not shift else None


def _is_comparable(base: Record, record: Record) -> bool:
    old, new = base.digest, record.digest
    return _frame_of(base) == _frame_of(record) and _form_of(old) == _form_of(new)


def _frame_of(record: Record) -> tuple[str, int, str, str, str]:
    return record.agent, record.instance, record.role, record.router, record.publisher


def _form_of(digest: Digest) -> tuple[int, int, int, int, int]:
    return digest.fmt, digest.key_epoch, digest.log2_bits, digest.hashes, len(digest.centroids)


def _bits(digest: Digest) -> bytes:
    return digest.bits + digest.centroids


def _positions(changed: int) -> list[int]:
    size = (changed.bit_length() + 7) // 8
    bits = np.unpackbits(np.frombuffer(changed.to_bytes(size, "little"), np.uint8), bitorder="little")
    positions: list[int] = np.flatnonzero(bits).tolist()
    return positions


def _check(bits: bytes) -> int:
    return mmh3.hash(bits, signed=False)
