"""Text to terms: what two spellings of one word have in common.

A term is NFKC, casefolded, without accents where the letters are Latin, English words stemmed (Porter 2).
Scripts that put no spaces between words (Chinese, Japanese, Korean, Thai, Lao, Khmer, Myanmar) give
overlapping pairs of characters. Identifiers are found by their parts and as a whole: `HTTPServer` gives
http, server, httpserver.

Invariants:
 1. Terms are not empty, have no white space, and at most `MAX_TERM_CHARS` characters.
 2. Equal texts give equal terms, whatever was asked before: what is remembered here is only a shortcut.
 3. Any `str` is taken, NUL and lone surrogates too; they part words and vanish.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from functools import lru_cache
from itertools import pairwise

import mmh3
import msgspec
import Stemmer

from protocol.scripts import DENSE_RUN, cluster, dense_split, is_unspaced, wide_word

MAX_TERM_CHARS = 64
COMMON_WORTH = 10
"""What a word that English has everywhere weighs as a topic, in percent, each time it is there."""
SEVERAL = "more than one"
"""Stands for the topic of a word that has several. No term has a space."""
NO_HASH = 1 << 32
"""Stands for the hash of a word that has several terms, or none."""

_MEMO_WORDS = 24_576
"""Words remembered, and as many from the generation before. An English writer uses 30,000, mostly the first
5,000; fewer here cost 5 us for each word that has to be worked out again. See benchmarks/footprint.py."""

_LONGEST_NUMBER = 4  # Longer words with digits in them seldom come twice, and would push out those that do.
_USUAL_WORTH, _NAME_WORTH = 30, 40


def _listed(words: str) -> frozenset[str]:
    return frozenset(words.split())


_STOP = _listed("""
    a about above after again against all also am an and any are aren't as at be because been before
    being below between both but by can can't cannot could couldn't did didn't do does doesn't doing
    don't down during each few for from further had hadn't has hasn't have haven't having he her here
    hers herself him himself his how however i i'd i'll i'm i've if in into is isn't it it's its itself
    just let let's may me might more most must my myself no nor not now of off on once only or other our
    ours ourselves out over own please same shall she should shouldn't so some such than that that's the
    their theirs them themselves then there there's these they they're this those through thus to too
    under until up upon us very was wasn't we we're were weren't what what's when where which while who
    who's whom whose why will with within without won't would wouldn't yes yet you you're your yours
    yourself yourselves
""")
_COMMON = _listed("""
    able across actually add almost along already although always another anyone anything around ask
    asked away back bad become began begin believe best better big bit bring call called came case
    certain change come comes coming common day days different done early easily easy either else end
    enough especially etc even ever every everyone everything example fact far feel felt find first five
    following follows found four full gave general generally get gets getting give given gives go goes
    going gone good got great half happen happened hard help high hold hour house idea important include
    included including instead keep kept kind knew know known large last late later least left less life
    like likely line little long look looked lot low made main make makes making man many matter maybe
    mean means men moment months morning move much name near need needed needs never new next nice night
    nothing number often okay old one ones open order part past people perhaps person place point
    possible present probably problem put quite rather real really reason right run said saw say says
    second see seem seemed seems seen self set several show shown side simple simply since six small
    something sometimes soon sort start started state still stop sure take taken takes talk tell ten
    thank thanks thing things think third though thought three time times today together told took top
    toward try turn two use used useful uses using usually value various want wanted way ways week weeks
    well went whether whole wish woman word words work world year years young
""")

_ASCII_WORD = re.compile(r"[A-Za-z0-9_]+(?:['.][A-Za-z0-9_]+)*")
_SEAM = re.compile(
    r"[._]+|(?<=\b[cdjlmnstCDJLMNST])['\u2019]|(?<=[a-z0-9]{2})(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z]{2})"
)
_LATIN_ACCENT = re.compile("(?<=[a-z])[\u0300-\u036f]+")
_stem = Stemmer.Stemmer("english", 0).stemWord


class Word(msgspec.Struct, frozen=True, gc=False):
    """What one written word gives. The whole of an identifier comes last; `dense` ones have no whole.

    `worth` is its weight as a topic for each time it is there, in percent. The rest is there for `analyse`,
    which must not loop over the terms of each word: `said` is the terms parted by spaces, `topic` the one
    term of its content, "" for none and `SEVERAL` for more, `hash` that of its one term or `NO_HASH`.
    """

    terms: tuple[str, ...]
    content: tuple[str, ...]
    worth: int
    dense: bool
    said: str
    topic: str
    hash: int


def terms(text: str) -> list[str]:
    """All terms of `text` in order, stop words too; an identifier gives its parts, then itself."""
    return " ".join([word.said for word in split_words(text)]).split()


def first_place(text: str, wanted: frozenset[str]) -> int | None:
    """About where the first word that gives a wanted term begins; None where none does."""
    # Most words begin with their stems: those are looked at first, and the others only if none of them is it.
    for pattern in (_beginning_with(wanted), _ASCII_WORD if text.isascii() else wide_word()):
        for found in pattern.finditer(text):
            if not wanted.isdisjoint(_known(found[0]).terms):
                return found.start()
    return None


@lru_cache(maxsize=256)
def _beginning_with(wanted: frozenset[str]) -> re.Pattern[str]:
    """Words that begin with one of these terms, or with all of it but a last i, which may stand for a y."""
    stems = sorted({term.removesuffix("i") for term in wanted} - {""}, key=len, reverse=True)
    joined = "|".join(map(re.escape, stems)) or r"(?!)"
    return re.compile(rf"(?<![^\W_])(?:{joined})[\w'.]*(?<![.'])", re.IGNORECASE)


def content_terms(text: str) -> list[str]:
    """The terms of `text` in order, without stop words."""
    found: list[str] = []
    for word in split_words(text):
        found += word.content
    return found


def spellings(text: str) -> list[str]:
    """The words of `text` in order as `terms` has them before stemming: case, accents and joiners aside.

    An identifier gives its parts, then itself; of scripts without spaces between words the pairs are given.
    """
    found: list[str] = []
    for raw in _split(text):
        if is_unspaced(raw):
            found += _dense_terms(raw)
        elif whole := _fold(raw):
            parts = [part for part in _SEAM.split(raw) if part.strip("'")]
            if len(parts) > 1:
                found += [folded for part in parts if (folded := _fold(part))]
            found.append(whole)
    return found


class _Memo(dict[str, Word]):
    """Words by their spelling, those of ASCII texts with a dot or an apostrophe at their ends, too.

    Filled as it is asked, so that a whole text is looked up without a step of ours for each word.
    """

    def __init__(self) -> None:
        self._older: dict[str, Word] = {}

    def __missing__(self, raw: str) -> Word:
        bare = raw if raw.isalnum() else raw.strip(_SEPARATORS)
        word = self._older.get(raw) or (_understand(bare) if bare else _NOTHING)
        size = len(raw)
        if size <= MAX_TERM_CHARS and (size <= _LONGEST_NUMBER or bare.isalpha()):
            if len(self) >= _MEMO_WORDS:
                self._older = dict(self)
                self.clear()
            self[raw] = word
        return word


_SEPARATORS = ".'"  # One of them between two letters parts no word; two, or one at an end, are no part of it.
_SPACED = bytes(ord(chr(c) if chr(c).isalnum() or chr(c) in "_.'" else " ") for c in range(128)) + b" " * 128
_memo = _Memo()
_known = _memo.__getitem__


def split_words(text: str) -> list[Word]:
    """The words of `text` in order, each looked up or worked out once."""
    if not text.isascii():
        return list(map(_known, _split(text)))
    spaced = text.encode().translate(_SPACED).replace(b". ", b" ").decode()
    if ".." in spaced or ("'" in spaced and ("''" in spaced or ".'" in spaced or "'." in spaced)):
        return list(map(_known, _split(text)))
    # Here nothing but white space parts two words. That is a quarter of the time of a regular expression.
    return [word for word in map(_known, spaced.split()) if word is not _NOTHING]


def _split(text: str) -> list[str]:
    if text.isascii():
        return _ASCII_WORD.findall(text)
    return wide_word().findall(unicodedata.normalize("NFKC", text))


def _understand(raw: str) -> Word:
    if raw.isascii() and raw.isalnum() and (raw[1:].islower() or raw.isdigit()):
        return _plain_word(raw, raw.lower())
    if is_unspaced(raw):
        found = tuple(_dense_terms(raw))
        return _word(found, found, _USUAL_WORTH, dense=True)
    whole = _fold(raw)
    if not whole:
        return _word((), (), 0)
    parts = [part for part in _SEAM.split(raw) if part.strip("'")]
    if len(parts) > 1 and whole not in _STOP:
        found = (*(term for part in parts if (term := _term(_fold(part)))), whole[:MAX_TERM_CHARS])
        return _word(found, tuple(dict.fromkeys(found)), _NAME_WORTH)
    return _plain_word(raw, whole)


def _word(terms: tuple[str, ...], content: tuple[str, ...], worth: int, *, dense: bool = False) -> Word:
    topic = "" if not content or not worth else content[0] if len(content) == 1 else SEVERAL
    number = mmh3.hash(terms[0]) if len(terms) == 1 else NO_HASH
    return Word(terms, content, worth, dense, " ".join(terms), topic, number)


_NOTHING = _word((), (), 0)


def _plain_word(raw: str, whole: str) -> Word:
    single = (_term(whole),)
    if whole in _STOP or (len(whole) == 1 and raw.isascii() and raw.islower()):
        return _word(single, (), 0)
    if whole in _COMMON or whole.isdecimal():
        return _word(single, single, COMMON_WORTH)
    # A capital is a name or the start of a sentence: a small bonus for either.
    return _word(single, single, _USUAL_WORTH if raw[0].islower() else _NAME_WORTH)


def _fold(raw: str) -> str:
    """One spelling for all of case, accents on Latin letters, apostrophes and invisible joiners."""
    if raw.isascii():
        return raw.lower().strip("_")
    folded = unicodedata.normalize("NFKC", raw.casefold()).replace("\u2019", "'")
    folded = _LATIN_ACCENT.sub("", unicodedata.normalize("NFD", folded))
    folded = unicodedata.normalize("NFC", folded)
    return re.sub("[\u00ad\u200c\u200d\\s]", "", folded).strip("_'")


def _term(folded: str) -> str:
    if folded.isascii():
        stemmed: str = _stem(folded)
        folded = stemmed.strip("'") or folded
    return folded[:MAX_TERM_CHARS]


def _dense_terms(raw: str) -> Iterator[str]:
    """Overlapping pairs of characters, each with its marks; words of other scripts in between as they are."""
    for run in dense_split().findall(raw):
        if not DENSE_RUN.match(run):
            yield from _understand(run).terms
            continue
        clusters = cluster().findall(_fold(run))
        if len(clusters) == 1:
            yield clusters[0][:MAX_TERM_CHARS]
        for left, right in pairwise(clusters):
            yield (left + right)[:MAX_TERM_CHARS]
