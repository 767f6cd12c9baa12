"""Which texts are encoded together, and which first."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from node.encoder.batching import Queue


def _queue(texts: int = 1000, size: int = 1000) -> Queue[str]:
    return Queue(max_texts=texts, max_bytes=size)


def test_a_query_that_comes_last_is_encoded_before_bulk_work_that_waits() -> None:
    queue = _queue()
    queue.add("bulk", ["a", "b", "c"], [5, 5, 5], urgent=False)
    queue.add("query", ["q"], [2], urgent=True)

    order = [[piece.job for piece in queue.next_batch(10)] for _ in range(3)]

    assert order == [["query"], ["bulk", "bulk"], ["bulk"]]


def test_texts_of_one_request_go_by_length_and_keep_their_places() -> None:
    queue = _queue()
    queue.add("job", ["long", "s", "mid"], [9, 1, 5], urgent=False)

    batch = queue.next_batch(100)

    assert [(piece.text, piece.place) for piece in batch] == [("s", 1), ("mid", 2), ("long", 0)]


def test_a_text_over_the_budget_goes_alone() -> None:
    queue = _queue()
    queue.add("job", ["x", "y"], [3, 50], urgent=False)

    assert [[piece.text for piece in queue.next_batch(10)] for _ in range(3)] == [["x"], ["y"], []]


def test_what_would_pass_the_limits_has_no_room_until_something_went() -> None:
    queue = _queue(texts=3, size=10)
    queue.add("job", ["aaaa", "bbbb"], [2, 2], urgent=False)

    assert queue.has_room(["c"])
    assert not queue.has_room(["c", "d"])
    assert not queue.has_room(["ccc"])

    queue.next_batch(2)
    assert queue.has_room(["ccc"])


@given(st.lists(st.tuples(st.booleans(), st.lists(st.integers(1, 30), min_size=1, max_size=8)), max_size=12))
def test_every_text_goes_once_and_no_batch_costs_more_than_the_budget(
    jobs: list[tuple[bool, list[int]]],
) -> None:
    queue: Queue[int] = Queue(max_texts=1000, max_bytes=10_000)
    for number, (urgent, tokens) in enumerate(jobs):
        queue.add(number, ["t" * count for count in tokens], tokens, urgent=urgent)

    seen = []
    while batch := queue.next_batch(40):
        assert len(batch) == 1 or len(batch) * max(piece.tokens for piece in batch) <= 40
        seen += [(piece.job, piece.place) for piece in batch]

    assert sorted(seen) == [(job, place) for job, (_, t) in enumerate(jobs) for place in range(len(t))]
    assert len(queue) == 0
    assert queue.has_room(["t" * 10_000])
