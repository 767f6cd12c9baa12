"""Recall in two phases: a survey tells what there is and what it costs, `fetch` brings the texts chosen.

Invariants
1. The text of a survey is at most `budget_tokens`, counted by cl100k; `tokens` is its exact count.
2. Memories come in the order of `recall`, one a line, near-duplicates left out; those that no longer fit are
   counted in `omitted`. The first one is listed wherever its path, its cost and a word fit.
3. What is said to cost n tokens is n tokens when it is fetched whole.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from node.memory.records import check_count
from node.memory.store import Store
from node.recall import tokens
from node.recall.excerpt import cut, excerpt
from node.recall.fuse import Candidate, say_the_same, terms_of
from node.recall.pack import block_of
from node.recall.recall import NOTHING_FITS, NOTHING_MATCHED, Understand, ranked

SUMMARY_TOKENS = 28
"""Of one line, its path and cost aside. More tells more of each memory and lists fewer."""

_RANKED_FOR_TOKENS = 1000  # The order is that of a recall of this budget, the default one.
_SUMMARY_CHARS = 20_000  # Of a longer text its beginning is summarised.


class Entry(msgspec.Struct, frozen=True, kw_only=True):
    """A memory in a survey: what it says of the question in one line, and its tokens when fetched whole.

    Scores compare within one survey.
    """

    path: str
    version: int
    title: str
    summary: str
    tokens: int
    score: float


class Survey(msgspec.Struct, frozen=True, kw_only=True):
    """A listing to choose from, and how many more matched; `hops` counts look-ups by stage."""

    text: str
    entries: tuple[Entry, ...]
    tokens: int
    budget_tokens: int
    omitted: int
    hops: dict[str, int]
    notes: tuple[str, ...] = ()


def survey(store: Store, query: str, budget_tokens: int, *, understand: Understand | None = None) -> Survey:
    """What `store` knows of `query`, a line for each memory, in at most `budget_tokens`."""
    check_count("budget_tokens", budget_tokens)
    wanted, gathered, candidates = ranked(store, query, _RANKED_FOR_TOKENS, understand=understand)
    entries: list[Entry] = []
    lines: list[str] = []
    listed: list[frozenset[str]] = []
    omitted, full = 0, False
    for candidate in candidates:
        held = terms_of(block_of(candidate.title, candidate.text))
        if any(say_the_same(held, other) for other in listed):
            continue
        listed.append(held)
        if full:
            omitted += 1
            continue
        entry = _entry(candidate, wanted)
        if not entries:  # Something matched: a short budget gets a short summary rather than none.
            entry = _shortened(entry, budget_tokens)
        line = _line(entry)
        if tokens.count_within("\n".join([*lines, line]), budget_tokens) is None:
            full = True
            omitted += 1
            continue
        entries.append(entry)
        lines.append(line)
    text = "\n".join(lines)
    return Survey(
        text=text,
        entries=tuple(entries),
        tokens=tokens.count(text) if text else 0,
        budget_tokens=budget_tokens,
        omitted=omitted,
        hops=gathered.hops,
        notes=() if entries else (NOTHING_FITS if omitted else NOTHING_MATCHED,),
    )


def _shortened(entry: Entry, budget_tokens: int) -> Entry:
    head, line = _head(entry), tokens.cut_at(_line(entry), budget_tokens)
    return msgspec.structs.replace(entry, summary=line[len(head) :]) if line.startswith(head) else entry


def _head(entry: Entry) -> str:
    return f"{entry.path} ({entry.tokens} tokens): "


def _line(entry: Entry) -> str:
    return f"{_head(entry)}{entry.summary}"


def _entry(candidate: Candidate, wanted: Sequence[str]) -> Entry:
    return Entry(
        path=candidate.path,
        version=candidate.version,
        title=candidate.title,
        summary=summary(candidate.title, candidate.text, wanted),
        tokens=tokens.count(block_of(candidate.title, candidate.text)),
        score=candidate.score,
    )


def summary(title: str, text: str, wanted: Sequence[str]) -> str:
    """The title and what the text says of the terms wanted, on one line of about `SUMMARY_TOKENS`."""
    title, text = " ".join(title.split()), text[:_SUMMARY_CHARS].strip()
    if not title or text.startswith(title):
        return " ".join(excerpt(text, wanted, SUMMARY_TOKENS).split())
    if tokens.count_within(title, SUMMARY_TOKENS // 2) is None:
        title = cut(title, SUMMARY_TOKENS // 2)
    told = excerpt(text, wanted, SUMMARY_TOKENS - tokens.count(title) - 1)
    return " ".join(f"{title}: {told}".split())
