"""The knobs of gossip, and named settings of them for three kinds of network."""

from __future__ import annotations

from typing import Self

import msgspec


class Profile(msgspec.Struct, frozen=True, kw_only=True):
    """All times in seconds. `lan()` is the default; every knob says what raising it costs."""

    # -- rhythm

    heartbeat_s: float = 1.0
    """Between heartbeats where everybody hears everybody, plus or minus a tenth. Higher saves traffic (one
    frame per member heard and interval), and every later knob that counts in heartbeats grows with it."""
    sparse_heartbeat_s: float = 3.0
    """Between heartbeats above `full_mesh` members, plus or minus a tenth. There they only keep links and
    repeat news once, a member is heard by its neighbours alone, and probes find the dead. Higher saves one
    frame per neighbour and interval; an announcement that was lost is made good that much later."""
    debounce_s: float = 0.075
    """News is collected for so long before it is published. Higher makes fewer, fuller frames;
    lower tells sooner: a change takes debounce_s x (hops + 1), with log(members) / log(neighbours) hops."""
    sync_s: float = 5.0
    """Between two comparisons of the whole view with a random member (above `full_mesh` one of the reserve),
    plus or minus a tenth. It bounds how long a lost frame can matter. Lower costs 8 x max(32, members / 32)
    bytes and a reply each time."""
    want_s: float = 0.5
    """A record that was asked for and did not come is asked for elsewhere after so long. Keep it above three
    round trips. Higher forgives busy holders; lower costs a second copy of what was only late."""
    join_s: float = 0.3
    """Before the first retry of an unanswered hello; doubled each time up to retry_s. Higher spares a seed
    that is being started; lower joins sooner when the first frame is lost."""
    retry_s: float = 30.0
    """Between hellos to a seed and to one dead member, so that a healed partition finds itself: the first
    contact of two halves comes retry_s / members after the heal. Lower costs two frames each time."""

    # -- who is silent, who is dead

    silence_s: float = 5.0
    """Unheard for so long, a member is probed at the next turn, and after twice that a neighbour is given up.
    Keep it above 3 x heartbeat_s and 1.1 x sparse_heartbeat_s. Higher forgives lost frames; lower drops the
    dead sooner."""
    probe_s: float = 1.5
    """Between probes, of one member each (four in a full mesh), times our local health. A dead member is
    found by somebody within about probe_s, and by as many as confirm it within 3 x probe_s. Lower costs a
    ping and an ack, 40 bytes, each time."""
    ping_s: float = 1.0
    """A ping unanswered for so long is given to `helpers`, and unanswered again makes a suspect; both times
    our local health (1 to 9). Keep it above three round trips. Higher forgives busy members; lower drops the
    dead sooner."""
    helpers: int = 3
    """Members that are asked to ping who did not answer us. With a share l of frames lost, a living member is
    suspected with probability (1 - (1-l)^2)^2 x (1 - (1-l)^4)^helpers: 3 % at a loss of 20 %. Higher costs
    four frames for each helper of a probe that failed."""
    suspicion_s: float = 4.0
    """A suspect that does not refute within suspicion_s x log10(members, 10 at least) is dead.
    Higher forgives members that are stopped for a while; lower drops the dead sooner."""
    suspicion_least: float = 0.5
    """The share of that time that is left when `confirmations` others found the suspect silent too. Keep
    what is left above the time that news and its answer take. Higher forgives more; lower drops the dead
    sooner."""
    confirmations: int = 3
    """So many accusers beyond the first shorten a suspicion to its least. Higher asks for more agreement, and
    each is told on to everybody."""
    tombstone_s: float = 600.0
    """A dead or left member is remembered for so long, so that late rumours do not raise it.
    Keep it far above sync_s x log2(members); costs about 1 KiB a member."""

    # -- who hears whom

    full_mesh: int = 64
    """Up to so many living members each hears every other. Higher costs members x members frames each
    heartbeat and two descriptors a member; lower makes news take more than one hop."""
    full_mesh_again: int = 56
    """Below so many living members each hears every other again. Keep it so far below `full_mesh` that
    members who come and go do not make us change over and back."""
    neighbours: int = 5
    """Above `full_mesh`: random neighbours we seek; one more is taken in, and the next and the previous
    member on the ring come on top. All copies of an announcement are lost with probability
    l^(2 x living neighbours), its repetition included. Higher costs a copy of all news and a heartbeat
    each."""
    passive: int = 30
    """Above `full_mesh`: members in reserve, who are probed and take the place of neighbours that died.
    Higher spreads the probes over more connections."""
    shuffle_s: float = 30.0
    """Between two exchanges of a member of the reserve for a random one. Lower costs a new connection each
    time."""

    # -- sizes

    inline_bytes: int = 1024
    """In a full mesh digests up to this size ride along with the news; larger ones are pulled by who needs
    them. Every member receives what rides along, once."""
    relay_bytes: int = 64
    """Above `full_mesh`: the same, but what rides along comes once from every neighbour. With n neighbours a
    pull of a record of r bytes costs r + 60, so n x relay_bytes should not be far above that."""
    member_limit: int = 100_000
    """Members and tombstones at most; strangers beyond that are refused. A member costs about 1.5 KiB and
    twice its digest: 180 MB for 100,000 with the smallest digest of 128 bytes, 1.8 GB with the largest."""

    @classmethod
    def local(cls) -> Self:
        """All on one machine: nothing is lost, but processes wait for a core, and all share a few of them.

        A full mesh of n members costs the machine n x n frames a second, of about 0.1 ms: half a core for 60
        of them, where 8 neighbours each cost a tenth. It ends earlier therefore; news then takes a hop or two
        more, of debounce_s each.
        """
        return cls(
            silence_s=3.5, probe_s=2.0, suspicion_s=2.0, debounce_s=0.05, full_mesh=32, full_mesh_again=26
        )

    @classmethod
    def lan(cls) -> Self:
        """One network, round trips of a millisecond, few losses. The defaults."""
        return cls()

    @classmethod
    def wan(cls) -> Self:
        """Several sites: round trips of 100 ms and more, losses in bursts."""
        return cls(
            heartbeat_s=2.0,
            sparse_heartbeat_s=6.0,
            silence_s=12.0,
            probe_s=3.0,
            ping_s=3.0,
            suspicion_s=6.0,
            debounce_s=0.2,
            sync_s=10.0,
            want_s=3.0,
        )


PROFILES = {"local": Profile.local, "lan": Profile.lan, "wan": Profile.wan}
