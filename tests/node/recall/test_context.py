"""Length, company and neighbourhood: what each correction does, and when it stays away."""

from __future__ import annotations

from pathlib import Path

import pytest

from node.memory import Draft, Store
from node.recall import context, recall
from protocol.names import check_agent_name


def by_number(scores: dict[int, float]) -> dict[int, context.Beside]:
    return {at: ((at - 1, at - 2), (at + 1, at + 2)) for at in scores}


def test_a_memory_of_mean_length_keeps_its_score_and_a_longer_one_loses() -> None:
    found = context.renormalised({1: 2.0, 2: 2.0, 3: 2.0}, {1: 100, 2: 400, 3: 20}, 100.0)

    assert found[1] == pytest.approx(2.0)
    assert found[2] < 2.0 < found[3]


def test_feedback_takes_the_telling_topics_that_were_not_asked_for() -> None:
    best = [
        (2.0, [("oven", 80), ("bread", 80), ("thing", 80), ("once", 80)]),
        (1.0, [("flour", 80), ("oven", 80)]),
    ]
    counts = {"oven": 3, "bread": 5, "thing": 90, "once": 1, "flour": 3}

    found = context.feedback_terms(best, ["bread"], counts, 100)

    assert found == ["oven", "flour", "thing"]


def test_without_a_score_there_is_no_feedback() -> None:
    assert context.feedback_terms([], ["x"], {}, 10) == []
    assert context.feedback_terms([(0.0, [("a", 1)])], ["x"], {"a": 5}, 10) == []


def test_neighbours_gain_where_scores_go_together() -> None:
    scores = {10: 3.0, 11: 3.0, 12: 3.0}

    found = context.with_neighbours(scores, by_number(scores), 1000)

    assert found[11] > found[10] > 3.0
    assert found[13] == found[9] > found[14] > 0.0


def test_neighbours_gain_nothing_where_scores_stand_apart() -> None:
    scores = {10: 3.0, 200: 2.0, 400: 3.0, 700: 1.0}

    assert context.with_neighbours(scores, by_number(scores), 1000) == scores


def test_the_correlation_of_one_score_is_none() -> None:
    assert context.autocorrelation({1: 5.0}, {1: ((0,), (2,))}, 100) == 0.0
    assert context.autocorrelation({}, {}, 100) == 0.0


def test_the_answer_to_a_question_beside_it_in_the_log_is_recalled(tmp_path: Path) -> None:
    with Store.open(tmp_path / "a.db", check_agent_name("a")) as store:
        for number in range(30):
            store.remember(Draft(text=f"Unrelated note {number} about gardens and trains."))
        store.remember(Draft(text="Ann: Which colour did you choose for the kitchen wall?"))
        store.remember(Draft(text="Bob: The kitchen wall, that was hard to choose, a colour for years."))
        store.remember(Draft(text="Bob: In the end sage green it became."))

        found = recall(store, "which colour did Bob choose for the kitchen wall?", 200)

    assert "sage green" in found.text


def test_an_explained_answer_says_why_each_candidate_is_one(tmp_path: Path) -> None:
    with Store.open(tmp_path / "a.db", check_agent_name("a")) as store:
        store.remember(Draft(text="The walrus sings.", path="/walrus"))
        store.remember(Draft(text="The train leaves.", path="/train"))

        plain = recall(store, "walrus", 100)
        found = recall(store, "walrus", 100, explain=True, nearest=lambda _text, _count: [(2, 0.4), (1, 0.3)])

    assert plain.reasons == ()
    by_path = {reason.path: reason for reason in found.reasons}
    assert by_path["/walrus"].words > 0.0 == by_path["/train"].words
    assert (by_path["/train"].cosine, by_path["/walrus"].cosine) == (0.4, 0.3)
    assert [reason.score for reason in found.reasons] == sorted(
        (reason.score for reason in found.reasons), reverse=True
    )
