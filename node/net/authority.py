"""The authority of a mesh: one secret key, what it has signed, and who is a member no more.

    authority/secret.json    the key. Whoever has it admits whom they like
    authority/charter.json   the newest charter: digest keys, revoked serials
    authority/ledger.json    the certificates issued, so that no name is given to two

It is a folder of files and no process: any process of its user on this host opens it, signs and is done. A
folder of its own, as an agent may be named `secret`; to copy it elsewhere is the backup.

Invariants:
 1. Of one name the unexpired certificates that are not revoked have the same keys, and no other name
    has these.
 2. A charter's number grows by one with each change, and what it revokes stays in it until no clock that is
    trusted (`AHEAD_S`) still takes the certificate for valid.
"""

from __future__ import annotations

import os
import secrets
import time
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Final, Literal, Self, TypeVar

import msgspec

from node.net.private_files import Damaged, decoded, locked, make_private_folder, read_private, write_private
from protocol.errors import InvalidInput, NotFound
from protocol.identity import AHEAD_S, DAY_S, Signer, verify
from protocol.messages import MAX_EPOCHS, MAX_REVOKED, Certificate, Charter, Epoch, PublicKey, Role
from protocol.names import AgentName, check_agent_name

DAYS: Final = 365
MAX_DAYS: Final = 3650
_KEPT_S: Final = 90 * DAY_S
"""An expired certificate is listed for so long."""

T = TypeVar("T")

Clock = Callable[[], float]
"""Seconds since 1970."""


class Issued(msgspec.Struct, frozen=True, kw_only=True):
    """One certificate in the ledger; times in seconds since 1970, `revoked_at` 0 where it is not."""

    agent: str
    serial: int
    role: Role
    issued_at: int
    expires_at: int
    verify_key: PublicKey
    curve_key: PublicKey
    revoked_at: int = 0


class _Secret(msgspec.Struct, frozen=True, kw_only=True):
    version: Literal[1]
    mesh: str
    secret: PublicKey


class _Ledger(msgspec.Struct, frozen=True, kw_only=True):
    version: Literal[1]
    certificates: tuple[Issued, ...]

    def current(self, now: int) -> list[Issued]:
        """What has not expired, in the order of issue."""
        return [one for one in self.certificates if one.expires_at > now]

    def held_by_others(
        self, agent: AgentName, keys: tuple[bytes, bytes], charter: Charter, now: int
    ) -> list[Issued]:
        """What this name has for other keys, and still holds."""
        return [
            one
            for one in self.current(now)
            if one.agent == agent
            and (one.verify_key, one.curve_key) != keys
            and not _is_revoked(one, charter)
        ]


class Authority:
    """Of one mesh, in one folder. May be opened by many processes at once."""

    def __init__(self, folder: Path, mesh: str, secret: bytes, clock: Clock) -> None:
        self.mesh, self.folder = mesh, place_of(folder)
        self._signer, self._clock = Signer(secret), clock
        self.public: bytes = self._signer.public
        """Its public key: the identity of the mesh."""

    @staticmethod
    def exists(folder: Path) -> bool:
        """Whether one is on this host, in good order or not."""
        # False where we may not look, too: it cannot be used then.
        return os.path.exists(_secret_file(folder))

    @classmethod
    def create(cls, folder: Path, mesh: str, *, clock: Clock = time.time) -> Self:
        """Make one, and its first charter. `InvalidInput` where one is there."""
        make_private_folder(folder)
        with locked(place_of(folder)):
            if cls.exists(folder):
                raise InvalidInput(
                    str(_secret_file(folder)),
                    "is there already, and another authority would part the mesh",
                    "see `avm mesh show`",
                )
            return cls._made(folder, mesh, clock)

    @classmethod
    def open(cls, folder: Path, mesh: str, *, clock: Clock = time.time) -> Self:
        """The one that is there. `InvalidInput` where none is, or it is no good."""
        path = _secret_file(folder)
        content = read_private(path)
        if content is None:
            raise InvalidInput(
                str(path),
                f"is not there: the authority of mesh {mesh} is not on this host",
                f"use the host where it is; where it is lost, {recovery(folder)}",
            )
        found = decoded(path, content, _Secret, fix=recovery(folder))
        if found.mesh != mesh:
            raise InvalidInput(
                str(path), f"is of mesh {found.mesh!r}, not {mesh!r}", "move it to its own folder"
            )
        return cls(folder, mesh, found.secret, clock)

    @classmethod
    def open_or_create(cls, folder: Path, mesh: str, *, clock: Clock = time.time) -> Self:
        """Of many that do so at once on a host without one, one makes it."""
        make_private_folder(folder)
        with locked(place_of(folder)):
            if not cls.exists(folder):
                return cls._made(folder, mesh, clock)
        return cls.open(folder, mesh, clock=clock)

    @classmethod
    def _made(cls, folder: Path, mesh: str, clock: Clock) -> Self:
        secret = secrets.token_bytes(32)
        made = cls(folder, mesh, secret, clock)
        if made._has_issued():
            raise Damaged(str(_secret_file(folder)), "is missing", recovery(folder))
        made._write_ledger(())
        made._write_charter(Charter(mesh, 1, made._now(), (Epoch(1, secrets.token_bytes(32)),)))
        # Last, so that whoever finds an authority finds the whole of it.
        content = _Secret(version=1, mesh=mesh, secret=secret)
        write_private(_secret_file(folder), msgspec.json.encode(content))
        return made

    def issue(
        self,
        agent: AgentName,
        role: Role,
        days: float,
        verify_key: bytes,
        curve_key: bytes,
        *,
        replace: bool = False,
    ) -> Certificate:
        """A certificate for these keys, for so many days from now.

        Raises `InvalidInput` where the name belongs to other keys or was revoked; with `replace` what was
        issued for it is revoked instead.
        """
        check_agent_name(agent)
        check_days(days)
        with locked(self.folder):
            charter, ledger, now = self.charter(), self._ledger(), self._now()
            keys = (verify_key, curve_key)
            _check_keys(ledger.current(now), agent, keys)
            held = ledger.held_by_others(agent, keys, charter, now)
            if not replace:
                _check_free(agent, held, ledger, charter, now)
            elif held:
                self._revoke(charter, ledger, [one.serial for one in held])
                ledger = self._ledger()
            # Of two certificates the later one holds, so two must not be of the same second; but what a
            # clock far ahead of ours issued nobody takes, and nothing is put behind it.
            last = max((one.issued_at for one in ledger.current(now) if one.agent == agent), default=0)
            issued_at = last + 1 if now <= last < now + AHEAD_S else now
            made = self._signer.sign(
                Certificate(
                    self.mesh,
                    agent,
                    role,
                    secrets.randbits(52),
                    issued_at,
                    issued_at + round(days * DAY_S),
                    verify_key,
                    curve_key,
                )
            )
            entry = Issued(
                agent=agent,
                serial=made.serial,
                role=role,
                issued_at=issued_at,
                expires_at=made.expires_at,
                verify_key=verify_key,
                curve_key=curve_key,
            )
            kept = (
                one
                for one in ledger.certificates
                if one.expires_at + _KEPT_S > now or one.serial in charter.revoked
            )
            self._write_ledger((*kept, entry))
        return made

    def check_free(self, agent: AgentName) -> None:
        """Raise what `issue` would for new keys."""
        charter, ledger, now = self.charter(), self._ledger(), self._now()
        held = ledger.held_by_others(agent, (b"", b""), charter, now)
        _check_free(agent, held, ledger, charter, now)

    def revoke(self, agent: AgentName) -> Charter:
        """The charter that makes `agent` a member no more. `NotFound` where it has no valid certificate."""
        with locked(self.folder):
            charter, ledger, now = self.charter(), self._ledger(), self._now()
            serials = [
                one.serial
                for one in ledger.certificates
                if one.agent == agent and one.expires_at > now and not _is_revoked(one, charter)
            ]
            if not serials:
                raise NotFound(f"{agent} has no certificate of this authority that holds")
            return self._revoke(charter, ledger, serials)

    def rotate(self) -> Charter:
        """The charter with a new digest key, and the present one as the one before."""
        with locked(self.folder):
            charter = self.charter()
            epoch = Epoch(charter.epochs[-1].number + 1, secrets.token_bytes(32))
            epochs = (*charter.epochs, epoch)[-MAX_EPOCHS:]
            return self._next(charter, epochs=epochs)

    def charter(self) -> Charter:
        """The newest."""
        charter = self._read("charter.json", Charter)
        if charter.mesh != self.mesh or not verify(charter, self.public):
            raise Damaged(
                str(self.folder / "charter.json"), "is not signed by this authority", self._recovery()
            )
        return charter

    def adopt(self, charter: Charter) -> None:
        """Take a charter of ours that is newer than the one here, as when a backup was restored: the mesh
        goes by it already, and would take no change with a number that it has seen.
        """
        with locked(self.folder):
            is_newer = charter.number > self.charter().number
            if is_newer and charter.mesh == self.mesh and verify(charter, self.public):
                write_private(self.folder / "charter.json", msgspec.json.encode(charter))

    def issued(self) -> tuple[Issued, ...]:
        """What is in the ledger, in the order of issue; revoked is what the charter revokes as well."""
        revoked = set(self.charter().revoked)
        return tuple(
            msgspec.structs.replace(one, revoked_at=one.revoked_at or self._now())
            if one.serial in revoked
            else one
            for one in self._ledger().certificates
        )

    def _revoke(self, charter: Charter, ledger: _Ledger, serials: list[int]) -> Charter:
        now = self._now()
        over = {one.serial for one in ledger.certificates if one.expires_at + AHEAD_S <= now}
        revoked = [*(one for one in charter.revoked if one not in over), *serials]
        if len(revoked) > MAX_REVOKED:
            raise InvalidInput(
                "agent",
                f"{MAX_REVOKED:,} revoked certificates have not expired, and a charter holds no more",
                self._recovery(),
            )
        made = self._next(charter, revoked=tuple(revoked))
        marked = (
            msgspec.structs.replace(one, revoked_at=now) if one.serial in serials else one
            for one in ledger.certificates
        )
        self._write_ledger(tuple(marked))  # The charter first: it is what the mesh goes by.
        return made

    def _next(self, charter: Charter, **changed: object) -> Charter:
        changes = {"number": charter.number + 1, "issued_at": self._now(), **changed}
        return self._write_charter(msgspec.structs.replace(charter, **changes))

    def _write_charter(self, charter: Charter) -> Charter:
        made = self._signer.sign(charter)
        write_private(self.folder / "charter.json", msgspec.json.encode(made))
        return made

    def _ledger(self) -> _Ledger:
        return self._read("ledger.json", _Ledger)

    def _write_ledger(self, certificates: tuple[Issued, ...]) -> None:
        content = _Ledger(version=1, certificates=certificates)
        write_private(self.folder / "ledger.json", msgspec.json.encode(content))

    def _read(self, name: str, kind: type[T]) -> T:
        path = self.folder / name
        content = read_private(path)
        if content is None:
            raise Damaged(str(path), "is missing", self._recovery())
        return decoded(path, content, kind, fix=self._recovery())

    def _has_issued(self) -> bool:
        """Whether an authority was here: then a new one is made by nobody but who moves this one away."""
        return (self.folder / "ledger.json").exists() and bool(self._ledger().certificates)

    def _recovery(self) -> str:
        return recovery(self.folder.parent)

    def _now(self) -> int:
        return int(self._clock())


def _is_revoked(one: Issued, charter: Charter) -> bool:
    return bool(one.revoked_at) or one.serial in charter.revoked


def _check_keys(current: list[Issued], agent: AgentName, keys: tuple[bytes, bytes]) -> None:
    """Not of another agent: it could not tell its sockets and records from those of `agent`."""
    for one in current:
        if one.agent != agent and (one.verify_key == keys[0] or one.curve_key == keys[1]):
            raise InvalidInput("keys", f"are those of agent {one.agent}", "draw others")


def _check_free(agent: AgentName, held: list[Issued], ledger: _Ledger, charter: Charter, now: int) -> None:
    """That the name is nobody else's, and that who was revoked does not come back unasked."""
    if held:
        raise InvalidInput(
            "agent",
            f"{agent} has a certificate for other keys, until {_date(held[-1].expires_at)}",
            f"copy the file of {agent} from where it is, choose another name, or add --replace, as in "
            f"`avm mesh issue {agent} --replace`, which revokes the other one",
        )
    earlier = [one for one in ledger.current(now) if one.agent == agent]
    if earlier and _is_revoked(earlier[-1], charter):
        raise InvalidInput(
            "agent", f"{agent} was revoked", f"admit it again by `avm mesh issue {agent} --replace`"
        )


def check_days(days: float) -> None:
    """Raise `InvalidInput` where a certificate cannot hold for so many."""
    if not 0 < days <= MAX_DAYS:
        raise InvalidInput("days", f"{days:g} is out of range", f"use 1 to {MAX_DAYS}")


def fingerprint(public: bytes) -> str:
    """Of a public key, to be compared by eye: 16 hexadecimal digits of its SHA-256."""
    digits = sha256(public).hexdigest()[:16]
    return "-".join(digits[at : at + 4] for at in range(0, 16, 4))


def place_of(folder: Path) -> Path:
    """Where in the credentials of a mesh its authority is."""
    return folder / "authority"


def charter_file(folder: Path) -> Path:
    """Where in the credentials of a mesh its authority has its charter, for who only reads it."""
    return place_of(folder) / "charter.json"


def recovery(folder: Path) -> str:
    """What to do where the authority of these credentials is lost or damaged. Until then its nodes go on."""
    return (
        f"restore {place_of(folder)} from a backup, or begin anew: move {folder} away, `avm mesh init`, "
        "then `avm mesh issue` for each agent"
    )


def _secret_file(folder: Path) -> Path:
    return place_of(folder) / "secret.json"


def _date(seconds: int) -> str:
    return time.strftime("%Y-%m-%d", time.gmtime(seconds))
