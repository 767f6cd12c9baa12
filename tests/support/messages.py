"""Hypothesis strategies for every message, made from the structs themselves, so that no field is left out."""

from __future__ import annotations

from typing import Any

import msgspec
from hypothesis import strategies as st
from msgspec.inspect import (
    BoolType,
    BytesType,
    FloatType,
    IntType,
    LiteralType,
    NoneType,
    StrType,
    StructType,
    Type,
    UnionType,
    VarTupleType,
    type_info,
)

from protocol import bloom
from protocol.digest import Digest
from protocol.messages import KINDS, Message

NAMES = st.builds(
    str.__add__,
    st.sampled_from("abcdefghijklmnopqrstuvwxyz0123456789"),
    st.text("abcdefghijklmnopqrstuvwxyz0123456789_.-", max_size=63),
)
ADDRESSES = st.sampled_from(["tcp://127.0.0.1:7700", "tcp://host.example:1", "tcp://[fe80::1%eth0]:65535"])

DIGESTS = st.builds(
    lambda topics, log2_bits, hashes, terms, centroids: Digest(
        topics=topics,
        log2_bits=log2_bits,
        hashes=hashes,
        bits=bloom.build(terms, log2_bits, hashes),
        centroids=centroids,
    ),
    topics=st.integers(0, 2**32),
    log2_bits=st.integers(bloom.MIN_LOG2_BITS, 12),
    hashes=st.integers(1, 16),
    terms=st.lists(st.text(max_size=8), max_size=4),
    centroids=st.binary(max_size=96),
)


def values(kind: Type) -> st.SearchStrategy[Any]:
    """Valid values of one field's type, its bounds included, its lengths small."""
    match kind:
        case StructType(cls=cls) if cls is Digest:
            return DIGESTS
        case StructType(cls=cls, fields=fields):
            return st.builds(cls, *(values(field.type) for field in fields))
        case VarTupleType(item_type=item, min_length=fewest, max_length=most):
            return st.lists(values(item), min_size=fewest or 0, max_size=min(3, most or 3)).map(tuple)
        case LiteralType(values=choices):
            return st.sampled_from(choices)
        case UnionType(types=types):
            return st.one_of([values(one) for one in types])
        case NoneType():
            return st.none()
        case BoolType():
            return st.booleans()
        case IntType(ge=least, lt=limit, le=most):
            highest = most if limit is None else limit - 1
            return st.integers(
                -(2**63) if least is None else least, 2**63 - 1 if highest is None else highest
            )
        case FloatType(ge=least, le=most):
            return st.floats(least, most, allow_nan=False, allow_infinity=False)
        case StrType(pattern=str() as pattern):
            return ADDRESSES if pattern.startswith(r"\Atcp") else NAMES
        case StrType(min_length=shortest, max_length=longest):
            return st.text(min_size=shortest or 0, max_size=min(40, longest or 40))
        case BytesType(min_length=shortest, max_length=longest):
            return st.binary(min_size=shortest or 0, max_size=min(512, longest or 512))
    raise AssertionError(f"no strategy for {kind}")


def messages_of(kind: type[msgspec.Struct]) -> st.SearchStrategy[Any]:
    """Valid messages of one kind."""
    return values(type_info(kind))


MESSAGES: st.SearchStrategy[Message] = st.sampled_from(sorted(KINDS)).flatmap(
    lambda number: messages_of(KINDS[number])
)
