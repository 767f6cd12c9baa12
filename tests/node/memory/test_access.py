"""Who may read what: one rule, the same in Python and in SQL, applied before anything is ranked."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import apsw
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from node.memory import Draft, Store
from node.memory.access import Grant, condition, may_read, readable_by
from node.recall.recall import recall
from protocol.errors import InvalidInput, NotFound
from protocol.names import AgentName

ALICE, BOB, CAROL = AgentName("alice"), AgentName("bob"), AgentName("carol")
PATHS = st.sampled_from(["/a", "/a/b", "/a/b/c", "/ab", "/A/b", "/%", '/"', "/a_", "/aé"])
GRANTED = PATHS | PATHS.map(lambda path: f"{path}/") | st.just("/")


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store.open(tmp_path / "alice.db", ALICE) as opened:
        for visibility in ("private", "listed", "mesh"):
            for folder in ("/one", "/two"):
                text = f"walrus {visibility} in {folder}"
                opened.remember(Draft(text=text, path=f"{folder}/{visibility}", visibility=visibility))
        yield opened


def seen_by(store: Store, asker: AgentName) -> set[str]:
    readable = store.relations.readable_by(asker)
    found = {hit.path for hit in store.search("walrus", 50, visibilities=readable)}
    assert found == {item.path for item in recall(store, "walrus", 5_000, visibilities=readable).items}
    return found


def test_a_grant_opens_a_listed_memory_to_one_agent_and_a_private_one_to_nobody(store: Store) -> None:
    mesh = {"/one/mesh", "/two/mesh"}
    assert seen_by(store, BOB) == mesh

    store.relations.grant("/one/listed", BOB)
    store.relations.grant("/one/private", BOB)
    assert seen_by(store, BOB) == {*mesh, "/one/listed"}
    assert seen_by(store, CAROL) == mesh

    store.relations.grant("/two/", CAROL)
    assert seen_by(store, CAROL) == {*mesh, "/two/listed"}
    store.relations.grant("/", CAROL)
    assert seen_by(store, CAROL) == {*mesh, "/one/listed", "/two/listed"}


def test_a_grant_is_taken_back_and_ends_with_an_erasure(store: Store) -> None:
    store.relations.grant("/one/listed", BOB)
    store.relations.grant("/one/listed", BOB)
    store.relations.grant("/two/listed", BOB)
    assert [(one.agent, one.path) for one in store.relations.grants()] == [
        ("bob", "/one/listed"),
        ("bob", "/two/listed"),
    ]

    store.relations.revoke("/one/listed", BOB)
    store.erase("/two/listed")

    assert store.relations.grants() == []
    with pytest.raises(NotFound):
        store.relations.revoke("/one/listed", BOB)


@pytest.mark.parametrize(
    ("path", "agent", "field"),
    [("one", "bob", "path"), ("//", "bob", "path"), ("/a/../b", "bob", "path"), ("/a", "No Name", "agent")],
)
def test_a_grant_that_is_none_is_refused(store: Store, path: str, agent: str, field: str) -> None:
    with pytest.raises(InvalidInput) as told:
        store.relations.grant(path, agent)

    assert told.value.field == field


@given(st.sampled_from(["private", "listed", "mesh"]), PATHS, st.lists(GRANTED, max_size=4))
def test_the_rule_in_sql_is_the_rule_in_python(visibility: str, path: str, granted: list[str]) -> None:
    readable = readable_by(BOB, [Grant(agent="bob", path=one) for one in granted])
    connection = apsw.Connection(":memory:")
    connection.execute("CREATE TABLE versions (visibility, path)")
    connection.execute("INSERT INTO versions VALUES (?, ?)", (visibility, path))

    encoded = msgspec.json.encode(sorted(readable)).decode()
    statement = f"SELECT count(*) FROM versions v WHERE {condition('v', '?1')}"
    (found,) = connection.execute(statement, (encoded,)).fetchone() or (0,)
    connection.close()

    assert bool(found) == may_read(visibility, path, readable)
    assert visibility != "private" or not found


@given(PATHS, st.lists(GRANTED, max_size=4))
def test_a_grant_opens_what_it_names_and_what_lies_below_it(path: str, granted: list[str]) -> None:
    readable = readable_by(BOB, [Grant(agent="bob", path=one) for one in granted])
    expected = any(one == path or (one.endswith("/") and f"{path}/".startswith(one)) for one in granted)

    if not any(one == f"{path}/" for one in granted):  # A folder's grant does not open a memory of its name.
        assert may_read("listed", path, readable) == expected
