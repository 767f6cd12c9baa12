"""How well the topics of a text are those that a reader would name; fails where extraction gets worse.

Found: of the topics a reader names, those whose terms, or pairs of terms, are among the ten heaviest. Fit: of
the five heaviest, those that belong to a topic a reader named. The bounds lie just below what is reached,
0.81 and 0.54; raise them when extraction gets better.
"""

from __future__ import annotations

import tomllib
from functools import cache
from pathlib import Path
from statistics import mean

import msgspec
import pytest

from protocol.topics import extract, query_terms
from protocol.words import content_terms

FOUND_AMONG, FIT_AMONG = 10, 5
LEAST_FOUND = 0.79
LEAST_FIT = 0.53
LEAST_FOUND_IN_ANY = 0.3  # French has it worst: its articles count as words.


class Text(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    name: str
    text: str
    topics: list[str]
    title: str = ""
    tags: list[str] = []

    @property
    def extracted(self) -> list[str]:
        return [topic.term for topic in extract(self.text, title=self.title, tags=self.tags)]

    def found(self) -> float:
        """Share of the topics named that were extracted."""
        heaviest = set(self.extracted[:FOUND_AMONG])
        return mean(any(heaviest.issuperset(way) for way in _ways(topic)) for topic in self.topics)

    def fit(self) -> float:
        """Share of the heaviest topics extracted that were named."""
        named = {term for topic in self.topics for term in query_terms(topic)}
        heaviest = self.extracted[:FIT_AMONG]
        return mean(term in named for term in heaviest)


def _ways(topic: str) -> list[list[str]]:
    """By its words, or by its pairs of neighbours where it has some."""
    pairs = [term for term in query_terms(topic) if " " in term]
    return [content_terms(topic), pairs] if pairs else [content_terms(topic)]


@cache
def texts() -> list[Text]:
    told = tomllib.loads(Path(__file__).with_name("topics.toml").read_text(encoding="utf-8"))
    return msgspec.convert(told["text"], list[Text])


def test_most_topics_a_reader_names_are_found() -> None:
    assert mean(text.found() for text in texts()) >= LEAST_FOUND


def test_most_of_the_heaviest_topics_are_such_as_a_reader_names() -> None:
    assert mean(text.fit() for text in texts()) >= LEAST_FIT


@pytest.mark.parametrize("text", texts(), ids=lambda text: text.name)
def test_no_kind_of_text_is_left_without_its_topics(text: Text) -> None:
    assert text.found() >= LEAST_FOUND_IN_ANY
