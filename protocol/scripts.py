"""Which characters make words, in every script: patterns that Python's `re` has no names for.

They are compiled where a text that is not ASCII first asks for them.
"""

from __future__ import annotations

import re
import unicodedata
from functools import cache

_DENSE = (  # Scripts without spaces between words, and Hangul, whose words carry their particles.
    "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3005-\u3007\u3040-\u30ff\u31f0-\u31ff\u3400-\u4dbf\u4e00-\u9fff"
    "\ua9e0-\ua9ff\uaa60-\uaa7f\uac00-\ud7a3\uf900-\ufaff\U00020000-\U000323af"
)
DENSE_RUN = re.compile(f"[{_DENSE}]")


def is_unspaced(text: str) -> bool:
    """Whether there are characters in it that give terms in pairs, as their script has no spaces."""
    return not text.isascii() and DENSE_RUN.search(text) is not None


@cache
def wide_word() -> re.Pattern[str]:
    """A word of any script; dots and apostrophes inside it part none."""
    letter = rf"[\w{marks()}\u00ad\u200c\u200d]"
    return re.compile(rf"{letter}+(?:['.\u2019]{letter}+)*")


@cache
def dense_split() -> re.Pattern[str]:
    """Runs of characters without spaces between words, and what stands between such runs."""
    return re.compile(f"[{_DENSE}][{_DENSE}{marks()}]*|[^{_DENSE}]+")


@cache
def cluster() -> re.Pattern[str]:
    """A character with its marks."""
    return re.compile(f".[{marks()}]*", re.DOTALL)


@cache
def characters(*categories: str) -> str:
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
def marks() -> str:
    """Combining marks, which are part of the character before."""
    return characters("Mn", "Mc", "Me")
