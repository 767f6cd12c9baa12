"""A mesh authority for tests: keys made from names, certificates for them, and engines that have one."""

from __future__ import annotations

from hashlib import sha256
from random import Random
from typing import Any

import msgspec

from protocol.gate import Guarded
from protocol.gossip import GossipEngine
from protocol.identity import DAY_S, Signer
from protocol.messages import Certificate, Charter, Epoch, Record, Role
from protocol.names import AgentName
from protocol.profile import Profile
from tests.support.engines import digest_of

T0 = 1_800_000_000
"""Seconds since 1970 at moment 0 of these tests."""


def secret(name: str) -> bytes:
    """32 bytes that are always the same for a name."""
    return sha256(name.encode()).digest()


def curve_key(name: str) -> bytes:
    """The key of this name's sockets; no real one, as nothing is encrypted here."""
    return secret(f"curve {name}")


KEYS = {1: secret("epoch 1")}
"""Of the first charter."""


class TestAuthority:
    """Signs whatever it is asked to."""

    __test__ = False

    def __init__(self, mesh: str = "garden", name: str = "authority") -> None:
        self.mesh = mesh
        self._signer = Signer(secret(name))
        self.public = self._signer.public

    def certificate(
        self,
        agent: str,
        *,
        role: Role = "agent",
        serial: int = 0,
        issued_at: int = T0 - DAY_S,
        expires_at: int = T0 + 100 * DAY_S,
        **changed: Any,
    ) -> Certificate:
        """For the keys of this name; a serial is made from the name where none is given."""
        bare = Certificate(
            self.mesh,
            agent,
            role,
            serial or int.from_bytes(secret(agent)[:6]),
            issued_at,
            expires_at,
            Signer(secret(agent)).public,
            curve_key(agent),
        )
        return self._signer.sign(msgspec.structs.replace(bare, **changed))

    def charter(self, number: int = 1, *, revoked: tuple[int, ...] = (), epochs: int = 1) -> Charter:
        """With digest keys up to this epoch, the last two of them."""
        keys = tuple(Epoch(epoch, secret(f"epoch {epoch}")) for epoch in range(1, epochs + 1))
        return self._signer.sign(Charter(self.mesh, number, T0, keys[-2:], revoked))

    def gate(self, agent: str, *, charter: Charter | None = None, limit: int = 100, **given: Any) -> Guarded:
        """Of one member, at moment 0."""
        return Guarded(
            self.certificate(agent, **given),
            Signer(secret(agent)),
            charter or self.charter(),
            authority=self.public,
            unix_s=T0,
            now=0.0,
            limit=limit,
        )

    def engine(self, agent: str, *, seeds: str = "", topics: str = "", **given: Any) -> GossipEngine:
        """A member that has just started, at moment 0."""
        gate = self.gate(agent, **given)
        own, digest = gate.certificate, digest_of(topics, gate.keys)
        assert own is not None
        return GossipEngine(
            Record(agent, 1, 1, 1, own.role, f"tcp://{agent}:1", f"tcp://{agent}:2", digest),
            mesh=self.mesh,
            profile=Profile(),
            rng=Random(1),
            seeds=[f"tcp://{seed}:1#{curve_key(seed).hex()}" for seed in seeds.split()],
            now=0.0,
            gate=gate,
        )


def signed(agent: str, *, version: int = 1, signer: str = "", **changed: Any) -> Record:
    """A record of this agent as its owner would sign it, or `signer` in its place."""
    digest = digest_of("", KEYS)
    bare = Record(agent, 1, 1, version, "agent", f"tcp://{agent}:1", f"tcp://{agent}:2", digest, T0)
    return Signer(secret(signer or agent)).sign(msgspec.structs.replace(bare, **changed))


def name(agent: str) -> AgentName:
    """Typed."""
    return AgentName(agent)
