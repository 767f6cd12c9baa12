"""Which peers do not behave: those we should hear and do not, and those whose frames are refused.

Invariant: at most `WRONG_PEERS` of the wrong ones are remembered, those last heard of, whatever they send.
"""

from __future__ import annotations

from collections import OrderedDict

import msgspec

from protocol.names import AgentName

WRONG_PEERS = 64
_DETAIL_CHARS = 160


class SilentPeer(msgspec.Struct, frozen=True, kw_only=True):
    """A member that we subscribed to and that published nothing for `silent_s`, or since we did."""

    agent: str
    silent_s: float


class WrongPeer(msgspec.Struct, frozen=True, kw_only=True):
    """Frames that were refused: whose they are as far as they say, why, how many, how long ago the last."""

    who: str
    reason: str
    frames: int
    ago_s: float
    detail: str


class _Wrong:
    __slots__ = ("at", "detail", "frames")

    def __init__(self) -> None:
        self.frames, self.at, self.detail = 0, 0.0, ""


class PeerWatch:
    """Kept up by a `Peer`, with each frame."""

    def __init__(self) -> None:
        self.heard_at: dict[AgentName, float] = {}
        """When each member that we subscribed to published last; at first, when we subscribed."""
        self._wrong: OrderedDict[tuple[str, str], _Wrong] = OrderedDict()

    def heard(self, agent: AgentName, now: float) -> None:
        """`agent` published something; who is not subscribed to any more is passed over."""
        if agent in self.heard_at:
            self.heard_at[agent] = now

    def refused(self, who: str, reason: str, detail: str, now: float) -> None:
        """A frame of `who` was refused."""
        entry = self._wrong.setdefault((who, reason), _Wrong())
        entry.frames, entry.at, entry.detail = entry.frames + 1, now, detail[:_DETAIL_CHARS]
        self._wrong.move_to_end((who, reason))
        if len(self._wrong) > WRONG_PEERS:
            self._wrong.popitem(last=False)

    def silent(self, now: float, after_s: float) -> tuple[SilentPeer, ...]:
        """Who published nothing for longer than `after_s`, the longest first."""
        found = [
            SilentPeer(agent=agent, silent_s=now - at)
            for agent, at in self.heard_at.items()
            if now - at > after_s
        ]
        return tuple(sorted(found, key=lambda one: (-one.silent_s, one.agent)))

    def wrong(self, now: float) -> tuple[WrongPeer, ...]:
        """The wrong ones, who was heard of last first."""
        return tuple(
            WrongPeer(who=who, reason=reason, frames=one.frames, ago_s=now - one.at, detail=one.detail)
            for (who, reason), one in reversed(self._wrong.items())
        )
