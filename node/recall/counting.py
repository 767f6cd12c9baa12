"""Sizes in tokens, worked out before they are asked for: a recall that knows them packs without counting."""

from __future__ import annotations

from node.memory.sizes import Size
from node.memory.store import Store
from node.recall import tokens
from node.recall.pack import block_of

AT_ONCE = 64
"""Versions looked at in one step, 5 ms."""


def count_some(store: Store) -> bool:
    """Count the next versions whose size is not known; whether there are more.

    Does nothing before the counter was loaded by somebody who needed it: it takes 33 MiB.
    """
    first, last = store.sizes.known_up_to + 1, store.last_id
    if first > last or not tokens.is_loaded():
        return False
    end = min(first + AT_ONCE, last + 1)
    for one in store.lookup.fetch(range(first, end)):
        if store.sizes.get(one.id) is None:
            store.sizes.put(one.id, size_of(block_of(one.title, one.text)))
    store.sizes.known_up_to = end - 1
    return end <= last


def size_of(block: str) -> Size:
    """Of a memory as it is quoted."""
    alone = tokens.count(block)
    return Size(alone, tokens.count_before_separator(block, alone))
