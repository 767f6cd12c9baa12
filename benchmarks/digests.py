"""What a digest costs and how often it errs, at 50, 500 and 5,000 topics.

Several agents each announce so many topics of their own. Looked up is every topic that was announced, which
must be found, and many that nobody announced, which are found by chance. The raw limit is the least that any
structure without false negatives needs for an error of 1 %: log2(1 / 0.01) bits a topic.

    python benchmarks/digests.py [--quick] [--json PATH]
"""

from __future__ import annotations

import math
from typing import Any

from benchmarks.report import Columns, arguments, report
from protocol.digest import DEFAULT_ERROR, Announced, Digest

TOPICS = (50, 500, 5_000)
MAX_ERROR = 0.01


def measure(topics: int, agents: int, strangers: int) -> dict[str, Any]:
    """One size, over all agents."""
    missed = found = size_bytes = 0
    stated = 0.0
    for agent in range(agents):
        terms = [f"topic-{agent}-{number}" for number in range(topics)]
        digest = Digest.of(Announced(term, 1, 1.0) for term in terms)
        missed += sum(not digest.may_contain(term) for term in terms)
        found += sum(digest.may_contain(f"stranger-{agent}-{number}") for number in range(strangers))
        stated += digest.error / agents
        size_bytes = max(size_bytes, digest.size_bytes)
    error = found / (agents * strangers)
    return {
        "what": f"digest of {topics:,} topics",
        "bytes": size_bytes,
        "raw_limit_bytes": math.ceil(topics * math.log2(1.0 / MAX_ERROR) / 8),
        "missed": missed,
        "looked_up": agents * topics,
        "error": error,
        "stated_error": stated,
        "strangers": agents * strangers,
        "target": MAX_ERROR,
        "reached": missed == 0 and error <= MAX_ERROR,
    }


def main() -> None:
    options = arguments(__doc__).parse_args()
    agents, strangers = (4, 10_000) if options.quick else (20, 20_000)
    print(f"{agents} agents, {strangers:,} strangers each, digests made for {DEFAULT_ERROR:.0%}")
    rows = [measure(topics, agents, strangers) for topics in TOPICS]
    columns: Columns = {
        "bytes": lambda row: f"{row['bytes']:,}",
        "least at 1 %": lambda row: f"{row['raw_limit_bytes']:,}",
        "missed": lambda row: f"{row['missed']} of {row['looked_up']:,}",
        "error": lambda row: f"{row['error']:.3%}",
        "stated": lambda row: f"{row['stated_error']:.3%}",
        "target": lambda row: f"{row['target']:.0%}",
    }
    report(rows, columns, options.json)


if __name__ == "__main__":
    main()
