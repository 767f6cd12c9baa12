"""What comes from the authority's host is checked and put in its place here: a copied file, or an admission.

Invariant: the files of one mesh on one host are of one authority, whatever is joined.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import TypeVar

import msgspec

from node.net.authority import Authority, Clock, fingerprint
from node.net.config import MeshConfig
from node.net.credentials import (
    Credentials,
    PrivateKeys,
    agents_of,
    check,
    in_force,
    parse,
    path_of,
    read,
    store,
)
from node.net.enrolment import Admission, Line, Offer, join
from node.net.private_files import locked, make_private_folder, read_private
from protocol.errors import InvalidInput, MeshError
from protocol.names import AgentName

C = TypeVar("C", bound=MeshConfig)


def join_by_file(
    config: C, file: Path, *, mesh: str | None, replace: bool, clock: Clock = time.time
) -> tuple[C, Credentials]:
    """Store what is in `file`; `mesh` is the one it has to be of, where one is given.

    Returns the settings of its mesh, too. Raises `InvalidInput` where it is no good, or its place is taken.
    """
    content = read_private(file, in_any_folder=True)
    if content is None:
        raise InvalidInput(str(file), "is not there", "name the file that `avm mesh issue` wrote")
    found = parse(file, content, mesh=mesh)
    of_mesh = _of(config, found.mesh)
    _keep(of_mesh, file, found, replace=replace, clock=clock)
    return of_mesh, found


def join_by_line(
    config: C, line: Line, *, mesh: str | None, replace: bool, clock: Clock = time.time
) -> tuple[C, Credentials]:
    """Draw keys here, have them certified where `line` leads, and store that. As `join_by_file` otherwise."""
    keys = PrivateKeys.drawn()
    kept: list[tuple[C, Credentials]] = []

    def accept(offer: Offer) -> None:
        of_mesh = _of(config, offer.mesh)
        make_private_folder(of_mesh.credentials)
        _check_place(of_mesh, AgentName(offer.agent), offer.authority, replace=replace)

    def keep(offer: Offer, admission: Admission) -> None:
        found = Credentials(
            sign_secret=keys.sign_secret,
            curve_secret=keys.curve_secret,
            mesh=offer.mesh,
            authority=offer.authority,
            certificate=admission.certificate,
            charter=admission.charter,
            seeds=admission.seeds,
        )
        of_mesh = _of(config, offer.mesh)
        path = path_of(of_mesh.credentials, AgentName(offer.agent))
        check(path, found, mesh=offer.mesh, agent=AgentName(offer.agent))
        _keep(of_mesh, path, found, replace=replace, clock=clock)
        kept.append((of_mesh, found))

    join(line, keys, mesh=mesh, accept=accept, keep=keep)
    return kept[0]


def _of(config: C, mesh: str) -> C:
    changed = msgspec.structs.replace(config, mesh=mesh)
    changed.checked()
    return changed


def _keep(config: MeshConfig, source: Path, found: Credentials, *, replace: bool, clock: Clock) -> None:
    in_force(source, found, found.certificate.role, clock())
    make_private_folder(config.credentials)
    with locked(config.credentials):
        if not _is_kept(config, found):
            _check_place(config, found.agent, found.authority, replace=replace)
            store(config, found)


def _is_kept(config: MeshConfig, found: Credentials) -> bool:
    try:
        return read(config, found.agent) == found
    except MeshError:  # What is there is no good; whether it may be replaced is asked next.
        return False


def _check_place(config: MeshConfig, agent: AgentName, authority: bytes, *, replace: bool) -> None:
    folder = config.credentials
    if path_of(folder, agent).exists() and not replace:
        raise InvalidInput(
            "agent", f"{agent} has a file here already, {path_of(folder, agent)}", "add --replace"
        )
    for whose, theirs in _authorities_here(config, besides=agent):
        if theirs != authority:
            raise InvalidInput(
                "mesh",
                f"{whose} on this host is of another mesh {config.mesh}: its authority is "
                f"{fingerprint(theirs)}, that of the new certificate {fingerprint(authority)}",
                f"where that other mesh is not needed here, move {folder} away first",
            )


def _authorities_here(config: MeshConfig, *, besides: AgentName) -> Iterator[tuple[str, bytes]]:
    """Who has one, and its public key."""
    folder = config.credentials
    if Authority.exists(folder):
        yield "the authority", Authority.open(folder, config.mesh).public
    for agent in agents_of(folder):
        try:
            found = read(config, agent) if agent != besides else None
        except MeshError:  # Told when that agent starts; it says nothing of who else may be here.
            continue
        if found is not None:
            yield agent, found.authority
