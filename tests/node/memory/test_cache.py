"""The cache: the last read, no more than its size, and never an older version than was written."""

from __future__ import annotations

from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from node.memory import Draft, Store
from node.memory.cache import MAX_ENTRY_CHARS, Cache
from node.memory.records import Memory
from protocol.names import AgentName


def memory(path: str, version: int = 1, text: str = "t") -> Memory:
    return Memory(
        agent=AgentName("alice"),
        path=path,
        version=version,
        title="",
        text=text,
        tags=(),
        importance=0.5,
        visibility="listed",
        created_at=0.0,
        updated_at=0.0,
        metadata={},
    )


def test_a_reader_never_puts_back_an_older_version() -> None:
    cache = Cache(10)

    stamp = cache.stamp("/a")
    cache.put(memory("/a", 2))
    cache.fill(memory("/a", 1), stamp)
    assert cache.entries["/a"].version == 2

    stamp = cache.stamp("/a")
    cache.drop("/a")
    cache.fill(memory("/a", 2), stamp)
    assert "/a" not in cache.entries


def test_what_a_reader_found_is_kept_where_nothing_was_written_meanwhile() -> None:
    cache = Cache(10)

    cache.fill(memory("/a"), cache.stamp("/a"))

    assert cache.entries["/a"] == memory("/a")


def test_the_one_used_longest_ago_goes_first() -> None:
    cache = Cache(2)
    cache.put(memory("/a"))
    cache.put(memory("/b"))
    cache.put(memory("/a", 2))

    cache.put(memory("/c"))

    assert list(cache.entries) == ["/a", "/c"]


def test_a_cache_of_no_entries_keeps_nothing() -> None:
    cache = Cache(0)

    cache.put(memory("/a"))
    cache.fill(memory("/b"), cache.stamp("/b"))

    assert not cache.entries


def test_a_long_text_is_not_kept_and_takes_the_shorter_one_before_it_along() -> None:
    cache = Cache(10)
    cache.put(memory("/a"))

    cache.fill(memory("/b", text="x" * (MAX_ENTRY_CHARS + 1)), cache.stamp("/b"))
    cache.put(memory("/a", 2, "x" * (MAX_ENTRY_CHARS + 1)))
    cache.put(memory("/c", text="x" * MAX_ENTRY_CHARS))

    assert list(cache.entries) == ["/c"]


def test_a_cleared_cache_takes_nothing_back_from_readers_under_way() -> None:
    cache = Cache(10)
    cache.put(memory("/a"))
    stamp = cache.stamp("/a")

    cache.clear()
    cache.fill(memory("/a"), stamp)

    assert not cache.entries


@given(
    st.lists(st.tuples(st.sampled_from(["write", "forget", "look", "fill"]), st.integers(0, 3)), max_size=60)
)
def test_no_order_of_writes_and_reads_shows_what_is_no_more(steps: list[tuple[str, int]]) -> None:
    cache = Cache(3)
    there: dict[str, Memory] = {}
    under_way: dict[str, tuple[Memory, int]] = {}

    for number, (step, which) in enumerate(steps):
        path = f"/{which}"
        if step == "write":
            there[path] = memory(path, number)
            cache.put(there[path])
        elif step == "forget":
            there.pop(path, None)
            cache.drop(path)
        elif step == "look" and path in there:
            stamp = cache.stamp(path)
            under_way[path] = (there[path], stamp)
        elif step == "fill" and path in under_way:
            cache.fill(*under_way.pop(path))

        assert len(cache.entries) <= 3
        assert all(there.get(kept) == entry for kept, entry in cache.entries.items())


def test_a_store_keeps_what_was_read_last_and_counts_hits_and_misses(tmp_path: Path) -> None:
    with Store.open(tmp_path / "a.db", AgentName("alice"), cache_entries=3) as store:
        store.remember_many([Draft(text=f"text {n}", path=f"/{n}") for n in range(5)])
        store.read("/2")
        store.read("/0")

        assert list(store._entries) == ["/4", "/2", "/0"]
        assert store.statistics().cache_hits == 1
        assert store.statistics().cache_misses == 1
