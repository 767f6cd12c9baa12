"""What a search may say besides words: "a phrase" in quotes, and the beginning* of a word.

A phrase is terms that stand side by side in a title or a text, by the normalisation of `protocol.words`:
"blue green deployment" also finds *Blue-green deployments*. A beginning is that of a word as it is written,
case and accents aside, or of a topic: `deploy*` finds deployment, deployed and deploying.

Whoever finds a phrase or a beginning has all of them; words besides only rank. Nothing else is an operator: a
quote without its pair, a star by itself or within a word, AND, NEAR and all signs are plain text.

Invariants
1. Any text gives a query, and any query an expression that FTS5 takes: all that comes from the user are
   terms, which hold no quote, and each stands in quotes.
2. A text without a pair of quotes and without a star gives its `query_terms` and nothing else.
"""

from __future__ import annotations

import re
import unicodedata

import msgspec

from protocol.scripts import is_unspaced
from protocol.topics import query_terms
from protocol.words import MAX_TERM_CHARS, spellings, terms

MAX_FORMS = 8
"""Phrases and beginnings in one search; those beyond are taken as words."""
MAX_PHRASE_TERMS = 32
"""Of a longer phrase its first terms are looked for."""
MIN_BEGINNING_CHARS = 2
"""Of ASCII letters; a star behind fewer is plain text."""

_LONGEST_ENDING = 8  # Characters that stemming takes from a word: of formalization(s) all but `formal`.
_SHORTEST_STEM = 2
_FORM = re.compile(r'["\u201c\u201d]([^"\u201c\u201d]*)["\u201c\u201d]|([^\s"\u201c\u201d*]+)\*+(?!\w)')
_INSIDE = "_.'\u2019\u00ad\u200c\u200d"
_LIKE_WORDS = "LMN"  # Unicode categories: letters, marks, numbers.
_COLUMNS = "{title text} : "  # Neighbours among the topics were never neighbours in a text.


class Phrase(msgspec.Struct, frozen=True):
    """Terms side by side; `spelled` are the ways of it, as `HTTPServer` may be told as httpserver."""

    text: str
    spelled: tuple[tuple[str, ...], ...]


class Query(msgspec.Struct, frozen=True):
    """A search: terms that rank, phrases and beginnings of which all must be there."""

    words: tuple[str, ...]
    phrases: tuple[Phrase, ...] = ()
    beginnings: tuple[str, ...] = ()

    @property
    def is_plain(self) -> bool:
        """Words alone."""
        return not self.phrases and not self.beginnings

    @property
    def shown(self) -> tuple[str, ...]:
        """Terms by which a text found is worth showing."""
        return (*(term for phrase in self.phrases for term in phrase.spelled[0]), *self.words)


def parse(text: str) -> Query:
    """What `text` asks for; any text is taken."""
    text = unicodedata.normalize("NFKC", text)
    phrases: list[Phrase] = []
    beginnings: list[str] = []
    plain: list[str] = []
    end = 0
    for form in _FORM.finditer(text):
        plain.append(text[end : form.start()])
        end = form.end()
        quoted, starred = form.groups()
        if len(phrases) + len(beginnings) >= MAX_FORMS:
            plain.append(quoted or starred or "")
        elif quoted is not None:
            if phrase := _phrase(quoted):
                phrases.append(phrase)
        else:
            head, last = _last_word(starred)
            plain.append(head)
            match _beginning(last):
                case Phrase() as phrase:
                    phrases.append(phrase)
                case str(beginning):
                    beginnings.append(beginning)
                case None:
                    plain.append(last)
    plain.append(text[end:])
    words = query_terms(" ".join(plain))
    return Query(tuple(words), tuple(dict.fromkeys(phrases)), tuple(dict.fromkeys(beginnings)))


def phrase_expression(phrase: Phrase) -> str:
    """For FTS5: memories that hold the phrase in one of its spellings. One word may be a topic, too."""
    return " OR ".join(
        f"{_COLUMNS if len(spelled) > 1 else ''}{quote(' '.join(spelled), begins=_is_open(spelled[-1]))}"
        for spelled in phrase.spelled
    )


def beginning_expression(beginning: str, shorter: list[str]) -> str:
    """For FTS5: memories with a term that begins so, or one of these stems, to be looked at more closely."""
    return " OR ".join([quote(beginning, begins=True), *map(quote, shorter)])


def quote(term: str, *, begins: bool = False) -> str:
    """A term, or terms side by side, as FTS5 takes it literally; `begins` takes longer ones as well."""
    return f'"{term}"*' if begins else f'"{term}"'


def shorter_stems(beginning: str) -> list[str]:
    """Stems shorter than `beginning` that a word beginning so may have, the longest first.

    Stemming takes an ending, and may leave an e, i or y in its place: authentication -> authent, happy ->
    happi, skies -> sky. (Three words are not found by their beginnings: dying, lying, tying.)
    """
    if not beginning.isascii():
        return []  # Words of other scripts stand in the index as they are.
    shortest = max(_SHORTEST_STEM, len(beginning) - _LONGEST_ENDING)
    found = []
    for kept in range(len(beginning) - 1, shortest - 1, -1):
        found += [beginning[:kept] + letter for letter in "eiy" if letter != beginning[kept]]
        found.append(beginning[:kept])
    return found


def begins_in(text: str, beginning: str) -> bool:
    """Whether a word of `text`, or a part of an identifier, begins so."""
    if text.isascii() and beginning not in text.lower():
        return False  # Sparing most texts the closer look.
    return any(spelled.startswith(beginning) for spelled in spellings(text))


def place(query: Query, text: str) -> int | None:
    """About where in `text` the first phrase or beginning of the query stands."""
    patterns = [_pattern(phrase.text) for phrase in query.phrases]
    patterns += [rf"(?<![^\W_]){re.escape(beginning)}" for beginning in query.beginnings]
    found = (re.search(pattern, text, re.IGNORECASE) for pattern in patterns if pattern)
    return min((at.start() for at in found if at is not None), default=None)


def _pattern(phrase: str) -> str:
    """Its words, whatever stands between them and however the longer ones end; each text is read once."""
    if is_unspaced(phrase):
        return re.escape(phrase)
    words = re.findall(r"\w+", phrase)[:MAX_PHRASE_TERMS]
    loose = [rf"{re.escape(word[:-3] if len(word) > 5 else word)}\w*+" for word in words]
    return r"(?<!\w)" + r"\W++".join(loose) if loose else ""


def _phrase(text: str) -> Phrase | None:
    ways = [tuple(terms(way)[:MAX_PHRASE_TERMS]) for way in (text, text.casefold())]
    spelled = tuple(dict.fromkeys(way for way in ways if way))
    return Phrase(text.strip(), spelled) if spelled else None


def _beginning(word: str) -> Phrase | str | None:
    if is_unspaced(word):
        return _phrase(word)  # Found by any part of a word, the beginning too.
    whole = "".join(spellings(word)[-1:])[:MAX_TERM_CHARS]
    return whole if len(whole) >= MIN_BEGINNING_CHARS or not whole.isascii() else None


def _last_word(chunk: str) -> tuple[str, str]:
    at = len(chunk)
    while at and (chunk[at - 1] in _INSIDE or unicodedata.category(chunk[at - 1])[0] in _LIKE_WORDS):
        at -= 1
    return chunk[:at], chunk[at:]


def _is_open(term: str) -> bool:
    """One character of a script that is indexed in pairs: it finds the pairs that begin with it."""
    return is_unspaced(term[0]) and all(unicodedata.category(mark)[0] == "M" for mark in term[1:])
