"""What is remembered already is told on write: the same text, and nearly the same."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path

import mmh3
import pytest
from hypothesis import given
from hypothesis import strategies as st

from node.memory import Draft, Store
from node.memory.sketch import SketchTable, similarity, sketch_of, sketches_of
from protocol.errors import StorageFailure
from protocol.names import AgentName
from tests.support.clock import FakeClock

ALICE = AgentName("alice")
WORDS = [f"word{n}" for n in range(60)]
TEXT = " ".join(WORDS)
NEAR = " ".join([*WORDS[:-3], "other", "things", "here"])


def hashes(terms: frozenset[str]) -> set[int]:
    return set(map(mmh3.hash, terms))


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def store(tmp_path: Path, clock: FakeClock) -> Iterator[Store]:
    with Store.open(tmp_path / "alice.db", ALICE, clock=clock) as opened:
        yield opened


@pytest.mark.parametrize("text", ["x", "a b", "!!!", TEXT])
def test_a_text_without_a_path_that_is_known_is_the_memory_that_is_there(store: Store, text: str) -> None:
    first = store.remember(Draft(text=text, path="/a"))
    again = store.remember(Draft(text=text))
    batch = store.remember_many([Draft(text=text), Draft(text=text)])

    assert first.stored
    assert (again.path, again.version, again.stored) == ("/a", 1, False)
    assert {one.path for one in batch} == {"/a"}
    assert store.count() == 1


def test_the_same_text_with_another_visibility_or_title_is_another_memory_and_told(store: Store) -> None:
    store.remember(Draft(text=TEXT, path="/a", visibility="private"))

    other = store.remember(Draft(text=TEXT, visibility="mesh"))
    placed = store.remember(Draft(text=TEXT, path="/b"))

    assert (other.stored, other.similar) == (True, ("/a",))
    assert placed.stored
    assert set(placed.similar) == {"/a", other.path}


def test_what_says_nearly_the_same_is_named_and_what_does_not_is_not(store: Store) -> None:
    store.remember(Draft(text=TEXT, path="/a"))
    store.remember(Draft(text="zebras and lions and many an other thing beside", path="/z"))

    assert store.remember(Draft(text=NEAR, path="/b")).similar == ("/a",)
    assert store.remember(Draft(text=" ".join(WORDS[:30]), path="/half")).similar == ()
    assert store.remember(Draft(text=f"{TEXT} more", path="/a")).similar == ("/b",)


def test_what_was_forgotten_overwritten_or_expired_is_not_named(store: Store, clock: FakeClock) -> None:
    store.remember(Draft(text=TEXT, path="/a"))
    store.forget("/a")
    store.remember(Draft(text=TEXT, path="/b"))
    store.remember(Draft(text="something else", path="/b"))
    store.remember(Draft(text=TEXT, path="/c", expires_at=clock() + 5))
    clock.advance(5)

    made = store.remember(Draft(text=TEXT))

    assert made.stored
    assert made.similar == ()


def test_what_is_similar_is_found_after_a_restart(tmp_path: Path) -> None:
    with Store.open(tmp_path / "a.db", ALICE) as store:
        store.remember(Draft(text=TEXT, path="/a"))
        store.remember_many([Draft(text=f"note {n} about nothing", path=f"/n/{n}") for n in range(50)])

    with Store.open(tmp_path / "a.db", ALICE) as store:
        assert store.remember(Draft(text=NEAR, path="/b")).similar == ("/a",)
        assert store.remember(Draft(text="note 7 about nothing")).path == "/n/7"


def test_what_was_rolled_back_is_not_named(store: Store) -> None:
    store.remember(Draft(text="first", path="/first"))
    pages = store._connection.pragma("page_count")
    store._connection.pragma("max_page_count", pages)
    with pytest.raises(StorageFailure):
        store.remember_many([Draft(text=TEXT, path="/a"), Draft(text="long " * 50_000, path="/big")])
    store._connection.pragma("max_page_count", pages + 100_000)

    receipt = store.remember(Draft(text=TEXT))

    assert receipt.stored
    assert receipt.similar == ()


def test_nearly_all_of_the_near_are_found_and_hardly_any_of_the_far() -> None:
    draw = random.Random(7)
    originals = [frozenset(f"t{draw.randrange(5_000)}" for _ in range(60)) for _ in range(500)]
    table = SketchTable((at, sketch_of("", hashes(one))) for at, one in enumerate(originals, 1))
    found = strange = 0
    for at, one in enumerate(originals, 1):
        changed = frozenset(sorted(one)[:-6]) | {f"new{at}x{n}" for n in range(6)}
        assert similarity(one, changed) > 0.79
        like = table.like(sketch_of("", hashes(changed)))
        found += at in like
        strange += len(like) - (at in like)

    assert found >= 450
    assert strange <= 25


@given(st.lists(st.integers(-(2**63), 2**63 - 1), min_size=1), st.integers(0, 30))
def test_a_table_made_at_once_is_one_made_entry_by_entry(sketches: list[int], first: int) -> None:
    pairs = list(enumerate(sketches, 1))
    grown = SketchTable(pairs[:first])
    for at, sketch in pairs[first:]:
        grown.add(at, sketch)
    whole = SketchTable(pairs)

    assert len(grown) == len(whole) == len(sketches)
    for sketch in sketches:
        assert grown.like(sketch) == whole.like(sketch)
        assert whole.like(sketch)


@given(st.lists(st.frozensets(st.integers(0, 500), max_size=40), max_size=20))
def test_sketches_made_at_once_are_those_made_one_by_one(all_terms: list[frozenset[int]]) -> None:
    texts = [" ".join(map(str, one)) for one in all_terms]
    hashed = [hashes(frozenset(map(str, one))) for one in all_terms]

    assert sketches_of(texts, hashed) == list(map(sketch_of, texts, hashed))


@given(st.lists(st.integers(0, 3), min_size=1, max_size=40), st.integers(0, 39))
def test_what_many_are_like_is_what_each_would_be_like(which: list[int], known: int) -> None:
    sketches = [(1, 1 << 40, -5, 1 | 1 << 50)[one] for one in which]
    one_by_one, at_once = SketchTable(), SketchTable()
    expected: list[list[int]] = []
    for at, sketch in enumerate(sketches, 1):
        expected.append(one_by_one.like(sketch))
        one_by_one.add(at, sketch)
    for at, sketch in enumerate(sketches[:known], 1):
        at_once.add(at, sketch)

    first = at_once.add_all(sketches[known:])
    found = at_once.like_each(first)

    assert [found.get(entry, []) for entry in range(first, len(at_once) + 1)] == expected[known:]
    assert at_once.like(sketches[0]) == [at for at in one_by_one.like(sketches[0]) if at < first]


@given(st.frozensets(st.text(min_size=1), max_size=30))
def test_any_terms_have_a_sketch_of_64_bits(terms: frozenset[str]) -> None:
    clean = frozenset(term.encode(errors="ignore").decode() or "x" for term in terms)

    assert -(2**63) <= sketch_of(" ".join(clean), hashes(clean)) < 2**63
