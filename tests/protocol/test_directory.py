"""The directory: never a missed holder, never a removed one, and the best leads first."""

from __future__ import annotations

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from protocol.digest import Announced, Digest
from protocol.directory import Directory
from protocol.names import AgentName

VOCABULARY = [f"topic-{number}" for number in range(12)]
FILLER = [Announced(f"filler-{number}", 1, 0.1) for number in range(400)]


def digest_of(*terms: str) -> Digest:
    return Digest.of(Announced(term, 1, 1.0) for term in terms)


def agent(number: int) -> AgentName:
    return AgentName(f"agent-{number:04}")


def names(directory: Directory, *terms: str, now: float = 0.0, limit: int = 10) -> list[str]:
    return [lead.agent for lead in directory.who_knows(terms, now=now, limit=limit)]


class DirectoryAgainstSets(RuleBasedStateMachine):
    """Whatever is put, replaced, suspected and removed: the directory finds what a dict of sets finds."""

    def __init__(self) -> None:
        super().__init__()
        self.directory = Directory()
        self.topics: dict[AgentName, frozenset[str]] = {}
        self.digests: dict[AgentName, Digest] = {}
        self.suspected: set[AgentName] = set()
        self.now = 0.0

    @rule(
        number=st.integers(0, 9),
        topics=st.frozensets(st.sampled_from(VOCABULARY)),
        form=st.sampled_from(["small", "large", "classic"]),
    )
    def put(self, number: int, topics: frozenset[str], form: str) -> None:
        self.put_digest(number, topics, form)

    def put_digest(self, number: int, topics: frozenset[str], form: str) -> None:
        announced = [Announced(term, 1, 1.0) for term in sorted(topics)]
        digest = {
            "small": Digest.of,
            "large": lambda chosen: Digest.of([*chosen, *FILLER]),
            "classic": Digest.classic,
        }[form](announced)
        self.now += 1.0
        self.directory.put(agent(number), digest, now=self.now)
        self.topics[agent(number)], self.digests[agent(number)] = topics, digest
        self.suspected.discard(agent(number))

    @rule(topics=st.frozensets(st.sampled_from(VOCABULARY), max_size=2))
    def put_seventy(self, topics: frozenset[str]) -> None:
        for number in range(100, 170):
            self.put_digest(number, topics, "small")

    @precondition(lambda self: self.topics)
    @rule(data=st.data())
    def remove(self, data: st.DataObject) -> None:
        name = data.draw(st.sampled_from(sorted(self.topics)))
        self.directory.remove(name)
        del self.topics[name], self.digests[name]
        self.suspected.discard(name)

    @rule(number=st.integers(0, 9))
    def remove_a_stranger(self, number: int) -> None:
        self.directory.remove(AgentName(f"stranger-{number}"))

    @precondition(lambda self: self.topics)
    @rule(data=st.data(), suspected=st.booleans())
    def suspect(self, data: st.DataObject, suspected: bool) -> None:
        name = data.draw(st.sampled_from(sorted(self.topics)))
        self.directory.suspect(name, suspected)
        if suspected:
            self.suspected.add(name)
        else:
            self.suspected.discard(name)

    @rule(number=st.integers(0, 9))
    def confirm(self, number: int) -> None:
        self.now += 1.0
        self.directory.confirm(agent(number), now=self.now)

    @precondition(lambda self: self.topics)
    @rule(asked=st.lists(st.sampled_from(VOCABULARY), min_size=1, max_size=3, unique=True))
    def ask(self, asked: list[str]) -> None:
        leads = self.directory.who_knows(asked, now=self.now, limit=100)

        found = {lead.agent: lead for lead in leads}
        assert len(found) == len(leads)
        for name, topics in self.topics.items():
            known = set(asked) & topics
            assert not known or known <= set(found[name].matched), "a false negative"
        for lead in leads:
            assert set(lead.matched) == {term for term in asked if self.digests[lead.agent].may_contain(term)}
            assert lead.suspect == (lead.agent in self.suspected)
            assert lead.error == self.digests[lead.agent].error
            assert 0.0 <= lead.certainty <= 1.0
            assert lead.age_s >= 0.0
        ranks = [(-lead.score, lead.age_s, lead.agent) for lead in leads]
        assert ranks == sorted(ranks)

    @invariant()
    def holds(self) -> None:
        self.directory.check(self.digests)
        assert set(self.directory) == set(self.topics)
        assert len(self.directory) == len(self.topics)


TestDirectoryAgainstSets = DirectoryAgainstSets.TestCase
TestDirectoryAgainstSets.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)


def test_an_empty_directory_or_an_empty_question_has_no_leads() -> None:
    directory = Directory()

    assert names(directory, "bitcoin") == []
    directory.put(agent(1), digest_of("bitcoin"), now=0.0)
    assert names(directory) == []


def test_a_rare_topic_counts_more_than_a_common_one() -> None:
    directory = Directory()
    for number in range(20):
        directory.put(agent(number), digest_of("weather"), now=0.0)
    directory.put(agent(77), digest_of("volcano"), now=0.0)

    first, second, *_ = directory.who_knows(["weather", "volcano"], now=0.0)

    assert (first.agent, first.matched) == (agent(77), ("volcano",))
    assert second.matched == ("weather",)
    assert first.score > second.score


def test_who_knows_both_topics_stands_before_who_knows_one() -> None:
    directory = Directory()
    directory.put(agent(1), digest_of("weather"), now=0.0)
    directory.put(agent(2), digest_of("weather", "volcano"), now=0.0)
    directory.put(agent(3), digest_of("volcano"), now=0.0)

    assert names(directory, "weather", "volcano")[0] == agent(2)


def test_a_crowded_filter_counts_less_than_a_precise_one() -> None:
    directory = Directory()
    topics = [Announced(f"topic-{number}", 1, 1.0) for number in range(350)]
    directory.put(agent(1), Digest.classic(topics), now=0.0)
    directory.put(agent(2), Digest.of(topics), now=0.0)
    for number in range(3, 40):
        directory.put(agent(number), digest_of("other"), now=0.0)

    crowded_last = directory.who_knows(["topic-7"], now=0.0)

    assert [lead.agent for lead in crowded_last] == [agent(2), agent(1)]
    assert crowded_last[0].certainty > crowded_last[1].certainty


def test_a_suspect_stands_after_its_equals_and_before_those_that_know_less() -> None:
    directory = Directory()
    directory.put(agent(1), digest_of("weather", "volcano"), now=0.0)
    directory.put(agent(2), digest_of("weather", "volcano"), now=0.0)
    directory.put(agent(3), digest_of("weather"), now=0.0)
    for number in range(4, 30):
        directory.put(agent(number), digest_of("other"), now=0.0)

    directory.suspect(agent(1), True)
    assert names(directory, "weather", "volcano") == [agent(2), agent(1), agent(3)]

    directory.suspect(agent(1), False)
    assert names(directory, "weather", "volcano") == [agent(1), agent(2), agent(3)]


@pytest.mark.parametrize("agents", [5, 200])
def test_ties_go_to_the_fresher_digest_and_then_by_name(agents: int) -> None:
    directory = Directory()
    for number in reversed(range(agents)):
        directory.put(agent(number), digest_of("weather"), now=1.0)
    directory.confirm(agent(3), now=2.0)

    leads = directory.who_knows(["weather"], now=5.0, limit=2)

    assert [lead.agent for lead in leads] == [agent(3), agent(0)]
    assert [lead.age_s for lead in leads] == [3.0, 4.0]


def test_the_best_stay_ahead_of_many_that_are_equal_and_fresher() -> None:
    directory = Directory()
    for number in range(200):
        better = number in (150, 160, 170)
        topics = ("weather", "volcano") if better else ("weather",)
        directory.put(agent(number), digest_of(*topics), now=0.0 if better else 1.0 + number)

    expected = [agent(number) for number in (150, 160, 170, 199, 198)]
    assert names(directory, "weather", "volcano", now=300.0, limit=5) == expected


def test_a_thousand_agents_are_told_apart() -> None:
    directory = Directory()
    for number in range(1_000):
        directory.put(agent(number), digest_of("weather", f"only-{number}"), now=float(number))

    assert names(directory, "only-500")[0] == agent(500)
    assert len(names(directory, "weather", limit=2_000)) == 1_000
    assert names(directory, "weather", "only-7", limit=1) == [agent(7)]


def test_the_shortlist_of_many_is_what_ranking_all_of_them_gives() -> None:
    directory = Directory()
    for number in range(300):
        topics = ["weather"] + ["volcano"] * (number % 3 == 0) + ["ocean"] * (number % 7 == 0)
        form = Digest.classic if number % 2 else Digest.of
        directory.put(agent(number), form(Announced(term, 1, 1.0) for term in topics), now=number % 5)
        directory.suspect(agent(number), number % 11 == 0)
    asked = ("weather", "volcano", "ocean")

    everybody = names(directory, *asked, now=9.0, limit=300)

    assert len(everybody) == 300
    assert names(directory, *asked, now=9.0, limit=20) == everybody[:20]


def test_a_topic_nobody_announced_is_found_as_rarely_as_the_error_says() -> None:
    directory = Directory()
    for number in range(200):
        topics = [Announced(f"topic-{number}-{at}", 1, 1.0) for at in range(50)]
        directory.put(agent(number), Digest.of(topics), now=0.0)

    found = sum(len(names(directory, f"absent-{number}", limit=200)) for number in range(100))

    assert found / (200 * 100) <= 0.01


def test_a_hit_that_chance_explains_is_an_uncertain_lead() -> None:
    directory = Directory()
    topics = [Announced(f"topic-{number}", 1, 1.0) for number in range(400)]
    for number in range(10):
        directory.put(agent(number), Digest.classic(topics), now=0.0)
    absent = next(term for term in map(str, range(1_000)) if Digest.classic(topics).may_contain(term))
    for number in range(10, 100):
        directory.put(agent(number), digest_of("other"), now=0.0)

    chance = directory.who_knows([absent], now=0.0)[0]
    sure = directory.who_knows(["other"], now=0.0)[0]

    assert chance.certainty < 0.9 < sure.certainty


def test_a_peer_that_walks_through_all_sizes_leaves_no_rows_behind() -> None:
    directory = Directory()
    for log2_bits in range(10, 17):
        for hashes in range(1, 17):
            digest = Digest(log2_bits=log2_bits, hashes=hashes, bits=bytes((1 << log2_bits) // 8))
            directory.put(agent(1), digest, now=0.0)

    directory.check({agent(1): digest})
    directory.remove(agent(1))
    directory.check({})
