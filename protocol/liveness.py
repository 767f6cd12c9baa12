"""Who is silent, who is a suspect, who is dead: verdicts by the clock alone.

    heard -> silence_s -> ping -> ping_s -> suspect -> suspicion_s x log10(members) -> dead
                                               -> tombstone_s -> forgotten

A member that is heard in between is alive; a suspect refutes by a higher incarnation
(SWIM: Das, Gupta, Motivala, 2002). The verdicts are data; the engine acts on them.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Literal

from protocol.membership import Member, Membership
from protocol.profile import Profile

Verdict = Literal["ping", "suspect", "dead", "forget"]


def verdicts(
    members: Membership, own: Member, profile: Profile, now: float
) -> Iterator[tuple[Member, Verdict]]:
    """What is due for each member but ourselves; acting on one does not change the others."""
    suspicion_s = profile.suspicion_s * math.log10(max(10, members.living_count))
    for member in list(members):
        if member is own:
            continue
        verdict = _verdict(member, profile, suspicion_s, now)
        if verdict is not None:
            yield member, verdict


def _verdict(member: Member, profile: Profile, suspicion_s: float, now: float) -> Verdict | None:
    in_status_s = now - member.status_since
    match member.status:
        case "alive" if member.record is None:
            # A rumour of a member whose record nobody could give us: nothing to ping.
            return "forget" if now - member.heard_at > 2 * profile.silence_s else None
        case "alive" if member.pinged_at is not None:
            return "suspect" if now - member.pinged_at > profile.ping_s else None
        case "alive":
            return "ping" if now - member.heard_at > profile.silence_s else None
        case "suspect":
            return "dead" if in_status_s > suspicion_s else None
        case _:
            return "forget" if in_status_s > profile.tombstone_s else None


def forgive(members: Membership, pause_s: float) -> None:
    """It was we who slept for `pause_s` (a stopped process, a closed lid): nobody else was silent."""
    for member in members:
        member.heard_at += pause_s
        if member.pinged_at is not None:
            member.pinged_at += pause_s
        if member.status == "suspect":
            member.status_since += pause_s
