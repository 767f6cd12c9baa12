"""Text to terms and topics: the one normalisation that memories, queries, indexes and digests share.

A term is what two spellings of one word have in common: NFKC, casefolded,
without accents where the letters are Latin, English words stemmed (Porter 2).
Scripts that put no spaces between words (Chinese, Japanese, Korean, Thai, Lao,
Khmer, Myanmar) give overlapping pairs of characters. Identifiers are found by
their parts and as a whole: `HTTPServer` gives http, server, httpserver.

Invariants:
 1. Terms are not empty, have no white space, and at most `MAX_TERM_CHARS` characters.
 2. Equal texts give equal terms, whatever was asked before: what is remembered here is only a shortcut.
 3. Any `str` is taken, NUL and lone surrogates too; they part words and vanish.
 4. A topic that `extract` finds in a text is among the `query_terms` of a short question quoting it.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Iterator
from functools import cache, lru_cache
from itertools import pairwise

import mmh3
import msgspec
import Stemmer

MAX_TERM_CHARS = 64
MAX_TOPICS = 24
MAX_QUERY_TERMS = 32

_MEMO_WORDS = 24_576
"""Words remembered, and as many from the generation before. An English writer uses 30,000, mostly the first
5,000; fewer here cost 5 us for each word that has to be worked out again. See benchmarks/footprint.py."""

_LONGEST_NUMBER = 4  # Longer words with digits in them seldom come twice, and would push out those that do.
_MAX_PHRASE_WORDS = 6
_COMMON_WORTH, _USUAL_WORTH, _NAME_WORTH, _MOST_FOR_WORDS = 10, 30, 40, 75


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
_LINK = r"(?:[ \t]+(?:of|the|de|van|von|der|la|and)){0,2}[ \t]+"
_ASCII_NAME = re.compile(rf"[A-Z][\w'-]*(?:{_LINK}[A-Z][\w'-]*)+")
_HASHTAG = re.compile(r"(?<![\w#&/])#(\w[\w-]*)")
_SEAM = re.compile(
    r"[._]+|(?<=\b[cdjlmnstCDJLMNST])['\u2019]|(?<=[a-z0-9]{2})(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z]{2})"
)
_LATIN_ACCENT = re.compile("(?<=[a-z])[\u0300-\u036f]+")
_DENSE = (  # Scripts without spaces between words, and Hangul, whose words carry their particles.
    "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3005-\u3007\u3040-\u30ff\u31f0-\u31ff\u3400-\u4dbf\u4e00-\u9fff"
    "\ua9e0-\ua9ff\uaa60-\uaa7f\uac00-\ud7a3\uf900-\ufaff\U00020000-\U000323af"
)
_DENSE_RUN = re.compile(f"[{_DENSE}]")

_PERCENT = [f"{weight} " for weight in range(101)]

_stem = Stemmer.Stemmer("english", 0).stemWord


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


class _Word(msgspec.Struct, frozen=True, gc=False):
    """What one written word gives. The whole of an identifier comes last; `dense` ones have no whole.

    `worth` is its weight as a topic for each time it is there, in percent. The rest is there for `analyse`,
    which must not loop over the terms of each word: `said` is the terms parted by spaces, `topic` the one
    term of its content, "" for none and `_SEVERAL` for more, `hash` that of its one term or `_NO_HASH`.
    """

    terms: tuple[str, ...]
    content: tuple[str, ...]
    worth: int
    dense: bool
    said: str
    topic: str
    hash: int


_SEVERAL = "more than one"  # No term has a space.
_NO_HASH = 1 << 32


def terms(text: str) -> list[str]:
    """All terms of `text` in order, stop words too; an identifier gives its parts, then itself."""
    return " ".join([word.said for word in _words(text)]).split()


def first_place(text: str, wanted: frozenset[str]) -> int | None:
    """About where the first word that gives a wanted term begins; None where none does."""
    # Most words begin with their stems: those are looked at first, and the others only if none of them is it.
    for pattern in (_beginning_with(wanted), _ASCII_WORD if text.isascii() else _wide_word()):
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
    for word in _words(text):
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


def is_unspaced(text: str) -> bool:
    """Whether there are characters in it that give terms in pairs, as their script has no spaces."""
    return not text.isascii() and _DENSE_RUN.search(text) is not None


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
    words = _words(question)
    singles = list(dict.fromkeys(term for word in words for term in word.content))
    if not singles:
        return list(dict.fromkeys(term for word in words for term in word.terms))[:MAX_QUERY_TERMS]
    pairs = list(dict.fromkeys(_pairs(words)))
    room = max(MAX_QUERY_TERMS - len(pairs), MAX_QUERY_TERMS * 2 // 3)
    return (singles[:room] + pairs)[:MAX_QUERY_TERMS]


def analyse(text: str, *, title: str = "", tags: Iterable[str] = ()) -> Analysis:
    """`terms` of the text and of the title, and the topics of all, in few passes over the words."""
    plain = text if text.isascii() else unicodedata.normalize("NFKC", text)
    words = _words(plain)
    weights: dict[str, int] = {}
    for word in words:
        topic = word.topic
        if topic in weights:
            weights[topic] += word.worth
        else:
            weights[topic] = word.worth
    weights.pop("", None)
    if _SEVERAL in weights:
        del weights[_SEVERAL]
        for word in [word for word in words if word.topic is _SEVERAL]:
            for term in word.content:
                weights[term] = weights.get(term, 0) + word.worth
    for term in [term for term, weight in weights.items() if weight > _MOST_FOR_WORDS]:
        weights[term] = _MOST_FOR_WORDS

    if title:
        for word in _words(title):
            for term in word.content:
                weights[term] = max(weights.get(term, 0), 80 if word.worth > _COMMON_WORTH else 40)
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


def _hashes(words: list[_Word]) -> set[int]:
    hashes = {word.hash for word in words}
    if _NO_HASH in hashes:
        hashes.discard(_NO_HASH)
        hashes.update([mmh3.hash(term) for word in words if word.hash == _NO_HASH for term in word.terms])
    return hashes


def _name_pairs(text: str) -> Iterator[str]:
    """The pairs of neighbours in each proper name of several words."""
    name = _ASCII_NAME if text.isascii() else _wide_name()
    for phrase in name.findall(text):
        yield from _pairs(_words(phrase)[:_MAX_PHRASE_WORDS])


def _label_terms(label: str) -> list[str]:
    """A tag's topics: its words and the pairs of neighbours in it; stop words where it has no others."""
    words = _words(label)[:_MAX_PHRASE_WORDS]
    singles = [term for word in words for term in word.content]
    return [*singles, *_pairs(words)] or [term for word in words for term in word.terms]


def _pairs(words: list[_Word]) -> Iterator[str]:
    """Neighbours among the words that are no stop words, joined by a space."""
    heads = [word.content[-1] for word in words if word.content and not word.dense]
    return (f"{left} {right}" for left, right in pairwise(heads) if left != right)


class _Memo(dict[str, _Word]):
    """Words by their spelling, those of ASCII texts with a dot or an apostrophe at their ends, too.

    Filled as it is asked, so that a whole text is looked up without a step of ours for each word.
    """

    def __init__(self) -> None:
        self._older: dict[str, _Word] = {}

    def __missing__(self, raw: str) -> _Word:
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


def _words(text: str) -> list[_Word]:
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
    return _wide_word().findall(unicodedata.normalize("NFKC", text))


def _understand(raw: str) -> _Word:
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


def _word(terms: tuple[str, ...], content: tuple[str, ...], worth: int, *, dense: bool = False) -> _Word:
    topic = "" if not content or not worth else content[0] if len(content) == 1 else _SEVERAL
    number = mmh3.hash(terms[0]) if len(terms) == 1 else _NO_HASH
    return _Word(terms, content, worth, dense, " ".join(terms), topic, number)


_NOTHING = _word((), (), 0)


def _plain_word(raw: str, whole: str) -> _Word:
    single = (_term(whole),)
    if whole in _STOP or (len(whole) == 1 and raw.isascii() and raw.islower()):
        return _word(single, (), 0)
    if whole in _COMMON or whole.isdecimal():
        return _word(single, single, _COMMON_WORTH)
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
    for run in _dense_split().findall(raw):
        if not _DENSE_RUN.match(run):
            yield from _understand(run).terms
            continue
        clusters = _cluster().findall(_fold(run))
        if len(clusters) == 1:
            yield clusters[0][:MAX_TERM_CHARS]
        for left, right in pairwise(clusters):
            yield (left + right)[:MAX_TERM_CHARS]


@cache
def _characters(*categories: str) -> str:
    """Those of the Unicode categories as the inside of a character class; `re` has none for them."""
    ranges: list[list[int]] = []
    for code in (*range(0x80, 0xD800), *range(0xE000, 0x1F000)):
        if unicodedata.category(chr(code)) in categories:
            if ranges and ranges[-1][1] == code - 1:
                ranges[-1][1] = code
            else:
                ranges.append([code, code])
    return "".join(f"{chr(first)}-{chr(last)}" for first, last in ranges)


@cache
def _marks() -> str:
    return _characters("Mn", "Mc", "Me")


@cache
def _wide_name() -> re.Pattern[str]:
    name = rf"[A-Z{_characters('Lu', 'Lt')}][\w{_marks()}'-]*"
    return re.compile(rf"\b{name}(?:{_LINK}{name})+")


@cache
def _wide_word() -> re.Pattern[str]:
    letter = rf"[\w{_marks()}\u00ad\u200c\u200d]"
    return re.compile(rf"{letter}+(?:['.\u2019]{letter}+)*")


@cache
def _dense_split() -> re.Pattern[str]:
    return re.compile(f"[{_DENSE}][{_DENSE}{_marks()}]*|[^{_DENSE}]+")


@cache
def _cluster() -> re.Pattern[str]:
    return re.compile(f".[{_marks()}]*", re.DOTALL)
