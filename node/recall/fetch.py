"""Texts by their paths, packed into a budget: the second phase of recall, see `node.recall.survey`.

Invariants
1. The joined text is at most `budget_tokens`, counted by cl100k as one text, separators and all.
2. Where all fit, all are whole. Where they do not, the short ones are, and the others are cut to equal
   shares, and marked. Only where a share would be a shred the last ones are left out, and named.
3. Memories come in the order asked for. Equal inputs give equal outputs.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate

import msgspec

from node.memory.records import MAX_PAGE, Memory, check_count, check_path, check_query
from node.memory.store import Store
from node.recall import tokens
from node.recall.excerpt import cut, excerpt
from node.recall.pack import block_of
from node.recall.recall import Item, Recall
from node.recall.tokens import SEPARATOR
from protocol.errors import InvalidInput, NotFound
from protocol.topics import query_terms

MIN_SHARE_TOKENS = 16
"""The least that a memory is cut to. Lower brings more of them, and less of each."""

_SEPARATOR_TOKENS = 1
_MAX_SLACK = 16  # Two texts joined may be more tokens than both apart, if rarely and by few.


class _Wanted(msgspec.Struct, frozen=True):
    memory: Memory
    block: str
    tokens: int


def fetch(store: Store, paths: Sequence[str], budget_tokens: int, *, about: str = "") -> Recall:
    """The memories at `paths` in at most `budget_tokens`, what is too long cut to what it says `about` that.

    A path where nothing is remembered is named in the notes. Raises NotFound where that is so of all,
    InvalidInput where one is no path.
    """
    check_count("budget_tokens", budget_tokens)
    chosen = _checked(paths)
    terms = query_terms(check_query(about)) if about else []
    before = store.statistics()
    wanted: list[_Wanted] = []
    notes: list[str] = []
    for path in chosen:
        try:
            memory = store.read(path)
        except NotFound as error:
            notes.append(str(error))
            continue
        block = block_of(memory.title, memory.text)
        wanted.append(_Wanted(memory, block, tokens.count(block)))
    if not wanted:
        raise NotFound("; ".join(notes))
    after = store.statistics()
    hits, misses = after.cache_hits - before.cache_hits, after.cache_misses - before.cache_misses
    items = _packed(wanted, terms, budget_tokens)
    if left_out := [one.memory.path for one in wanted[len(items) :]]:
        notes.append(f"no room for {', '.join(left_out)}")
    text = SEPARATOR.join(item.text for item in items)
    return Recall(
        text=text,
        items=tuple(items),
        tokens=tokens.count(text) if text else 0,
        budget_tokens=budget_tokens,
        hops={"cache": hits, "sqlite": misses, "fts": 0, "vector": 0},
        notes=tuple(notes),
    )


def shares(sizes: Sequence[int], budget: int) -> list[int]:
    """What each of these gets of a budget: what it needs, or as much as any other that lacks room."""
    given = [0] * len(sizes)
    left = budget
    order = sorted(range(len(sizes)), key=lambda at: (sizes[at], at))
    for place, at in enumerate(order):
        given[at] = min(sizes[at], left // (len(order) - place))
        left -= given[at]
    return given


def _packed(wanted: Sequence[_Wanted], terms: Sequence[str], budget: int) -> list[Item]:
    least = accumulate(min(one.tokens, MIN_SHARE_TOKENS) + _SEPARATOR_TOKENS for one in wanted)
    most = max(1, sum(needed <= budget + _SEPARATOR_TOKENS for needed in least))
    for count in range(most, 0, -1):
        for slack in range(min(_MAX_SLACK, budget)):
            room = budget - slack - (count - 1) * _SEPARATOR_TOKENS
            given = shares([one.tokens for one in wanted[:count]], room)
            items = [_item(one, terms, got) for one, got in zip(wanted, given, strict=False)]
            text = SEPARATOR.join(item.text for item in items)
            if all(item.text for item in items) and tokens.count_within(text, budget) is not None:
                return items
    return []


def _item(one: _Wanted, terms: Sequence[str], room: int) -> Item:
    whole = one.tokens <= room
    text = one.block if whole else excerpt(one.block, terms, room) or cut(one.block, room)
    return Item(
        agent=one.memory.agent,
        path=one.memory.path,
        version=one.memory.version,
        title=one.memory.title,
        text=text,
        tokens=one.tokens if whole else tokens.count(text),
        score=0.0,
        source="path",
        cut=not whole,
    )


def _checked(paths: Sequence[str]) -> list[str]:
    if isinstance(paths, str) or not paths:
        raise InvalidInput("paths", f"{paths!r} is no list of them", "give one path or more")
    if len(paths) > MAX_PAGE:
        raise InvalidInput("paths", f"are {len(paths)}", f"give at most {MAX_PAGE}")
    return list(dict.fromkeys(map(check_path, paths)))
