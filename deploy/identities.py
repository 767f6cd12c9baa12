"""Who is a member by right: what the authority issued, what this host holds, and what needs attention."""

from __future__ import annotations

import msgspec

from node.net.address import is_loopback, split_address
from node.net.authority import Authority, Clock, Issued, fingerprint
from node.net.config import MeshConfig
from node.net.credentials import MAX_SEEDS, Credentials, Seed, agents_of, read
from node.net.register import Register
from protocol.errors import MeshError, NotFound
from protocol.identity import DAY_S
from protocol.messages import Role

SOON_S = 30 * DAY_S
"""Who expires within this is warned of."""


class Held(msgspec.Struct, frozen=True, kw_only=True):
    """One certificate. Times in seconds since 1970, `revoked_at` 0 where it is not; `here`: with its private
    keys, in a file of this host.
    """

    agent: str
    role: Role
    serial: int
    issued_at: int
    expires_at: int
    revoked_at: int
    here: bool


class Overview(msgspec.Struct, frozen=True, kw_only=True):
    """Of one mesh, as this host knows it. Keys are named by their numbers and never shown."""

    mesh: str
    authority: str
    fingerprint: str
    secret_here: bool
    folder: str
    charter: int
    epochs: tuple[int, ...]
    certificates: tuple[Held, ...]
    warnings: tuple[str, ...]


def overview(config: MeshConfig, clock: Clock) -> Overview:
    """Raises `NotFound` where nothing of this mesh is here, `InvalidInput` where its authority is no good."""
    folder = config.credentials
    files, errors = _files(config)
    now = int(clock())
    if Authority.exists(folder):
        authority = Authority.open(folder, config.mesh, clock=clock)
        public, charter = authority.public, authority.charter()
        issued = authority.issued()
    elif files:
        newest = max(files.values(), key=lambda found: found.charter.number)
        public, charter = newest.authority, newest.charter
        issued = tuple(_as_issued(found) for found in files.values())
    elif errors:
        raise errors[0]
    else:
        raise NotFound(
            f"nothing of mesh {config.mesh} is in {folder} yet; its first node makes an authority, or "
            "`avm mesh init` does"
        )
    certificates = tuple(_held(one, files, charter.revoked, now) for one in issued)
    return Overview(
        mesh=config.mesh,
        authority=public.hex(),
        fingerprint=fingerprint(public),
        secret_here=Authority.exists(folder),
        folder=str(folder),
        charter=charter.number,
        epochs=tuple(epoch.number for epoch in charter.epochs),
        certificates=certificates,
        warnings=(*map(str, errors), *_expiring(certificates, now)),
    )


def seeds_of(config: MeshConfig) -> tuple[str, ...]:
    """Where other hosts reach the members that run on this one, with the keys of their sockets."""
    found = []
    for entry in Register(config.folder).all_running():
        try:
            seed = msgspec.convert(entry.router, Seed)
        except msgspec.ValidationError:  # Of a member that has no key.
            continue
        host, _ = split_address(seed.partition("#")[0])
        if not is_loopback(host):
            found.append(seed)
    return tuple(found[:MAX_SEEDS])


def _files(config: MeshConfig) -> tuple[dict[str, Credentials], list[MeshError]]:
    files, errors = {}, []
    for agent in agents_of(config.credentials):
        try:
            found = read(config, agent)
        except MeshError as error:
            errors.append(error)
            continue
        if found is not None:
            files[str(agent)] = found
    return files, errors


def _as_issued(found: Credentials) -> Issued:
    certificate = found.certificate
    return Issued(
        agent=certificate.agent,
        serial=certificate.serial,
        role=certificate.role,
        issued_at=certificate.issued_at,
        expires_at=certificate.expires_at,
        verify_key=certificate.verify_key,
        curve_key=certificate.curve_key,
    )


def _held(one: Issued, files: dict[str, Credentials], revoked: tuple[int, ...], now: int) -> Held:
    file = files.get(one.agent)
    return Held(
        agent=one.agent,
        role=one.role,
        serial=one.serial,
        issued_at=one.issued_at,
        expires_at=one.expires_at,
        revoked_at=one.revoked_at or (now if one.serial in revoked else 0),
        here=file is not None and file.certificate.serial == one.serial,
    )


def _expiring(certificates: tuple[Held, ...], now: int) -> list[str]:
    """Of each agent by the last certificate that it has."""
    last = {one.agent: one for one in certificates if not one.revoked_at}
    return [
        f"the certificate of {one.agent} expires in {(one.expires_at - now) / DAY_S:.0f} days"
        for one in last.values()
        if now < one.expires_at < now + SOON_S
    ]
