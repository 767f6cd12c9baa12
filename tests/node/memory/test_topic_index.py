"""Topics at rest, and how many memories carry each."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from node.memory.topic_index import TopicCounts, decode, token
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
    counts = TopicCounts([encode([("walrus", 100), ("sea", 30)]), encode([("walrus", 50)]), ""])

    assert counts.listing() == [("sea", 1, 0.3), ("walrus", 2, 0.75)]


def test_a_topic_nobody_carries_any_more_is_gone() -> None:
    counts = TopicCounts([encode([("walrus", 100)])])

    counts.remove(encode([("walrus", 100)]))

    assert counts.listing() == []


@given(st.lists(TOPICS, max_size=8), st.sets(st.integers(0, 7)))
def test_counts_kept_up_to_date_equal_counts_made_anew(
    memories: list[list[tuple[str, int]]], gone: set[int]
) -> None:
    encoded = [encode(topics) for topics in memories]

    kept = TopicCounts(encoded)
    for at, topics in enumerate(encoded):
        if at in gone:
            kept.remove(topics)

    anew = TopicCounts(topics for at, topics in enumerate(encoded) if at not in gone)
    assert kept.listing() == anew.listing()
