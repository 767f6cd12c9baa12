"""The best sentences of a text that is too long to be quoted whole; what was left out is marked."""

from __future__ import annotations

import re
from collections.abc import Sequence

from node.recall import tokens
from protocol.words import terms

MARK = "…"
MAX_EXCERPTED_CHARS = 200_000  # Of a longer text the beginning; all of 1 MiB would take a third of a second.

_STOPS = ".!?\u061f\u0964"  # Also an Arabic question mark and a danda: they end a sentence before a space.
_FULL_STOPS = "\u3002\uff01\uff1f"  # Chinese and Japanese: ends wherever they stand.
_SENTENCE = re.compile(
    rf"[^{_STOPS}{_FULL_STOPS}\n]*(?:[{_STOPS}]+(?=\s|$)|[{_FULL_STOPS}]+|\n+|$|[{_STOPS}]+)"
)
_MARK_TOKENS = 1  # Joining is checked exactly at the end; this only keeps most first tries within the budget.


def sentences(text: str) -> list[str]:
    """The sentences and lines of `text`, without the white space around them."""
    parts: list[str] = []
    start = 0
    for found in _SENTENCE.finditer(text):
        end = found.end()
        # A full stop within a word, as in 3.11 or node.memory, ends no sentence.
        if end < len(text) and text[end - 1 : end] in _STOPS and not text[end].isspace():
            continue
        parts.append(text[start:end].strip())
        start = end
    return [part for part in parts if part]


def excerpt(text: str, wanted: Sequence[str], budget_tokens: int) -> str:
    """The sentences with most of the wanted terms, in their order, at most `budget_tokens` with all marks.

    Where sentences are equal the earlier one is taken; what room is left goes to the neighbours of the best.
    Where not one sentence fits, the best is cut at a word. Empty only where the budget holds no word.
    """
    if tokens.count_within(text, budget_tokens) is not None:
        return text
    parts = sentences(text[:MAX_EXCERPTED_CHARS])
    asked = frozenset(part for term in wanted for part in term.split(" "))
    scores = [len(asked.intersection(terms(part))) for part in parts]
    best = min(range(len(parts)), key=lambda at: (-scores[at], at), default=0)
    order = sorted(range(len(parts)), key=lambda at: (-scores[at], abs(at - best), at))

    chosen: list[int] = []
    left = budget_tokens - 2 * _MARK_TOKENS
    for at in order:
        size = tokens.count_within(parts[at], left)
        if size is not None:
            chosen.append(at)
            left -= size
        elif not chosen:
            break  # The best one does not fit: a part of it says more than others whole.
        if left <= 0:
            break
    while chosen:
        joined = _join(parts, sorted(chosen))
        if tokens.count_within(joined, budget_tokens) is not None:
            return joined
        chosen.pop()
    return cut(parts[best] if parts else text, budget_tokens)


def cut(text: str, budget_tokens: int) -> str:
    """The beginning of `text`, cut at a word and marked, at most `budget_tokens` with the mark.

    Where a word fits and its mark does not, the word alone.
    """
    for room in range(budget_tokens - 1, 0, -1):
        piece = tokens.cut_at(text, room)
        marked = f"{piece} {MARK}" if piece[-1:].isascii() else f"{piece}{MARK}"
        if piece and tokens.count_within(marked, budget_tokens) is not None:
            return marked
    return tokens.cut_at(text, budget_tokens)


def _join(parts: Sequence[str], chosen: Sequence[int]) -> str:
    pieces = [] if chosen[0] == 0 else [MARK]
    for before, at in zip((chosen[0] - 1, *chosen), chosen, strict=False):
        if at != before + 1:
            pieces.append(MARK)
        pieces.append(parts[at])
    if chosen[-1] != len(parts) - 1:
        pieces.append(MARK)
    return " ".join(pieces)
