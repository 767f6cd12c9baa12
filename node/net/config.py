"""The settings of any member of a mesh, and where settings come from.

Options given by the caller come before the environment (`AVM_SEEDS=…`), that before the project's
`avm.toml` in the working directory, that before the user's file, that before the defaults.
"""

from __future__ import annotations

import os
import re
import tomllib
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal, TypeVar

import msgspec
import platformdirs

from node.net.address import split_address, split_key
from protocol.errors import InvalidInput
from protocol.names import check_mesh_name
from protocol.profile import PROFILES, Profile

PROJECT_FILE = "avm.toml"
_OPTIONS = "the options"
_HOST = re.compile(r"[^\s:]{1,240}|\[[0-9a-fA-F:.%a-z]{1,240}\]")
_EVERYWHERE = ("0.0.0.0", "[::]", "*")
MAX_IPC_CHARS = 103  # What macOS allows of a Unix socket's path; Linux allows 107.
MAX_SOCKET_CHARS = 29
"""Of a socket's name, with its extension; see `Register.control_path`."""


def home() -> Path | None:
    """`$AVM_HOME`: one folder for everything, memories and sockets alike; None where it is not set."""
    place = os.environ.get("AVM_HOME")
    return Path(place).expanduser().absolute() if place else None


def _runtime_dir() -> Path:
    place = home()
    if place:
        return place / "run"
    with warnings.catch_warnings():  # Where no session made one, a folder of the user's under /tmp will do.
        warnings.simplefilter("ignore")
        return platformdirs.user_runtime_path("avm-mesh")


def _credentials_dir() -> Path:
    place = home()
    return place / "credentials" if place else platformdirs.user_data_path("avm-mesh") / "credentials"


class MeshConfig(msgspec.Struct, frozen=True, kw_only=True):
    """What every member needs to know to be one."""

    mesh: str = "default"
    """Name of the mesh. Members of different meshes refuse each other."""
    listen: str = "tcp://127.0.0.1:0"
    """Where to listen, `tcp://host:port`; port 0 takes any, another that one and the next."""
    advertise: str = ""
    """The host others reach us at, where it is not the one we listen on."""
    seeds: tuple[str, ...] = ()
    """Addresses of members on other hosts, with their keys, as `avm status` shows them; those of this host
    find each other by themselves."""
    profile: Literal["local", "lan", "wan"] = "lan"
    """Which settings of the gossip's knobs, see `protocol.profile`."""
    runtime_dir: Path = msgspec.field(default_factory=_runtime_dir)
    """Folder for sockets and for the register of this host's members; 0700."""
    credentials_dir: Path = msgspec.field(default_factory=_credentials_dir)
    """Folder of what proves who is who: `<credentials_dir>/<mesh>`, 0700."""

    def checked(self) -> MeshConfig:
        """Raise `InvalidInput` where a setting is none."""
        check_mesh_name(self.mesh)
        host, _ = split_address(self.listen)
        for seed in self.seeds:
            split_key(seed)
        if self.advertise and not _HOST.fullmatch(self.advertise):
            raise InvalidInput(
                "advertise", f"{self.advertise[:80]!r} is no host", "give a name or an address"
            )
        if host in _EVERYWHERE and not self.advertise:
            raise InvalidInput(
                "advertise",
                f"others cannot tell from {self.listen} where to reach us",
                "set it to a name or address of this host",
            )
        longest = len(os.fsencode(self.folder / ("x" * MAX_SOCKET_CHARS)))
        if longest > MAX_IPC_CHARS:
            raise InvalidInput(
                "runtime_dir",
                f"{self.folder} is too long for a socket's path",
                "set AVM_RUNTIME_DIR to a shorter folder, or give the mesh a shorter name",
            )
        return self

    @property
    def folder(self) -> Path:
        """Where this mesh's members on this host register."""
        return self.runtime_dir / self.mesh

    @property
    def credentials(self) -> Path:
        """Where the files of this mesh's authority and of its agents on this host are."""
        return self.credentials_dir / self.mesh

    @property
    def gossip(self) -> Profile:
        """The knobs behind `profile`."""
        return PROFILES[self.profile]()


C = TypeVar("C", bound=MeshConfig)


def load(kind: type[C], options: Mapping[str, Any] | None = None) -> C:
    """The settings of this process; `options` that are None count as not given.

    Raises `InvalidInput` that names the setting and where it came from.
    """
    known = set(kind.__struct_fields__)
    values: dict[str, Any] = {}
    origin: dict[str, str] = {}
    for name, found in _layers(known, options or {}):
        for key, value in found.items():
            if key in known and value is not None:
                values[key], origin[key] = value, name
    try:
        config = msgspec.convert(values, kind, strict=False, dec_hook=_decode)
    except msgspec.ValidationError as error:
        problem, _, at = str(error).partition(" - at `$.")
        field = at.rstrip("`").partition("[")[0] or "settings"
        raise InvalidInput(
            field, f"{problem[:1].lower()}{problem[1:]}", f"correct it in {origin.get(field, 'them')}"
        ) from None
    try:
        config.checked()
    except InvalidInput as error:
        source = origin.get(error.field)
        if source in (None, _OPTIONS):
            raise
        raise InvalidInput(error.field, error.problem, f"{error.fix} (it is set in {source})") from None
    return config


def _decode(kind: type, value: object) -> object:
    if kind is Path and isinstance(value, str | Path):
        return Path(value).expanduser().absolute()
    raise msgspec.ValidationError(f"{value!r} is no {kind.__name__}")


def _layers(known: set[str], options: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """The weakest first."""
    for path in (platformdirs.user_config_path("avm-mesh") / "config.toml", Path(PROJECT_FILE)):
        yield str(path), _file(path)
    environment = {name: os.environ.get(f"AVM_{name.upper()}") for name in known}
    parted = {
        name: value.split(",") if name == "seeds" and value else value
        for name, value in environment.items()
        if value
    }
    yield "the environment", parted
    yield _OPTIONS, options


def _file(path: Path) -> Mapping[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError, PermissionError):
        return {}
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, IsADirectoryError) as error:
        raise InvalidInput(str(path), f"is no TOML ({error})", "correct the file") from None
