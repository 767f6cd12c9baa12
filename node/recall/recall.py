"""Recall: a question in, the memories that answer it out, packed into a budget of tokens.

Invariants:
 1. `Recall.text` is at most `budget_tokens`, counted by cl100k; `tokens` is its exact count.
 2. What `visibilities` leaves out is left out before ranking: nothing of it shows, not even by its absence
    from the budget. (How common a word is, is counted over all memories; see node.memory.search.)
 3. Equal stores and questions give equal answers.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence

import msgspec

from node.encoder.meaning import Meaning
from node.memory.records import check_count, check_query
from node.memory.store import Store
from node.recall.candidates import Gathered, Reason, gather
from node.recall.fuse import Candidate, fuse, pool
from node.recall.pack import Pack, Packed, pack
from protocol.topics import query_terms

Understand = Callable[[str], Meaning | None]
"""What a question means beside the memories' vectors; None where that is not known now."""

NOTHING_MATCHED = "nothing remembered holds a word of the question"
NOTHING_FITS = "the budget is too small for a single word of what matched"


class Item(msgspec.Struct, frozen=True, kw_only=True):
    """A memory quoted. `source` tells how it was found: words, topic, words+topic, context (its meaning, or
    its place beside one that was found), or path where it was fetched; `cut` marks an excerpt.

    `tokens` is the item alone; scores compare within one recall.
    """

    agent: str
    path: str
    version: int
    title: str
    text: str
    tokens: int
    score: float
    source: str
    cut: bool


class Recall(msgspec.Struct, frozen=True, kw_only=True):
    """An answer: the text to read, what it quotes in that order, and what it took.

    `hops` counts look-ups by stage: `fts` in the index, with the rows of what that found, `sqlite` of other
    rows. `silent_peers` names who was asked and did not answer in time.
    """

    text: str
    items: tuple[Item, ...]
    tokens: int
    budget_tokens: int
    hops: dict[str, int]
    silent_peers: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    reasons: tuple[Reason, ...] = ()


def recall(
    store: Store,
    query: str,
    budget_tokens: int,
    *,
    visibilities: Collection[str] | None = None,
    understand: Understand | None = None,
    explain: bool = False,
) -> Recall:
    """What `store` knows of `query`, in at most `budget_tokens`; only memories of `visibilities` if given.

    Never empty while something matched and one word of it fits: then the best is cut, and marked. With
    `explain` the reasons of all candidates come along, the best first.
    """
    check_count("budget_tokens", budget_tokens)
    wanted, gathered, candidates = ranked(
        store, query, budget_tokens, visibilities=visibilities, understand=understand
    )
    made = pack(candidates, wanted, budget_tokens)
    for at, size in made.counted:
        store.sizes.put(at, size)
    answer = _answer(made, budget_tokens, hops=gathered.hops, matched=bool(candidates))
    if not explain:
        return answer
    return msgspec.structs.replace(answer, reasons=gathered.signs.reasons(gathered.found))


def ranked(
    store: Store,
    query: str,
    budget_tokens: int,
    *,
    visibilities: Collection[str] | None = None,
    understand: Understand | None = None,
) -> tuple[list[str], Gathered, list[Candidate]]:
    """The terms of the question, what was gathered for it, and that as candidates, best first."""
    wanted = query_terms(check_query(query))
    meaning = understand(query) if understand is not None else None
    gathered = gather(store, wanted, budget_tokens, visibilities, meaning)
    return (
        wanted,
        gathered,
        fuse(gathered.found, gathered.scores, wanted, agent=store.agent, sizes=store.sizes.get),
    )


def merge(
    query: str,
    parts: Iterable[Sequence[Item]],
    budget_tokens: int,
    *,
    hops: dict[str, int] | None = None,
    silent_peers: tuple[str, ...] = (),
    notes: tuple[str, ...] = (),
) -> Recall:
    """Items of several owners as one answer: ranked again together, near-duplicates dropped, one budget.

    Every owner is treated alike; the order of `parts` does not matter. Of one memory told twice, the longer
    telling of its latest version is kept.
    """
    check_count("budget_tokens", budget_tokens)
    wanted = query_terms(check_query(query))
    told: dict[tuple[str, str], Item] = {}
    for item in sorted((item for part in parts for item in part), key=_telling):
        told[item.agent, item.path] = item
    candidates = pool(map(_candidate, told.values()), wanted)
    return _answer(
        pack(candidates, wanted, budget_tokens),
        budget_tokens,
        hops=dict(hops or {}),
        matched=bool(candidates),
        silent_peers=silent_peers,
        notes=notes,
    )


def _answer(
    made: Pack,
    budget_tokens: int,
    *,
    hops: dict[str, int],
    matched: bool,
    silent_peers: tuple[str, ...] = (),
    notes: tuple[str, ...] = (),
) -> Recall:
    if not made.packed:
        notes = (*notes, NOTHING_FITS if matched else NOTHING_MATCHED)
    return Recall(
        text=made.text,
        items=tuple(map(_item, made.packed)),
        tokens=made.tokens,
        budget_tokens=budget_tokens,
        hops=hops,
        silent_peers=silent_peers,
        notes=notes,
    )


def _item(packed: Packed) -> Item:
    one = packed.candidate
    sources = [name for name, holds in (("words", packed.by_words), ("topic", packed.by_topic)) if holds]
    return Item(
        agent=one.agent,
        path=one.path,
        version=one.version,
        title=one.title,
        text=packed.text,
        tokens=packed.tokens,
        score=one.score,
        source="+".join(sources) or "context",
        cut=packed.cut,
    )


def _candidate(item: Item) -> Candidate:
    return Candidate(
        agent=item.agent,
        path=item.path,
        version=item.version,
        title=item.title,
        text=item.text,
        score=item.score,
        by_topic="topic" in item.source,
        cut=item.cut,
    )


def _telling(item: Item) -> tuple[int, int, str, float, str, str, bool]:
    """A total order over all that an answer shows, so that equal tellings are equal whatever came first."""
    return item.version, len(item.text), item.text, item.score, item.title, item.source, not item.cut
