"""Lists of who holds a term: the same whether they were read now or kept and added to."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from node.memory import Draft, Store
from node.memory.postings import Postings, stands_for_many
from protocol.names import AgentName

TERMS = ["walrus", "seal", "ice", "智能", "智", "nobody"]
STEPS = st.lists(
    st.one_of(
        st.tuples(
            st.just("write"), st.integers(1, 4), st.lists(st.sampled_from(TERMS), min_size=1, max_size=9)
        ),
        st.tuples(st.just("forget"), st.integers(1, 4), st.just([])),
        st.tuples(
            st.just("ask"), st.integers(1, 4), st.lists(st.sampled_from(TERMS), min_size=1, max_size=3)
        ),
    ),
    max_size=24,
)


@settings(max_examples=40, deadline=None)
@given(STEPS, st.sampled_from([600, 16 << 20]))
def test_lists_that_were_kept_are_those_of_a_fresh_read(
    steps: list[tuple[str, int, list[str]]], most_bytes: int
) -> None:
    with tempfile.TemporaryDirectory() as folder, Store.open(Path(folder) / "a.db", AgentName("a")) as store:
        kept = store.lookup._search._postings
        kept._most_bytes = most_bytes
        for what, number, words in steps:
            if what == "write":
                store.remember(Draft(text=" ".join(words), title=words[0], path=f"/{number}"))
            elif what == "forget" and any(one.path == f"/{number}" for one in store.browse()):
                store.forget(f"/{number}")
            elif what == "ask":
                store.lookup.score(words, 5)
        connection = store._readers.get()
        fresh = Postings()

        now, anew = kept.read(connection, TERMS, most=-1), fresh.read(connection, TERMS, most=-1)

        assert {term: told(held) for term, held in now.items()} == {
            term: told(held) for term, held in anew.items()
        }
        assert (kept.live, kept.mean_length) == (fresh.live, fresh.mean_length)
        assert kept._bytes == sum(known.size_bytes for known in kept._lists.values()) <= most_bytes


def told(held: object) -> object:
    return [part.tolist() for part in held] if isinstance(held, tuple) else held


def test_a_term_in_too_many_memories_is_not_read_whole(tmp_path: Path) -> None:
    with Store.open(tmp_path / "a.db", AgentName("a")) as store:
        store.remember_many([Draft(text=f"walrus number {at}") for at in range(30)])
        postings = store.lookup._search._postings

        few = postings.read(store._readers.get(), ["walrus"], most=29)
        all_of_them = postings.read(store._readers.get(), ["walrus"], most=30)

        again = postings.read(store._readers.get(), ["walrus"], most=29)

    assert few == again == {"walrus": None}
    assert all_of_them["walrus"] is not None
    assert all_of_them["walrus"].ids.tolist() == list(range(1, 31))


def test_sizes_past_one_byte_are_read(tmp_path: Path) -> None:
    with Store.open(tmp_path / "a.db", AgentName("a")) as store:
        store.remember(Draft(text="walrus " * 40_000))
        store.remember(Draft(text="one seal"))
        store.remember(Draft(text="ice " * 300))
        fresh = Postings()
        fresh.read(store._readers.get(), ["walrus"], most=-1)
        sizes = [
            sum(len(column.split()) for column in row)
            for row in [("", "walrus " * 40_000, ""), ("", "one seal", ""), ("", "ice " * 300, "")]
        ]

    assert fresh.live == 3
    assert round(fresh.mean_length * 3) == sum(sizes)


def test_only_a_single_character_beyond_ascii_stands_for_many() -> None:
    assert [term for term in ("a", "智", "智能", "é") if stands_for_many(term)] == ["智", "é"]


def test_a_copy_of_the_files_gives_the_same_scores(tmp_path: Path) -> None:
    with Store.open(tmp_path / "a.db", AgentName("a")) as store:
        store.lookup.score(["walrus"], 5)
        store.remember_many([Draft(text=f"walrus number {at} " + "ice " * at) for at in range(9)])
        before = store.lookup.score(["walrus", "ice"], 5)
    shutil.copy(tmp_path / "a.db", tmp_path / "b.db")

    with Store.open(tmp_path / "b.db", AgentName("a")) as store:
        assert store.lookup.score(["walrus", "ice"], 5) == before
