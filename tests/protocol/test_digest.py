"""Digests: announced topics are always found, the rest is counted, equal topics give equal bytes."""

from __future__ import annotations

from hashlib import sha256

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol import bloom
from protocol.digest import EMPTY, Announced, Digest


def announced(count: int) -> list[Announced]:
    return [Announced(f"topic-{number}", 1 + number % 5, 0.5) for number in range(count)]


@given(st.sets(st.text(min_size=1, max_size=40), max_size=80))
def test_no_announced_topic_is_missed(terms: set[str]) -> None:
    digest = Digest.of(Announced(term, 1, 1.0) for term in terms)

    assert (digest.topics, digest.left_out) == (len(terms), 0)
    assert all(digest.may_contain(term) for term in terms)


@given(
    terms=st.sets(st.text(min_size=1, max_size=40), max_size=80),
    epoch=st.integers(1, 2**32),
    key=st.binary(min_size=1, max_size=64),
)
def test_no_announced_topic_is_missed_under_any_key(terms: set[str], epoch: int, key: bytes) -> None:
    topics = [Announced(term, 1, 1.0) for term in terms]

    for digest in (
        Digest.of(topics, key_epoch=epoch, key=key),
        Digest.classic(topics, key_epoch=epoch, key=key),
    ):
        assert (digest.key_epoch, digest.topics) == (epoch, len(terms))
        assert all(digest.may_contain(term, key) for term in terms)


def test_the_bytes_of_a_digest_without_a_key_are_what_they_always_were() -> None:
    digest = Digest.of(announced(300))

    assert (
        sha256(digest.bits).hexdigest() == "4040beb3c77cc83a686e838f83c85bd9969f61ba240a5117ae6934d47e635c15"
    )
    assert digest == Digest.of(announced(300), key_epoch=0, key=b"")


@pytest.mark.parametrize(("epoch", "key"), [(0, b"k" * 32), (1, b"")], ids=["key of none", "none of a key"])
def test_a_digest_that_would_say_it_is_keyed_and_is_not_is_never_made(epoch: int, key: bytes) -> None:
    with pytest.raises(ValueError, match=f"key epoch {epoch}"):
        Digest.of(announced(3), key_epoch=epoch, key=key)
    with pytest.raises(ValueError, match=f"key epoch {epoch}"):
        Digest.classic(announced(3), key_epoch=epoch, key=key)


@pytest.mark.parametrize(("topics", "size_bytes"), [(0, 128), (50, 128), (500, 1024), (5_000, 8192)])
def test_a_digest_grows_with_its_topics(topics: int, size_bytes: int) -> None:
    digest = Digest.of(announced(topics))

    assert digest.size_bytes == size_bytes
    assert digest.error <= 0.011


def test_a_lower_error_costs_a_larger_digest() -> None:
    assert Digest.of(announced(500), error=0.0001).size_bytes > Digest.of(announced(500)).size_bytes


def test_the_order_of_topics_does_not_show() -> None:
    topics = announced(9_000)

    assert Digest.of(topics) == Digest.of(reversed(topics))


def test_past_the_cap_the_least_significant_topics_are_left_out_and_counted() -> None:
    room = bloom.capacity(bloom.MAX_LOG2_BITS, bloom.HASHES, 0.01)
    minor = [Announced(f"minor-{number}", 1, 0.1) for number in range(2_000)]
    major = [Announced(f"major-{number}", 9, 0.9) for number in range(room - 500)]

    digest = Digest.of([*minor, *major])

    assert (digest.topics, digest.left_out) == (room, 1_500)
    assert digest.log2_bits == bloom.MAX_LOG2_BITS
    assert digest.error <= 0.011
    assert all(digest.may_contain(topic.term) for topic in major)
    assert sum(digest.may_contain(topic.term) for topic in minor) < 600


def test_many_memories_make_a_topic_more_significant_than_one() -> None:
    assert Announced("a", 4, 0.5).significance == 2 * Announced("b", 1, 0.5).significance


def test_the_classic_digest_is_128_bytes_whatever_is_put_in() -> None:
    digest = Digest.classic(announced(400))

    assert (digest.size_bytes, digest.hashes, digest.topics) == (128, 3, 400)
    assert digest.error > 0.25
    assert all(digest.may_contain(topic.term) for topic in announced(400))


def test_the_empty_digest_is_that_of_no_topics() -> None:
    assert Digest.of([]) == EMPTY
    assert EMPTY.error == 0.0
    assert not EMPTY.may_contain("bitcoin")


@pytest.mark.parametrize(
    "fields",
    [
        [1, 0, 0, 0, 11, 7, bytes(128)],
        [1, 0, 0, 0, 10, 7, bytes(127)],
        [1, 0, 0, 0, 9, 7, bytes(64)],
        [1, 0, 0, 0, 17, 7, bytes(16_384)],
        [1, 0, 0, 0, 10, 0, bytes(128)],
        [1, 0, 0, 0, 10, 17, bytes(128)],
        [1, 0, -1, 0, 10, 7, bytes(128)],
        [1, 0, 0, 0, 10, 7, bytes(128), bytes(1025)],
    ],
)
def test_a_digest_whose_parts_do_not_fit_is_refused(fields: list[object]) -> None:
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert(fields, Digest)


def test_a_later_format_with_more_fields_is_read() -> None:
    fields = [
        *msgspec.to_builtins(Digest.of(announced(3)), builtin_types=(bytes,)),
        "what a later version says",
    ]

    assert msgspec.convert(fields, Digest) == Digest.of(announced(3))
