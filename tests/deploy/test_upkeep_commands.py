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
