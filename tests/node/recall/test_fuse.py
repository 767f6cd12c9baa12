"""One score from several signs, and when two memories say the same."""

from __future__ import annotations

import random

import msgspec
import pytest

from node.memory.search import Found
from node.recall.fuse import Candidate, pool, say_the_same, terms_of
from node.recall.fuse import fuse as fuse_scored
from protocol.topics import query_terms

DAY_S = 86_400.0


def found(
    path: str, *, score: float = 1.0, importance: float = 0.5, at: float = 0.0, topics: str = ""
) -> Found:
    return Found(1, path, 1, "", "text", importance, at, topics, None, score, "mesh")


def candidate(path: str, text: str, *, agent: str = "a", score: float = 1.0, title: str = "") -> Candidate:
    return Candidate(agent=agent, path=path, version=1, title=title, text=text, score=score)


def fuse(given: list[Found], wanted: list[str], *, agent: str) -> list[Candidate]:
    return fuse_scored(given, [one.score for one in given], wanted, agent=agent)


def paths(candidates: list[Candidate]) -> list[str]:
    return [one.path for one in candidates]


def test_nothing_found_is_nothing_fused() -> None:
    assert fuse([], ["a"], agent="a") == []
    assert pool([], ["a"]) == []


def test_words_decide_before_importance_and_age_together() -> None:
    better = found("/better", score=10.0, importance=0.0, at=-3_650 * DAY_S)
    worse = found("/worse", score=8.0, importance=1.0, at=0.0)

    assert paths(fuse([worse, better], ["w"], agent="a")) == ["/better", "/worse"]


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (found("/z", importance=0.9), found("/a", importance=0.1)),
        (found("/z", at=0.0), found("/a", at=-30 * DAY_S)),
        (found("/a"), found("/z")),
    ],
    ids=["importance", "recency", "path"],
)
def test_among_equals_one_sign_decides(first: Found, second: Found) -> None:
    assert paths(fuse([second, first], ["walru"], agent="a")) == [first.path, second.path]


def test_age_counts_from_the_newest_and_not_from_a_clock() -> None:
    then = fuse([found("/a", at=0.0), found("/b", at=-5 * DAY_S)], ["w"], agent="a")
    later = fuse([found("/a", at=900 * DAY_S), found("/b", at=895 * DAY_S)], ["w"], agent="a")

    assert then == later


def test_a_speaker_that_the_question_names_goes_before_another() -> None:
    ann = msgspec.structs.replace(found("/z"), text="Ann Lee: I moved to Turin.")
    bob = msgspec.structs.replace(found("/a"), text="Bob: I moved to Turin.")

    assert paths(fuse([bob, ann], query_terms("where did Ann Lee move?"), agent="a")) == ["/z", "/a"]
    assert paths(fuse([bob, ann], query_terms("who moved?"), agent="a")) == ["/a", "/z"]


def test_owners_are_ranked_by_their_texts_and_not_by_the_scores_they_claim() -> None:
    boasting = candidate("/x", "nothing to see here", agent="mallory", score=1e9)
    knowing = candidate("/y", "the walrus sings", agent="bob", score=0.1)

    assert paths(pool([boasting, knowing], ["walrus"])) == ["/y", "/x"]


def test_the_score_an_owner_gave_decides_between_equals() -> None:
    texts = ["the walrus sings", "the walrus sleeps", "the walrus swims"]
    equals = [
        candidate(f"/{n}", text, score=score)
        for n, (text, score) in enumerate(zip(texts, (1, 3, 2), strict=True))
    ]

    assert paths(pool(equals, ["walrus"])) == ["/1", "/2", "/0"]


def test_a_term_in_the_title_counts() -> None:
    named = candidate("/named", "it sings", title="Walrus")
    other = candidate("/other", "it sings at night")

    assert paths(pool([other, named], ["walrus"])) == ["/named", "/other"]


def test_the_order_in_which_candidates_come_does_not_matter_to_the_pool() -> None:
    many = [candidate(f"/{n}", f"walrus {'sea ' * (n % 3)}", agent=f"a{n % 2}") for n in range(12)]
    shuffled = random.Random(1).sample(many, len(many))

    assert pool(many, ["walrus", "sea"]) == pool(shuffled, ["walrus", "sea"])


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("The cat sat on the mat.", "the CAT sat on the mat", True),
        ("The cat sat on the mat.", "The dog sat on the mat.", False),
        ("Deploy at 9 today, all of you in the team", "Deploy at 8 today, all of you in the team", False),
        (
            "we will ship the release of the new engine with all its parts tomorrow morning",
            "we will not ship the release of the new engine with all its parts tomorrow morning",
            False,
        ),
        (
            "we will ship the release of the new engine with all its parts tomorrow morning",
            "we will ship the release of the new engine with all its parts tomorrow morning please",
            True,
        ),
        ("🎉", "🚀", False),
        ("", "", False),
        ("word", "", False),
    ],
)
def test_near_duplicates_differ_in_no_number_and_no_negation(one: str, other: str, same: bool) -> None:
    assert say_the_same(terms_of(one), terms_of(other)) is same
    assert say_the_same(terms_of(other), terms_of(one)) is same
