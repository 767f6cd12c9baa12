"""Packing: the best that fit, whole where they can, into a budget that is never exceeded.

Invariants:
 1. The joined text is at most `budget_tokens`, counted as one text, separators and all.
 2. Something is quoted whenever there was a candidate and the budget holds one word of it.
 3. Equal inputs give equal outputs.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import msgspec

from node.recall import tokens
from node.recall.excerpt import cut, excerpt
from node.recall.fuse import Candidate, say_the_same, terms_of

SEPARATOR = "\n\n"
MIN_EXCERPT_TOKENS = 24
"""Room from which the rest of a budget is filled with an excerpt. Lower quotes shreds, higher wastes room."""

_NEARLY_FULL = (
    50  # With less than this part of the budget left, hardly anything fits, and all of it is tried.
)
_MOST_CHARS_A_TOKEN = (
    8  # A text with more, which is mostly white space, may be taken for one that does not fit.
)
_SEPARATOR_TOKENS = 1
_MIN_TITLED_TOKENS = 16


class Packed(msgspec.Struct, frozen=True, kw_only=True):
    """What is quoted of a candidate; `by_words`: its title or text holds a term of the question."""

    candidate: Candidate
    text: str
    tokens: int
    by_words: bool
    cut: bool


def pack(candidates: Iterable[Candidate], wanted: Sequence[str], budget_tokens: int) -> list[Packed]:
    """Choose what to quote: in the order given, near-duplicates and what no longer fits skipped.

    Of the first one the best sentences are taken where the whole does not fit; what room is left in the end
    goes to the best sentences of the first one that was skipped.
    """
    asked = frozenset(part for term in wanted for part in term.split(" "))
    packed: list[Packed] = []
    quoted: list[frozenset[str]] = []
    skipped: list[Candidate] = []
    left = budget_tokens

    def quote(candidate: Candidate, text: str, held: frozenset[str], *, whole: bool) -> int:
        by_words = not asked.isdisjoint(held)
        size = tokens.count(text)
        packed.append(
            Packed(
                candidate=candidate, text=text, tokens=size, by_words=by_words, cut=candidate.cut or not whole
            )
        )
        quoted.append(held)
        return size + _SEPARATOR_TOKENS

    for candidate in candidates:
        if packed and left < max(2, budget_tokens // _NEARLY_FULL):
            break
        block = _whole(candidate)
        fits = len(block) <= left * _MOST_CHARS_A_TOKEN and tokens.count_within(block, left) is not None
        if packed and not fits:
            skipped.append(candidate)
            continue
        held = terms_of(block)  # The title, too: the same word under two titles is two memories.
        if any(say_the_same(held, other) for other in quoted):
            continue
        if fits:
            left -= quote(candidate, block, held, whole=True)
        elif block := _excerpt(candidate, wanted, left):
            # The best is never dropped for what is shorter.
            left -= quote(candidate, block, held, whole=False)
    if left >= MIN_EXCERPT_TOKENS:
        for candidate in skipped:
            held = terms_of(_whole(candidate))
            if not any(say_the_same(held, other) for other in quoted):
                if block := _excerpt(candidate, wanted, left):
                    quote(candidate, block, held, whole=False)
                break
    # Two texts joined may be more tokens than both apart, if rarely.
    while len(packed) > 1 and tokens.count_within(join(packed), budget_tokens) is None:
        packed.pop()
    return packed


def join(packed: Sequence[Packed]) -> str:
    """The text an agent reads."""
    return SEPARATOR.join(one.text for one in packed)


def _whole(candidate: Candidate) -> str:
    text, title = candidate.text.strip(), candidate.title.strip()
    return text if not title or text.startswith(title) else f"{title}\n{text}"


def _excerpt(candidate: Candidate, wanted: Sequence[str], budget_tokens: int) -> str:
    title = candidate.title.strip()
    text = candidate.text.strip()
    if title and not text.startswith(title):
        room = budget_tokens - tokens.count(title) - 1
        if room >= _MIN_TITLED_TOKENS:
            titled = f"{title}\n{excerpt(text, wanted, room)}"
            if tokens.count_within(titled, budget_tokens) is not None:
                return titled
    return excerpt(text, wanted, budget_tokens) or cut(text, budget_tokens)
