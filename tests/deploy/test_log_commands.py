"""Commands on time: what ends, what was, what changed."""

from __future__ import annotations

import pytest

from deploy.times import moment, span_s
from node import MemoryNode
from protocol.errors import InvalidInput
from tests.deploy.conftest import Avm


def test_what_changed_is_told_in_full_and_in_part(avm: Avm) -> None:
    text = "\n".join(f"line {n} of the plan for the release" for n in range(30))
    avm("remember", text, "-a", "alice", "--path", "/p")
    avm("remember", f"{text}\nand a last one", "-a", "alice", "--path", "/p")

    assert "line 3 of" in avm("diff", "/p").out
    assert "+and a last one" in avm("diff", "/p", "--since", "1").out
    assert "unchanged" in avm("diff", "/p", "--since", "2").out
    assert avm("diff", "/p", "--since", "3").status == 2


def test_what_was_written_is_listed_in_pages(avm: Avm) -> None:
    for n in range(3):
        avm("remember", f"note {n}", "-a", "alice", "--path", f"/{n}")
    avm("forget", "/0")

    cut = avm("changes", "--limit", "3")
    rest = avm("changes", "--cursor", "3", "--json").envelope

    assert "there are more: --cursor 3" in cut.out
    assert [one["forgotten"] for one in rest["data"]["changes"]] == [True]
    assert avm("changes", "--since", "2999-01-01").out == "nothing was written\n"


def test_a_memory_may_be_given_an_end(avm: Avm) -> None:
    assert avm("remember", "one", "-a", "alice", "--path", "/a", "--ttl", "1h").status == 0
    assert avm("remember", "two", "--path", "/b", "--expires", "2999-01-01").status == 0

    assert "expires 2999-01-01 00:00:00Z" in avm("read", "/b").out
    assert avm("read", "/a", "--json").envelope["data"]["expires_at"] is not None


@pytest.mark.parametrize(
    ("arguments", "field"),
    [
        (["remember", "x", "--ttl", "soon"], "ttl"),
        (["remember", "x", "--ttl", "0s"], "ttl"),
        (["remember", "x", "--ttl", "1h", "--expires", "2999-01-01"], "ttl"),
        (["remember", "x", "--expires", "2001-01-01"], "expires"),
        (["remember", "x", "--expires", "99999-01-01"], "expires"),
        (["read", "/x", "--at", "yesterday"], "at"),
        (["changes", "--since", "x"], "since"),
        (["changes", "--cursor", "-1"], "cursor"),
    ],
)
def test_a_time_that_is_none_is_one_line_that_names_the_field(
    avm: Avm, arguments: list[str], field: str
) -> None:
    avm("remember", "x is here", "-a", "alice")

    ran = avm(*arguments)

    assert ran.status == 2
    assert ran.err.startswith(f"avm: {field}: ")
    assert ran.err.count("\n") == 1


def test_the_past_is_read_by_its_time(avm: Avm) -> None:
    avm("remember", "now", "-a", "alice", "--path", "/a")

    assert "now" in avm("read", "/a", "--at", "2999-01-01").out
    assert avm("read", "/a", "--at", "2001-01-01").status == 1


def test_times_are_read_as_people_write_them() -> None:
    assert [span_s("ttl", text) for text in ("90s", "30m", "1h", "7d", "2w")] == [
        90,
        1800,
        3600,
        604800,
        1209600,
    ]
    assert moment("at", "1970-01-02") == 86_400
    assert moment("at", "1970-01-02T00:00+01:00") == 82_800
    with pytest.raises(InvalidInput):
        moment("at", "1969-01-01")


@pytest.mark.processes
def test_with_its_node_running_the_commands_talk_to_it(avm: Avm) -> None:
    with MemoryNode("alice") as alice:
        alice.remember("one", path="/a")
        assert avm("diff", "/a").out == "one\n"
        assert avm("changes", "--json").envelope["count"] == 1
        assert "one" in avm("read", "/a", "--at", "2999-01-01").out
        assert avm("remember", "two", "--path", "/b", "--ttl", "1h").status == 0
        assert alice.read("/b").expires_at is not None
