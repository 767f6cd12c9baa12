"""The index of vectors against a plain dictionary and exact products."""

from __future__ import annotations

import threading
from pathlib import Path

import numpy as np
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from node.encoder import index as module
from node.encoder.index import Floats, VectorIndex
from protocol.errors import StorageFailure

WIDTH = 64


def _vectors(count: int, seed: int = 1, width: int = WIDTH) -> Floats:
    made = np.random.default_rng(seed).normal(size=(count, width)).astype(np.float32)
    unit: Floats = made / np.linalg.norm(made, axis=1, keepdims=True)
    return unit


def _filled(count: int) -> tuple[VectorIndex, Floats]:
    index, vectors = VectorIndex(WIDTH), _vectors(count)
    index.add(range(count), vectors)
    return index, vectors


def test_a_small_index_finds_what_exact_products_find() -> None:
    index, vectors = _filled(500)

    found = index.search(vectors[7], 10)

    exact = vectors @ vectors[7]
    assert found[0][0] == 7
    assert found[0][1] == pytest.approx(1, abs=0.01)
    assert [cosine for _, cosine in found] == sorted((cosine for _, cosine in found), reverse=True)
    assert all(abs(cosine - exact[number]) < 0.02 for number, cosine in found)
    assert len({number for number, _ in found} & set(np.argsort(-exact)[:10].tolist())) >= 9


def test_two_passes_find_nearly_all_that_exact_products_find() -> None:
    count = module.EXACT_UP_TO * 3
    vectors = _vectors(count, width=384)
    index = VectorIndex()
    index.add(range(count), vectors)
    queries = vectors[:20] + 0.5 * _vectors(20, seed=2, width=384)

    hits = sum(
        len(
            {number for number, _ in index.search(query, 5)}
            & set(np.argsort(-(vectors @ query))[:5].tolist())
        )
        for query in queries
    )

    assert hits >= 75


def test_equal_vectors_come_by_their_ids() -> None:
    index = VectorIndex(WIDTH)
    index.add([9, 3, 5], np.repeat(_vectors(1), 3, axis=0))

    assert [number for number, _ in index.search(_vectors(1)[0], 2)] == [3, 5]


def test_adding_an_id_again_replaces_its_vector() -> None:
    index, vectors = _filled(3)

    index.add([1], -vectors[1:2])

    assert len(index) == 3
    number, cosine = index.search(vectors[1], 3)[-1]
    assert number == 1
    assert cosine == pytest.approx(-1, abs=0.01)


def test_removed_ids_are_never_found_not_even_among_many() -> None:
    count = module.EXACT_UP_TO + 500
    index, vectors = _filled(count)

    assert index.remove([3, 4, 4, count + 1]) == 2

    assert len(index) == count - 2
    assert 3 not in [number for number, _ in index.search(vectors[3], 50)]


def test_many_removed_ones_nearby_do_not_hide_what_is_left() -> None:
    count = module.EXACT_UP_TO * 2
    index, vectors = _filled(count)
    near = vectors[0] + 0.02 * _vectors(1_500, seed=2)
    index.add(range(count, count + 1_500), near)
    index.remove(range(count, count + 1_500))

    assert index.search(vectors[0], 5)[0][0] == 0
    assert len(index.search(vectors[0], 5)) == 5


def test_an_empty_index_and_a_zero_vector_find_nothing() -> None:
    index, _ = _filled(3)

    assert VectorIndex(WIDTH).search(_vectors(1)[0], 5) == []
    assert index.search(np.zeros(WIDTH, np.float32), 5) == []
    assert index.search(np.full(WIDTH, np.nan, np.float32), 5) == []
    assert index.search(_vectors(1)[0], 0) == []


@pytest.mark.parametrize(
    ("ids", "vectors"),
    [
        ([1], np.zeros((1, 63), np.float32)),
        ([1, 2], np.zeros((1, WIDTH), np.float32)),
        ([1], np.full((1, WIDTH), np.inf, np.float32)),
        ([-1], np.ones((1, WIDTH), np.float32)),
    ],
)
def test_vectors_that_do_not_fit_are_refused_and_nothing_is_added(ids: list[int], vectors: Floats) -> None:
    index, _ = _filled(2)

    with pytest.raises(ValueError, match=r"width|number|id"):
        index.add(ids, vectors)

    assert len(index) == 2


def test_a_saved_index_loads_with_the_same_answers(tmp_path: Path) -> None:
    index, vectors = _filled(100)
    index.remove([5])
    index.save(tmp_path / "v", "stamp 1")

    again = VectorIndex.load(tmp_path / "v", "stamp 1", width=WIDTH)

    assert again is not None
    again.check()
    assert len(again) == 99
    assert again.search(vectors[9], 20) == index.search(vectors[9], 20)
    again.add([5], vectors[5:6])
    assert len(again) == 100
    assert [path.name for path in tmp_path.iterdir()] == ["v"]


def test_an_empty_index_can_be_saved(tmp_path: Path) -> None:
    VectorIndex(WIDTH).save(tmp_path / "v")

    again = VectorIndex.load(tmp_path / "v", width=WIDTH)

    assert again is not None
    assert len(again) == 0


def test_a_stale_a_missing_and_a_damaged_file_load_as_none(tmp_path: Path) -> None:
    index, _ = _filled(10)
    path = tmp_path / "v"
    index.save(path, "old")
    good = path.read_bytes()

    assert VectorIndex.load(path, "new", width=WIDTH) is None
    assert VectorIndex.load(path, "old", width=128) is None
    assert VectorIndex.load(tmp_path / "none", "old", width=WIDTH) is None
    for bad in (good[:-1], good[:-9] + b"?" + good[-8:], b"", b"\xff" * 40, good + b"x"):
        path.write_bytes(bad)
        assert VectorIndex.load(path, "old", width=WIDTH) is None


def test_a_folder_that_does_not_exist_fails_with_its_name(tmp_path: Path) -> None:
    with pytest.raises(StorageFailure, match="gone"):
        _filled(1)[0].save(tmp_path / "gone" / "v")


def test_readers_see_whole_vectors_while_a_writer_adds_and_removes() -> None:
    index, vectors = _filled(200)
    stop = threading.Event()
    wrong: list[object] = []

    def read() -> None:
        while not stop.is_set():
            first = index.search(vectors[0], 1)[0]
            if first[0] != 0 or first[1] < 0.99:
                wrong.append(first)

    reader = threading.Thread(target=read)
    reader.start()
    for turn in range(300):
        ids = range(1000 + turn * 5, 1005 + turn * 5)
        index.add(ids, _vectors(5, seed=turn))
        if turn % 2:
            index.remove([number - 5 for number in ids])
    stop.set()
    reader.join(20)

    index.check()
    assert wrong == []


def test_memory_stays_in_proportion_to_what_is_there() -> None:
    index, _ = _filled(1000)
    full = index.memory_bytes

    index.remove(range(900))

    assert full <= 1000 * (WIDTH + WIDTH // 8 + 12) * 1.2
    assert index.memory_bytes <= full / 4


class IndexAgainstDictionary(RuleBasedStateMachine):
    """Any order of adding and removing leaves what a dictionary would hold."""

    def __init__(self) -> None:
        super().__init__()
        self.index = VectorIndex(WIDTH)
        self.model: dict[int, int] = {}

    @rule(ids=st.lists(st.integers(0, 30), max_size=6), seed=st.integers(0, 1000))
    def add(self, ids: list[int], seed: int) -> None:
        made = np.concatenate([_vectors(1, seed + place) for place in range(len(ids))] or [_vectors(0)])
        self.index.add(ids, made)
        self.model |= {number: seed + place for place, number in enumerate(ids)}

    @rule(ids=st.lists(st.integers(0, 30), max_size=6))
    def remove(self, ids: list[int]) -> None:
        gone = self.index.remove(ids)
        assert gone == len({number for number in ids if self.model.pop(number, None) is not None})

    @invariant()
    def the_same_is_there(self) -> None:
        self.index.check()
        assert len(self.index) == len(self.model)
        query = _vectors(1, seed=5000)[0]
        found = dict(self.index.search(query, 100))
        assert found.keys() == self.model.keys()
        for number, seed in self.model.items():
            assert abs(found[number] - float(_vectors(1, seed)[0] @ query)) < 0.03


TestIndexAgainstDictionary = IndexAgainstDictionary.TestCase
TestIndexAgainstDictionary.settings = settings(max_examples=30, stateful_step_count=20, deadline=None)
