"""Is this machine fit for a node, and is what runs here well? Looks and reports; changes nothing."""

from __future__ import annotations

import contextlib
import os
import stat
import sys
import tempfile
from collections.abc import Callable, Iterator
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import apsw
import msgspec

from deploy import checkup
from deploy.checkup import Verdict
from node.config import NodeConfig
from node.embedder import why_without
from node.encoder.weights import model_identity
from node.memory.schema import APPLICATION_ID, VERSION
from node.net.address import split_address
from node.net.keys import SocketKeys, make_pair
from node.net.register import Register
from node.net.zeromq import ZmqTransport
from node.recall import tokens
from protocol.errors import AddressInUse, MeshError

PACKAGES = ("apsw", "bpe-openai", "filelock", "mmh3", "msgpack", "msgspec", "numpy", "pystemmer", "pyzmq")


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that was looked at. `bad` ones keep a node from working."""

    what: str
    verdict: Verdict
    told: str


def examine(config: NodeConfig) -> list[Finding]:
    """All findings, in a fixed order."""
    checks: tuple[tuple[str, Callable[[], Iterator[tuple[Verdict, str]]]], ...] = (
        ("python", _python),
        ("packages", _packages),
        ("sqlite", _sqlite),
        ("tokens", _tokens),
        ("sockets", lambda: _sockets(config)),
        ("data folder", lambda: _folder(config.data_dir)),
        ("runtime folder", lambda: _folder(config.runtime_dir)),
        ("credentials", lambda: _folder(config.credentials_dir)),
        ("memories", lambda: _memories(config)),
        ("members here", lambda: _members(config)),
        ("descriptors", lambda: checkup.limit(config)),
        ("how they are", lambda: checkup.members(config)),
        ("vectors", lambda: _vectors(config)),
    )
    return [
        Finding(what=what, verdict=verdict, told=told) for what, check in checks for verdict, told in check()
    ]


def _python() -> Iterator[tuple[Verdict, str]]:
    yield "ok", f"{sys.version.split()[0]} on {sys.platform}"


def _packages() -> Iterator[tuple[Verdict, str]]:
    found = []
    for name in PACKAGES:
        try:
            found.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            yield "bad", f"{name} is not installed; install avm-mesh again"
    yield "ok", ", ".join(found)


def _sqlite() -> Iterator[tuple[Verdict, str]]:
    try:
        apsw.Connection(":memory:").execute(
            "CREATE VIRTUAL TABLE probe USING fts5 (text, content = '', contentless_delete = 1)"
        )
    except apsw.Error as error:
        yield "bad", f"apsw's SQLite {apsw.sqlite_lib_version()} lacks what we need ({error}); upgrade apsw"
        return
    yield "ok", f"{apsw.sqlite_lib_version()} by apsw, with full-text search"


def _tokens() -> Iterator[tuple[Verdict, str]]:
    try:
        counted = tokens.count("tokens are counted offline")
    except (ImportError, OSError) as error:
        yield "bad", f"no token counter: {error}"
        return
    yield "ok", f"{tokens.ENCODING} counts offline ({counted} in the probe)"


def _sockets(config: NodeConfig) -> Iterator[tuple[Verdict, str]]:
    with tempfile.TemporaryDirectory(prefix="avm-") as folder:
        try:
            public, secret = make_pair()
            transport = ZmqTransport(
                config.listen,
                keys=SocketKeys(public=public, secret=secret, is_admitted=lambda _key: False),
                advertise=config.advertise,
                control_path=str(Path(folder) / "probe.sock"),
            )
        except AddressInUse as error:
            # A node of ours that runs has it, most likely; and with port 0 this cannot be.
            yield "note", str(error)
            return
        except MeshError as error:
            yield "bad", str(error)
            return
        transport.close()
    host, port = split_address(config.listen)
    yield "ok", f"can listen at {host}, {f'port {port}' if port else 'any port'}, and take commands"


def _folder(folder: Path) -> Iterator[tuple[Verdict, str]]:
    existing = next(path for path in (folder, *folder.parents) if path.exists())
    if not os.access(existing, os.W_OK | os.X_OK):
        yield "bad", f"{existing} cannot be written to; set AVM_HOME to a folder of yours"
    elif existing != folder:
        yield "ok", f"{folder} will be made"
    elif stat.S_IMODE(folder.stat().st_mode) & 0o077:
        yield "note", f"{folder} can be entered by other users; chmod 700 {folder}"
    else:
        yield "ok", str(folder)


def _memories(config: NodeConfig) -> Iterator[tuple[Verdict, str]]:
    files = sorted((config.data_dir / config.mesh).glob("*.db"))
    if not files:
        yield "ok", f"none yet in mesh {config.mesh}"
    for file in files:
        yield _memory(file)


def _memory(file: Path) -> tuple[Verdict, str]:
    try:
        connection = apsw.Connection(
            f"file:{file}?mode=ro", flags=apsw.SQLITE_OPEN_READONLY | apsw.SQLITE_OPEN_URI
        )
        with contextlib.closing(connection):
            if connection.pragma("application_id") != APPLICATION_ID:
                return "bad", f"{file} is no memory of ours"
            found = connection.pragma("user_version")
            if found > VERSION:
                return (
                    "bad",
                    f"{file} has schema {found}, newer than {VERSION}; upgrade avm-mesh",
                )
            told = connection.pragma("quick_check")
            memories = connection.execute("SELECT count(*) FROM head WHERE live").get
    except apsw.Error as error:
        return "bad", f"{file}: {error}"
    return ("ok", f"{file}: {memories} memories") if told == "ok" else ("bad", f"{file} is damaged: {told}")


def _members(config: NodeConfig) -> Iterator[tuple[Verdict, str]]:
    entries = Register(config.folder).all_running()
    told = ", ".join(f"{entry.agent} (process {entry.pid})" for entry in entries)
    yield "ok", told or f"none in mesh {config.mesh}"


def _vectors(config: NodeConfig) -> Iterator[tuple[Verdict, str]]:
    reason = why_without(config)
    if reason:
        yield "note", f"{reason}; recall goes by words and topics"
    else:
        yield "ok", f"recall goes by meaning as well: {model_identity(config.encoder_model)}"
