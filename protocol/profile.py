"""The knobs of gossip, and named settings of them for three kinds of network."""

from __future__ import annotations

from typing import Self

import msgspec


class Profile(msgspec.Struct, frozen=True, kw_only=True):
    """All times in seconds. `lan()` is the default; every knob says what raising it costs."""

    heartbeat_s: float = 1.0
    """Between heartbeats, plus or minus a tenth. Higher saves traffic (one frame per member heard and
    interval), and every later knob that counts in heartbeats grows with it."""
    silence_s: float = 5.0
    """Unheard for so long, a member is pinged. Keep it above 3 x heartbeat_s.
    Higher forgives lost frames; lower drops the dead sooner."""
    ping_s: float = 1.0
    """A ping unanswered for so long makes a suspect. Keep it above three round trips.
    Higher forgives busy members; lower drops the dead sooner."""
    suspicion_s: float = 4.0
    """A suspect that does not refute within suspicion_s x log10(members, 10 at least) is dead.
    Higher forgives members that are stopped for a while; lower drops the dead sooner."""
    debounce_s: float = 0.075
    """News is collected for so long before it is published. Higher makes fewer, fuller frames;
    lower tells sooner."""
    sync_s: float = 5.0
    """Between two comparisons of the whole view with a random member, plus or minus a tenth. It bounds how
    long a lost frame can matter. Lower costs 256 bytes and a reply each time."""
    want_s: float = 1.0
    """A record that was asked for and did not come is asked for elsewhere after so long."""
    join_s: float = 0.3
    """Before the first retry of an unanswered hello; doubled each time up to retry_s."""
    retry_s: float = 30.0
    """Between hellos to a seed and to one dead member, so that a healed partition finds itself."""
    tombstone_s: float = 600.0
    """A dead or left member is remembered for so long, so that late rumours do not raise it.
    Keep it far above sync_s x log2(members); costs about 1 KiB a member."""
    inline_bytes: int = 1024
    """Digests up to this size ride along with the news; larger ones are pulled by who needs them."""
    member_limit: int = 4096
    """Members and tombstones at most; strangers beyond that are refused. Costs up to 10 KiB each."""

    @classmethod
    def local(cls) -> Self:
        """All on one machine: nothing is lost, but processes wait for a core."""
        return cls(silence_s=3.5, suspicion_s=2.0, debounce_s=0.05)

    @classmethod
    def lan(cls) -> Self:
        """One network, round trips of a millisecond, few losses. The defaults."""
        return cls()

    @classmethod
    def wan(cls) -> Self:
        """Several sites: round trips of 100 ms and more, losses in bursts."""
        return cls(
            heartbeat_s=2.0,
            silence_s=12.0,
            ping_s=3.0,
            suspicion_s=6.0,
            debounce_s=0.2,
            sync_s=10.0,
            want_s=3.0,
        )


PROFILES = {"local": Profile.local, "lan": Profile.lan, "wan": Profile.wan}
