"""The commands on one memory, without a node and with one; what they refuse, and how they say so."""

from __future__ import annotations

import io
import json
import re
import shlex
from pathlib import Path

import pytest

from deploy.cli import app
from deploy.memory_commands import BATCH
from node import MemoryNode
from node.config import NodeConfig
from node.embedder import stop_encoder
from node.encoder.weights import is_available
from tests.deploy.conftest import Avm
from tests.support.waiting import wait_for

README = Path(__file__).resolve().parents[2] / "README.md"


def test_a_text_is_remembered_found_read_and_forgotten(avm: Avm) -> None:
    assert (
        avm("remember", "The release is on Friday.", "-a", "alice", "--path", "/n/r", "-t", "plan").status
        == 0
    )
    assert avm("remember", "The release is on Monday.", "-a", "alice", "--path", "/n/r").status == 0

    assert "Monday" in avm("recall", "when", "is", "the", "release?").out
    assert "/n/r" in avm("search", "release").out
    assert "Friday" in avm("read", "/n/r", "--version", "1").out
    assert avm("history", "/n/r").out.count("characters") == 2
    assert "/n/r" in avm("list").out
    assert avm("forget", "/n/r").status == 0
    assert avm("read", "/n/r").status == 1
    assert "forgotten" in avm("history", "/n/r").out


def test_a_phrase_and_a_beginning_are_looked_for(avm: Avm) -> None:
    avm("remember", "Blue-green deployments since May.", "-a", "alice", "--path", "/n/r")
    avm("remember", "Green and blue deployments.", "--path", "/n/s")

    phrase = avm("search", '"blue green"', "--json").envelope["data"]
    beginning = avm("search", "deploym*", "--json").envelope["data"]

    assert [hit["path"] for hit in phrase] == ["/n/r"]
    assert {hit["path"] for hit in beginning} == {"/n/r", "/n/s"}


def test_two_steps_show_what_there_is_and_bring_what_is_chosen(avm: Avm) -> None:
    avm("remember", "The release is on Friday. " * 20, "-a", "alice", "--path", "/n/r")
    avm("remember", "No release without tests.", "--path", "/n/s")

    listed = avm("survey", "when", "is", "the", "release?").out
    told = avm("survey", "release", "--budget", "20", "--json").envelope
    fetched = avm("fetch", "/n/s", "/n/r", "--budget", "40", "--about", "Friday")

    assert "/n/r  120 tokens  The release is on Friday." in listed
    assert (told["count"], told["data"]["omitted"]) == (1, 1)
    assert fetched.out.startswith("No release without tests.")
    assert "by path" in fetched.out
    assert avm("fetch", "/none").status == 1
    assert avm("fetch", "none").status == 2


def test_a_recall_explains_itself(avm: Avm) -> None:
    avm("remember", "The release is on Friday.", "-a", "alice", "--path", "/n/r")

    shown = avm("recall", "release", "--explain").out
    told = avm("recall", "release", "--explain", "--json").envelope["data"]["reasons"]

    assert "look-ups: 1 fts" in shown
    assert [reason["path"] for reason in told] == ["/n/r"]
    assert avm("recall", "release", "--json").envelope["data"]["reasons"] == []


def test_the_verbs_of_other_memory_tools_work(avm: Avm) -> None:
    assert avm("add", "something about tea", "-a", "alice", "--path", "/t").status == 0
    assert "tea" in avm("get", "/t").out
    assert "/t" in avm("ls").out
    assert avm("delete", "/t").status == 0
    assert avm("add", "once more", "--path", "/t").status == 0
    assert avm("rm", "/t").status == 0


@pytest.mark.parametrize(
    ("arguments", "field"),
    [
        (["remember", "x", "-a", "No Name"], "agent"),
        (["remember", "", "-a", "alice"], "text"),
        (["remember", "x" * 1_048_577, "-a", "alice"], "text"),
        (["remember", "x", "-a", "alice", "--path", "/a/../b"], "path"),
        (["remember", "x", "-a", "alice", "--path", "relative"], "path"),
        (["remember", "x", "-a", "alice", "--importance", "2"], "importance"),
        (["remember", "x", "-a", "alice", "--importance", "nan"], "importance"),
        (["remember", "x", "-a", "alice", "--visibility", "all"], "visibility"),
        (["remember", "x", "-a", "alice", "--metadata", "[1]"], "metadata"),
        (["remember", "x", "-a", "alice", "--mesh", "a b"], "mesh"),
        (["node", "Alice"], "agent"),
        (["node", "alice", "--listen", "here"], "listen"),
        (["node", "alice", "--listen", "tcp://0.0.0.0:7700"], "advertise"),
        (["node", "alice", "--profile", "moon"], "profile"),
        (["node", "alice", "--cache-entries", "-1"], "cache_entries"),
        (["node", "alice", "--log-level", "loud"], "log-level"),
        (["librarian", "x", "--policy", "some"], "policy"),
        (["cluster", "up", "0"], "N"),
        (["ingest", "nowhere", "-a", "alice"], "nowhere"),
    ],
)
def test_bad_input_is_one_line_that_names_the_field_and_nothing_is_written(
    avm: Avm, arguments: list[str], field: str, short_folder: Path
) -> None:
    ran = avm(*arguments)

    assert ran.status == 2
    assert ran.err.startswith(f"avm: {field}: ")
    assert ran.err.count("\n") == 1
    assert "; " in ran.err, "no fix is told"
    assert list(short_folder.rglob("*.db")) == []


@pytest.mark.parametrize("device", ["my GPU", "cuda:", "cuda:0,1", "GPU"])
def test_a_device_that_is_none_is_one_line_that_says_where_it_was_set(
    avm: Avm, device: str, monkeypatch: pytest.MonkeyPatch, short_folder: Path
) -> None:
    monkeypatch.setenv("AVM_ENCODER_DEVICE", device)

    ran = avm("remember", "x", "-a", "alice")

    assert ran.status == 2
    assert ran.err.startswith(f"avm: encoder_device: {device!r} is none; use cpu")
    assert "the environment" in ran.err
    assert list(short_folder.rglob("*.db")) == []


@pytest.mark.parametrize(
    ("arguments", "field"),
    [
        (["recall", "x", "--budget", "0"], "budget_tokens"),
        (["recall", "x", "--budget", "-5"], "budget_tokens"),
        (["recall", ""], "query"),
        (["search", "x", "--limit", "0"], "limit"),
        (["read", "/x", "--version", "0"], "version"),
        (["list", "notes"], "prefix"),
    ],
)
def test_a_bad_question_is_one_line_that_names_the_field(avm: Avm, arguments: list[str], field: str) -> None:
    avm("remember", "x is here", "-a", "alice")

    ran = avm(*arguments)
    told = avm(*arguments, "--json")

    assert (ran.status, told.status) == (2, 2)
    assert ran.err.startswith(f"avm: {field}: ")
    assert ran.err.count("\n") == 1
    assert told.envelope["error"]["field"] == field
    assert told.err == ""


@pytest.mark.parametrize(
    "arguments",
    [["frob"], ["remember"], ["recall", "x", "--budget", "many"], ["search", "--nope"], ["cluster", "x"]],
)
def test_a_wrong_command_line_is_one_line_too(avm: Avm, arguments: list[str]) -> None:
    ran = avm(*arguments)

    assert ran.status == 2
    assert ran.err.startswith("avm: ")
    assert ran.err.count("\n") == 1
    assert json.loads(avm(*arguments, "--json").out)["status"] == "error"


def test_json_is_one_envelope(avm: Avm) -> None:
    avm("remember", "tea is green", "-a", "alice", "--path", "/t")

    envelope = avm("search", "tea", "--json").envelope

    assert list(envelope) == ["status", "command", "duration_ms", "count", "data"]
    assert (envelope["status"], envelope["command"], envelope["count"]) == ("ok", "search", 1)
    assert envelope["data"][0]["path"] == "/t"


def test_without_a_name_the_only_agent_is_meant_and_several_are_told(avm: Avm) -> None:
    nobody = avm("recall", "tea")
    avm("remember", "tea", "-a", "alice")
    only = avm("recall", "tea")
    avm("remember", "tea", "-a", "bob")
    several = avm("recall", "tea")

    assert (nobody.status, only.status, several.status) == (2, 0, 2)
    assert "alice, bob" in several.err


def test_an_agent_without_a_memory_is_not_given_one_by_a_question(avm: Avm, short_folder: Path) -> None:
    ran = avm("recall", "tea", "-a", "ghost")

    assert ran.status == 1
    assert list(short_folder.rglob("*.db")) == []


def test_ingesting_again_adds_only_what_changed(avm: Avm, short_folder: Path) -> None:
    notes = short_folder / "notes.md"
    notes.write_text("# One\nfirst text\n# Two\nsecond text\n")
    first = avm("ingest", str(notes), "-a", "alice", "--json").envelope["data"]
    notes.write_text("# One\nfirst text\n# Two\nsecond text, changed\n")
    second = avm("ingest", str(notes), "-a", "alice", "--json").envelope["data"]

    assert (first["stored"], first["known"]) == (2, 0)
    assert (second["stored"], second["known"]) == (1, 1)


def test_a_bad_line_anywhere_leaves_nothing_ingested(avm: Avm, short_folder: Path) -> None:
    (short_folder / "a.md").write_text("fine")
    (short_folder / "b.jsonl").write_text('{"text": "fine"}\n{"text": ""}\n')

    ran = avm("ingest", str(short_folder / "a.md"), str(short_folder / "b.jsonl"), "-a", "alice")

    assert ran.status == 2
    assert "b.jsonl:2" in ran.err
    assert list(short_folder.rglob("*.db")) == []


def test_a_line_that_expired_before_the_second_batch_leaves_nothing_ingested(
    avm: Avm, short_folder: Path
) -> None:
    lines = [f'{{"text": "fine {n}"}}' for n in range(BATCH + 10)]
    (short_folder / "b.jsonl").write_text("\n".join([*lines, '{"text": "late", "expires_at": 1}']))

    ran = avm("ingest", str(short_folder / "b.jsonl"), "-a", "alice")

    assert ran.status == 2
    assert f"b.jsonl:{BATCH + 11}: expires_at" in ran.err
    assert list(short_folder.rglob("*.db")) == []


@pytest.mark.parametrize("given", [b"caf\xe9 \x00", b"\xff" * 3, b"", b" \n", b"x" * 10 * 1024 * 1024])
def test_what_is_no_text_on_standard_input_is_refused(
    avm: Avm, given: bytes, short_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(given)))

    ran = avm("remember", "-", "-a", "alice")

    assert ran.status == 2
    assert ran.err.startswith("avm: text: ")
    assert ran.err.count("\n") == 1
    assert list(short_folder.rglob("*.db")) == []


@pytest.mark.parametrize("argument", ["/caf\udce9", "\udcff", "-\u202e", '"'])
def test_bytes_that_are_no_text_end_no_command_in_a_traceback(avm: Avm, argument: str) -> None:
    avm("remember", "x is here", "-a", "alice")

    commands = (
        "remember recall survey search read fetch history browse forget diff topics timeline links explore"
    )
    for command in [*commands.split(), "ingest", "export", "import", "backup"]:
        ran = avm(command, "--json", "--", argument)

        assert ran.status in (0, 1, 2), command
        assert ran.envelope["status"] in ("ok", "error"), command
        assert ran.err == "", command


def test_what_would_drive_a_terminal_is_not_printed(avm: Avm) -> None:
    avm("remember", "before \x1b[31mred\x1b[0m \u202ertl [bold]after[/bold]", "-a", "alice", "--path", "/t")

    shown = avm("read", "/t").out

    assert "\x1b" not in shown
    assert "\u202e" not in shown
    assert "[bold]after[/bold]" in shown


@pytest.mark.processes
def test_with_its_node_running_a_command_talks_to_it(avm: Avm) -> None:
    with MemoryNode("alice") as alice, MemoryNode("bob") as bob:
        assert (
            avm("remember", "Ingress needs a certificate", "-a", "alice", "--visibility", "mesh").status == 0
        )
        assert "certificate" in alice.recall("ingress").text

        wait_for(lambda: alice.who_knows("ingress").leads)

        found = avm("who-knows", "ingress", "-a", "alice", "--json").envelope["data"]
        members = avm("members", "-a", "bob", "--json").envelope["data"]
        status = avm("status", "-a", "alice", "--json").envelope["data"]

        assert [lead["agent"] for lead in found["leads"]] == ["alice"]
        assert found["source"] == "gossip"
        assert {member["agent"] for member in members} <= {"alice", "bob"}
        assert status["memories"] == 1
        assert bob.agent == "bob"
        for command in (["who-knows", "ingress"], ["ask", "ingress"], ["members"], ["status"]):
            assert avm(*command, "-a", "alice").status == 0
        assert avm("ask", "ingress", "-a", "alice", "--budget", "0").status == 2
        assert avm("who-knows", "ingress", "-a", "alice", "--via", "rumour").status == 2
        assert avm("who-knows", "ingress", "-a", "alice", "--via", "librarian").status == 1


@pytest.mark.processes
@pytest.mark.skipif(not is_available(), reason="the extra semantic is not installed")
def test_without_a_node_a_paraphrase_is_recalled_too(avm: Avm, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AVM_VECTORS", "auto")
    avm("remember", "The physician examined the child.", "-a", "alice", "--path", "/doctor")
    avm("remember", "The train to Basel leaves at noon.", "--path", "/train")
    question = ("recall", "a kid visits the doctor's office", "--budget", "12", "--json")
    try:
        wait_for(lambda: not avm(*question).envelope["data"]["notes"], timeout=60)

        found = avm(*question).envelope["data"]
    finally:
        stop_encoder(NodeConfig.load())

    assert [item["path"] for item in found["items"]] == ["/doctor"]
    assert found["hops"]["vector"] == 1


def test_a_question_to_the_mesh_without_a_node_says_how_to_start_one(avm: Avm) -> None:
    avm("remember", "tea", "-a", "alice")

    ran = avm("ask", "tea")

    assert ran.status == 1
    assert "avm node alice" in ran.err


def test_the_doctor_finds_this_machine_fit_and_a_damaged_memory_bad(avm: Avm, short_folder: Path) -> None:
    healthy = avm("doctor")
    broken = short_folder / "data" / "default" / "alice.db"
    broken.parent.mkdir(parents=True)
    broken.write_bytes(b"no database at all" * 300)
    sick = avm("doctor", "--json")

    assert healthy.status == 0
    assert sick.status == 1
    assert any(one["verdict"] == "bad" and "alice.db" in one["told"] for one in sick.envelope["data"])


def test_every_command_stands_in_the_readme() -> None:
    text = README.read_text()
    names = [command.name for command in app.registered_commands if not command.hidden]
    groups = [group.name for group in app.registered_groups]

    missing = [name for name in [*names, *groups] if not re.search(rf"\b{name}\b", text)]

    assert missing == []


@pytest.mark.processes
def test_the_readmes_commands_run(avm: Avm, short_folder: Path) -> None:
    (short_folder / "docs").mkdir()
    (short_folder / "docs" / "vault.md").write_text("# Setup\nVault gives out certificates.\n")
    blocks = re.findall(r"```sh\n(.*?)```", README.read_text(), re.DOTALL)
    lines = [shlex.split(line, comments=True) for block in blocks for line in block.splitlines()]
    commands = [line[1:] for line in lines if line[:1] == ["avm"] and "&" not in line and "&&" not in line]

    with MemoryNode("alice"), MemoryNode("bob") as bob:
        wait_for(lambda: len(bob.members()) == 2)
        ran = {" ".join(command): avm(*command) for command in commands}

    assert len(ran) > 10
    assert {command: one.err for command, one in ran.items() if one.status != 0} == {}
