"""Topics at rest, and how many memories carry each."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from node.memory.topic_index import TopicCounts, count, decode, most, token
from protocol.topics import analyse, extract

TOPICS = st.lists(
    st.tuples(
        st.sampled_from(["walrus", "sea ice", "智能", "max_open_files", "3.11", "it's"]), st.integers(1, 100)
    ),
    max_size=5,
    unique_by=lambda topic: topic[0],
)


def encode(topics: list[tuple[str, int]]) -> str:
    return "\n".join(f"{weight} {term}" for term, weight in topics)


@given(TOPICS)
def test_topics_at_rest_are_read_back_as_they_were(topics: list[tuple[str, int]]) -> None:
    assert decode(encode(topics)) == topics


@given(st.text(max_size=200), st.text(max_size=40))
def test_the_topics_of_any_text_can_be_kept(text: str, title: str) -> None:
    topics = decode(analyse(text, title=title).topics)

    assert [(term, weight / 100) for term, weight in topics] == [
        (topic.term, topic.weight) for topic in extract(text, title=title)
    ]


def test_a_pair_of_words_is_one_token_of_the_index() -> None:
    assert (token("sea ice"), token("walrus")) == ("sea_ice", "walrus")


def test_a_topic_is_listed_with_its_memories_and_their_mean_weight() -> None:
    announced = [encode([("walrus", 100), ("sea", 30)]), encode([("walrus", 50)]), ""]
    counts = TopicCounts(announced, [encode([("walrus", 30), ("ice", 30)])])

    assert counts.listing() == [("sea", 1, 0.3), ("walrus", 2, 0.75)]
    assert counts.all() == {"sea": 1, "walrus": 3, "ice": 1}


@pytest.mark.parametrize("announced", [True, False])
def test_a_topic_nobody_carries_any_more_is_gone(announced: bool) -> None:
    walrus = encode([("walrus", 100)])
    counts = TopicCounts([walrus], [walrus])

    counts.remove(walrus, announced)

    assert counts.listing() == ([] if announced else [("walrus", 1, 1.0)])
    assert counts.all() == {"walrus": 1}
    counts.remove(walrus, not announced)
    assert counts.all() == {}


def test_the_most_carried_topics_come_first_then_by_name() -> None:
    assert most({"b": 2, "a": 2, "c": 3, "d": 1}, 3) == [("c", 3), ("a", 2), ("b", 2)]


@given(st.lists(st.tuples(TOPICS, st.booleans()), max_size=8), st.sets(st.integers(0, 7)))
def test_counts_kept_up_to_date_equal_counts_made_anew(
    memories: list[tuple[list[tuple[str, int]], bool]], gone: set[int]
) -> None:
    encoded = [(encode(topics), announced) for topics, announced in memories]

    kept, grown = _counted(encoded), _counted([])
    for at, (topics, announced) in enumerate(encoded):
        if at in gone:
            kept.remove(topics, announced)
        else:
            grown.add(topics, announced)

    anew = _counted([one for at, one in enumerate(encoded) if at not in gone])
    assert kept.listing() == anew.listing() == grown.listing()
    assert kept.all() == anew.all() == grown.all()
    assert count(topics for topics, _ in encoded) == Counter(
        term for topics, _ in encoded for term, _ in decode(topics)
    )


def _counted(encoded: list[tuple[str, bool]]) -> TopicCounts:
    return TopicCounts(*([topics for topics, kind in encoded if kind is wanted] for wanted in (True, False)))
