"""Commands on who is a member: the mesh authority, certificates, and how another host joins."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import msgspec
import typer

from deploy.command import Answer, Json, print_envelope, register, safe
from deploy.target import Mesh
from deploy.times import shown
from node.config import NodeConfig
from protocol.errors import InvalidInput
from protocol.messages import Certificate, Charter, Role
from protocol.names import check_agent_name

if TYPE_CHECKING:
    from rich.console import Console

PANEL = "Mesh"
MAX_MINUTES = 1440

AgentName_ = Annotated[str, typer.Argument(metavar="AGENT", help="The agent's name.")]
RoleOption = Annotated[str, typer.Option(help="agent, librarian or observer.")]
Days = Annotated[int, typer.Option(help="Days that the certificate holds, 1 to 3650.")]
Replace = Annotated[bool, typer.Option("--replace", help="Instead of what is there, which is revoked.")]


def add_to(app: typer.Typer) -> None:
    """Register these commands."""
    group = typer.Typer(
        help="Who is a member: the mesh authority and its certificates.", no_args_is_help=True
    )
    register(group, "init")(init)
    register(group, "issue")(issue)
    register(group, "invite")(invite)
    register(group, "join")(join)
    register(group, "show")(show)
    register(group, "revoke")(revoke)
    register(group, "rotate")(rotate)
    app.add_typer(group, name="mesh", rich_help_panel=PANEL)


def init(mesh: Mesh = None) -> Answer:
    """Make the authority of a mesh on this host; its first node does so by itself."""
    from node.net.authority import Authority, fingerprint
    from node.net.credentials import agents_of

    config = NodeConfig.load({"mesh": mesh})
    if not Authority.exists(config.credentials) and agents_of(config.credentials):
        raise InvalidInput(
            "mesh",
            f"{config.credentials} has certificates of another authority",
            f"use the host of that one; where it is lost, move {config.credentials} away first",
        )
    made = Authority.create(config.credentials, config.mesh)
    data = {"mesh": made.mesh, "authority": made.public.hex(), "folder": str(made.folder)}

    def tell(console: Console) -> None:
        console.print(f"the authority of mesh {made.mesh}, {fingerprint(made.public)}, is in {made.folder}")
        console.print("whoever can read that folder admits whom they like; keep a copy where only you can")

    return Answer(data=data, show=tell)


def issue(
    agent: AgentName_,
    role: RoleOption = "agent",
    days: Days = 365,
    out: Annotated[Path | None, typer.Option(help="The file to write, in another folder.")] = None,
    replace: Replace = False,
    mesh: Mesh = None,
) -> Answer:
    """Make an agent's keys and certificate, one file to be copied to its host."""
    from deploy.identities import seeds_of
    from node.net import credentials
    from node.net.authority import Authority, check_days
    from node.net.private_files import locked, write_private

    name, wanted = check_agent_name(agent), _role(role)
    check_days(days)
    config = NodeConfig.load({"mesh": mesh})
    authority = Authority.open(config.credentials, config.mesh)
    path = credentials.path_of(config.credentials, name) if out is None else out.expanduser().absolute()
    if not path.parent.is_dir():
        raise InvalidInput("out", f"{path.parent} is no folder", "make it, or choose another one")
    if path.is_dir() or (path.exists() and not replace):
        raise InvalidInput(
            "agent" if out is None else "out", f"{path} is there already", "add --replace, or choose another"
        )
    with locked(config.credentials):
        made = credentials.issue(authority, name, wanted, days, seeds=seeds_of(config), replace=replace)
        write_private(path, msgspec.json.encode(made))

    def tell(console: Console) -> None:
        console.print(safe(f"{_told(made.certificate)}: {path}"))
        console.print(
            f"where {name} runs on another host, copy that file there and `avm mesh join` it; it has the "
            "private keys, so remove it where it is not used"
        )

    return Answer(data={"file": str(path), **_described(made.certificate)}, show=tell)


def invite(
    agent: AgentName_,
    role: RoleOption = "agent",
    days: Days = 365,
    minutes: Annotated[float, typer.Option(help="How long the invitation holds.")] = 10.0,
    listen: Annotated[
        str | None, typer.Option(help="tcp://host:port where the new host reaches this one.")
    ] = None,
    advertise: Annotated[str | None, typer.Option(help="The host in the line, where it is another.")] = None,
    replace: Replace = False,
    mesh: Mesh = None,
    json_output: Json = False,
) -> Answer:
    """Print one line for a new host to join with, and wait until it has."""
    from deploy.identities import seeds_of
    from node.net.address import is_loopback, split_address
    from node.net.authority import Authority, check_days
    from node.net.enrolment import Invitation, Line, serve
    from node.net.zeromq.enrolment import EnrolmentListener

    started = time.perf_counter()
    name, wanted = check_agent_name(agent), _role(role)
    if not 0 < minutes <= MAX_MINUTES:
        raise InvalidInput("minutes", f"{minutes:g} is out of range", f"use up to {MAX_MINUTES}")
    check_days(days)
    config = NodeConfig.load({"mesh": mesh, "listen": listen, "advertise": advertise})
    authority = Authority.open(config.credentials, config.mesh)
    if not replace:
        authority.check_free(name)
    host, _ = split_address(config.listen)
    invitation = Invitation(authority, name, wanted, days, seeds=seeds_of(config), replace=replace)
    # Unless it is given the port is any: a node has the one of the settings.
    at = config.listen if listen else f"tcp://{host}:0"
    with EnrolmentListener(at, advertise=config.advertise) as listener:
        line = f"avm mesh join {Line(listener.address, listener.key, invitation.secret)}"
        if json_output:
            print_envelope("invite", started, {"status": "waiting", "data": {"line": line}})
        else:
            print(f"{line}\npaste it on the new host within {minutes:g} minutes; waiting", flush=True)
            if is_loopback(host):
                print(
                    "only this machine reaches it: for another one add --listen tcp://ADDRESS:0", flush=True
                )
        made = serve(invitation, listener, seconds=minutes * 60)
    return Answer(data=_described(made), show=lambda console: console.print(safe(f"joined: {_told(made)}")))


def join(
    what: Annotated[
        str, typer.Argument(metavar="LINE|FILE", help="What invite printed, or a file that issue wrote.")
    ],
    replace: Annotated[bool, typer.Option("--replace", help="Instead of the file that is here.")] = False,
    mesh: Mesh = None,
) -> Answer:
    """Become a member with a line or a file from the host of the authority."""
    from node.net.credentials import path_of
    from node.net.enrolment import parse_line
    from node.net.joining import join_by_file, join_by_line

    config = NodeConfig.load({"mesh": mesh})
    wanted = None if mesh is None else config.mesh
    if "://" in what:
        joined, found = join_by_line(config, parse_line(what.strip()), mesh=wanted, replace=replace)
    else:
        file = Path(what).expanduser().absolute()
        joined, found = join_by_file(config, file, mesh=wanted, replace=replace)
    path = path_of(joined.credentials, found.agent)
    option = "" if found.mesh == config.mesh else f" --mesh {found.mesh}"
    command = {"librarian": "librarian"}.get(found.certificate.role, "node")

    def tell(console: Console) -> None:
        console.print(safe(f"{_told(found.certificate)}: {path}"))
        console.print(f"start it by `avm {command} {found.agent}{option}`")

    return Answer(data={"file": str(path), **_described(found.certificate)}, show=tell)


def show(mesh: Mesh = None) -> Answer:
    """The authority, who has a certificate, and what needs attention."""
    from deploy.identities import overview

    found = overview(NodeConfig.load({"mesh": mesh}), time.time)

    def tell(console: Console) -> None:
        from rich.table import Table

        where = f"its secret is in {found.folder}" if found.secret_here else "its secret is on another host"
        console.print(safe(f"mesh {found.mesh}, authority {found.fingerprint}; {where}"))
        console.print(f"charter {found.charter}, digest keys {', '.join(map(str, found.epochs))}")
        table = Table("agent", "role", "issued", "expires", "", box=None, header_style="dim")
        for one in found.certificates:
            note = f"revoked {shown(one.revoked_at)}" if one.revoked_at else "here" if one.here else ""
            table.add_row(one.agent, one.role, shown(one.issued_at), shown(one.expires_at), note)
        console.print(table)
        for warning in found.warnings:
            console.print(f"[yellow]{safe(warning)}[/yellow]")

    return Answer(data=found, count=len(found.certificates), show=tell)


def revoke(agent: AgentName_, mesh: Mesh = None) -> Answer:
    """Make an agent a member no more; its certificates are refused as the mesh hears of it."""
    from node.net.authority import Authority

    name = check_agent_name(agent)
    config = NodeConfig.load({"mesh": mesh})
    charter = Authority.open(config.credentials, config.mesh).revoke(name)

    def tell(console: Console) -> None:
        console.print(f"{name} is revoked, by charter {charter.number}")
        console.print("it knows the present digest key; `avm mesh rotate` gives the mesh another")

    return Answer(data={"agent": name, **_numbers(charter)}, show=tell)


def rotate(mesh: Mesh = None) -> Answer:
    """Give the mesh a new digest key; the one before it holds until the next time."""
    from node.net.authority import Authority

    config = NodeConfig.load({"mesh": mesh})
    charter = Authority.open(config.credentials, config.mesh).rotate()

    def tell(console: Console) -> None:
        new = charter.epochs[-1].number
        console.print(f"digest key {new} is in force, by charter {charter.number}; {new - 1} is still read")
        console.print("nodes that are away keep working through one rotation: wait for them before the next")

    return Answer(data=_numbers(charter), show=tell)


def _role(text: str) -> Role:
    match text:
        case "agent" | "librarian" | "observer":
            return text
        case _:
            raise InvalidInput("role", f"{text!r} is none", "use agent, librarian or observer")


def _told(certificate: Certificate) -> str:
    return (
        f"{certificate.agent} is {certificate.role} in mesh {certificate.mesh} until "
        f"{shown(certificate.expires_at)}"
    )


def _described(certificate: Certificate) -> dict[str, object]:
    return {
        "mesh": certificate.mesh,
        "agent": certificate.agent,
        "role": certificate.role,
        "serial": certificate.serial,
        "issued_at": certificate.issued_at,
        "expires_at": certificate.expires_at,
    }


def _numbers(charter: Charter) -> dict[str, object]:
    return {
        "charter": charter.number,
        "epochs": [epoch.number for epoch in charter.epochs],
        "revoked": len(charter.revoked),
    }
