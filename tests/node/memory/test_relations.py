"""Links between memories, and walks over them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from node.memory import Draft, Store
from protocol.errors import InvalidInput, NotFound
from protocol.names import AgentName
from tests.support.clock import FakeClock

ALICE = AgentName("alice")


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def store(tmp_path: Path, clock: FakeClock) -> Iterator[Store]:
    with Store.open(tmp_path / "alice.db", ALICE, clock=clock) as opened:
        opened.remember_many([Draft(text=f"note {c}", path=f"/{c}", title=c.upper()) for c in "abcdef"])
        yield opened


def link(store: Store, path: str, to: str, weight: float = 1.0, kind: str = "related") -> None:
    store.relations.link(path, to, kind, weight)


def pairs(store: Store, path: str) -> set[tuple[str, str]]:
    return {(one.path, one.target) for one in store.relations.links(path)}


def test_a_link_is_seen_from_both_ends_and_a_second_one_of_its_kind_takes_its_place(store: Store) -> None:
    link(store, "/a", "/b", 0.5)
    link(store, "/a", "/b", 0.7)
    link(store, "/a", "/b", kind="supersedes")
    link(store, "/c", "/a", 0.1)

    found = store.relations.links("/a")

    assert [(one.path, one.target, one.kind, one.weight) for one in found] == [
        ("/a", "/b", "supersedes", 1.0),
        ("/a", "/b", "related", 0.7),
        ("/c", "/a", "related", 0.1),
    ]
    assert pairs(store, "/b") == {("/a", "/b")}
    assert store.relations.unlink("/a", "/b", "supersedes") == 1
    assert store.relations.unlink("/a", "/b", None) == 1
    with pytest.raises(NotFound):
        store.relations.unlink("/a", "/b", None)


def test_a_link_ends_with_either_of_its_ends(store: Store, clock: FakeClock) -> None:
    store.remember(Draft(text="short", path="/short", expires_at=clock() + 5))
    for to in ("/b", "/c", "/short"):
        link(store, "/a", to)
        link(store, to, "/d")

    store.forget("/b")
    store.erase("/c")
    assert pairs(store, "/d") == {("/short", "/d")}
    clock.advance(5)

    assert pairs(store, "/a") == pairs(store, "/d") == set()
    store.remember(Draft(text="note b again", path="/b"))
    assert pairs(store, "/b") == set()


@pytest.mark.parametrize(("path", "to"), [("/a", "/none"), ("/none", "/a")])
def test_a_link_needs_two_memories(store: Store, path: str, to: str) -> None:
    with pytest.raises(NotFound, match="/none"):
        link(store, path, to)


def test_what_expired_cannot_be_linked(store: Store, clock: FakeClock) -> None:
    relations = store.relations
    store.remember(Draft(text="short", path="/short", expires_at=clock() + 5))
    clock.advance(5)

    with pytest.raises(NotFound):
        relations.link("/a", "/short", "related", 1.0)


@pytest.mark.parametrize(
    ("to", "kind", "weight", "field"),
    [
        ("/a", "related", 1.0, "to"),
        ("b", "related", 1.0, "path"),
        ("/b", "", 1.0, "kind"),
        ("/b", "a\nb", 1.0, "kind"),
        ("/b", "k" * 65, 1.0, "kind"),
        ("/b", "related", 0.0, "weight"),
        ("/b", "related", 1.1, "weight"),
        ("/b", "related", float("nan"), "weight"),
        ("/b", "related", True, "weight"),
        ("/b", "related", "1", "weight"),
    ],
)
def test_a_link_that_is_none_is_refused(store: Store, to: str, kind: str, weight: Any, field: str) -> None:
    with pytest.raises(InvalidInput) as told:
        store.relations.link("/a", to, kind, weight)

    assert told.value.field == field


def test_a_walk_goes_both_ways_nearest_first_then_strongest(store: Store) -> None:
    link(store, "/a", "/b", 0.5)
    link(store, "/c", "/a", 0.9)
    link(store, "/b", "/d", 0.8)
    link(store, "/d", "/c", 0.2)
    link(store, "/d", "/e", 1.0)
    link(store, "/e", "/f", 1.0)

    steps = store.relations.explore("/a", 3, 50)

    assert [(step.path, step.depth, round(step.strength, 3)) for step in steps] == [
        ("/c", 1, 0.9),
        ("/b", 1, 0.5),
        ("/d", 2, 0.4),
        ("/e", 3, 0.4),
    ]
    assert (steps[2].origin, steps[2].title) == ("/b", "D")
    assert [step.path for step in store.relations.explore("/a", 4, 50)][-1] == "/f"
    assert len(store.relations.explore("/a", 4, 2)) == 2
    assert store.relations.explore("/none", 4, 2) == []


@pytest.mark.parametrize(("depth", "limit"), [(0, 5), (5, 5), (1, 0)])
def test_a_walk_has_bounds(store: Store, depth: int, limit: int) -> None:
    with pytest.raises(InvalidInput):
        store.relations.explore("/a", depth, limit)


def test_the_timeline_is_newest_first_in_pages(store: Store) -> None:
    store.remember(Draft(text="note a, changed", path="/a"))
    store.forget("/c")

    first = store.timeline(limit=2)
    rest = store.timeline(before=first[-1].place)

    assert [one.path for one in first + rest] == ["/a", "/f", "/e", "/d", "/b"]
    assert [one.path for one in store.timeline("/d")] == ["/d"]
    with pytest.raises(InvalidInput, match="before"):
        store.timeline(before=0)


def test_topics_are_counted_over_live_memories_below_a_path(store: Store) -> None:
    store.remember_many(
        [
            Draft(text="Zebras graze.", path="/z/1"),
            Draft(text="Zebras sleep.", path="/z/2", visibility="private"),
            Draft(text="Lions sleep.", path="/l/1"),
        ]
    )
    store.forget("/l/1")

    found = {one.topic: one.memories for one in store.topics("/z")}

    assert found["zebra"] == 2
    assert "lion" not in {one.topic for one in store.topics(limit=1_000)}
    assert [one.topic for one in store.topics("/z", 1)] == ["zebra"]


def test_topics_of_the_whole_memory_follow_every_write_private_ones_too(store: Store) -> None:
    def counted() -> dict[str, int]:
        return {one.topic: one.memories for one in store.topics() if one.topic in ("zebra", "lion")}

    store.remember(Draft(text="Zebras", path="/x"))
    store.remember(Draft(text="Zebras", path="/y", visibility="private"))
    assert counted() == {"zebra": 2}

    store.remember(Draft(text="Lions", path="/y", visibility="private"))
    assert counted() == {"zebra": 1, "lion": 1}
    store.remember(Draft(text="Lions", path="/y"))
    store.remember(Draft(text="Zebras", path="/x", visibility="private"))
    assert counted() == {"zebra": 1, "lion": 1}
    store.forget("/x")
    assert counted() == {"lion": 1}
    assert counted() == {one.topic: one.memories for one in store.topics("/y")}
