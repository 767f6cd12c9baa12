"""What changed in a digest: what comes out is the new one or nothing, whatever came in."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.delta import apply_delta, delta_of, pack_flips, unpack_flips
from protocol.digest import Announced, Digest
from protocol.messages import Delta, Record

TOPICS = st.frozensets(st.integers(0, 400).map(lambda number: f"topic-{number}"), max_size=100)


def record(topics: frozenset[str] = frozenset(), version: int = 1, centroids: bytes = b"") -> Record:
    digest = Digest.of(Announced(topic, 1, 1.0) for topic in topics)
    digest = msgspec.structs.replace(digest, centroids=centroids)
    return Record("bob", 7, 1, version, "agent", "tcp://bob:1", "tcp://bob:2", digest)


@given(
    before=TOPICS, after=TOPICS, old=st.binary(min_size=8, max_size=8), new=st.binary(min_size=8, max_size=8)
)
def test_a_delta_turns_its_base_into_the_other_record(
    before: frozenset[str], after: frozenset[str], old: bytes, new: bytes
) -> None:
    base, target = record(before, 3, old), record(after, 4, new)

    delta = delta_of(base, target, limit_bytes=10_000)

    assert delta is not None
    assert apply_delta(base, delta) == target


@given(topics=st.lists(TOPICS, min_size=3, max_size=3), claimed=st.booleans())
def test_on_another_base_nothing_comes_out(topics: list[frozenset[str]], claimed: bool) -> None:
    base, target = record(topics[0], 3), record(topics[1], 4)
    other = record(topics[2], 3 if claimed else 2)
    delta = delta_of(base, target, limit_bytes=10_000)
    assert delta is not None

    applied = apply_delta(other, delta)

    assert applied is None or (other == base and applied == target)


@given(
    delta=st.builds(
        Delta,
        st.just("bob"),
        st.integers(0, 5),
        st.integers(0, 5),
        st.integers(1, 2),
        st.integers(1, 2),
        st.integers(0, 9),
        st.just(0),
        st.binary(max_size=40),
        st.integers(0, 2**32 - 1),
    )
)
def test_any_delta_gives_a_record_or_nothing(delta: Delta) -> None:
    applied = apply_delta(record(frozenset({"volcano"})), delta)

    assert applied is None or (applied.incarnation, applied.version) == (delta.incarnation, delta.version)


@given(st.sets(st.integers(0, 73_727), max_size=200).map(sorted))
def test_flips_come_back_as_they_were(positions: list[int]) -> None:
    assert unpack_flips(pack_flips(positions), limit=73_728) == positions


@given(packed=st.binary(max_size=60), limit=st.integers(0, 70_000))
def test_any_bytes_are_ascending_flips_within_the_digest_or_refused(packed: bytes, limit: int) -> None:
    positions = unpack_flips(packed, limit=limit)

    if positions is not None:
        assert positions == sorted(set(positions))
        assert all(0 <= at < limit for at in positions)


@pytest.mark.parametrize(
    "packed",
    [b"\x80", b"\x01\x00", b"\x80\x80\x80\x80\x80\x01", b"\x01\xff"],
    ids=["cut", "a position twice", "longer than any position", "cut in the second"],
)
def test_flips_that_are_none_are_refused(packed: bytes) -> None:
    assert unpack_flips(packed, limit=1_000_000) is None


def test_a_position_just_beyond_the_digest_is_refused() -> None:
    base = record()
    bits = 8 * len(base.digest.bits)
    delta = delta_of(base, record(version=2), limit_bytes=99)
    assert delta is not None

    assert unpack_flips(pack_flips([bits - 1]), limit=bits) == [bits - 1]
    assert unpack_flips(pack_flips([bits]), limit=bits) is None
    assert apply_delta(base, msgspec.structs.replace(delta, flips=pack_flips([bits]))) is None


def test_a_topic_more_costs_about_a_byte_for_each_hash() -> None:
    base = record(frozenset(f"topic-{number}" for number in range(50)))

    delta = delta_of(
        base, record(frozenset({"volcano"} | {f"topic-{n}" for n in range(50)}), 2), limit_bytes=99
    )

    assert delta is not None
    assert len(delta.flips) <= 14


def test_there_is_no_delta_where_it_is_too_large_or_more_than_bits_changed() -> None:
    few, many = record(frozenset({"a"})), record(frozenset(f"t{n}" for n in range(80)), 2)
    moved = msgspec.structs.replace(many, router="tcp://bob-2:1")
    grown = record(frozenset(f"t{n}" for n in range(300)), 2)
    topics = (Announced(f"t{n}", 1, 1.0) for n in range(80))
    keyed = msgspec.structs.replace(many, digest=Digest.of(topics, key_epoch=1, key=b"k" * 32))

    assert delta_of(few, many, limit_bytes=64) is None
    for other in (moved, grown, keyed, msgspec.structs.replace(many, instance=8)):
        assert delta_of(few, other, limit_bytes=10_000) is None
    assert delta_of(few, many, limit_bytes=10_000) is not None
