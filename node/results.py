"""What a node answers about the mesh. A lead may know; only its owner's answer is verified."""

from __future__ import annotations

from typing import Literal

import msgspec

from node.net.peer import PeerStatistics
from protocol.messages import Role

Source = Literal["gossip", "librarian"]
Via = Literal["auto", "gossip", "librarian"]


class Lead(msgspec.Struct, frozen=True, kw_only=True):
    """An agent that may know.

    `certainty` (0..1): that it really announced one of `matched` at the least; `age_s`: since what we know of
    it was last confirmed; `error`: share of false positives of that source; `memories`: how many of its
    memories carry a matched topic, where a librarian says so. Scores compare within one answer only.
    """

    agent: str
    score: float
    certainty: float
    matched: tuple[str, ...]
    age_s: float
    error: float
    status: str
    memories: int | None = None


class WhoKnows(msgspec.Struct, frozen=True, kw_only=True):
    """Who may know, most likely first, and where that comes from.

    `note` says what was tried in vain, or what the librarian's policy holds back.
    """

    query: str
    terms: tuple[str, ...]
    source: Source
    librarian: str
    leads: tuple[Lead, ...]
    elapsed_s: float
    note: str = ""


class NodeStatus(msgspec.Struct, frozen=True, kw_only=True):
    """A node at one moment. `embedded`: memories with a vector, None where there are none to be, for the
    reason in `vectors`; `dropped` counts frames of peers that were refused, by reason, and `net` has all that
    is known of peers, sockets and gossip. `view`: a hash of all it holds of the mesh, equal where all of that
    is equal. `clock_shift_s`: by how much the system's clock was set meanwhile. `expires_at`: when its
    certificate does, in seconds since 1970; `charter`: the number of the one in force.
    """

    agent: str
    mesh: str
    pid: int
    uptime_s: float
    address: str
    memories: int
    versions: int
    file_bytes: int
    cache_hits: int
    cache_misses: int
    embedded: int | None
    vectors: str
    members: dict[str, int]
    view: str
    librarians: tuple[str, ...]
    joined: bool
    topics: int
    topics_left_out: int
    digest_bytes: int
    digest_error: float
    frames_in: int
    bytes_in: int
    frames_out: int
    bytes_out: int
    unsent: int
    dropped: dict[str, int]
    net: PeerStatistics
    clock_shift_s: float
    role: Role
    expires_at: int
    charter: int
