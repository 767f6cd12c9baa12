"""A captured digest: who lacks its key learns of no word whether it is in there, and epochs never mix."""

from __future__ import annotations

import math
from collections.abc import Callable
from hashlib import blake2b
from random import Random

import mmh3
import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.digest import Announced, Digest
from protocol.directory import Directory
from protocol.names import AgentName

KEY, OTHER = bytes(range(32)), bytes(range(1, 33))
NAMES = (AgentName("old"), AgentName("new"))


def dictionary(words: int) -> list[str]:
    """Different words, always the same."""
    draw = Random(20)
    syllables = [first + second for first in "bcdfghklmnprstvz" for second in "aeiou"]
    found: dict[str, None] = {}
    while len(found) < words:
        found["".join(draw.choices(syllables, k=draw.randint(3, 5)))] = None
    return list(found)


WORDS = dictionary(100_000)
TOPICS = WORDS[::500]
CAPTURED = Digest.of((Announced(word, 1, 1.0) for word in TOPICS), key_epoch=1, key=KEY)


def by_unkeyed_blake2b(word: str) -> bool:
    """All of the rule, but for the key."""
    hashed = blake2b(word.encode(), digest_size=16).digest()
    first, second = mmh3.hash64(hashed, signed=False)
    number = int.from_bytes(CAPTURED.bits, "little")
    mask = (1 << CAPTURED.log2_bits) - 1
    return all(number >> ((first + turn * (second | 1)) & mask) & 1 for turn in range(CAPTURED.hashes))


ATTACKS: dict[str, Callable[[str], bool]] = {
    "no key": CAPTURED.may_contain,
    "another key": lambda word: CAPTURED.may_contain(word, OTHER),
    "most of the key": lambda word: CAPTURED.may_contain(word, KEY[:31]),
    "the rule without the key": by_unkeyed_blake2b,
}


def assert_by_chance(hits: int, of: int, error: float) -> None:
    """Within four standard deviations of what the filter's error finds."""
    assert abs(hits - of * error) <= 4.0 * math.sqrt(of * error * (1.0 - error))


def test_under_its_key_all_topics_are_found_and_others_at_the_error_of_the_filter() -> None:
    found = {word for word in WORDS if CAPTURED.may_contain(word, KEY)}

    assert len(TOPICS) == 200
    assert found >= set(TOPICS)
    assert_by_chance(len(found) - len(TOPICS), len(WORDS) - len(TOPICS), CAPTURED.error)


@pytest.mark.parametrize("attack", sorted(ATTACKS))
def test_a_dictionary_finds_topics_no_more_often_than_other_words(attack: str) -> None:
    may_contain = ATTACKS[attack]

    hits = sum(map(may_contain, TOPICS))
    others = sum(map(may_contain, WORDS)) - hits

    assert_by_chance(hits, len(TOPICS), CAPTURED.error)
    assert_by_chance(others, len(WORDS) - len(TOPICS), CAPTURED.error)


def test_the_same_dictionary_finds_the_topics_of_a_digest_without_a_key() -> None:
    open_digest = Digest.of(Announced(word, 1, 1.0) for word in TOPICS)

    assert all(map(open_digest.may_contain, TOPICS))


@given(
    terms=st.lists(st.text(min_size=1, max_size=20), min_size=40, max_size=80, unique=True),
    keys=st.lists(st.binary(min_size=32, max_size=32), min_size=2, max_size=2, unique=True),
)
def test_epochs_never_mix(terms: list[str], keys: list[bytes]) -> None:
    topics = [Announced(term, 1, 1.0) for term in terms]
    directory = Directory({1: keys[0], 2: keys[1]})
    digests = [Digest.of(topics[at::2], key_epoch=at + 1, key=key) for at, key in enumerate(keys)]
    for name, digest in zip(NAMES, digests, strict=True):
        directory.put(name, digest, now=0.0)

    for term in terms:
        found = {lead.agent for lead in directory.who_knows([term], now=0.0)}
        due = zip(NAMES, digests, keys, strict=True)
        assert found == {name for name, digest, key in due if digest.may_contain(term, key)}
    # Of each the terms under the key of the other: two filters of 40 topics at the most, far below 1 %.
    crossed = sum(digests[at].may_contain(term, keys[1 - at]) for at in (0, 1) for term in terms[at::2])
    assert crossed <= 5
