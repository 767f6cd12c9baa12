"""Where settings come from, and what is said of one that is none."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from node.config import NodeConfig
from node.net.config import MAX_IPC_CHARS, MAX_SOCKET_CHARS, MeshConfig
from node.net.register import Register
from protocol.errors import InvalidInput
from protocol.names import AgentName
from protocol.profile import Profile


@pytest.fixture
def user_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The user's file, in a folder of its own; the working directory is another one."""
    project = tmp_path / "project"
    project.mkdir()
    monkeypatch.chdir(project)
    monkeypatch.setattr("platformdirs.user_config_path", lambda _: tmp_path)
    return tmp_path / "config.toml"


def test_an_option_comes_before_the_environment_the_project_the_user_and_the_default(
    user_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = [NodeConfig.load().mesh]

    user_file.write_text('mesh = "user"')
    found.append(NodeConfig.load().mesh)
    Path("avm.toml").write_text('mesh = "project"')
    found.append(NodeConfig.load().mesh)
    monkeypatch.setenv("AVM_MESH", "environment")
    found.append(NodeConfig.load().mesh)
    found.append(NodeConfig.load({"mesh": "option"}).mesh)

    assert found == ["default", "user", "project", "environment", "option"]


def test_layers_add_up_and_an_option_that_is_none_is_not_given(
    user_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    user_file.write_text('mesh = "user"\ndurability = "full"\nsomething_else = 1')
    monkeypatch.setenv("AVM_CACHE_ENTRIES", "7")
    monkeypatch.setenv("AVM_PROFILE", "")

    config = NodeConfig.load({"mesh": None, "agent": "alice"})

    assert (config.mesh, config.durability, config.cache_entries) == ("user", "full", 7)
    assert (config.profile, config.agent) == ("lan", "alice")


def test_seeds_in_the_environment_are_parted_by_commas(
    user_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert not user_file.exists()
    seeds = [f"tcp://10.0.0.{host}:7700#{host * 64}" for host in "12"]
    monkeypatch.setenv("AVM_SEEDS", ",".join(seeds))

    assert NodeConfig.load().seeds == tuple(seeds)


def test_one_folder_holds_everything_where_it_is_named(
    user_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert not user_file.exists()
    monkeypatch.setenv("AVM_HOME", "/h")

    config = NodeConfig.load()

    assert (config.data_dir, config.runtime_dir) == (Path("/h/data"), Path("/h/run"))
    assert config.credentials == Path("/h/credentials/default")


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("mesh", "No Name"),
        ("listen", "tcp://127.0.0.1"),
        ("advertise", "two words"),
        ("seeds", "10.0.0.1:7700"),
        ("seeds", "tcp://10.0.0.1:7700"),
        ("seeds", "tcp://10.0.0.1:7700#ab"),
        ("profile", "fast"),
        ("runtime_dir", "/" + "long" * 30),
        ("durability", "some"),
        ("cache_entries", "-1"),
        ("cache_entries", "many"),
    ],
)
def test_a_bad_value_names_its_field_and_where_it_stands(
    field: str, value: str, user_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(f"AVM_{field.upper()}", value)
    with pytest.raises(InvalidInput, match="the environment") as raised:
        NodeConfig.load()
    assert raised.value.field == field
    assert "\n" not in str(raised.value)

    monkeypatch.delenv(f"AVM_{field.upper()}")
    written: Any = [value] if field == "seeds" else value
    user_file.write_text(f"{field} = {written!r}")
    with pytest.raises(InvalidInput, match=r"config\.toml") as raised:
        NodeConfig.load()
    assert raised.value.field == field


@pytest.mark.parametrize("content", [b"mesh = ", b"\xff\xfe", None], ids=["toml", "encoding", "folder"])
def test_a_file_that_is_no_toml_is_named(content: bytes | None, user_file: Path) -> None:
    if content is None:
        user_file.mkdir()
    else:
        user_file.write_bytes(content)

    with pytest.raises(InvalidInput, match="is no TOML") as raised:
        NodeConfig.load()

    assert raised.value.field == str(user_file)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    "listen",
    ["tcp://127.0.0.1:0", "tcp://localhost:0", "tcp://[::1]:0", "tcp://192.0.2.1:0", "tcp://h.org:1"],
)
def test_a_member_listens_on_loopback_or_for_other_hosts(listen: str) -> None:
    MeshConfig(listen=listen, runtime_dir=Path("/r")).checked()


@pytest.mark.parametrize("listen", ["tcp://0.0.0.0:0", "tcp://*:7700", "tcp://[::]:0"])
def test_listening_everywhere_needs_a_host_to_be_reached_at(listen: str) -> None:
    config = MeshConfig(listen=listen, runtime_dir=Path("/r"))

    with pytest.raises(InvalidInput) as raised:
        config.checked()

    assert raised.value.field == "advertise"
    MeshConfig(listen=listen, advertise="192.0.2.1", runtime_dir=Path("/r")).checked()


@pytest.mark.parametrize(
    "listen",
    ["", "127.0.0.1:1", "udp://127.0.0.1:1", "tcp://:1", "tcp://a\nb:1", "tcp://h:65536", "tcp://h:x"],
)
def test_what_is_no_address_is_refused(listen: str) -> None:
    with pytest.raises(InvalidInput) as raised:
        MeshConfig(listen=listen, runtime_dir=Path("/r")).checked()

    assert raised.value.field == "listen"
    assert "\n" not in str(raised.value)


def test_the_longest_name_still_fits_a_socket_path() -> None:
    room = MAX_IPC_CHARS - MAX_SOCKET_CHARS - len("/m/")

    config = MeshConfig(mesh="m", runtime_dir=Path("/" + "r" * (room - 1))).checked()
    with pytest.raises(InvalidInput) as raised:
        MeshConfig(mesh="m", runtime_dir=Path("/" + "r" * room)).checked()

    paths = [Register(config.folder).control_path(AgentName("n" * length)) for length in range(1, 65)]
    assert max(map(len, paths)) == MAX_IPC_CHARS
    assert len(set(paths)) == 64
    assert raised.value.field == "runtime_dir"


def test_the_usual_folders_leave_room_for_a_socket() -> None:
    for folder in ("/run/user/1000/avm-mesh", "/tmp/runtime-1000/avm-mesh"):
        MeshConfig(mesh="a-mesh-of-some-length", runtime_dir=Path(folder)).checked()


def test_each_profile_is_the_one_of_its_name() -> None:
    assert MeshConfig(profile="wan").gossip == Profile.wan()
    assert MeshConfig(profile="local").gossip == Profile.local()
    assert MeshConfig().gossip == Profile.lan()
