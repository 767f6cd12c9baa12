"""How long a suspect has, and how well we ourselves are."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from protocol.health import WORST, LocalHealth
from protocol.names import AgentName
from protocol.profile import Profile
from protocol.suspicion import Suspicion, Suspicions

PROFILE = Profile(suspicion_s=4.0, suspicion_least=0.5, confirmations=3)
BOB = AgentName("bob")


def names(count: int) -> list[AgentName]:
    return [AgentName(f"a{number}") for number in range(count)]


@pytest.mark.parametrize(
    ("members", "seconds"), [(2, 4.0), (10, 4.0), (100, 8.0), (200, 4 * math.log10(200)), (1000, 12.0)]
)
def test_a_suspect_has_longer_in_a_larger_mesh(members: int, seconds: float) -> None:
    suspicion = Suspicion(since=100.0, members=members, profile=PROFILE)
    suspicion.accuse(AgentName("carol"))

    assert suspicion.dead_at == pytest.approx(100.0 + seconds)


def test_each_confirmation_shortens_it_down_to_the_least_and_the_first_most() -> None:
    suspicion = Suspicion(since=0.0, members=100, profile=PROFILE)
    left = []
    for accuser in names(6):
        suspicion.accuse(accuser)
        left.append(suspicion.dead_at)

    assert left == pytest.approx([8.0, 6.0, 8 - 4 * math.log(3) / math.log(4), 4.0, 4.0, 4.0])
    assert len(suspicion.accusers) == 4


def test_one_accuser_counts_once() -> None:
    suspicion = Suspicion(since=0.0, members=100, profile=PROFILE)

    assert [suspicion.accuse(BOB) for _ in range(3)] == [True, False, False]
    assert suspicion.dead_at == 8.0


@pytest.mark.parametrize("members", [2, 3])
def test_where_nobody_is_left_to_confirm_it_is_the_longest(members: int) -> None:
    suspicion = Suspicion(since=0.0, members=members, profile=PROFILE)
    for accuser in names(3):
        suspicion.accuse(accuser)

    assert suspicion.dead_at == 4.0


def test_who_had_long_enough_is_due_and_who_refuted_is_not() -> None:
    suspicions = Suspicions(PROFILE)
    for agent in names(3):
        suspicions.open(agent, since=0.0, members=10)
    suspicions.close(names(3)[1])

    assert suspicions.next_due == 4.0
    assert suspicions.due(3.9) == []
    assert suspicions.due(4.0) == ["a0", "a2"]


def test_what_we_slept_is_added_to_everybodys_time() -> None:
    suspicions = Suspicions(PROFILE)
    suspicions.open(BOB, since=0.0, members=10)

    suspicions.forgive(60.0)

    assert suspicions.due(63.9) == []
    assert suspicions.next_due == 64.0
    assert suspicions.due(64.0) == [BOB]


class Open(RuleBasedStateMachine):
    """Suspicions in any order: the invariants at the head of suspicion.py; what is due is planned."""

    def __init__(self) -> None:
        super().__init__()
        self.suspicions = Suspicions(PROFILE)
        self.suspects: dict[AgentName, float] = {}
        self.now = 0.0

    @rule(agent=st.sampled_from(names(3)), members=st.integers(1, 5_000))
    def open(self, agent: AgentName, members: int) -> None:
        self.suspicions.open(agent, since=self.now, members=members)
        self.suspects[agent] = self.now

    @rule(agent=st.sampled_from(names(3)), accuser=st.sampled_from(names(9)))
    def accuse(self, agent: AgentName, accuser: AgentName) -> None:
        before = self.suspicions.next_due
        counts = self.suspicions.accuse(agent, accuser)
        assert self.suspicions.next_due <= before
        assert not counts or accuser in self.suspicions.accusers_of(agent)

    @rule(agent=st.sampled_from(names(3)))
    def close(self, agent: AgentName) -> None:
        self.suspicions.close(agent)
        self.suspects.pop(agent, None)

    @rule(seconds=st.floats(0.1, 20.0))
    def wait(self, seconds: float) -> None:
        self.now += seconds
        before = self.suspicions.next_due
        late = self.suspicions.due(self.now)
        assert not late or self.now >= before
        for agent in late:
            self.close(agent)

    @invariant()
    def holds(self) -> None:
        self.suspicions.check(self.suspects)


TestOpen = Open.TestCase


@given(st.lists(st.one_of(st.integers(0, 4), st.none()), max_size=60))
def test_our_health_stays_within_its_bounds(events: list[int | None]) -> None:
    health = LocalHealth()
    for event in events:
        if event is None:
            health.improve()
        else:
            health.worsen(event)

        assert 0 <= health.score <= WORST
        assert health.factor == health.score + 1
