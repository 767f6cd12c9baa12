"""The store: what is remembered is there, in all its versions, and only what may be announced is."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import apsw
import pytest

from node.memory import Draft, Store
from node.memory.records import MAX_TEXT_BYTES
from protocol.errors import InvalidInput, NodeClosed, NotFound, StorageFailure
from protocol.names import AgentName

ALICE = AgentName("alice")


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    ticks = itertools.count(1_000)
    with Store.open(tmp_path / "alice.db", ALICE, clock=lambda: float(next(ticks))) as opened:
        yield opened


def test_what_was_remembered_is_read_back_whole(store: Store) -> None:
    draft = Draft(
        text="a\x00b, ünï",
        path="/notes/a",
        title="T",
        tags=("x", "y z"),
        importance=1,
        visibility="mesh",
        metadata={"n": [1, {"k": None}]},
    )

    receipt = store.remember(draft)
    hot = store.read("/notes/a")
    store._cache.clear()
    cold = store.read("/notes/a")

    assert (receipt.path, receipt.version, receipt.stored) == ("/notes/a", 1, True)
    assert hot == cold
    assert (cold.text, cold.title, cold.tags, cold.importance) == ("a\x00b, ünï", "T", ("x", "y z"), 1.0)
    assert (cold.visibility, cold.metadata, cold.agent) == ("mesh", {"n": [1, {"k": None}]}, "alice")
    assert cold.created_at == cold.updated_at


def test_a_write_adds_a_version_and_keeps_those_before(store: Store) -> None:
    store.remember(Draft(text="one", path="/a"))
    store.remember(Draft(text="two", path="/a"))

    assert store.read("/a").text == "two"
    assert store.read("/a", 1).text == "one"
    assert store.read("/a").created_at == store.read("/a", 1).created_at < store.read("/a").updated_at
    assert [entry.version for entry in store.history("/a")] == [2, 1]


@pytest.mark.parametrize("version", [0, -1, True, "1"])
def test_a_version_is_a_whole_number_from_one(store: Store, version: Any) -> None:
    store.remember(Draft(text="one", path="/a"))

    with pytest.raises(InvalidInput, match="version"):
        store.read("/a", version)


def test_the_same_content_makes_no_new_version_and_any_change_does(store: Store) -> None:
    draft = Draft(text="one", path="/a", tags=("t",), metadata={"b": 1, "a": 2})
    store.remember(draft)

    again = store.remember(Draft(text="one", path="/a", tags=("t",), metadata={"a": 2, "b": 1}))
    changed = store.remember(Draft(text="one", path="/a", tags=("t",), visibility="private"))

    assert (again.version, again.stored) == (1, False)
    assert (changed.version, changed.stored) == (2, True)


def test_the_same_content_twice_in_one_batch_is_one_version(store: Store) -> None:
    receipts = store.remember_many([Draft(text="one", path="/a"), Draft(text="one", path="/a")])

    assert [receipt.stored for receipt in receipts] == [True, False]
    assert len(store.search("one")) == 1


def test_paths_are_made_where_none_is_given_and_never_collide(store: Store) -> None:
    store.remember(Draft(text="mine", path="/memories/000002"))

    made = store.remember(Draft(text="other"))

    assert made.path != "/memories/000002"
    assert store.read("/memories/000002").text == "mine"
    assert store.read(made.path).text == "other"


def test_what_is_forgotten_is_not_found_and_its_number_goes_on(store: Store) -> None:
    store.remember(Draft(text="secret plan", path="/a"))

    tombstone = store.forget("/a")

    assert tombstone.version == 2
    with pytest.raises(NotFound):
        store.read("/a")
    with pytest.raises(NotFound):
        store.read("/a", 2)
    with pytest.raises(NotFound):
        store.forget("/a")
    assert store.search("secret") == []
    assert store.browse() == []
    assert store.read("/a", 1).text == "secret plan"
    assert [entry.forgotten for entry in store.history("/a")] == [True, False]
    assert store.remember(Draft(text="secret plan", path="/a")).version == 3


@pytest.mark.parametrize("call", ["read", "forget", "history"])
def test_what_was_never_remembered_is_not_found(store: Store, call: str) -> None:
    with pytest.raises(NotFound, match="/nothing"):
        getattr(store, call)("/nothing")


@pytest.mark.parametrize("call", ["read", "forget", "history"])
def test_a_bad_path_is_told_as_such(store: Store, call: str) -> None:
    for path in ("/a/../b", "a", "/\ud800", 7):
        with pytest.raises(InvalidInput, match="path"):
            getattr(store, call)(path)


def test_a_text_of_1_mib_is_kept_found_and_read_back_and_one_byte_more_is_refused(store: Store) -> None:
    text = ("walrus " * MAX_TEXT_BYTES)[: MAX_TEXT_BYTES - 1] + "x"

    store.remember(Draft(text=text, path="/big"))
    with pytest.raises(InvalidInput, match="text"):
        store.remember(Draft(text=f"{text}x", path="/big"))

    store._cache.clear()
    assert store.read("/big").text == text
    assert store.read("/big").version == 1
    assert [hit.path for hit in store.search("walrus")] == ["/big"]


def test_browse_goes_by_path_in_pages(store: Store) -> None:
    store.remember_many([Draft(text=f"text {n}", path=f"/n/{n:02d}", title=f"T{n}") for n in range(10)])
    store.remember(Draft(text="other", path="/o/1"))

    first = store.browse("/n/", limit=4)
    second = store.browse("/n/", limit=100, after=first[-1].path)

    assert [entry.path for entry in first + second] == [f"/n/{n:02d}" for n in range(10)]
    assert (first[0].title, first[0].length_chars, first[0].version) == ("T0", 6, 1)
    assert len(store.browse()) == 11


def test_search_finds_by_stem_title_tag_and_part_and_ranks_the_better_first(store: Store) -> None:
    store.remember_many([Draft(text=f"filler number {n} about nothing in particular") for n in range(50)])
    store.remember(Draft(text="The cluster gossips digests between nodes.", path="/gossip"))
    store.remember(Draft(text="A gossip column.", path="/column"))
    store.remember(Draft(text="See asyncio.gather", path="/code", title="Concurrency", tags=("event loop",)))

    assert {hit.path for hit in store.search("gossiping")} == {"/gossip", "/column"}
    assert store.search("gossip digest")[0].path == "/gossip"
    for query in ("gather", "asyncio.gather", "concurrency", "event loops", "Event"):
        assert [hit.path for hit in store.search(query)] == ["/code"], query
    assert store.search("gossip")[0].score > 0


def test_search_finds_scripts_without_spaces(store: Store) -> None:
    store.remember(Draft(text="人工智能改变世界", path="/zh"))
    store.remember(Draft(text="ภาษาไทยสวยงาม", path="/th"))

    assert [hit.path for hit in store.search("智能")] == ["/zh"]
    assert [hit.path for hit in store.search("人")] == ["/zh"]
    assert [hit.path for hit in store.search("ภาษาไทย")] == ["/th"]


@pytest.mark.parametrize(
    "query",
    [
        '"',
        '""',
        "paris AND",
        "OR",
        "NOT paris",
        "NEAR(paris",
        "paris*",
        "text:paris",
        "^paris",
        "-paris",
        "(",
        "{a b}: c",
        "'; DROP TABLE head; --",
        "paris\x00",
        "\ud800 paris",
        "+",
        "a" * 10_000,
        "paris^2 || \\",
        "%_",
    ],
)
def test_nothing_in_a_query_is_an_operator(store: Store, query: str) -> None:
    store.remember(Draft(text="Paris is not near the text", path="/paris"))

    hits = store.search(query)

    assert all(hit.path == "/paris" for hit in hits)
    assert ("paris" in query.lower()) <= (len(hits) == 1)


def test_an_overwritten_text_is_found_no_more(store: Store) -> None:
    store.remember(Draft(text="about zebras", path="/a"))
    store.remember(Draft(text="about lions", path="/a"))

    assert store.search("zebras") == []
    assert len(store.search("lions")) == 1


def test_common_words_add_to_the_score_of_what_rare_words_found(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("node.memory.search.MAX_SCANNED", 20)
    store.remember_many([Draft(text=f"common filler {n}", path=f"/f/{n}") for n in range(40)])
    store.remember_many([Draft(text=f"plain sentence {n}", path=f"/p/{n}") for n in range(100)])
    store.remember_many(
        [Draft(text=f"rare {word} word", path=f"/{word}") for word in ("lone", "common", "other")]
    )

    hits = store.search("common rare lone", limit=3)
    together = store.search("common filler")

    assert [hit.path for hit in hits] == ["/lone", "/common", "/other"]
    assert all(hit.path.startswith("/f/") for hit in together)


def test_private_memories_are_never_announced_nor_shown_to_others(store: Store) -> None:
    store.remember(Draft(text="Walrus diaries", path="/p", visibility="private"))
    store.remember(Draft(text="Walrus facts", path="/l", visibility="listed"))
    store.remember(Draft(text="Walrus songs", path="/m", visibility="mesh"))

    topics = {term: count for term, count, _ in store.announced_topics()}

    assert topics["walrus"] == 2
    assert "diari" not in topics
    assert [hit.path for hit in store.search("walrus", visibilities={"mesh"})] == ["/m"]
    assert store.search("diaries", visibilities={"mesh", "listed"}) == []
    assert len(store.search("walrus")) == 3


def test_announced_topics_follow_every_write(store: Store) -> None:
    def announced() -> dict[str, int]:
        return {term: count for term, count, _ in store.announced_topics()}

    store.remember(Draft(text="zebra", path="/a"))
    assert announced() == {"zebra": 1}

    before = store.topics_revision
    store.remember(Draft(text="zebra lion", path="/b"))
    assert announced() == {"lion": 1, "zebra": 2}
    assert store.topics_revision != before

    store.remember(Draft(text="tiger", path="/a"))
    assert announced() == {"lion": 1, "tiger": 1, "zebra": 1}
    store.remember(Draft(text="tiger", path="/a", visibility="private"))
    assert announced() == {"lion": 1, "zebra": 1}
    store.forget("/b")
    assert announced() == {}
    store.remember(Draft(text="tiger", path="/a", visibility="mesh"))
    assert announced() == {"tiger": 1}

    before = store.topics_revision
    store.remember(Draft(text="hidden", path="/h", visibility="private"))
    assert store.topics_revision == before


def test_counts_made_late_equal_counts_kept_all_along(tmp_path: Path) -> None:
    with Store.open(tmp_path / "a.db", ALICE) as store:
        store.announced_topics()
        for n in range(20):
            store.remember(Draft(text=f"Topic number{n % 5} zebra", path=f"/{n % 7}"))
        kept, count = store.announced_topics(), store.count()

    with Store.open(tmp_path / "a.db", ALICE) as store:
        assert store.announced_topics() == kept
        assert store.count() == count == 7


def test_counts_made_in_a_group_that_is_rolled_back_are_made_anew(store: Store) -> None:
    store.remember(Draft(text="zebra", path="/a"))

    def job() -> None:
        store._writer.forget("/a")
        store._writer.start_counting()
        raise apsw.FullError("no room")

    with pytest.raises(StorageFailure):
        store._commits.run(job)

    assert store.count() == 1
    assert [term for term, _, _ in store.announced_topics()] == ["zebra"]


def test_a_batch_with_a_bad_draft_writes_nothing_and_names_it(store: Store) -> None:
    with pytest.raises(InvalidInput) as told:
        store.remember_many([Draft(text="good"), Draft(text="")])

    assert told.value.field == "drafts[1].text"
    assert store.count() == 0
    assert store.remember_many([]) == []


def test_versions_cannot_be_changed_or_deleted_even_by_sql(store: Store) -> None:
    store.remember(Draft(text="one", path="/a"))

    with apsw.Connection(str(store.path)) as connection:
        for statement in ("UPDATE versions SET text = 'x'", "DELETE FROM versions"):
            with pytest.raises(apsw.ConstraintError, match="append-only"):
                connection.execute(statement)

    store._cache.clear()
    assert store.read("/a").text == "one"


def test_sixteen_threads_write_and_every_acknowledged_write_is_there(store: Store) -> None:
    barrier = threading.Barrier(16)

    def write(worker: int) -> list[str]:
        barrier.wait()
        return [
            store.remember(Draft(text=f"worker {worker} note {n}", path=f"/{worker}/{n}")).path
            for n in range(40)
        ]

    with ThreadPoolExecutor(16) as pool:
        acknowledged = list(itertools.chain.from_iterable(pool.map(write, range(16))))

    store._cache.clear()
    assert len(set(acknowledged)) == store.count() == 640
    assert all(store.read(path).version == 1 for path in acknowledged)


def test_concurrent_writers_of_one_path_each_get_their_own_version(store: Store) -> None:
    with ThreadPoolExecutor(8) as pool:
        receipts = list(pool.map(lambda n: store.remember(Draft(text=f"text {n}", path="/a")), range(200)))

    assert sorted(receipt.version for receipt in receipts) == list(range(1, 201))
    assert all(store.read("/a", receipt.version).text == f"text {n}" for n, receipt in enumerate(receipts))
    assert len(store.search("text")) == 1


def test_a_request_that_fails_in_a_group_fails_alone(store: Store) -> None:
    def forget_or_write(n: int) -> str:
        try:
            return store.forget("/none").path if n % 2 else store.remember(Draft(text=f"text {n}")).path
        except NotFound:
            return "not found"

    with ThreadPoolExecutor(8) as pool:
        told = list(pool.map(forget_or_write, range(100)))

    assert told[1::2] == ["not found"] * 50
    assert store.count() == 50


def test_a_write_that_the_disk_refuses_is_told_and_leaves_nothing(store: Store) -> None:
    store.remember(Draft(text="before", path="/before"))
    pages = store._connection.pragma("page_count")
    store._connection.pragma("max_page_count", pages)

    with pytest.raises(StorageFailure, match="no room"):
        store.remember(Draft(text="long " * 50_000, path="/big"))
    store._connection.pragma("max_page_count", pages + 100_000)
    receipt = store.remember(Draft(text="after", path="/after"))

    assert receipt.stored
    assert store.count() == 2
    with pytest.raises(NotFound):
        store.read("/big")


def test_a_closed_store_says_so(store: Store) -> None:
    store.remember(Draft(text="one", path="/a"))

    store.close()
    store.close()

    for call in (
        lambda: store.read("/a"),
        lambda: store.remember(Draft(text="x")),
        lambda: store.search("one"),
    ):
        with pytest.raises(NodeClosed):
            call()


def test_incarnations_only_go_up_and_the_instance_stays(tmp_path: Path) -> None:
    with Store.open(tmp_path / "a.db", ALICE) as store:
        first, raised, instance = store.next_incarnation(), store.raise_incarnation(41), store.instance

    with Store.open(tmp_path / "a.db", ALICE) as store:
        assert (first, raised, store.next_incarnation()) == (1, 42, 43)
        assert store.raise_incarnation(7) == 44
        assert store.instance == instance
    with Store.open(tmp_path / "b.db", ALICE) as other:
        assert other.instance != instance
