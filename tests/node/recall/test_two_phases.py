"""A survey lists what recall would quote and what it costs; fetch brings the texts, never over the budget."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from node.memory import Draft, Store
from node.recall import fetch, recall, survey, tokens
from node.recall.fetch import MIN_SHARE_TOKENS, shares
from node.recall.pack import block_of
from node.recall.recall import NOTHING_FITS, NOTHING_MATCHED
from node.recall.survey import SUMMARY_TOKENS, summary
from protocol.errors import InvalidInput, NotFound
from protocol.names import AgentName
from tests.support.meanings import understanding

TEXTS = {
    "/songs": Draft(text="The walrus sings at night. Ships pass. " * 30, title="Walrus songs", path="/songs"),
    "/short": Draft(text="A walrus.", path="/short"),
    "/dense": Draft(text="人工智能改变世界。" * 40, title="人工智能", path="/dense"),
    "/run": Draft(text=f"walrus {'x' * 5_000} sea ice", path="/run"),
    "/emoji": Draft(text="🎉👩🏽‍🚀 " * 60 + "walrus", path="/emoji"),
    "/titled": Draft(text="sea ice\n\n\n- 3.11\n- 3.12\n" * 20, title="walrus release " * 30, path="/titled"),
}
NOTES = {
    f"/n/{n}": Draft(text=f"The sea holds ice number {n}, and a walrus.", path=f"/n/{n}") for n in range(12)
}
PATHS = [*TEXTS, *NOTES]


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    path = tmp_path_factory.mktemp("library") / "alice.db"
    with Store.open(path, AgentName("alice"), clock=lambda: 1_000.0) as opened:
        opened.remember_many([*TEXTS.values(), *NOTES.values()])
        yield opened


def test_a_survey_lists_what_recall_quotes_in_its_order(store: Store) -> None:
    listed = survey(store, "walrus sea ice", 2_000)
    quoted = recall(store, "walrus sea ice", 1_000)

    assert [entry.path for entry in listed.entries[:3]] == [item.path for item in quoted.items[:3]]
    assert {item.path for item in quoted.items} <= {entry.path for entry in listed.entries}
    assert listed.omitted == 0
    assert listed.notes == ()


def test_what_a_survey_says_a_memory_costs_is_what_it_costs(store: Store) -> None:
    for entry in survey(store, "walrus 智能", 2_000).entries:
        (item,) = fetch(store, [entry.path], 100_000).items
        assert (item.tokens, item.version, item.title, item.cut) == (
            entry.tokens,
            entry.version,
            entry.title,
            False,
        )


def test_each_line_tells_a_path_a_cost_and_what_is_said_of_the_question(store: Store) -> None:
    listed = survey(store, "does the walrus sing?", 2_000)

    lines = listed.text.split("\n")
    assert len(lines) == len(listed.entries)
    assert lines[0].startswith("/songs (")
    assert "tokens): Walrus songs: The walrus sings at night." in lines[0]


def test_those_that_do_not_fit_are_counted(store: Store) -> None:
    some, everything = survey(store, "walrus", 60), survey(store, "walrus", 10_000)

    assert 0 < len(some.entries) < len(everything.entries)
    assert len(some.entries) + some.omitted == len(everything.entries)


def test_a_survey_leaves_out_what_says_the_same(store: Store, tmp_path: Path) -> None:
    with Store.open(tmp_path / "b.db", AgentName("bob")) as other:
        other.remember_many([Draft(text="The walrus sings at night.", path=path) for path in ("/1", "/2")])

        listed = survey(other, "walrus", 100)

    assert [entry.path for entry in listed.entries] == ["/1"]
    assert listed.omitted == 0


def test_a_budget_too_small_for_a_summary_still_lists_the_best(store: Store) -> None:
    listed = survey(store, "how does the walrus sing?", 12)

    assert listed.text == "/songs (304 tokens): Walrus songs: The"
    assert listed.entries[0].summary == "Walrus songs: The"


def test_an_empty_survey_says_why(store: Store) -> None:
    assert survey(store, "zebra", 100).notes == (NOTHING_MATCHED,)
    assert survey(store, "walrus", 3).notes == (NOTHING_FITS,)
    with pytest.raises(InvalidInput, match="query: is empty"):
        survey(store, " ", 100)
    with pytest.raises(InvalidInput, match="budget_tokens"):
        survey(store, "walrus", 0)


def test_a_survey_finds_by_meaning_where_it_can(store: Store) -> None:
    at = store.lookup.find(["人工"], 1)[0].id

    listed = survey(store, "zebra", 200, understand=understanding({at: 0.9, at + 1000: 0.0}))

    assert listed.entries[0].path == "/dense"
    assert listed.hops["vector"] == 1


@given(st.sampled_from(["walrus", "sea ice walrus", "智能", "release", "x" * 300]), st.integers(1, 400))
@settings(max_examples=60)
def test_a_survey_is_never_over_its_budget(store: Store, query: str, budget: int) -> None:
    listed = survey(store, query, budget)

    assert listed.tokens == tokens.count(listed.text) <= budget
    assert listed.text.count("\n") == max(0, len(listed.entries) - 1)


@given(st.text(max_size=60), st.text(min_size=1, max_size=300))
def test_a_summary_of_anything_is_one_short_line(title: str, text: str) -> None:
    told = summary(title, text, ["walrus"])

    assert len(told.splitlines()) <= 1
    assert tokens.count(told) <= SUMMARY_TOKENS * 2


@given(
    st.lists(st.sampled_from(PATHS), min_size=1, max_size=9),
    st.integers(1, 600),
    st.sampled_from(["", "ice"]),
)
@settings(max_examples=120)
def test_what_is_fetched_is_never_over_its_budget_and_nothing_vanishes_in_silence(
    store: Store, paths: list[str], budget: int, about: str
) -> None:
    found = fetch(store, paths, budget, about=about)

    assert found.tokens == tokens.count(found.text) <= budget
    told = [item.path for item in found.items]
    assert told == list(dict.fromkeys(paths))[: len(told)]
    assert all(path in told or any(path in note for note in found.notes) for path in paths)
    assert found == fetch(store, paths, budget, about=about) or found.hops["cache"] != found.hops["sqlite"]
    if not any(item.cut for item in found.items) and len(told) == len(set(paths)):
        drafts = [(TEXTS | NOTES)[path] for path in told]
        assert found.text == "\n\n".join(block_of(draft.title, draft.text) for draft in drafts)


def test_all_are_whole_where_they_fit_and_the_long_are_cut_where_not(store: Store) -> None:
    paths = ["/songs", "/short", "/n/1"]
    whole = fetch(store, paths, 1_000)
    cut = fetch(store, paths, 60)

    assert [item.cut for item in whole.items] == [False, False, False]
    assert [(item.path, item.cut) for item in cut.items] == [
        ("/songs", True),
        ("/short", False),
        ("/n/1", False),
    ]
    assert cut.tokens > 40, "the room is used"


def test_texts_that_are_more_tokens_joined_than_apart_stay_within_the_budget(tmp_path: Path) -> None:
    with Store.open(tmp_path / "b.db", AgentName("bob")) as other:
        other.remember_many([Draft(text=f"'sb walrus {n}:;\"", path=f"/{n}") for n in range(10)])
        paths = [f"/{n}" for n in range(10)]
        apart = sum(item.tokens for item in fetch(other, paths, 1_000).items) + len(paths) - 1
        assert fetch(other, paths, 1_000).tokens > apart

        found = fetch(other, paths, apart)

    assert found.tokens <= apart
    assert len(found.items) == 10


def test_a_cut_keeps_what_is_said_of_the_question(store: Store, tmp_path: Path) -> None:
    with Store.open(tmp_path / "b.db", AgentName("bob")) as other:
        other.remember(
            Draft(text="Ships pass by. " * 50 + "The walrus sings. " + "Rain falls. " * 50, path="/a")
        )

        plain, about = fetch(other, ["/a"], 30), fetch(other, ["/a"], 30, about="what does the walrus do?")

    assert "walrus" not in plain.text
    assert plain.text.startswith("Ships pass by.")
    assert "The walrus sings." in about.text


def test_those_for_which_only_a_shred_is_left_are_named(store: Store) -> None:
    found = fetch(store, PATHS, 3 * MIN_SHARE_TOKENS)

    assert 0 < len(found.items) <= 4
    assert found.notes[0].startswith("no room for ")
    assert PATHS[-1] in found.notes[0]


def test_a_path_without_a_memory_is_named_and_is_an_error_where_there_is_no_other(store: Store) -> None:
    found = fetch(store, ["/gone", "/short"], 100)

    assert [item.path for item in found.items] == ["/short"]
    assert "/gone" in found.notes[0]
    with pytest.raises(NotFound, match="/gone"):
        fetch(store, ["/gone"], 100)


@pytest.mark.parametrize(
    ("paths", "budget", "field"),
    [([], 10, "paths"), ("/short", 10, "paths"), (["short"], 10, "path"), (["/short"], 0, "budget_tokens")],
)
def test_what_cannot_be_fetched_is_named(store: Store, paths: list[str], budget: int, field: str) -> None:
    with pytest.raises(InvalidInput) as raised:
        fetch(store, paths, budget)

    assert raised.value.field == field


def test_look_ups_are_counted_where_they_were_made(store: Store) -> None:
    fetch(store, ["/n/3"], 100)

    assert fetch(store, ["/n/3"], 100).hops == {"cache": 1, "sqlite": 0, "fts": 0, "vector": 0}


@given(st.lists(st.integers(0, 100), min_size=1, max_size=10), st.integers(0, 500))
def test_shares_are_fair(sizes: list[int], budget: int) -> None:
    given_ = shares(sizes, budget)

    assert sum(given_) <= budget
    assert all(got <= size for got, size in zip(given_, sizes, strict=True))
    short = [got for got, size in zip(given_, sizes, strict=True) if got < size]
    if short:
        assert max(given_) <= min(short) + 1
        assert sum(given_) >= budget - len(sizes)
    else:
        assert given_ == sizes
