"""Who is believed: the one place where the engine asks whether a member is one, and a record its owner's.

    Open      believes everybody; for simulations, where nobody has keys
    Guarded   believes certificates of the mesh authority, and records signed with the keys these name

A certificate is looked at once, a record once a version: what is held already is only compared. Certificates
travel beside records that are asked for; whoever lacks that of a record's owner asks for the record.

Invariants:
 1. Nothing is told of an agent by a certificate that the authority did not sign, that is over, or revoked.
 2. Of two certificates for one name the one issued later holds, and of two charters the greater number.
 3. At most `limit` certificates are held, whatever peers send.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Final, Protocol

import msgspec

from protocol.identity import AHEAD_S, Signer, flaw_of, verify
from protocol.keyring import UNKEYED, Keyring
from protocol.messages import Certificate, Charter, Record, Records
from protocol.names import AgentName

UNKNOWN: Final = "no certificate"
"""The flaw of a record that is nobody's fault: its owner's certificate has to be asked for."""
REVOKED: Final = "revoked"
_EXPIRED: Final = "expired"
_EXCUSED: Final = frozenset({UNKNOWN, REVOKED, _EXPIRED, "superseded", "no room"})


def is_excused(flaw: str) -> bool:
    """Whether whoever passed it on may have done so in good faith."""
    return flaw in _EXCUSED


class Gate(Protocol):
    """What the engine asks. A flaw is empty where there is none."""

    @property
    def certificate(self) -> Certificate | None:
        """Our own."""

    @property
    def charter(self) -> Charter | None:
        """The one in force."""

    @property
    def keys(self) -> Keyring:
        """Of the mesh's digests, by epoch; the present one last."""

    def sign(self, record: Record, now: float) -> Record:
        """Our own record, signed."""

    def admit(self, certificate: Certificate, now: float) -> str:
        """Hold this certificate from now on; or its flaw."""

    def flaw_of(self, record: Record, now: float) -> str:
        """Why a record is not to be believed."""

    def is_barred(self, agent: AgentName) -> bool:
        """Whether we know that this agent is a member no more."""

    def key_of(self, agent: AgentName) -> str:
        """The key of this agent's sockets in hex; empty where there is none."""

    def is_admitted(self, curve_key: bytes) -> bool:
        """Whether the owner of this key of sockets is a member."""

    def owner_of(self, curve_key: bytes) -> str:
        """Whose this key of sockets is, member or barred; empty where we hold no certificate with it."""

    def certificates_of(self, records: Iterable[Record]) -> tuple[Certificate, ...]:
        """Those of the owners."""

    def latest(self, now: float) -> float:
        """The highest incarnation that may be claimed without its owner's signature."""

    def take(self, charter: Charter) -> str:
        """Put this charter in force, or its flaw; one that is not newer has none and changes nothing."""

    def lapsed(self, now: float) -> list[tuple[AgentName, str]]:
        """Who ceased to be a member since this was last asked, and why."""

    def forget(self, agent: AgentName) -> None:
        """This agent is gone from the table; what it is barred for is remembered."""


class Open:
    """Everybody is believed."""

    certificate: Certificate | None = None
    charter: Charter | None = None

    def __init__(self, keys: Keyring = UNKEYED) -> None:
        self.keys = keys

    def sign(self, record: Record, _now: float) -> Record:
        """As it is."""
        return record

    def admit(self, _certificate: Certificate, _now: float) -> str:
        """Nothing is held."""
        return ""

    def flaw_of(self, _record: Record, _now: float) -> str:
        """None."""
        return ""

    def is_barred(self, _agent: AgentName) -> bool:
        """Nobody."""
        return False

    def key_of(self, _agent: AgentName) -> str:
        """None."""
        return ""

    def is_admitted(self, _curve_key: bytes) -> bool:
        """Whoever it is."""
        return True

    def owner_of(self, _curve_key: bytes) -> str:
        """Nobody's."""
        return ""

    def certificates_of(self, _records: Iterable[Record]) -> tuple[Certificate, ...]:
        """None."""
        return ()

    def latest(self, _now: float) -> float:
        """No bound."""
        return math.inf

    def take(self, _charter: Charter) -> str:
        """There is no authority."""
        return "no authority"

    def lapsed(self, _now: float) -> list[tuple[AgentName, str]]:
        """Nobody."""
        return []

    def forget(self, _agent: AgentName) -> None:
        """Nothing is held."""


class Guarded:
    """One member's certificates, its own key, and the charter in force."""

    def __init__(
        self,
        certificate: Certificate,
        signer: Signer,
        charter: Charter,
        *,
        authority: bytes,
        unix_s: float,
        now: float,
        limit: int,
    ) -> None:
        """`certificate` is ours and `signer` has its key; `unix_s` is the time since 1970 at `now`."""
        self.certificate: Certificate | None = certificate
        self._own, self._signer, self._authority = certificate, signer, authority
        self._limit = limit
        self._certificates: dict[AgentName, Certificate] = {AgentName(certificate.agent): certificate}
        self._owners: dict[bytes, AgentName] = {certificate.curve_key: AgentName(certificate.agent)}
        self._barred: set[AgentName] = set()
        self._lapsed: list[tuple[AgentName, str]] = []
        self._next_expiry = math.inf
        self.set_clock(unix_s, now)
        self._put_in_force(charter)

    def set_clock(self, unix_s: float, now: float) -> None:
        """It is `unix_s` since 1970 at `now`: at the start, and when the system's clock was set."""
        self._ahead_s = unix_s - now

    def _put_in_force(self, charter: Charter) -> None:
        self.charter: Charter | None = charter
        self._number = charter.number
        self._revoked = frozenset(charter.revoked)
        self.keys: Keyring = {epoch.number: epoch.key for epoch in charter.epochs}
        for agent, held in self._certificates.items():
            if held.serial in self._revoked and agent not in self._barred:
                self._bar(agent, REVOKED)

    def _bar(self, agent: AgentName, why: str) -> None:
        self._barred.add(agent)
        self._lapsed.append((agent, why))

    def sign(self, record: Record, now: float) -> Record:
        """Dated now."""
        return self._signer.sign(msgspec.structs.replace(record, signed_at=int(now + self._ahead_s)))

    def admit(self, certificate: Certificate, now: float) -> str:
        """See `Gate`. Ours is never replaced."""
        agent = AgentName(certificate.agent)
        held = self._certificates.get(agent)
        if certificate == held:
            return self._standing(held, now)
        flaw = flaw_of(
            certificate, mesh=self._own.mesh, authority=self._authority, unix_s=now + self._ahead_s
        )
        if flaw:
            return flaw
        if certificate.serial in self._revoked:
            return REVOKED
        if held is self._own or (held is not None and _order(certificate) <= _order(held)):
            return "superseded"
        if held is None and len(self._certificates) >= self._limit:
            return "no room"
        if held is not None:
            self._owners.pop(held.curve_key, None)
        self._barred.discard(agent)
        self._certificates[agent] = certificate
        self._owners[certificate.curve_key] = agent
        self._next_expiry = min(self._next_expiry, certificate.expires_at)
        return ""

    def _standing(self, certificate: Certificate, now: float) -> str:
        if certificate.serial in self._revoked:
            return REVOKED
        return _EXPIRED if certificate.expires_at <= now + self._ahead_s else ""

    def flaw_of(self, record: Record, now: float) -> str:
        """See `Gate`."""
        certificate = self._certificates.get(AgentName(record.agent))
        if certificate is None:
            return UNKNOWN
        flaw = self._standing(certificate, now)
        if flaw:
            return flaw
        if record.role != certificate.role:
            return f"{record.agent} is no {record.role} but {certificate.role}"
        if record.signed_at > now + self._ahead_s + AHEAD_S:
            return "a record from the future"
        return "" if verify(record, certificate.verify_key) else "not signed by its owner"

    def is_barred(self, agent: AgentName) -> bool:
        """See `Gate`."""
        return agent in self._barred

    def key_of(self, agent: AgentName) -> str:
        """See `Gate`."""
        held = self._certificates.get(agent)
        return "" if held is None else held.curve_key.hex()

    def is_admitted(self, curve_key: bytes) -> bool:
        """Whether the owner of this key of sockets is a member."""
        agent = self._owners.get(curve_key)
        return agent is not None and agent not in self._barred

    def owner_of(self, curve_key: bytes) -> str:
        """See `Gate`."""
        return self._owners.get(curve_key, "")

    def role_of(self, agent: AgentName) -> str:
        """As its certificate says; empty where we hold none."""
        held = self._certificates.get(agent)
        return "" if held is None else held.role

    def certificates_of(self, records: Iterable[Record]) -> tuple[Certificate, ...]:
        """See `Gate`."""
        held = (self._certificates.get(AgentName(record.agent)) for record in records)
        return tuple(certificate for certificate in held if certificate is not None)

    def latest(self, now: float) -> float:
        """The milliseconds since 1970, and a day: owners count up from 1 or from the clock, and always have
        room to outbid what others claim of them.
        """
        return (now + self._ahead_s + AHEAD_S) * 1_000

    def take(self, charter: Charter) -> str:
        """See `Gate`."""
        if charter.number <= self._number:
            return ""
        if charter.mesh != self._own.mesh or not verify(charter, self._authority):
            return "a charter that is not signed by the authority of this mesh"
        self._put_in_force(charter)
        return ""

    def lapsed(self, now: float) -> list[tuple[AgentName, str]]:
        """See `Gate`. Looks through the certificates only when one of them has expired."""
        unix_s = now + self._ahead_s
        if unix_s >= self._next_expiry:
            running = []
            for agent, held in self._certificates.items():
                if agent in self._barred or held is self._own:
                    continue
                if held.expires_at <= unix_s:
                    self._bar(agent, _EXPIRED)
                else:
                    running.append(held.expires_at)
            self._next_expiry = min(running, default=math.inf)
        lapsed, self._lapsed = self._lapsed, []
        return lapsed

    def forget(self, agent: AgentName) -> None:
        """See `Gate`."""
        if agent not in self._barred and agent != self._own.agent:
            held = self._certificates.pop(agent, None)
            if held is not None:
                self._owners.pop(held.curve_key, None)

    def check(self) -> None:
        """Assert the invariants that one moment can show."""
        assert len(self._certificates) <= self._limit
        assert {key: agent for agent, held in self._certificates.items() for key in [held.curve_key]} == (
            self._owners
        )
        for agent, held in self._certificates.items():
            assert held.serial not in self._revoked or agent in self._barred


def attested(records: Sequence[Record], gate: Gate) -> Records:
    """These records with the certificates of their owners."""
    return Records(tuple(records), gate.certificates_of(records))


def _order(certificate: Certificate) -> tuple[int, int]:
    return certificate.issued_at, certificate.serial
