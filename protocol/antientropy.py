"""Push-pull anti-entropy: two members compare bucket hashes and exchange only what differs.

    initiator                                 peer
    Sync(32 hashes or more)    ->
                               <-  SyncDiff(differing buckets, all its claims there)
    Announce(what is newer here)
    + Records(of those)        ->
    Get(what is newer there)   ->
                               <-  Records

Pub/sub loses early and overflowing frames by design; this is what makes the views equal
all the same, so it is never switched off. After Demers et al., Epidemic Algorithms (1987).
"""

from __future__ import annotations

from protocol.dissemination import chunks, portions
from protocol.gate import Gate, attested
from protocol.membership import Member, Membership, precedence
from protocol.messages import SYNC_HASH_BYTES, Announce, Claim, Records, Sync, SyncDiff

_CLAIMS_A_MESSAGE = 1024  # Of up to 93 bytes each; more would not fit a frame.


def buckets_of(sync: Sync) -> int:
    """Into how many buckets the sender divides the members; 0 where it is no power of two."""
    buckets, rest = divmod(len(sync.hashes), SYNC_HASH_BYTES)
    return buckets if not rest and buckets & (buckets - 1) == 0 else 0


def differing_buckets(sync: Sync, members: Membership) -> list[int]:
    """The buckets in which the sender's claims are not ours."""
    width, buckets = SYNC_HASH_BYTES, buckets_of(sync)
    theirs, ours = sync.hashes, members.sync_hashes(buckets) if buckets else b""
    if theirs == ours:
        return []
    return [at for at in range(buckets) if _slice(theirs, at, width) != _slice(ours, at, width)]


def diffs(sync: Sync, members: Membership) -> list[SyncDiff]:
    """Our side of the comparison, as many messages as it needs; none where the views are equal."""
    messages: list[SyncDiff] = []
    buckets: list[int] = []
    claims: list[Claim] = []
    of = buckets_of(sync)
    for bucket in differing_buckets(sync, members):
        held = members.in_buckets((bucket,), of)[:_CLAIMS_A_MESSAGE]
        if buckets and len(claims) + len(held) > _CLAIMS_A_MESSAGE:
            messages.append(SyncDiff(tuple(buckets), tuple(claims), of))
            buckets, claims = [], []
        buckets.append(bucket)
        claims += held
    if buckets:
        messages.append(SyncDiff(tuple(buckets), tuple(claims), of))
    return messages


def newer_here(diff: SyncDiff, members: Membership) -> list[Member]:
    """Members of whom we know more than the sender of `diff`. It is not told that strangers died."""
    if diff.of & (diff.of - 1):
        return []
    theirs = {claim.agent: claim for claim in diff.claims}
    newer = []
    for claim in members.in_buckets(dict.fromkeys(diff.buckets), diff.of):
        told = theirs.get(claim.agent)
        member = members.get(claim.agent)
        if member is None or (told is None and not member.is_backed):
            continue
        if told is None or precedence(told) < precedence(claim):
            newer.append(member)
    return newer


def tell(newer: list[Member], gate: Gate) -> list[Announce | Records]:
    """The messages that bring a peer up to these members."""
    messages: list[Announce | Records] = [
        Announce(tuple(member.claim for member in chunk)) for chunk in chunks(newer)
    ]
    records = [member.record for member in newer if member.record is not None and member.is_living]
    return messages + [attested(part, gate) for part in portions(records) if part]


def _slice(hashes: bytes, at: int, width: int) -> bytes:
    return hashes[at * width : (at + 1) * width]
