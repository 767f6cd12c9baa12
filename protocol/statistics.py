"""What a member counts, and how it stands."""

from __future__ import annotations

import msgspec


class Counters(msgspec.Struct):
    """What was refused or made good, since the start.

    `isolations`: so often all our neighbours were silent at once. `pauses`: so often we ourselves did not run
    for longer than a few heartbeats (a stopped process, a closed lid, a machine that is too busy);
    `longest_pause_s`: the longest of them.
    """

    name_conflicts: int = 0
    records_refused: int = 0
    refutations: int = 0
    syncs_differing: int = 0
    deltas_refused: int = 0
    digests_unreadable: int = 0
    records_forged: int = 0
    certificates_refused: int = 0
    claims_refused: int = 0
    isolations: int = 0
    pauses: int = 0
    longest_pause_s: float = 0.0


class GossipStatistics(msgspec.Struct, frozen=True, kw_only=True):
    """How a member stands. `health`: 0 well, 8 worst; `refused`: strangers for whom there was no room."""

    members: int
    living: int
    suspected: int
    gone: int
    refused: int
    sparse: bool
    neighbours: int
    heard: int
    health: int
    probes: int
    counters: Counters
