"""Tokens as cl100k counts them, offline. Loaded at the first count: 50 ms and 33 MiB a node may never need.

The counter is the compiled half of `bpe_openai`, taken without the package around it, which would load every
encoding it knows (62 MiB more).
"""

from __future__ import annotations

import importlib.machinery
import importlib.util
from functools import cache, lru_cache
from typing import Protocol, cast

ENCODING = "cl100k_base"

SEPARATOR = "\n\n"
"""What stands between two texts that are quoted together; it takes a token of its own behind a word."""

_SIGNS = "!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~"
_CHARS_A_TOKEN = 16  # More than any text but runs of white space has: a prefix of so many is enough to cut.


class _Counter(Protocol):
    def count(self, text: str) -> int: ...
    def count_till_limit(self, text: str, token_limit: int) -> int | None: ...
    def encode(self, text: str) -> list[int]: ...
    def decode(self, tokens: list[int]) -> str: ...


def is_loaded() -> bool:
    """Whether something was counted before."""
    return _counter.cache_info().currsize > 0


def count(text: str) -> int:
    """How many tokens `text` is."""
    return _counter().count(text)


def count_within(text: str, limit: int) -> int | None:
    """How many tokens `text` is, or None where it is more than `limit`; stops counting there."""
    return None if limit < 0 else _counter().count_till_limit(text, limit)


def count_before_separator(text: str, alone: int) -> int:
    """How many tokens `text` is where `SEPARATOR` follows, if it is `alone` by itself.

    The encoding cuts a text into pieces before it merges bytes, and a piece ends behind a run of line ends.
    So texts without white space around them, joined by `SEPARATOR`, are together the sum of this over all but
    the last, and of `count` of the last. Only the last piece of a text takes the line ends in: signs do,
    letters and digits do not.
    """
    last = text[-1:]
    if last.isascii() and last.isalnum():
        return alone + 1
    before = text.rstrip(_SIGNS)
    signs = text[len(before) :]
    # What ends with a character beyond ASCII, or has one before its signs, is counted anew: letter or sign?
    if not signs or not before[-1:].isascii():
        return count(text + SEPARATOR)
    return alone + _joint(f" {signs}" if before.endswith(" ") else signs)


@lru_cache(maxsize=4096)
def _joint(signs: str) -> int:
    return count(signs + SEPARATOR) - count(signs)


def cut_at(text: str, budget_tokens: int) -> str:
    """The longest beginning of `text` within the budget, give or take a word; it ends with a whole word.

    Only where not even one word fits it ends within a word; where not even a character fits it is empty.
    """
    if budget_tokens <= 0:
        return ""
    if count_within(text, budget_tokens) is not None:
        return text
    counter = _counter()
    encoded = counter.encode(text[: budget_tokens * _CHARS_A_TOKEN])
    for kept in range(min(budget_tokens, len(encoded)), 0, -1):
        try:
            piece = counter.decode(encoded[:kept])
        except (ValueError, UnicodeError):
            continue  # The cut fell into the bytes of one character.
        piece = _common_beginning(piece, text)
        whole = _end_with_a_word(piece, text)
        # A beginning may be cut into other tokens than the whole was.
        for candidate in (whole, piece.rstrip()):
            if candidate and count_within(candidate, budget_tokens) is not None:
                return candidate
    return ""


def _common_beginning(piece: str, text: str) -> str:
    return piece if text.startswith(piece) else piece.rstrip("\ufffd")


def _end_with_a_word(piece: str, text: str) -> str:
    following = text[len(piece) : len(piece) + 1]
    if not following or following.isspace() or not (following.isalnum() and piece[-1:].isalnum()):
        return piece.rstrip()
    if not following.isascii():
        return piece  # Scripts without spaces have no better place to cut.
    shorter = piece.rsplit(None, 1)
    return shorter[0] if len(shorter) == 2 else piece


@cache
def _counter() -> _Counter:
    package = importlib.util.find_spec("bpe_openai")
    if package is None or package.submodule_search_locations is None:
        raise ImportError("bpe_openai is not installed; reinstall avm-mesh")
    spec = importlib.machinery.PathFinder.find_spec(
        "bpe_openai._bindings", list(package.submodule_search_locations)
    )
    if spec is None or spec.loader is None:
        raise ImportError("bpe_openai has no compiled half; reinstall it")
    bindings = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(bindings)
    return cast(_Counter, bindings.tokenizer_for_encoding(ENCODING))
