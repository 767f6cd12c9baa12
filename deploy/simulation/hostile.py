"""Members that lie. Each is an ordinary member, known and heard like others, that sends bad frames besides.

    forge      says of others that they have a newer version, or a newer incarnation, than they have
    bury       says of others that they are dead
    flood      repeats one announcement, to all
    strangers  claims members that do not exist, 100 a frame
    oversized  announces 8 KiB digests of its own at ever new versions
    saturate   announces a filter with every bit set: a lead for everything
    garbage    random bytes, headers with random bodies, arrays in arrays, frames under others' names

Nothing is signed in the mesh yet, so that lies about others are believed until they are refuted: what must
hold all the same is that memory stays bounded, versions never go back, and the mesh is whole again
once the lying ends.
"""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import assert_never

import msgspec

from deploy.simulation.scenario import Attack
from node.net.simnet import SimMember, SimMesh
from protocol import bloom
from protocol.digest import Digest
from protocol.effects import Route
from protocol.messages import Announce, Claim, Record, Records
from protocol.names import AgentName
from protocol.wire import MAX_FRAME_BYTES, WIRE_VERSION, encode

_STRANGERS_A_FRAME = 100
_FORGED_AHEAD = 3  # Versions and incarnations beyond the true ones.


class Liar:
    """One hostile member at work until `until`, in the mesh's time."""

    def __init__(
        self, mesh: SimMesh, member: SimMember, rng: Random, attack: Attack, *, per_s: float, until: float
    ) -> None:
        self._mesh, self._member, self._rng = mesh, member, rng
        self._make = self._maker(attack)
        self._every_s, self._until = 1.0 / per_s, until
        self._number = 0
        self.frames = 0
        mesh.later(self._every_s * rng.random(), self._strike)

    def _strike(self) -> None:
        if self._mesh.now >= self._until or not self._member.running:
            return
        frame, is_published = self._make()
        self.frames += 1
        if is_published:
            self._member.transport.publish(frame)
        else:
            self._member.transport.send(Route(self._victim().router), frame)
        self._mesh.later(self._every_s, self._strike)

    def _maker(self, attack: Attack) -> Callable[[], tuple[bytes, bool]]:
        match attack:
            case "forge":
                return self._forge
            case "bury":
                return self._bury
            case "flood":
                return self._flood
            case "strangers":
                return self._strangers
            case "oversized":
                return self._oversized
            case "saturate":
                return self._saturate
            case "garbage":
                return self._garbage
            case _:
                assert_never(attack)

    @property
    def _own(self) -> Record:
        return self._member.engine.record

    def _victim(self) -> Record:
        """The record of another member, as the liar's own engine holds it."""
        others = [
            member.record
            for member in self._member.engine.members.living()
            if member.record is not None and member.agent != self._own.agent
        ]
        return self._rng.choice(others) if others else self._own

    def _said(self, message: Announce | Records) -> bytes:
        return encode(AgentName(self._own.agent), message)

    def _forge(self) -> tuple[bytes, bool]:
        victim = self._victim()
        if self._rng.random() < 0.5:
            claim = Claim(victim.agent, victim.incarnation, victim.version + _FORGED_AHEAD, "alive")
        else:
            claim = Claim(victim.agent, victim.incarnation + _FORGED_AHEAD, victim.version, "alive")
        return self._said(Announce((claim,))), True

    def _bury(self) -> tuple[bytes, bool]:
        victim = self._victim()
        return self._said(Announce((Claim(victim.agent, victim.incarnation, victim.version, "dead"),))), True

    def _flood(self) -> tuple[bytes, bool]:
        return self._said(Announce((self._claim_of(self._own),), (self._own,))), True

    def _strangers(self) -> tuple[bytes, bool]:
        claims = []
        for _ in range(_STRANGERS_A_FRAME):
            self._number += 1
            claims.append(Claim(f"ghost-{self._own.agent}-{self._number}", 1, 1, "alive"))
        return self._said(Announce(tuple(claims))), True

    def _oversized(self) -> tuple[bytes, bool]:
        return self._with_filter(self._rng.randbytes((1 << bloom.MAX_LOG2_BITS) // 8), bloom.MAX_LOG2_BITS)

    def _saturate(self) -> tuple[bytes, bool]:
        return self._with_filter(b"\xff" * ((1 << bloom.MIN_LOG2_BITS) // 8), bloom.MIN_LOG2_BITS)

    def _with_filter(self, bits: bytes, log2_bits: int) -> tuple[bytes, bool]:
        self._number += 1
        digest = Digest(topics=2**32, log2_bits=log2_bits, bits=bits)
        record = msgspec.structs.replace(self._own, version=self._own.version + self._number, digest=digest)
        return self._said(Announce((self._claim_of(record),), (record,))), True

    def _garbage(self) -> tuple[bytes, bool]:
        rng = self._rng
        match rng.randrange(5):
            case 0:
                frame = rng.randbytes(rng.randrange(1, 2_000))
            case 1:
                frame = bytes((WIRE_VERSION, rng.randrange(256), 1)) + b"x" + rng.randbytes(200)
            case 2:
                frame = bytes((WIRE_VERSION, 5, 1)) + b"x" + b"\x91" * 5_000
            case 3:
                frame = b"\0" * (MAX_FRAME_BYTES + 1)
            case _:  # Under another's name, to all: who hears the liar drops it.
                victim = self._victim()
                claims = (Claim(victim.agent, victim.incarnation, victim.version, "left"),)
                return encode(AgentName(victim.agent), Announce(claims)), True
        return frame, rng.random() < 0.5

    @staticmethod
    def _claim_of(record: Record) -> Claim:
        return Claim(record.agent, record.incarnation, record.version, "alive")
