"""How much one peer may ask of us: so many direct frames a second, more for a moment.

    within its share     taken
    beyond it            slowed: the frame is dropped, as a network may
    twice that beyond    cut: nothing is taken from it for `CUT_S`

A member of ours that has much to do stays far below. Each peer has its own share, so that one that floods
costs the others their turn at a socket and nothing more; a key that is not a member's has a small one.

Invariant: at most `_LIMIT` peers are remembered, those last heard.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Final, Literal

FRAMES_A_SECOND: Final = 4_000.0
"""Of a member. Higher lets one member use more of a core; lower slows an agent that asks all the time."""
STRANGER_FRAMES_A_SECOND: Final = 20.0
CUT_S: Final = 10.0
_BURST_S: Final = 2.0  # So many seconds' worth may come at once.
_LIMIT: Final = 4096

Verdict = Literal["taken", "slowed", "cut"]


class _Share:
    __slots__ = ("at", "debt", "until")

    def __init__(self, now: float) -> None:
        self.at, self.debt, self.until = now, 0.0, 0.0


class Rates:
    """Of all peers of one member, by the key of their sockets."""

    def __init__(self) -> None:
        self._shares: OrderedDict[bytes, _Share] = OrderedDict()

    def take(self, key: bytes, now: float, *, is_member: bool) -> Verdict:
        """One more frame of the owner of `key`."""
        share = self._shares.get(key)
        if share is None:
            share = self._shares[key] = _Share(now)
            if len(self._shares) > _LIMIT:
                self._shares.popitem(last=False)
        else:
            self._shares.move_to_end(key)
        if now < share.until:
            return "cut"
        rate = FRAMES_A_SECOND if is_member else STRANGER_FRAMES_A_SECOND
        room = rate * _BURST_S
        share.debt = max(0.0, share.debt - (now - share.at) * rate) + 1.0
        share.at = now
        if share.debt <= room:
            return "taken"
        if share.debt <= 3.0 * room:
            return "slowed"
        share.until, share.debt = now + CUT_S, 0.0
        return "cut"
