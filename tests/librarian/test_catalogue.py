"""The catalogue: an agent stands under exactly what it announced, and the best ones are named first."""

from __future__ import annotations

import math
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from librarian.catalogue import Catalogue, Match
from protocol.digest import Announced
from protocol.names import AgentName

ALICE, BOB, CAROL, DAVE = map(AgentName, ("alice", "bob", "carol", "dave"))


def topic(term: str, memories: int = 1, weight: float = 0.5) -> Announced:
    return Announced(term, memories, weight)


def catalogue_of(**announced: list[Announced]) -> Catalogue:
    catalogue = Catalogue()
    for agent, topics in announced.items():
        assert catalogue.replace(AgentName(agent), topics, 0.0)
    return catalogue


def names(found: list[Match]) -> list[str]:
    return [match.agent for match in found]


def test_a_lookup_names_the_holders_with_what_they_hold() -> None:
    catalogue = catalogue_of(
        alice=[topic("bitcoin", 3), topic("halving", 7)], bob=[topic("garden")], carol=[]
    )

    (found,) = catalogue.lookup(["mining", "halving", "bitcoin"], 10, 4.0)

    assert (found.agent, found.matched, found.memories, found.age_s) == (
        ALICE,
        ("halving", "bitcoin"),
        7,
        4.0,
    )
    assert (len(catalogue), catalogue.topics, catalogue.terms) == (3, 3, 3)
    assert catalogue.lookup([], 10, 4.0) == catalogue.lookup(["mining"], 10, 4.0) == []


def test_a_topic_that_few_hold_counts_more_than_one_that_many_hold() -> None:
    rare, common = topic("kestrel", 1, 0.1), topic("release", 1000, 1.0)
    catalogue = catalogue_of(alice=[common], bob=[rare], carol=[common], dave=[common])

    found = catalogue.lookup(["release", "kestrel"], 10, 0.0)

    assert names(found) == [BOB, ALICE, CAROL, DAVE]


def test_whoever_matches_more_of_the_same_terms_comes_first_however_weak() -> None:
    weak = [topic(term, 1, 0.0) for term in ("build", "deploy", "release")]
    strong = [topic(term, 2**32, 1.0) for term in ("build", "deploy")]
    catalogue = catalogue_of(alice=strong, bob=weak, carol=strong, dave=strong)
    for number in range(20):
        catalogue.replace(AgentName(f"other-{number}"), [topic("release", 1, 0.0)], 0.0)

    found = catalogue.lookup(["build", "deploy", "release"], 2, 0.0)

    assert names(found) == [BOB, ALICE]


def test_more_memories_and_more_weight_part_agents_that_match_the_same() -> None:
    catalogue = catalogue_of(
        alice=[topic("release", 1, 0.5)],
        bob=[topic("release", 9, 0.5)],
        carol=[topic("release", 1, 0.9)],
        dave=[topic("release", 9, 0.9)],
    )

    assert names(catalogue.lookup(["release"], 10, 0.0)) == [DAVE, BOB, CAROL, ALICE]
    assert names(catalogue.lookup(["release"], 1, 0.0)) == [DAVE]


def test_strength_in_a_term_looked_up_last_is_not_passed_over_for_a_little_rarity() -> None:
    catalogue = Catalogue()
    for number in range(11):
        catalogue.replace(AgentName(f"strong-{number}"), [topic("release", 1000, 1.0)], 0.0)
    for number in range(10):
        catalogue.replace(AgentName(f"weak-{number}"), [topic("kestrel", 1, 0.0)], 0.0)

    assert names(catalogue.lookup(["release", "kestrel"], 1, 0.0)) == ["strong-0"]


def test_equals_are_named_in_the_order_of_their_names() -> None:
    catalogue = Catalogue()
    for agent in (CAROL, ALICE, DAVE, BOB):
        catalogue.replace(agent, [topic("release")], 0.0)

    assert names(catalogue.lookup(["release"], 3, 0.0)) == [ALICE, BOB, CAROL]


def test_a_term_that_is_asked_for_twice_counts_once() -> None:
    catalogue = catalogue_of(alice=[topic("release")])

    assert catalogue.lookup(["release", "release"], 1, 0.0) == catalogue.lookup(["release"], 1, 0.0)


def test_a_change_adds_changes_and_removes_and_confirms_the_rest() -> None:
    catalogue = catalogue_of(alice=[topic("a"), topic("b"), topic("c")])

    assert catalogue.change(ALICE, [topic("b", 2), topic("d")], ["c", "never announced"], 8.0)

    assert catalogue.topics_of(ALICE) == [topic("a"), topic("b", 2), topic("d")]
    assert catalogue.lookup(["c"], 10, 9.0) == []
    assert [match.age_s for match in catalogue.lookup(["a"], 10, 9.0)] == [1.0]
    catalogue.check()


def test_a_change_of_an_agent_that_is_not_known_is_not_taken() -> None:
    catalogue = Catalogue()

    assert not catalogue.change(ALICE, [topic("a")], (), 0.0)

    assert (len(catalogue), catalogue.topics_of(ALICE)) == (0, [])


def test_a_dropped_agent_is_gone_with_its_topics_and_leaves_the_others_theirs() -> None:
    catalogue = catalogue_of(alice=[topic("a"), topic("b")], bob=[topic("b")])

    assert catalogue.drop(ALICE)

    assert not catalogue.drop(ALICE)
    assert (list(catalogue), catalogue.topics, catalogue.terms) == ([BOB], 1, 1)
    assert names(catalogue.lookup(["a", "b"], 10, 0.0)) == [BOB]
    catalogue.check()


def test_what_passes_a_bound_is_left_out_and_counted() -> None:
    catalogue = Catalogue(max_agents=2, max_topics_per_agent=2, max_topics=3)

    catalogue.replace(ALICE, [topic("a"), topic("b"), topic("one too many for alice")], 0.0)
    catalogue.replace(BOB, [topic("a"), topic("one too many for all")], 0.0)
    third = catalogue.replace(CAROL, [topic("a")], 0.0)

    assert (third, catalogue.refused_agents, catalogue.refused_topics) == (False, 1, 2)
    assert names(catalogue.lookup(["a", "one too many for alice", "one too many for all"], 9, 0.0)) == [
        ALICE,
        BOB,
    ]
    catalogue.check()


def test_at_its_bounds_an_agent_may_still_change_what_it_has() -> None:
    catalogue = Catalogue(max_agents=1, max_topics_per_agent=1, max_topics=1)
    catalogue.replace(ALICE, [topic("a")], 0.0)

    catalogue.change(ALICE, [topic("a", 5)], (), 0.0)
    before = catalogue.topics_of(ALICE)
    catalogue.replace(ALICE, [topic("b")], 0.0)

    assert (before, catalogue.topics_of(ALICE)) == ([topic("a", 5)], [topic("b")])
    assert (catalogue.refused_agents, catalogue.refused_topics) == (0, 0)


@given(seed=st.integers(0, 10_000), limit=st.integers(1, 12))
def test_a_limit_cuts_the_list_and_changes_nothing_in_it(seed: int, limit: int) -> None:
    draw, catalogue = Random(seed), Catalogue()
    terms = [f"t{number}" for number in range(6)]
    for number in range(30):
        held = [term for rank, term in enumerate(terms) if draw.random() < 2.0 ** -draw.randint(0, rank)]
        topics = [topic(term, draw.choice([1, 9]), draw.choice([0.1, 1.0])) for term in held]
        catalogue.replace(AgentName(f"agent-{number:02}"), topics, 0.0)
    asked = draw.sample(terms, draw.randint(1, 6))

    assert catalogue.lookup(asked, limit, 0.0) == catalogue.lookup(asked, 30, 0.0)[:limit]


AGENTS = st.sampled_from([ALICE, BOB, CAROL, DAVE])
TERMS = st.sampled_from([f"t{number}" for number in range(6)])
TOPICS = st.lists(
    st.builds(Announced, TERMS, st.integers(0, 50), st.sampled_from([0.0, 0.3, 1.0])), max_size=6
)
MAX_AGENTS, MAX_EACH, MAX_ALL = 3, 4, 9


class AgainstADict(RuleBasedStateMachine):
    """The same calls on a catalogue with narrow bounds and on a dict of dicts."""

    def __init__(self) -> None:
        super().__init__()
        self.catalogue = Catalogue(max_agents=MAX_AGENTS, max_topics_per_agent=MAX_EACH, max_topics=MAX_ALL)
        self.model: dict[AgentName, dict[str, Announced]] = {}
        self.confirmed: dict[AgentName, float] = {}
        self.refused = 0
        self.now = 0.0

    def add(self, agent: AgentName, topics: list[Announced]) -> None:
        held = self.model[agent]
        for one in topics:
            total = sum(map(len, self.model.values()))
            if one.term in held or (len(held) < MAX_EACH and total < MAX_ALL):
                held[one.term] = one
            else:
                self.refused += 1

    @rule(agent=AGENTS, topics=TOPICS)
    def replace(self, agent: AgentName, topics: list[Announced]) -> None:
        room = agent in self.model or len(self.model) < MAX_AGENTS

        assert self.catalogue.replace(agent, topics, self.now) == room

        if room:
            self.model[agent] = {}
            self.confirmed[agent] = self.now
            self.add(agent, topics)

    @rule(agent=AGENTS, topics=TOPICS, removed=st.lists(TERMS, max_size=3))
    def change(self, agent: AgentName, topics: list[Announced], removed: list[str]) -> None:
        known = agent in self.model

        assert self.catalogue.change(agent, topics, removed, self.now) == known

        if known:
            self.confirmed[agent] = self.now
            for term in removed:
                self.model[agent].pop(term, None)
            self.add(agent, topics)

    @rule(agent=AGENTS)
    def drop(self, agent: AgentName) -> None:
        assert self.catalogue.drop(agent) == (self.model.pop(agent, None) is not None)

    @rule(seconds=st.sampled_from([0.5, 2.0]))
    def wait(self, seconds: float) -> None:
        self.now += seconds

    @rule(terms=st.lists(TERMS, max_size=5), limit=st.integers(1, 4))
    def lookup(self, terms: list[str], limit: int) -> None:
        expected = []
        held_at_all = {term for held in self.model.values() for term in held}
        asked = max(1, len(held_at_all.intersection(terms)))
        for agent, held in self.model.items():
            matched = [held[term] for term in dict.fromkeys(terms) if term in held]
            if matched:
                score = 0.0
                for one in matched:
                    holders = sum(one.term in topics for topics in self.model.values())
                    significance = one.weight * math.sqrt(one.memories)
                    score += math.log(2 * (len(self.model) + 1) / holders)
                    score += significance / (1 + significance) / 2 / asked
                expected.append((-round(score, 9), agent, matched))
        expected.sort(key=lambda one: one[:2])

        found = self.catalogue.lookup(terms, limit, self.now)

        assert [(match.agent, match.matched, match.memories, match.age_s) for match in found] == [
            (
                agent,
                tuple(one.term for one in matched),
                max(one.memories for one in matched),
                self.now - self.confirmed[agent],
            )
            for _, agent, matched in expected[:limit]
        ]
        assert [match.score for match in found] == pytest.approx([-score for score, *_ in expected[:limit]])

    @invariant()
    def holds_the_same(self) -> None:
        self.catalogue.check()
        assert {agent: self.catalogue.topics_of(agent) for agent in self.catalogue} == {
            agent: [held[term] for term in sorted(held)] for agent, held in self.model.items()
        }
        assert self.catalogue.topics == sum(map(len, self.model.values()))
        assert self.catalogue.refused_topics == self.refused


TestAgainstADict = AgainstADict.TestCase
TestAgainstADict.settings = settings(max_examples=100, stateful_step_count=30)
