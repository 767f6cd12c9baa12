"""What it costs to believe nobody: signatures in a mesh of 1,000 members, and forgeries that are tried on it.

The cost is the time that one engine takes for what 1,000 members change, 1 % of them each second, with an
authority and without; beside it that of the same signatures by the library alone. The forgeries are records,
certificates and charters that were right before a byte, a name, a number or a key of them was changed, sent
by a member, in every message that carries them.

    python benchmarks/identity.py [--quick] [--json PATH]
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from random import Random
from typing import Any

import msgspec
from rich.console import Console
from rich.progress import track

from benchmarks.report import Columns, arguments, report
from protocol.digest import Announced, Digest
from protocol.gate import Gate, Guarded, Open
from protocol.gossip import GossipEngine
from protocol.identity import DAY_S, Signer, verify
from protocol.messages import (
    Announce,
    Certificate,
    Charter,
    Chartered,
    Claim,
    Epoch,
    Gossip,
    Hello,
    Record,
    Records,
)
from protocol.names import AgentName
from protocol.profile import Profile
from protocol.wire import WIRE_VERSION, decode, encode

MESH, NOW_S = "bench", 1_800_000_000
SHARE, TRIES = 0.05, 100_000
OWN, LIAR = AgentName("m0000"), AgentName("m0001")


class Authority:
    """Keys and certificates for members that are numbered."""

    def __init__(self) -> None:
        self._rng = Random(1)
        self._signer = Signer(self._rng.randbytes(32))
        self.public = self._signer.public
        self.signers: dict[str, Signer] = {}
        self.charter = self._signer.sign(Charter(MESH, 1, NOW_S, (Epoch(1, self._rng.randbytes(32)),)))

    def certificate(self, agent: str) -> Certificate:
        """For new keys."""
        signer = self.signers[agent] = Signer(self._rng.randbytes(32))
        serial, curve_key = self._rng.getrandbits(52), self._rng.randbytes(32)
        bare = Certificate(MESH, agent, "agent", serial, NOW_S, NOW_S + DAY_S, signer.public, curve_key)
        return self._signer.sign(bare)

    def record(self, agent: str, version: int) -> Record:
        """Signed by its owner, with 20 topics."""
        digest = Digest.of(Announced(f"{agent} {version} {topic}", 1, 1.0) for topic in range(20))
        addresses = f"tcp://{agent}:1", f"tcp://{agent}:2"
        return self.signers[agent].sign(
            Record(agent, 1, 1, version, "agent", *addresses, digest, signed_at=NOW_S)
        )


def mesh_of(members: int, authority: Authority, *, guarded: bool) -> tuple[GossipEngine, list[Certificate]]:
    """One member's engine that knows all the others."""
    names = [f"m{number:04}" for number in range(members)]
    certificates = [authority.certificate(name) for name in names]
    gate: Gate = Open()
    if guarded:
        gate = Guarded(
            certificates[0],
            authority.signers[OWN],
            authority.charter,
            authority=authority.public,
            unix_s=NOW_S,
            now=0.0,
            limit=2 * members,
        )
    engine = GossipEngine(
        authority.record(OWN, 1), mesh=MESH, profile=Profile(), rng=Random(1), seeds=(), now=0.0, gate=gate
    )
    for name, certificate in zip(names[1:], certificates[1:], strict=True):
        hear(engine, AgentName(name), Records((authority.record(name, 1),), (certificate,)))
    return engine, certificates


def hear(engine: GossipEngine, sender: AgentName, message: Gossip) -> None:
    """Published, over the real bytes."""
    _, again = decode(encode(sender, message))
    engine.on_message(0.0, sender, None, again)  # type: ignore[arg-type]


def cost(members: int, seconds: int) -> Iterator[dict[str, Any]]:
    """Of an engine's time, and of the library's."""
    took: dict[bool, float] = {}
    raw_s = 0.0
    for guarded in (False, True):
        authority = Authority()
        engine, _ = mesh_of(members, authority, guarded=guarded)
        changes = [
            (AgentName(f"m{1 + (number * 7) % (members - 1):04}"), 2 + number // (members - 1))
            for number in range(seconds * members // 100)
        ]
        news = [(agent, authority.record(agent, version)) for agent, version in changes]
        frames = [
            (agent, Announce((Claim(agent, 1, record.version, "alive"),), (record,)))
            for agent, record in news
        ]
        started = time.perf_counter()
        for agent, message in frames:
            engine.on_message(0.0, agent, None, message)
        took[guarded] = time.perf_counter() - started
        for agent, record in news:
            member = engine.members.get(agent)
            assert member is not None
            assert member.version >= record.version, "what was measured is not that it was refused"
        started = time.perf_counter()
        for agent, record in news:
            assert verify(record, authority.signers[agent].public)
        raw_s = time.perf_counter() - started
    extra_s = (took[True] - took[False]) / seconds
    yield {
        "what": f"{members:,} members, 1 % change a second",
        "figure": f"{extra_s:.3%} of a core",
        "raw": f"{raw_s / seconds:.3%}",
        "target": f"{SHARE:.0%}",
        "reached": extra_s < SHARE,
    }


def forgeries(authority: Authority, certificates: list[Certificate], tries: int) -> Iterator[Gossip]:
    """Of many kinds, in turn, each another one."""
    rng = Random(2)
    truth = certificates[2]
    victim = truth.agent

    def bent(signature: bytes) -> bytes:
        changed = bytearray(signature)
        changed[rng.randrange(64)] ^= 1 << rng.randrange(8)
        return bytes(changed)

    true, signer = authority.record(victim, 2), authority.signers[LIAR]
    for number in range(tries):
        version = 3 + number
        replace = msgspec.structs.replace
        match number % 8:
            case 0:
                yield Records((replace(true, version=version, signature=bent(true.signature)),))
            case 1:
                yield Announce((), (signer.sign(replace(true, version=version)),))
            case 2:
                yield Records((replace(true, version=version + 1),))
            case 3:
                yield Announce((), (replace(true, version=version, signature=rng.randbytes(64)),))
            case 4:
                stolen = replace(truth, verify_key=signer.public, serial=number, issued_at=NOW_S + 1)
                yield Records((signer.sign(replace(true, version=version)),), (signer.sign(stolen),))
            case 5:
                stolen = replace(truth, curve_key=rng.randbytes(32), signature=bent(truth.signature))
                record = replace(true, version=version, router="tcp://liar:1")
                yield Hello(MESH, WIRE_VERSION, WIRE_VERSION, record, stolen, 1)
            case 6:
                charter = replace(authority.charter, number=number + 2, revoked=(truth.serial,))
                yield Chartered(signer.sign(charter))
            case _:
                dated = replace(true, version=version, signed_at=NOW_S + rng.randrange(10**9))
                yield Records((dated,), (truth,))


def tried(members: int, tries: int) -> Iterator[dict[str, Any]]:
    """How many of them were believed."""
    authority = Authority()
    engine, certificates = mesh_of(members, authority, guarded=True)
    victim = certificates[2].agent
    before = engine.members.get(victim)
    assert before is not None
    assert before.record is not None
    held, charter, key = before.record, engine.gate.charter, engine.gate.key_of(AgentName(victim))
    believed = 0
    kinds = forgeries(authority, certificates, tries)
    for message in track(kinds, "forgeries", tries, console=Console(stderr=True), transient=True):
        hear(engine, LIAR, message)
        member = engine.members.get(victim)
        same = member is not None and member.record == held and engine.gate.charter == charter
        believed += not (same and engine.gate.key_of(AgentName(victim)) == key)
    engine.check()
    yield {
        "what": f"of {tries:,} forgeries believed",
        "figure": f"{believed}",
        "raw": "",
        "target": "0",
        "reached": believed == 0,
    }


def main() -> None:
    options = arguments(__doc__).parse_args()
    members, seconds, tries = (200, 20, 2_000) if options.quick else (1_000, 60, TRIES)
    rows = [*cost(members, seconds), *tried(20, tries)]
    columns: Columns = {
        "figure": lambda row: row["figure"],
        "library alone": lambda row: row["raw"],
        "target": lambda row: row["target"],
    }
    report(rows, columns, options.json)


if __name__ == "__main__":
    main()
