"""Recall end to end: within the budget, only what may be seen, the same answer to the same question."""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from node.memory import Draft, Store
from node.recall import Item, merge, recall, tokens
from node.recall.recall import NOTHING_FITS, NOTHING_MATCHED
from protocol.errors import InvalidInput
from protocol.names import AgentName

ALICE = AgentName("alice")
BUDGETS = st.integers(1, 200)
QUESTIONS = st.lists(
    st.sampled_from(["walrus", "智能", "人", "sea ice", "Ünï", "x" * 300, "🎉", "release", "the"]),
    min_size=1,
    max_size=4,
).map(" ".join)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    ticks = itertools.count(1_000)
    with Store.open(tmp_path / "alice.db", ALICE, clock=lambda: float(next(ticks))) as opened:
        yield opened


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    path = tmp_path_factory.mktemp("library") / "alice.db"
    with Store.open(path, ALICE, clock=lambda: 1_000.0) as opened:
        opened.remember_many(
            [
                Draft(text="The walrus sings at night. " * 30, title="Walrus songs", visibility="mesh"),
                Draft(text="Walrus", visibility="private"),
                Draft(text="人工智能改变世界。" * 40, title="人工智能", visibility="mesh"),
                Draft(text=f"walrus {'x' * 5_000} sea ice", tags=("walrus",)),
                Draft(text="🎉👩🏽‍🚀 " * 60 + "walrus", visibility="mesh"),
                Draft(text=f"{'x' * 300} {'y' * 3_000}", title="release " * 40),
                Draft(text="Ünï releases sea ice.\n\n\n- 3.11\n- 3.12\n" * 20, visibility="mesh"),
                *(Draft(text=f"The sea holds ice number {n}, and a walrus.") for n in range(40)),
            ]
        )
        yield opened


def item(path: str, text: str, *, agent: str = "bob", version: int = 1, score: float = 1.0) -> Item:
    return Item(
        agent=agent,
        path=path,
        version=version,
        title="",
        text=text,
        tokens=1,
        score=score,
        source="words",
        cut=False,
    )


@given(QUESTIONS, BUDGETS)
def test_the_budget_is_never_exceeded_and_tokens_are_counted_exactly(
    library: Store, question: str, budget_tokens: int
) -> None:
    answer = recall(library, question, budget_tokens)

    assert answer.tokens == tokens.count(answer.text) <= answer.budget_tokens == budget_tokens
    assert all(one.tokens == tokens.count(one.text) for one in answer.items)
    assert answer == recall(library, question, budget_tokens)


@given(BUDGETS)
def test_an_answer_is_not_empty_while_a_word_of_what_matched_fits(library: Store, budget_tokens: int) -> None:
    assert recall(library, "sea ice number", budget_tokens).text


@settings(max_examples=40)
@given(
    st.lists(
        st.one_of(st.text(min_size=1, max_size=80), st.sampled_from(["walrus 人工智能。 ", "🎉", "x" * 500])),
        min_size=1,
        max_size=8,
    ),
    BUDGETS,
)
def test_a_merged_answer_keeps_to_one_budget_whatever_peers_tell(
    texts: list[str], budget_tokens: int
) -> None:
    parts = [[item(f"/{n}", text, agent=f"peer{n % 3}")] for n, text in enumerate(texts)]

    answer = merge("walrus", parts, budget_tokens)

    assert answer.tokens == tokens.count(answer.text) <= budget_tokens


def test_items_tell_where_they_come_from_and_how_they_were_found(store: Store) -> None:
    store.remember(Draft(text="The walrus sings.", path="/w", title="Songs"))
    store.remember(Draft(text="The walrus sleeps.", path="/w", title="Songs", tags=("arctic",)))

    (one,) = recall(store, "walrus", 100).items
    (by_tag,) = recall(store, "arctic", 100).items

    assert (one.agent, one.path, one.version, one.title) == ("alice", "/w", 2, "Songs")
    assert (one.text, one.source, one.cut) == ("Songs\nThe walrus sleeps.", "words+topic", False)
    assert by_tag.source == "topic"


def test_look_ups_are_counted_and_an_empty_answer_says_why(store: Store) -> None:
    store.remember(Draft(text="🎉🎉🎉", path="/party", tags=("party",)))

    assert recall(store, "party", 100).hops == {"cache": 0, "sqlite": 0, "fts": 1, "vector": 0}
    assert recall(store, "party", 1).notes == (NOTHING_FITS,)
    nothing = recall(store, "walrus", 100)
    assert (nothing.text, nothing.items, nothing.tokens, nothing.notes) == ("", (), 0, (NOTHING_MATCHED,))
    assert recall(store, "?!", 100).hops["fts"] == 0


@pytest.mark.parametrize("budget_tokens", [0, -1, True, 1.5])
def test_a_budget_is_a_whole_number_from_one(store: Store, budget_tokens: int) -> None:
    with pytest.raises(InvalidInput, match="budget_tokens"):
        recall(store, "walrus", budget_tokens)
    with pytest.raises(InvalidInput, match="budget_tokens"):
        merge("walrus", [], budget_tokens)


def test_near_duplicates_are_told_once(store: Store) -> None:
    store.remember(Draft(text="The walrus sings at night.", path="/a"))
    store.remember(Draft(text="the WALRUS sings at night", path="/b"))
    store.remember(Draft(text="A walrus eats clams.", path="/c"))

    answer = recall(store, "walrus", 200)

    assert len(answer.items) == 2
    assert "/c" in {one.path for one in answer.items}


def test_private_memories_take_no_room_from_those_that_may_be_seen(tmp_path: Path) -> None:
    public = [
        Draft(text=f"A walrus of the sea, seen at {n}.", path=f"/m/{n}", visibility="mesh") for n in range(5)
    ]
    private = [Draft(text=f"Walrus secret {n}", path=f"/p/{n}", visibility="private") for n in range(200)]
    with Store.open(tmp_path / "a.db", ALICE, clock=lambda: 1.0) as alone:
        alone.remember_many(public)
        expected = recall(alone, "walrus", 60, visibilities={"mesh"})

    with Store.open(tmp_path / "b.db", ALICE, clock=lambda: 1.0) as store:
        store.remember_many([*private, *public])
        answer = recall(store, "walrus", 60, visibilities={"mesh"})

    assert len(expected.items) > 1
    assert (answer.text, answer.hops, answer.notes) == (expected.text, expected.hops, expected.notes)
    assert [one.path for one in answer.items] == [one.path for one in expected.items]


def test_a_private_memory_of_a_rare_word_does_not_silence_the_answer_to_the_others(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("node.memory.search.MAX_SCANNED", 10)
    store.remember_many([Draft(text=f"Gossip number {n}", visibility="mesh") for n in range(30)])
    before = recall(store, "walrus gossip", 100, visibilities={"mesh"})

    store.remember(Draft(text="My walrus", visibility="private"))
    after = recall(store, "walrus gossip", 100, visibilities={"mesh"})

    assert before.items
    assert after.text == before.text


def test_equal_stores_give_equal_answers(tmp_path: Path) -> None:
    drafts = [Draft(text=f"The walrus sings of {n % 4} seas and {n} ships.", path=f"/{n}") for n in range(30)]
    answers = []
    for name in ("a.db", "b.db"):
        with Store.open(tmp_path / name, ALICE, clock=lambda: 1.0) as store:
            store.remember_many(drafts)
            answers.append(recall(store, "walrus seas", 120))
    with Store.open(tmp_path / "a.db", ALICE) as reopened:
        answers.append(recall(reopened, "walrus seas", 120))

    assert answers[0] == answers[1] == answers[2]


def test_the_order_of_the_parts_does_not_matter() -> None:
    parts = [
        [item("/a", "The walrus sings."), item("/b", "The walrus eats clams.")],
        [item("/a", "The walrus sings.", agent="carol"), item("/c", "A seal.", agent="carol")],
        [item("/d", "Walrus, walrus.", agent="dave", score=9.0)],
        [msgspec.structs.replace(item("/d", "Walrus, walrus.", agent="dave", score=9.0), title="Walrus")],
        [msgspec.structs.replace(item("/d", "Walrus, walrus.", agent="dave", score=9.0), cut=True)],
    ]
    expected = merge("walrus clams", parts, 100)

    for order in itertools.permutations(parts):
        shuffled = [random.Random(1).sample(part, len(part)) for part in order]
        assert merge("walrus clams", shuffled, 100) == expected
    assert expected.items[0].path == "/b"


def test_of_one_memory_told_twice_the_latest_and_longest_is_kept_once() -> None:
    answer = merge(
        "walrus",
        [
            [item("/a", "The old walrus slept for a very long time.", version=1)],
            [item("/a", "The walrus sings at night.", version=2)],
            [item("/a", "The walrus …", version=2)],
        ],
        200,
    )

    assert [(one.version, one.text) for one in answer.items] == [(2, "The walrus sings at night.")]


def test_a_merged_answer_passes_on_what_it_took_and_who_was_silent() -> None:
    answer = merge("walrus", [], 50, hops={"peer": 2}, silent_peers=("bob",), notes=("late",))

    assert (answer.hops, answer.silent_peers) == ({"peer": 2}, ("bob",))
    assert answer.notes == ("late", NOTHING_MATCHED)


def test_what_one_owner_told_is_merged_unchanged(store: Store) -> None:
    store.remember(Draft(text="The walrus sings.", path="/a", title="Songs"))
    store.remember(Draft(text="Clams fear the walrus.", path="/b"))
    told = recall(store, "walrus", 100)

    merged = merge("walrus", [told.items], 100)

    assert sorted(one.text for one in merged.items) == sorted(one.text for one in told.items)
    assert merged.tokens == told.tokens
