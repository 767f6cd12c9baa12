"""Bloom filters: what is in is found, what is not is found as rarely as stated."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from protocol import bloom

ABSENT = [f"absent-{number}" for number in range(20_000)]
TERMS = st.text(max_size=30)
KEYS = st.binary(max_size=64)


def share_found(bits: bytes, hashes: int) -> float:
    return sum(bloom.contains(bits, term, hashes) for term in ABSENT) / len(ABSENT)


@given(
    terms=st.sets(TERMS, max_size=60),
    log2_bits=st.integers(bloom.MIN_LOG2_BITS, bloom.MAX_LOG2_BITS),
    hashes=st.integers(1, 16),
    key=KEYS,
)
def test_every_term_that_was_put_in_is_found_under_its_key(
    terms: set[str], log2_bits: int, hashes: int, key: bytes
) -> None:
    bits = bloom.build(terms, log2_bits, hashes, key)

    assert len(bits) == (1 << log2_bits) // 8
    assert all(bloom.contains(bits, term, hashes, key) for term in terms)


@settings(max_examples=20)
@given(term=TERMS, log2_bits=st.integers(bloom.MIN_LOG2_BITS, bloom.MAX_LOG2_BITS), key=KEYS)
def test_a_filter_of_one_term_has_exactly_the_bits_of_its_positions(
    term: str, log2_bits: int, key: bytes
) -> None:
    bits = bloom.build([term], log2_bits, bloom.HASHES, key)

    number = int.from_bytes(bits, "little")
    assert {at for at in range(1 << log2_bits) if number >> at & 1} == set(
        bloom.positions(term, log2_bits, bloom.HASHES, key)
    )
    assert bloom.places(term, log2_bits, bloom.HASHES, key).tolist() == bloom.positions(
        term, log2_bits, bloom.HASHES, key
    )


@given(TERMS, KEYS)
def test_the_second_hash_is_odd_so_that_it_walks_the_whole_filter(term: str, key: bytes) -> None:
    first, second = bloom.hash_pair(term, key)

    assert second % 2 == 1
    assert 0 <= first < 2**64
    assert 0 <= second < 2**64


def test_positions_are_those_of_every_other_implementation() -> None:
    assert bloom.HASHES == 7
    # The example of mmh3's own documentation, unsigned; its second half is odd already.
    assert bloom.hash_pair("foo") == (2**64 - 2129773440516405919, 9128664383759220103)
    assert bloom.positions("bitcoin", 10, 7) == [623, 572, 521, 470, 419, 368, 317]


def test_keyed_positions_are_those_of_every_other_implementation() -> None:
    key = bytes(range(32))

    # mmh3's halves of BLAKE2b-128("bitcoin"), 23451143420dacf4117b225a98f300e8 under this key.
    assert bloom.hash_pair("bitcoin", key) == (3993459808088314735, 7487712924688139571)
    assert bloom.positions("bitcoin", 10, 7, key) == [879, 162, 469, 776, 59, 366, 673]


@pytest.mark.parametrize("topics", [50, 500, 5_000])
def test_the_size_that_is_chosen_keeps_the_error_at_one_per_cent(topics: int) -> None:
    log2_bits = bloom.log2_bits_for(topics, 0.01)
    bits = bloom.build((f"topic-{number}" for number in range(topics)), log2_bits, bloom.HASHES)

    assert bloom.error_of(topics, log2_bits, bloom.HASHES) <= 0.01
    assert share_found(bits, bloom.HASHES) <= 0.011


def test_the_classic_form_passes_fifteen_per_cent_at_259_topics() -> None:
    bits = bloom.build(
        (f"topic-{number}" for number in range(400)), bloom.CLASSIC_LOG2_BITS, bloom.CLASSIC_HASHES
    )

    classic = (bloom.CLASSIC_LOG2_BITS, bloom.CLASSIC_HASHES)
    assert bloom.error_of(258, *classic) < 0.15 < bloom.error_of(259, *classic)
    assert share_found(bits, bloom.CLASSIC_HASHES) == pytest.approx(bloom.error_of(400, *classic), abs=0.03)


def test_the_error_of_a_filter_at_hand_is_the_share_of_strangers_it_claims() -> None:
    bits = bloom.build((f"topic-{number}" for number in range(300)), 11, 4)
    ones = int.from_bytes(bits).bit_count()

    assert share_found(bits, 4) == pytest.approx(bloom.error_of_fill(ones, 11, 4), abs=0.01)


def test_an_empty_filter_claims_nothing() -> None:
    bits = bloom.build([], 10, bloom.HASHES)

    assert bits == bytes(128)
    assert share_found(bits, bloom.HASHES) == 0.0


@given(topics=st.integers(0, 10_000), error=st.floats(0.0001, 0.2))
def test_the_size_is_the_smallest_that_holds_the_topics(topics: int, error: float) -> None:
    log2_bits = bloom.log2_bits_for(topics, error)

    fits = [
        size
        for size in range(bloom.MIN_LOG2_BITS, bloom.MAX_LOG2_BITS + 1)
        if bloom.capacity(size, bloom.HASHES, error) >= topics
    ]
    assert log2_bits == min(fits, default=bloom.MAX_LOG2_BITS)


@given(log2_bits=st.integers(bloom.MIN_LOG2_BITS, bloom.MAX_LOG2_BITS), error=st.floats(0.0001, 0.2))
def test_capacity_is_the_last_number_of_topics_within_the_error(log2_bits: int, error: float) -> None:
    room = bloom.capacity(log2_bits, bloom.HASHES, error)

    assert bloom.error_of(room, log2_bits, bloom.HASHES) <= error * (1 + 1e-9)
    assert bloom.error_of(room + 1, log2_bits, bloom.HASHES) > error * (1 - 1e-9)
