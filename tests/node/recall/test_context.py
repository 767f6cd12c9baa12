"""Length, company and neighbourhood: what each correction does, and when it stays away."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from node.memory import Draft, Store
from node.recall import context, recall
from protocol.names import check_agent_name
from tests.support.meanings import understanding


def scores_of(scores: dict[int, float]) -> context.Scores:
    return context.Scores.of(scores.items())


def as_dict(scores: context.Scores) -> dict[int, float]:
    return dict(zip(scores.ids.tolist(), scores.values.tolist(), strict=True))


def by_number(scores: dict[int, float]) -> context.Beside:
    return context.Beside.by_number(scores_of(scores).ids)


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

    found = as_dict(context.with_neighbours(scores_of(scores), by_number(scores), 1000))

    assert found[11] > found[10] > 3.0
    assert found[13] == found[9] > found[14] > 0.0


def test_neighbours_gain_nothing_where_scores_stand_apart() -> None:
    scores = {10: 3.0, 200: 2.0, 400: 3.0, 700: 1.0}

    assert as_dict(context.with_neighbours(scores_of(scores), by_number(scores), 1000)) == scores


def test_the_correlation_of_one_score_is_none() -> None:
    assert context.autocorrelation(scores_of({1: 5.0}), by_number({1: 5.0}), 100) == 0.0
    assert context.autocorrelation(context.NONE, context.Beside.of({}), 100) == 0.0


def test_neighbours_by_number_and_those_that_were_looked_up_are_the_same_where_nothing_is_hidden() -> None:
    scores = {10: 3.0, 11: 1.0, 13: 2.0}
    looked_up = {at: ([at - 1, at - 2], [at + 1, at + 2]) for at in scores}

    by_look_up = context.with_neighbours(scores_of(scores), context.Beside.of(looked_up), 1000)

    assert as_dict(by_look_up) == as_dict(context.with_neighbours(scores_of(scores), by_number(scores), 1000))


@given(
    st.dictionaries(st.integers(0, 60), st.floats(0.01, 9.0), max_size=30),
    st.dictionaries(st.integers(0, 60), st.floats(0.01, 9.0), max_size=30),
    st.integers(1, 70),
)
def test_scores_are_summed_and_ordered_as_dicts_would_be(
    one: dict[int, float], other: dict[int, float], most: int
) -> None:
    summed = context.with_feedback(scores_of(one), scores_of(other))

    expected = {at: one.get(at, 0.0) + 0.2 * other.get(at, 0.0) for at in one | other}
    assert as_dict(summed) == pytest.approx(expected)
    assert summed.best(most) == sorted(as_dict(summed), key=lambda at: (-as_dict(summed)[at], at))[:most]
    assert summed.at(np.arange(60), -1.0).tolist() == pytest.approx(
        [expected.get(at, -1.0) for at in range(60)]
    )


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
        found = recall(
            store, "walrus", 100, explain=True, understand=understanding({2: 0.6, 1: 0.3, 50: 0.0})
        )

    assert plain.reasons == ()
    by_path = {reason.path: reason for reason in found.reasons}
    assert by_path["/walrus"].words > 0.0 == by_path["/train"].words
    assert by_path["/train"].cosine is not None
    assert by_path["/walrus"].cosine is not None
    assert [reason.score for reason in found.reasons] == sorted(
        (reason.score for reason in found.reasons), reverse=True
    )


def test_what_is_linked_with_the_answer_is_recalled_after_it_and_says_so(tmp_path: Path) -> None:
    with Store.open(tmp_path / "a.db", check_agent_name("a")) as store:
        store.remember(Draft(text="The ingress needs a certificate.", path="/ingress"))
        store.remember_many([Draft(text=f"Unrelated note {n}.", path=f"/n/{n}") for n in range(9)])
        store.remember(Draft(text="Vault hands out secrets.", path="/vault"))
        store.remember(Draft(text="Nobody but me may see this.", path="/mine", visibility="private"))
        store.relations.link("/vault", "/ingress", "used-by", 1.0)
        store.relations.link("/ingress", "/mine", "see", 1.0)

        found = recall(store, "certificate for the ingress", 100, explain=True)
        by_others = recall(store, "certificate for the ingress", 100, visibilities={"listed"})

    assert [item.path for item in found.items][:1] == ["/ingress"]
    assert {"/vault", "/mine"} <= {item.path for item in found.items}
    assert {reason.path: reason.links > 0.0 for reason in found.reasons}["/vault"]
    assert {item.path for item in by_others.items} == {"/ingress", "/vault"}
