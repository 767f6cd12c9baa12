"""What a text is about: its topics. Memories, questions, indexes and digests share them (words.py says what a
term is).

Invariant: a topic that `extract` finds in a text is among the `query_terms` of a short question quoting it.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Iterator
from functools import cache
from itertools import pairwise

import mmh3
import msgspec

from protocol.scripts import characters, marks
from protocol.words import COMMON_WORTH, NO_HASH, SEVERAL, Word, split_words, terms

MAX_TOPICS = 24
MAX_QUERY_TERMS = 32

_MAX_PHRASE_WORDS = 6
_MOST_FOR_WORDS = 75
_LINK = r"(?:[ \t]+(?:of|the|de|van|von|der|la|and)){0,2}[ \t]+"
_ASCII_NAME = re.compile(rf"[A-Z][\w'-]*(?:{_LINK}[A-Z][\w'-]*)+")
_HASHTAG = re.compile(r"(?<![\w#&/])#(\w[\w-]*)")
_PERCENT = [f"{weight} " for weight in range(101)]


class Topic(msgspec.Struct, frozen=True, gc=False):
    """A term, or two joined by a space, and how well it tells what its text is about (0..1)."""

    term: str
    weight: float


class Analysis(msgspec.Struct, frozen=True, gc=False):
    """A memory as the index takes it: the terms of its text and of its title, in order, parted by spaces.

    Topics are lines of `weight term`, the weight in percent, in the order of `extract`. `hashes`: the 32-bit
    mmh3 of each term of the text, once each.
    """

    text: str
    title: str
    topics: str
    hashes: set[int]


def extract(text: str, *, title: str = "", tags: Iterable[str] = ()) -> list[Topic]:
    """What a memory is about: at most `MAX_TOPICS`, by weight descending, ties by term.

    Tags and hashtags weigh 1; a proper name of several words gives each pair of neighbours in it;
    then the words of the title, then what the text says often and English does not.
    """
    lines = analyse(text, title=title, tags=tags).topics.split("\n")
    return [
        Topic(term, int(weight) / 100) for weight, _, term in (line.partition(" ") for line in lines) if term
    ]


def query_terms(question: str) -> list[str]:
    """The terms to look up for `question`: its content terms, then pairs of neighbours; no repeats.

    At most `MAX_QUERY_TERMS`, of which a third is kept for pairs when the question is long. A question of
    stop words alone gives those.
    """
    words = split_words(question)
    singles = list(dict.fromkeys(term for word in words for term in word.content))
    if not singles:
        return list(dict.fromkeys(term for word in words for term in word.terms))[:MAX_QUERY_TERMS]
    pairs = list(dict.fromkeys(_pairs(words)))
    room = max(MAX_QUERY_TERMS - len(pairs), MAX_QUERY_TERMS * 2 // 3)
    return (singles[:room] + pairs)[:MAX_QUERY_TERMS]


def analyse(text: str, *, title: str = "", tags: Iterable[str] = ()) -> Analysis:
    """`terms` of the text and of the title, and the topics of all, in few passes over the words."""
    plain = text if text.isascii() else unicodedata.normalize("NFKC", text)
    words = split_words(plain)
    weights: dict[str, int] = {}
    for word in words:
        topic = word.topic
        if topic in weights:
            weights[topic] += word.worth
        else:
            weights[topic] = word.worth
    weights.pop("", None)
    if SEVERAL in weights:
        del weights[SEVERAL]
        for word in [word for word in words if word.topic is SEVERAL]:
            for term in word.content:
                weights[term] = weights.get(term, 0) + word.worth
    for term in [term for term, weight in weights.items() if weight > _MOST_FOR_WORDS]:
        weights[term] = _MOST_FOR_WORDS

    if title:
        for word in split_words(title):
            for term in word.content:
                weights[term] = max(weights.get(term, 0), 80 if word.worth > COMMON_WORTH else 40)
        weights.update(dict.fromkeys(_name_pairs(title), 85))
    weights.update(dict.fromkeys(_name_pairs(plain), 85))
    hashtags = _HASHTAG.findall(plain) if "#" in plain else ()
    for label in (*tags, *hashtags):
        weights.update(dict.fromkeys(_label_terms(label), 100))

    best = sorted(weights)
    best.sort(key=weights.__getitem__, reverse=True)  # Stable: ties stay in the order of their terms.
    return Analysis(
        " ".join(filter(None, [word.said for word in words])),
        " ".join(terms(title)) if title else "",
        "\n".join([_PERCENT[weights[term]] + term for term in best[:MAX_TOPICS]]),
        _hashes(words),
    )


def _hashes(words: list[Word]) -> set[int]:
    hashes = {word.hash for word in words}
    if NO_HASH in hashes:
        hashes.discard(NO_HASH)
        hashes.update([mmh3.hash(term) for word in words if word.hash == NO_HASH for term in word.terms])
    return hashes


def _name_pairs(text: str) -> Iterator[str]:
    """The pairs of neighbours in each proper name of several words."""
    name = _ASCII_NAME if text.isascii() else _wide_name()
    for phrase in name.findall(text):
        yield from _pairs(split_words(phrase)[:_MAX_PHRASE_WORDS])


def _label_terms(label: str) -> list[str]:
    """A tag's topics: its words and the pairs of neighbours in it; stop words where it has no others."""
    words = split_words(label)[:_MAX_PHRASE_WORDS]
    singles = [term for word in words for term in word.content]
    return [*singles, *_pairs(words)] or [term for word in words for term in word.terms]


def _pairs(words: list[Word]) -> Iterator[str]:
    """Neighbours among the words that are no stop words, joined by a space."""
    heads = [word.content[-1] for word in words if word.content and not word.dense]
    return (f"{left} {right}" for left, right in pairwise(heads) if left != right)


@cache
def _wide_name() -> re.Pattern[str]:
    name = rf"[A-Z{characters('Lu', 'Lt')}][\w{marks()}'-]*"
    return re.compile(rf"\b{name}(?:{_LINK}{name})+")
