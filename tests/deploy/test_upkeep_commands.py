"""Commands on a memory as a whole."""

from __future__ import annotations

from pathlib import Path

import pytest

from node import MemoryNode
from tests.deploy.conftest import Avm


def test_erasing_asks_to_be_sure_and_then_leaves_no_byte(avm: Avm, short_folder: Path) -> None:
    avm("remember", "the word is qzxsecret", "-a", "alice", "--path", "/s")

    unsure = avm("erase", "/s")
    assert unsure.status == 2
    assert unsure.err.startswith("avm: yes: ")
    assert avm("read", "/s").status == 0

    assert "logged as version 2" in avm("erase", "/s", "--yes").out
    assert avm("read", "/s", "--version", "1").status == 1
    assert avm("history", "/s").out.count("erased") == 2
    assert avm("erase", "/nothing", "--yes").status == 1
    assert not any(b"qzxsecret" in file.read_bytes() for file in short_folder.rglob("*.db*"))


def test_a_memory_that_is_full_says_so(avm: Avm, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AVM_MAX_MEMORIES", "1")
    avm("remember", "one", "-a", "alice")

    full = avm("remember", "two", "--json")

    assert full.status == 1
    assert full.envelope["error"]["code"] == "quota"


@pytest.mark.processes
def test_a_running_node_erases_too(avm: Avm) -> None:
    with MemoryNode("alice") as alice:
        alice.remember("the word is qzxsecret", path="/s")

        assert avm("erase", "/s", "--yes").status == 0

        assert alice.history("/s")[0].erased


def test_a_memory_is_checked_copied_and_put_back(avm: Avm, short_folder: Path) -> None:
    avm("remember", "one", "-a", "alice", "--path", "/a")
    copy = str(short_folder / "copy")

    assert avm("check").out.startswith("sound: 1 memories")
    assert avm("backup", copy).status == 0
    assert avm("backup", copy).status == 2
    avm("remember", "two", "--path", "/b")
    assert avm("restore", copy).status == 2
    assert avm("restore", copy, "--force").status == 0
    assert avm("read", "/b").status == 1
    assert avm("restore", copy, "-a", "bob").status == 2
    assert avm("restore", str(short_folder / "none"), "-a", "carol").status == 1


def test_a_memory_goes_through_lines_of_json(avm: Avm, short_folder: Path) -> None:
    avm("remember", "one", "-a", "alice", "--path", "/a")
    avm("remember", "two", "--path", "/a")
    lines = short_folder / "alice.jsonl"

    assert avm("export", str(lines)).out.startswith("4 lines")
    assert avm("export", str(lines)).status == 2
    assert "2 versions added" in avm("import", str(lines), "-a", "bob").out
    assert avm("read", "/a", "-a", "bob", "--version", "1").out.endswith("one\n")
    lines.write_bytes(lines.read_bytes()[:-9])
    broken = avm("import", str(lines), "-a", "carol")
    assert broken.status == 2
    assert "alice.jsonl:4" in broken.err
    assert not list(short_folder.rglob("carol.db"))
    assert avm("import", str(short_folder / "none"), "-a", "dan").status == 1


@pytest.mark.processes
def test_a_running_node_is_checked_copied_and_exported_and_refuses_the_rest(
    avm: Avm, short_folder: Path
) -> None:
    with MemoryNode("alice") as alice:
        alice.remember("one", path="/a")
        copy, lines = str(short_folder / "copy"), str(short_folder / "lines")

        assert avm("check").status == 0
        assert avm("backup", copy).status == 0
        assert avm("export", lines).status == 0
        assert avm("restore", copy, "--force").status == 1
        assert avm("import", lines).status == 1
        assert alice.read("/a").text == "one"
