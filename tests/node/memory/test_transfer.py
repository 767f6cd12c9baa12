"""Export and import: everything comes back, and a file that is wrong anywhere leaves nothing."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from node.memory import Draft, Store
from node.memory.transfer import MAX_LINE_BYTES, Imported, exported, parse
from protocol.errors import InvalidInput, NotFound
from protocol.names import AgentName
from tests.support.clock import FakeClock

ALICE, BOB = AgentName("alice"), AgentName("bob")
ODD = "a\x00b \u202eright\u202c to left, e\u0301, \U0001f600, \u0e20\u0e32"


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def store(tmp_path: Path, clock: FakeClock) -> Iterator[Store]:
    with Store.open(tmp_path / "alice.db", ALICE, clock=clock) as opened:
        opened.remember(Draft(text=ODD, path="/a", title="T", tags=("x",), metadata={"n": [1, None]}))
        clock.advance(1)
        opened.remember(Draft(text="second", path="/a", importance=1.0, visibility="mesh"))
        opened.remember(Draft(text="short-lived", path="/b", expires_at=clock() + 100))
        opened.remember(Draft(text="gone", path="/c", visibility="private"))
        opened.forget("/c")
        opened.remember(Draft(text="secret", path="/d"))
        opened.erase("/d")
        opened.remember(Draft(text="a new life", path="/d"))
        opened.relations.link("/a", "/b", "related", 0.5)
        opened.relations.grant("/a/", BOB)
        yield opened


@pytest.fixture
def other(tmp_path: Path, clock: FakeClock) -> Iterator[Store]:
    with Store.open(tmp_path / "other.db", BOB, clock=clock) as opened:
        yield opened


def lines_of(store: Store) -> list[bytes]:
    return list(exported(store.path))


def take(store: Store, lines: list[bytes]) -> Imported:
    return store.take_over(parse(io.BytesIO(b"".join(lines)), "x"), "x")


def test_everything_comes_back(store: Store, other: Store, clock: FakeClock) -> None:
    lines = lines_of(store)

    taken = take(other, lines)

    assert (taken.versions, taken.known, taken.links, taken.grants) == (8, 0, 1, 1)
    assert lines_of(other)[1:] == lines[1:]
    assert other.read("/a", 1).text == ODD
    assert other.read("/a").created_at == store.read("/a").created_at
    assert [hit.path for hit in other.search("second")] == ["/a"]
    assert other.announced_topics() == store.announced_topics()
    assert other.count() == 3
    assert other.check().problems == ()
    clock.advance(100)
    with pytest.raises(NotFound):
        other.read("/b")


def test_the_same_again_adds_nothing_and_a_later_export_adds_what_is_new(store: Store, other: Store) -> None:
    take(other, lines_of(store))
    again = take(other, lines_of(store))
    store.remember(Draft(text="third", path="/a"))
    store.forget("/d")

    later = take(other, lines_of(store))

    assert (again.versions, again.known) == (0, 8)
    assert (later.versions, later.known) == (2, 8)
    assert other.read("/a").text == "third"
    assert other.search("second") == []
    assert other.check().problems == ()
    assert lines_of(other)[1:] == lines_of(store)[1:]


def test_memories_that_went_different_ways_are_not_mixed(store: Store, other: Store) -> None:
    other.remember(Draft(text="mine", path="/d"))

    with pytest.raises(InvalidInput, match=r"^x:7: version 1 of /d is not"):
        take(other, lines_of(store))

    assert other.count() == 1


def changed(line: bytes, **fields: Any) -> bytes:
    return json.dumps(json.loads(line) | fields).encode() + b"\n"


def test_a_line_that_is_wrong_anywhere_is_named_and_nothing_is_taken(store: Store, other: Store) -> None:
    good = lines_of(store)
    broken: dict[str, tuple[int, list[bytes]]] = {
        "no UTF-8": (4, [*good[:3], good[3].replace(b"short", b"sh\xfft"), *good[4:]]),
        "cut": (4, [*good[:3], good[3][:20]]),
        "no JSON": (4, [*good[:3], b"hello\n", *good[4:]]),
        "an empty line": (4, [*good[:3], b"\n", *good[4:]]),
        "an unknown field": (4, [*good[:3], changed(good[3], colour="red"), *good[4:]]),
        "a lone surrogate": (4, [*good[:3], good[3].replace(b"short", b"\\ud800"), *good[4:]]),
        "a bad path": (4, [*good[:3], changed(good[3], path="/a/../b"), *good[4:]]),
        "no importance": (4, [*good[:3], changed(good[3], importance=2), *good[4:]]),
        "not a number": (4, [*good[:3], good[3].replace(b'"line"', b'"importance":NaN,"line"'), *good[4:]]),
        "a number left out": (3, [*good[:2], changed(good[2], version=3), *good[3:]]),
        "a text in a tombstone": (4, [*good[:3], changed(good[3], forgotten=True), *good[4:]]),
        "a link to nowhere": (10, [*good[:9], changed(good[9], target="/none"), *good[10:]]),
        "a link to what is forgotten": (10, [*good[:9], changed(good[9], target="/c"), *good[10:]]),
        "a second header": (3, [*good[:2], good[0], *good[2:]]),
        "no header": (1, good[1:]),
        "another format": (1, [changed(good[0], format=9), *good[1:]]),
        "no end": (12, good[:-1]),
        "a line lost": (11, [*good[:9], *good[10:]]),
        "a line behind the end": (13, [*good, good[1]]),
        "nothing": (1, []),
    }
    for what, (number, lines) in broken.items():
        with pytest.raises(InvalidInput) as told:
            take(other, lines)
        assert told.value.field.split(": ")[0] == f"x:{number}", what
        assert "\n" not in str(told.value), what
        assert other.statistics().versions == 0, what


def test_a_line_of_ten_mebibytes_is_refused_before_it_is_read_whole(store: Store, other: Store) -> None:
    good = lines_of(store)
    long = b'{"line":"version","path":"/long","text":"' + b"x" * 10 * 1024 * 1024 + b'"}\n'

    with pytest.raises(InvalidInput, match=f"x:3: is longer than {MAX_LINE_BYTES}"):
        take(other, [*good[:2], long, *good[2:]])

    assert other.statistics().versions == 0
