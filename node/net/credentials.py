"""What makes an agent a member: its two private keys, its certificate, and the newest charter it knows.

All of it is one file, `<credentials>/<agent>.json`. On the host of the authority it is made at the first
start, and renewed; to another host it is copied, or made there by `avm mesh join`, and the nodes there go on
until it expires whether or not the authority can be reached.

    its file is here       it is checked, and renewed where the authority is here and it is about to expire
    no file, an authority  one is issued
    nothing at all         the first start on this host: an authority is made, and one is issued
    files of others alone  refused: a second authority would be another mesh under the same name

Invariant: what `load_or_make` returns is signed by its authority, in force now, and fits its private keys.
"""

from __future__ import annotations

import logging
import secrets
import time
from pathlib import Path
from typing import Annotated, Final, Literal

import msgspec
from msgspec import Meta

from node.net.authority import DAYS, Authority, Clock, recovery
from node.net.config import MeshConfig
from node.net.keys import public_of
from node.net.private_files import Damaged, decoded, locked, make_private_folder, read_private, write_private
from protocol.errors import InvalidInput
from protocol.identity import DAY_S, Signer, flaw_of, verify
from protocol.messages import Certificate, Charter, PublicKey, Role
from protocol.names import AgentName, check_agent_name, is_agent_name

_log = logging.getLogger(__name__)

MAX_SEEDS: Final = 16
_RENEWED_BELOW: Final = 1 / 3
"""Of its life. Higher renews more often; lower leaves hosts that are started seldom less time."""
_AGENTS: Final[frozenset[Role]] = frozenset({"agent", "observer"})

Secret = Annotated[bytes, Meta(min_length=32, max_length=32)]
Seed = Annotated[
    str,
    Meta(max_length=320, pattern=r"\Atcp://([^\s:#]+|\[[0-9a-fA-F:.%a-z]+\]):[0-9]{1,5}#[0-9a-f]{64}\Z"),
]


class PrivateKeys(msgspec.Struct, frozen=True, kw_only=True):
    """The private keys of an agent: the Ed25519 seed that it signs with, the X25519 key of its sockets."""

    sign_secret: Secret
    curve_secret: Secret

    @classmethod
    def drawn(cls) -> PrivateKeys:
        """New ones."""
        return cls(sign_secret=secrets.token_bytes(32), curve_secret=secrets.token_bytes(32))

    @property
    def verify_key(self) -> bytes:
        """What others verify our signatures with."""
        return Signer(self.sign_secret).public

    @property
    def curve_key(self) -> bytes:
        """What others know our sockets by."""
        return public_of(self.curve_secret)


class Credentials(PrivateKeys, frozen=True, kw_only=True):
    """Of one agent. `authority` is the public key of the mesh's, `charter` the newest that is known here,
    `seeds` members that ran where it was issued: `tcp://host:port#key`, the key of the sockets in hex.
    """

    version: Literal[1] = 1
    mesh: str
    authority: PublicKey
    certificate: Certificate
    charter: Charter
    seeds: Annotated[tuple[Seed, ...], Meta(max_length=MAX_SEEDS)] = ()

    @property
    def agent(self) -> AgentName:
        """Whose they are."""
        return AgentName(self.certificate.agent)


def path_of(folder: Path, agent: AgentName) -> Path:
    """Its file among the credentials of a mesh."""
    return folder / f"{agent}.json"


def load_or_make(
    config: MeshConfig, agent: AgentName, role: Role, *, clock: Clock = time.time
) -> Credentials:
    """The credentials of `agent`, to be a member in `role`; an observer may be where an agent may.

    Raises `InvalidInput` that names the file and what to do, where there are none and none can be made, or
    they prove nothing.
    """
    check_agent_name(agent)
    folder = config.credentials
    make_private_folder(folder)
    path = path_of(folder, agent)
    found = read(config, agent)
    if found is not None:
        authority = _sound_authority(config, clock)
        if authority is not None and found.authority != authority.public:
            raise InvalidInput(
                str(path),
                "is of another authority than the one on this host",
                f"make another by `avm mesh issue {agent} --replace`",
            )
        if authority is None or not _is_waning(found, clock()):
            return in_force(path, _with_newest_charter(found, authority), role, clock())
    with locked(folder):  # Of two processes that come here at once the second finds what the first made.
        found = read(config, agent)
        if found is None:
            return in_force(path, _made(config, agent, role, clock), role, clock())
        authority = _sound_authority(config, clock)
        if authority is not None and _is_waning(found, clock()):
            found = _renewed(config, found, authority)
        return in_force(path, _with_newest_charter(found, authority), role, clock())


def read(config: MeshConfig, agent: AgentName) -> Credentials | None:
    """What is in its file, as `parse` has it; None where there is none."""
    path = path_of(config.credentials, agent)
    content = read_private(path)
    return None if content is None else parse(path, content, mesh=config.mesh, agent=agent)


def parse(
    path: Path, content: bytes, *, mesh: str | None = None, agent: AgentName | None = None
) -> Credentials:
    """The credentials in a file. `InvalidInput` where it is damaged, of another mesh or another agent (any
    will do where none is given), or its keys are not those of its certificate. Not whether it expired.
    """
    found = decoded(path, content, Credentials, fix=_another_file(agent or "NAME"))
    check(path, found, mesh=mesh, agent=agent)
    return found


def check(path: Path, found: Credentials, *, mesh: str | None = None, agent: AgentName | None = None) -> None:
    """Of the file `path`: see `parse`."""
    certificate, charter = found.certificate, found.charter
    mesh = mesh or certificate.mesh
    problem = ""
    if found.mesh != mesh:
        problem = f"is of mesh {found.mesh[:80]!r}, not {mesh!r}"
    elif agent not in (None, certificate.agent):
        problem = f"is of agent {certificate.agent}, not {agent}"
    elif certificate.mesh != mesh or not verify(certificate, found.authority):
        problem = "has a certificate that its authority did not sign"
    elif (found.verify_key, found.curve_key) != (certificate.verify_key, certificate.curve_key):
        problem = "has keys that its certificate is not for"
    elif charter.mesh != mesh or not verify(charter, found.authority):
        problem = "has a charter that its authority did not sign"
    if problem:
        raise InvalidInput(str(path), problem, _another_file(agent or certificate.agent))


def store(config: MeshConfig, found: Credentials) -> Path:
    """Write the file of these credentials, and say where."""
    make_private_folder(config.credentials)
    path = path_of(config.credentials, found.agent)
    write_private(path, msgspec.json.encode(found))
    return path


def store_charter(config: MeshConfig, agent: AgentName, charter: Charter) -> None:
    """Keep this charter, which came by gossip, where it is newer than that in the agent's file: for its next
    start, and for the authority, where that is here.
    """
    with locked(config.credentials):
        found = read(config, agent)
        if found is None or charter.number <= found.charter.number or charter.mesh != found.mesh:
            return
        if verify(charter, found.authority):
            newer = msgspec.structs.replace(found, charter=charter)
            store(config, newer)
            _with_newest_charter(newer, _sound_authority(config, time.time))


def agents_of(folder: Path) -> list[AgentName]:
    """Whose files are among these credentials, by name."""
    return sorted(AgentName(path.stem) for path in folder.glob("*.json") if is_agent_name(path.stem))


def issue(
    authority: Authority,
    agent: AgentName,
    role: Role,
    days: float = DAYS,
    *,
    keys: PrivateKeys | None = None,
    seeds: tuple[str, ...] = (),
    replace: bool = False,
) -> Credentials:
    """New credentials of `agent`, for new keys unless some are given; see `Authority.issue`."""
    own = keys or PrivateKeys.drawn()
    certificate = authority.issue(agent, role, days, own.verify_key, own.curve_key, replace=replace)
    return Credentials(
        mesh=authority.mesh,
        authority=authority.public,
        certificate=certificate,
        sign_secret=own.sign_secret,
        curve_secret=own.curve_secret,
        charter=authority.charter(),
        seeds=seeds[:MAX_SEEDS],
    )


def _made(config: MeshConfig, agent: AgentName, role: Role, clock: Clock) -> Credentials:
    folder = config.credentials
    if Authority.exists(folder):
        authority = Authority.open(folder, config.mesh, clock=clock)
    elif agents_of(folder):
        raise InvalidInput(
            "agent",
            f"{agent} has no certificate, and the authority of {config.mesh} is not on this host",
            f"{_another_file(agent)}; where the authority is lost: {recovery(folder)}",
        )
    else:
        authority = Authority.open_or_create(folder, config.mesh, clock=clock)
    made = issue(authority, agent, role)
    store(config, made)
    return made


def _renewed(config: MeshConfig, found: Credentials, authority: Authority) -> Credentials:
    held = found.certificate
    if held.serial in authority.charter().revoked:
        return found
    days = (held.expires_at - held.issued_at) / DAY_S
    try:
        made = issue(authority, found.agent, held.role, days, keys=found, seeds=found.seeds)
    except Damaged as error:  # Of the ledger; what is held may still hold for long.
        _warn(error)
        return found
    store(config, made)
    _log.info("the certificate of %s was renewed for %.0f days", found.agent, days)
    return made


def in_force(path: Path, found: Credentials, role: Role, unix_s: float) -> Credentials:
    """These credentials, of the file `path`, where they make a member in `role` now; else `InvalidInput`."""
    certificate = found.certificate
    agent = certificate.agent
    if certificate.serial in found.charter.revoked:
        raise InvalidInput(
            "agent",
            f"{agent} was revoked by the authority of mesh {found.mesh}",
            f"to admit it again: `avm mesh issue {agent} --replace` on the host of the authority",
        )
    match flaw_of(certificate, mesh=found.mesh, authority=found.authority, unix_s=unix_s):
        case "":
            pass
        case "issued in the future":
            raise InvalidInput(
                str(path),
                f"was issued {_hours(certificate.issued_at - unix_s)} ahead of this clock",
                "set this clock right; where it is right, that of the authority's host, and issue it anew",
            )
        case "expired":
            raise InvalidInput(
                str(path),
                f"expired {_hours(unix_s - certificate.expires_at)} ago by this clock",
                f"where the clock is right: {_another_file(AgentName(agent))}",
            )
        case flaw:
            raise InvalidInput(str(path), f"is {flaw}", _another_file(AgentName(agent)))
    held: Role = certificate.role
    if held != role and not (held in _AGENTS and role in _AGENTS):
        raise InvalidInput(
            "agent",
            f"the certificate of {agent} is for role {held}, not {role}",
            f"choose another name, or `avm mesh issue {agent} --role {role} --replace`",
        )
    return found


def _sound_authority(config: MeshConfig, clock: Clock) -> Authority | None:
    """The one on this host, for somebody who has a certificate already: goes on where it is damaged."""
    if not Authority.exists(config.credentials):
        return None
    try:
        found = Authority.open(config.credentials, config.mesh, clock=clock)
        found.charter()
    except Damaged as error:
        _warn(error)
        return None
    return found


def _warn(error: Damaged) -> None:
    _log.warning("the authority of this mesh can issue and renew nothing: %s", error)


def _with_newest_charter(found: Credentials, authority: Authority | None) -> Credentials:
    """With the authority's charter, where that is newer; where it is older, the authority is given ours."""
    if authority is None:
        return found
    charter = authority.charter()
    if charter.number < found.charter.number:
        authority.adopt(found.charter)
    return msgspec.structs.replace(found, charter=charter) if charter.number > found.charter.number else found


def _is_waning(found: Credentials, unix_s: float) -> bool:
    certificate = found.certificate
    life = certificate.expires_at - certificate.issued_at
    return certificate.expires_at - unix_s < life * _RENEWED_BELOW


def _another_file(agent: AgentName | str) -> str:
    return (
        f"on the host of the authority `avm mesh issue {agent}`, here `avm mesh join` with the file that it "
        f"writes; or there `avm mesh invite {agent}`, here the line that it prints"
    )


def _hours(seconds: float) -> str:
    hours = seconds / 3_600
    return f"{hours:.0f} h" if hours < 48 else f"{hours / 24:.0f} days"
