"""Every message, as a frozen struct. `protocol/README.md` is the specification in prose.

A message travels as a MessagePack array in the order of its fields. Fields are
only appended, with a default: an older reader ignores what it does not know, a newer one
fills in what is missing. Kind numbers are only appended, never reused.

Invariant: no message can be larger than its bounds below say; a decoder refuses what is.
"""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from protocol.digest import Announced, Count, Digest

MAX_MEMBERS_A_MESSAGE = 512
MAX_TERMS = 64
MAX_QUERY_CHARS = 4096
MAX_BUDGET_TOKENS = 1_000_000
MAX_TOPICS_A_MESSAGE = 1000
MAX_ACCUSERS = 8
MAX_RECENT = 64
MAX_FLIPS_BYTES = 8192
SYNC_BUCKETS = 32
MAX_SYNC_BUCKETS = 1024
SYNC_HASH_BYTES = 8
LINK_BYTES = 4
MAX_COUNTER = 2**53 - 1  # Of versions and incarnations: exact in every language's numbers.

Name = Annotated[str, Meta(pattern=r"\A[a-z0-9][a-z0-9_.-]{0,63}\Z")]
Counter = Annotated[int, Meta(ge=0, le=MAX_COUNTER)]
Address = Annotated[
    str,
    Meta(max_length=256, pattern=r"\Atcp://[^\s:]+:[0-9]{1,5}\Z|\Atcp://\[[0-9a-fA-F:.%a-z]+\]:[0-9]{1,5}\Z"),
]
Term = Annotated[str, Meta(min_length=1, max_length=256)]
Score = Annotated[float, Meta(ge=-1e9, le=1e9)]  # Not infinite, and no NaN, which no order survives.
Status = Literal["alive", "suspect", "dead", "left"]
Role = Literal["agent", "librarian", "observer"]
Seconds = Counter  # Since 1970, UTC.
PublicKey = Annotated[bytes, Meta(min_length=32, max_length=32)]
Signature = Annotated[bytes, Meta(max_length=64)]  # Ed25519, RFC 8032; empty where nothing is signed.
MAX_REVOKED = 4096
MAX_EPOCHS = 2


class Body(msgspec.Struct, frozen=True, array_like=True):
    """Base of everything that stands in a frame."""


class Claim(Body, frozen=True):
    """What somebody says of a member, in four values."""

    agent: Name
    incarnation: Counter
    version: Counter
    status: Status


class Certificate(Body, frozen=True):
    """The mesh authority says: this agent has these keys, and may be a member in this role, for this long.

    `verify_key` (Ed25519) tells what the agent signed, `curve_key` (Curve25519) is that of its sockets.
    Of two certificates for one name the one that was issued later holds.
    """

    mesh: Name
    agent: Name
    role: Role
    serial: Counter
    issued_at: Seconds
    expires_at: Seconds
    verify_key: PublicKey
    curve_key: PublicKey
    signature: Signature = b""


class Epoch(Body, frozen=True):
    """A key of the mesh's digests, and its number."""

    number: Annotated[int, Meta(ge=1, le=2**32)]
    key: Annotated[bytes, Meta(min_length=32, max_length=32)]


class Charter(Body, frozen=True):
    """What the mesh authority says to all members: who is one no more, and which digest keys hold.

    Of two charters the greater `number` holds. `epochs`: the present one last; the one before it is still
    read. Only members are ever sent one, as the keys stand in it.
    """

    mesh: Name
    number: Counter
    issued_at: Seconds
    epochs: Annotated[tuple[Epoch, ...], Meta(min_length=1, max_length=MAX_EPOCHS)]
    revoked: Annotated[tuple[Counter, ...], Meta(max_length=MAX_REVOKED)] = ()
    signature: Signature = b""


class Record(Body, frozen=True):
    """What an agent says of itself; only its owner makes one. `version` grows with every change.

    `router` takes direct messages, `publisher` sends gossip. `instance` tells two processes that use
    one name apart: it is drawn once for a memory and kept with it. `signature` is its owner's, made at
    `signed_at`, in a mesh with an authority.
    """

    agent: Name
    instance: Annotated[int, Meta(ge=0, le=2**63 - 1)]
    incarnation: Counter
    version: Counter
    role: Role
    router: Address
    publisher: Address
    digest: Digest
    signed_at: Seconds = 0
    signature: Signature = b""


class Hello(Body, frozen=True):
    """First word to a member: which mesh, which wire versions, who I am, and the number of my charter."""

    mesh: Name
    oldest: int
    newest: int
    record: Record
    certificate: Certificate | None = None
    charter: Counter = 0


class Welcome(Body, frozen=True):
    """Answer to a hello: the members I know, and their certificates. More follow in `Records`."""

    mesh: Name
    wire: int
    records: Annotated[tuple[Record, ...], Meta(max_length=MAX_MEMBERS_A_MESSAGE)]
    certificates: Annotated[tuple[Certificate, ...], Meta(max_length=MAX_MEMBERS_A_MESSAGE)] = ()
    charter: Counter = 0


class Refusal(Body, frozen=True):
    """A hello was refused, by the owner of `certificate`; `code` is one of `errors.BY_CODE`."""

    code: Annotated[str, Meta(max_length=32)]
    reason: Annotated[str, Meta(max_length=256)]
    certificate: Certificate | None = None


class Heartbeat(Body, frozen=True):
    """I am here, at this version, and my view of the members hashes to `view`. Never relayed.

    `links` is empty where the sender hears everybody; otherwise 4 bytes of hash for itself, then for each of
    its neighbours. `recent` repeats what it announced since its last heartbeat.
    """

    incarnation: Counter
    version: Counter
    view: Annotated[int, Meta(ge=0, le=2**63 - 1)]
    links: Annotated[bytes, Meta(max_length=64 * LINK_BYTES)] = b""
    recent: Annotated[tuple[Claim, ...], Meta(max_length=MAX_RECENT)] = ()


class Delta(Body, frozen=True):
    """How a record became another one of the same member: its digest with some bits flipped, see `delta.py`.

    Of use to who holds the record (`base_incarnation`, `base_version`); `check` tells whether it came out.
    """

    agent: Name
    incarnation: Counter
    version: Counter
    base_incarnation: Counter
    base_version: Counter
    topics: Count
    left_out: Count
    flips: Annotated[bytes, Meta(max_length=MAX_FLIPS_BYTES)]
    check: Annotated[int, Meta(ge=0, le=2**32 - 1)]
    signed_at: Seconds = 0
    signature: Signature = b""


class Suspicion(Body, frozen=True):
    """Who themselves found a suspected member silent; each of them shortens its suspicion."""

    agent: Name
    incarnation: Counter
    accusers: Annotated[tuple[Name, ...], Meta(max_length=MAX_ACCUSERS)]


class Announce(Body, frozen=True):
    """News of members; told on once by who learns it. What is small rides along, whole records or what
    changed in them; the rest is pulled by `Get`.
    """

    claims: Annotated[tuple[Claim, ...], Meta(max_length=MAX_MEMBERS_A_MESSAGE)]
    records: Annotated[tuple[Record, ...], Meta(max_length=MAX_MEMBERS_A_MESSAGE)] = ()
    deltas: Annotated[tuple[Delta, ...], Meta(max_length=MAX_MEMBERS_A_MESSAGE)] = ()
    suspicions: Annotated[tuple[Suspicion, ...], Meta(max_length=MAX_MEMBERS_A_MESSAGE)] = ()


class Get(Body, frozen=True):
    """Send me the records of these agents."""

    agents: Annotated[tuple[Name, ...], Meta(max_length=MAX_MEMBERS_A_MESSAGE)]


class Records(Body, frozen=True):
    """Records, as asked for by `Get` or found missing by `Sync`, and the certificates of their owners."""

    records: Annotated[tuple[Record, ...], Meta(max_length=MAX_MEMBERS_A_MESSAGE)]
    certificates: Annotated[tuple[Certificate, ...], Meta(max_length=MAX_MEMBERS_A_MESSAGE)] = ()


class Sync(Body, frozen=True):
    """Push-pull anti-entropy: a hash over the claims of each bucket of agents, 8 bytes each; there are
    32, 64, 128 .. 1,024 buckets. And the number of my charter.
    """

    hashes: Annotated[
        bytes, Meta(min_length=SYNC_BUCKETS * SYNC_HASH_BYTES, max_length=MAX_SYNC_BUCKETS * SYNC_HASH_BYTES)
    ]
    charter: Counter = 0


class SyncDiff(Body, frozen=True):
    """The buckets, of so many as the sync had, in which we differ, and all my claims there."""

    buckets: Annotated[
        tuple[Annotated[int, Meta(ge=0, lt=MAX_SYNC_BUCKETS)], ...], Meta(max_length=MAX_SYNC_BUCKETS)
    ]
    claims: Annotated[tuple[Claim, ...], Meta(max_length=2048)]
    of: Annotated[int, Meta(ge=SYNC_BUCKETS, le=MAX_SYNC_BUCKETS)] = SYNC_BUCKETS


class Ping(Body, frozen=True):
    """Are you there? Sent to a member that has been silent."""

    nonce: Counter


class Ack(Body, frozen=True):
    """Answer to a ping, by the member that was pinged or by who pinged it for us. The member itself says
    where it stands; 0, 0 says nothing.
    """

    nonce: Counter
    incarnation: Counter = 0
    version: Counter = 0


class PingRequest(Body, frozen=True):
    """Ping this member for me: I had no answer."""

    nonce: Counter
    agent: Name


class Nack(Body, frozen=True):
    """Answer to a ping request: I had no answer either, but I am here."""

    nonce: Counter


class Neighbour(Body, frozen=True):
    """Let us hear each other. I stand at this incarnation and version. `isolated`: I have no neighbour;
    `ring`: you come next after me by the hash of the name.
    """

    incarnation: Counter
    version: Counter
    isolated: bool
    ring: bool


class NeighbourReply(Body, frozen=True):
    """Answer to the wish to be neighbours."""

    accepted: bool


class Unlink(Body, frozen=True):
    """We are neighbours no more."""


class Chartered(Body, frozen=True):
    """The charter in force: news, or the answer to who named an older one."""

    charter: Charter


class Who(Body, frozen=True):
    """To a librarian: who knows these (normalised) terms?"""

    request: Counter
    terms: Annotated[tuple[Term, ...], Meta(max_length=MAX_TERMS)]
    limit: Annotated[int, Meta(ge=1, le=1000)]


class Holder(Body, frozen=True):
    """One agent in a librarian's answer. `agent` is empty under the policy *existence*."""

    agent: Annotated[str, Meta(pattern=r"\A(?:[a-z0-9][a-z0-9_.-]{0,63})?\Z")]
    score: Score
    matched: Annotated[tuple[Term, ...], Meta(max_length=MAX_TERMS)]
    memories: Counter
    age_s: Annotated[float, Meta(ge=0)]


class WhoReply(Body, frozen=True):
    """A librarian's answer, best first. `agents_known` says over how many agents it was looked up."""

    request: Counter
    policy: Literal["full", "owner", "existence", "none"]
    agents_known: Counter
    holders: Annotated[tuple[Holder, ...], Meta(max_length=1000)]


class Metadata(Body, frozen=True):
    """Topics for a librarian. A snapshot (sequence 0 of a new `feed`) replaces all; others change.

    `feed` names one unbroken series; `sequence` counts its messages from 0.
    """

    feed: Counter
    sequence: Counter
    topics: Annotated[tuple[Announced, ...], Meta(max_length=MAX_TOPICS_A_MESSAGE)]
    removed: Annotated[tuple[Term, ...], Meta(max_length=MAX_TOPICS_A_MESSAGE)] = ()


class MetadataAck(Body, frozen=True):
    """The librarian stands at `expected` of `feed`: send that one next. 0: start again with a snapshot."""

    feed: Counter
    expected: Counter


class RecallRequest(Body, frozen=True):
    """What do you have on this that I may see, in so many tokens?"""

    request: Counter
    query: Annotated[str, Meta(min_length=1, max_length=MAX_QUERY_CHARS)]
    budget_tokens: Annotated[int, Meta(ge=1, le=MAX_BUDGET_TOKENS)]


class Quote(Body, frozen=True):
    """One memory, or a part of it, in a recall reply."""

    path: Annotated[str, Meta(max_length=512)]
    version: Counter
    title: Annotated[str, Meta(max_length=512)]
    text: str
    tokens: Counter
    score: Score
    source: Annotated[str, Meta(max_length=64)]
    cut: bool


class RecallReply(Body, frozen=True):
    """What the owner allows the asker to see, packed into its share of the budget."""

    request: Counter
    quotes: Annotated[tuple[Quote, ...], Meta(max_length=1000)]


class Refused(Body, frozen=True):
    """An answer to any request: no, and why. `code` is one of `errors.BY_CODE`."""

    request: Counter
    code: Annotated[str, Meta(max_length=32)]
    reason: Annotated[str, Meta(max_length=256)]


Probing = Ping | Ack | PingRequest | Nack
Linking = Neighbour | NeighbourReply | Unlink
Joining = Hello | Welcome | Refusal
Gossip = Joining | Heartbeat | Announce | Get | Records | Sync | SyncDiff | Probing | Linking | Chartered
Reply = WhoReply | RecallReply | Refused
Request = Who | Metadata | MetadataAck | RecallRequest
Message = Gossip | Reply | Request

KINDS: dict[int, type[Message]] = {
    1: Hello,
    2: Welcome,
    3: Refusal,
    4: Heartbeat,
    5: Announce,
    6: Get,
    7: Records,
    8: Sync,
    9: SyncDiff,
    10: Ping,
    11: Ack,
    12: Who,
    13: WhoReply,
    14: Metadata,
    15: MetadataAck,
    16: RecallRequest,
    17: RecallReply,
    18: Refused,
    19: PingRequest,
    20: Nack,
    21: Neighbour,
    22: NeighbourReply,
    23: Unlink,
    24: Chartered,
}
NUMBERS: dict[type[Message], int] = {kind: number for number, kind in KINDS.items()}
