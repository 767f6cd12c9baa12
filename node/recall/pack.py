"""Packing: the best that fit, whole where they can, into a budget that is never exceeded.

Invariants:
 1. The joined text is at most `budget_tokens`, counted as one text, separators and all.
 2. Something is quoted whenever there was a candidate and the budget holds one word of it.
 3. Equal inputs give equal outputs.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import msgspec

from node.memory.sizes import Size
from node.memory.topic_index import Wanted
from node.recall import tokens
from node.recall.excerpt import cut, excerpt
from node.recall.fuse import Candidate, may_say_the_same, say_the_same, terms_of
from node.recall.tokens import SEPARATOR
from protocol.words import first_place

MIN_EXCERPT_TOKENS = 24
"""Room from which the rest of a budget is filled with an excerpt. Lower quotes shreds, higher wastes room."""

_NEARLY_FULL = 50
"""With less than this part of the budget left, hardly anything fits, and all of it is tried."""

_MOST_CHARS_A_TOKEN = 8
"""A text with more, which is mostly white space, may be taken for one that does not fit."""

_MIN_TITLED_TOKENS = 16
_LOOKED_THROUGH_CHARS = 65_536  # For a word of the question.


class Packed(msgspec.Struct, frozen=True, kw_only=True):
    """What is quoted of a candidate; `by_words`: its title or text holds a term of the question; `by_topic`:
    one is among its topics."""

    candidate: Candidate
    text: str
    tokens: int
    by_words: bool
    by_topic: bool
    cut: bool


class Pack:
    """A budget being filled."""

    def __init__(self, wanted: Sequence[str], budget_tokens: int) -> None:
        self.packed: list[Packed] = []
        self.tokens = 0
        self._wanted = wanted
        self._topics = Wanted(wanted)
        self._asked = frozenset(part for term in wanted for part in term.split(" "))
        self._budget_tokens = budget_tokens
        self._with_separators = 0
        self._quoted: list[tuple[Candidate, str]] = []
        self._terms: dict[str, frozenset[str]] = {}
        self.counted: list[tuple[int, Size]] = []
        """Sizes that were not known, by version id, of candidates quoted whole."""

    @property
    def left(self) -> int:
        """Tokens that the next text may have."""
        return self._budget_tokens - self._with_separators

    @property
    def text(self) -> str:
        """What an agent reads."""
        return SEPARATOR.join(one.text for one in self.packed)

    def is_known(self, candidate: Candidate, block: str) -> bool:
        """Whether something that says the same is quoted already."""
        return any(
            may_say_the_same(candidate, other) and say_the_same(self._held(block), self._held(known))
            for other, known in self._quoted
        )

    def size_within(self, candidate: Candidate, block: str) -> int | None:
        """Its tokens, or None where it does not fit."""
        if candidate.size is not None:
            return candidate.size.alone if candidate.size.alone <= self.left else None
        if len(block) > self.left * _MOST_CHARS_A_TOKEN:
            return None
        return tokens.count_within(block, self.left)

    def quote_whole(self, candidate: Candidate, block: str, alone: int) -> None:
        """Quote what fits as it is."""
        size = candidate.size
        if size is None:
            size = Size(alone, tokens.count_before_separator(block, alone))
            self.counted.append((candidate.id, size))
        self._quote(candidate, block, block, size)

    def quote_part(self, candidate: Candidate, block: str) -> None:
        """Quote its best sentences, as many as fit."""
        if part := _excerpt(candidate, self._wanted, self.left):
            alone = tokens.count(part)
            self._quote(candidate, block, part, Size(alone, tokens.count_before_separator(part, alone)))

    def _quote(self, candidate: Candidate, block: str, part: str, size: Size) -> None:
        self.packed.append(
            Packed(
                candidate=candidate,
                text=part,
                tokens=size.alone,
                by_topic=candidate.by_topic or self._topics.count_among(candidate.topics) > 0,
                by_words=first_place(block[:_LOOKED_THROUGH_CHARS], self._asked) is not None,
                cut=candidate.cut or part is not block,
            )
        )
        self._quoted.append((candidate, block))
        self.tokens = self._with_separators + size.alone
        self._with_separators += size.before_another

    def _held(self, block: str) -> frozenset[str]:
        held = self._terms.get(block)
        if held is None:
            held = self._terms[block] = terms_of(block)
        return held


def pack(candidates: Iterable[Candidate], wanted: Sequence[str], budget_tokens: int) -> Pack:
    """Choose what to quote: in the order given, near-duplicates and what no longer fits skipped.

    Of the first one the best sentences are taken where the whole does not fit; what room is left in the end
    goes to the best sentences of the first one that was skipped.
    """
    made = Pack(wanted, budget_tokens)
    skipped: list[tuple[Candidate, str]] = []
    for candidate in candidates:
        if made.packed and made.left < max(2, budget_tokens // _NEARLY_FULL):
            break
        block = block_of(
            candidate.title, candidate.text
        )  # With the title: the same word under two titles is two memories.
        size = made.size_within(candidate, block)
        if size is not None:
            if not made.is_known(candidate, block):
                made.quote_whole(candidate, block, size)
        elif made.packed:
            skipped.append((candidate, block))
        else:
            made.quote_part(candidate, block)  # The best is never dropped for what is shorter.
    if made.left >= MIN_EXCERPT_TOKENS:
        for candidate, block in skipped:
            if not made.is_known(candidate, block):
                made.quote_part(candidate, block)
                break
    return made


def block_of(title: str, text: str) -> str:
    """A memory as it is quoted: its title, where the text does not begin with it, and its text."""
    title, text = title.strip(), text.strip()
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
