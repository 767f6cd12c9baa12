"""How much of what it knows a librarian tells."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, assert_never

from librarian.catalogue import Found
from protocol.messages import Holder

Policy = Literal["full", "owner", "existence", "none"]


def disclose(found: Sequence[Found], policy: Policy) -> tuple[Holder, ...]:
    """What of an answer leaves.

    `full`: agents, scores, the topics that matched, how many memories carry them, age.
    `owner`: agents, scores, age. `existence`: one nameless holder where anybody knows. `none`: nothing.
    """
    match policy:
        case "full":
            return tuple(Holder(one.agent, one.score, one.matched, one.memories, one.age_s) for one in found)
        case "owner":
            return tuple(Holder(one.agent, one.score, (), 0, one.age_s) for one in found)
        case "existence":
            return (Holder("", 0.0, (), 0, 0.0),) if found else ()
        case "none":
            return ()
        case _:
            assert_never(policy)
