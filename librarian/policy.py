"""What of an answer leaves a librarian.

| policy | holders in the answer | of each |
|---|---|---|
| full | all found | agent, score, matched topics, memories, age |
| owner | all found | agent, score, age: whom to ask |
| existence | one without a name where anybody knows, else none | nothing |
| none | none | |

Whoever may ask for single topics can tell from `owner` who announced them: it hides the reason of one
answer, and not the topics from somebody who tries many. `existence` hides their owners.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Literal, assert_never

from librarian.catalogue import Match
from protocol.messages import Holder
from protocol.wire import MAX_FRAME_BYTES

Policy = Literal["full", "owner", "existence", "none"]

_ROOM_BYTES = MAX_FRAME_BYTES - 1024  # Of holders in one frame, beside the header and the reply's own fields.
_HOLDER_BYTES = 40  # Array, text and list headers, two floats, and a count of 9 bytes at the most.
_TERM_BYTES = 3
SOMEBODY = Holder("", 0.0, (), 0, 0.0)


def disclosed(policy: Policy, found: Sequence[Match]) -> tuple[Holder, ...]:
    """The holders that may be told, in their order; the last ones are left out where a frame is full."""
    match policy:
        case "full":
            return tuple(
                _that_fit(Holder(one.agent, one.score, one.matched, one.memories, one.age_s) for one in found)
            )
        case "owner":
            return tuple([Holder(one.agent, one.score, (), 0, one.age_s) for one in found])  # 1,000 fit.
        case "existence":
            return (SOMEBODY,) if found else ()
        case "none":
            return ()
        case _:
            assert_never(policy)


def _that_fit(holders: Iterable[Holder]) -> Iterator[Holder]:
    room = _ROOM_BYTES
    for holder in holders:
        room -= len(holder.agent) + _HOLDER_BYTES
        room -= sum(len(term.encode()) + _TERM_BYTES for term in holder.matched)
        if room < 0:
            return
        yield holder
