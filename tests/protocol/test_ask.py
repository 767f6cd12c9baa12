"""Asks: every answer finds its question once, and nobody waits longer than the deadline."""

from __future__ import annotations

import math

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from protocol.ask import AskTable, Outcome, is_refusal
from protocol.effects import Route, Send
from protocol.messages import RecallReply, RecallRequest, Refused
from protocol.names import AgentName

BOB, CAROL, MALLORY = AgentName("bob"), AgentName("carol"), AgentName("mallory")
PEERS = {BOB: Route("tcp://bob:1"), CAROL: Route("tcp://carol:1")}


def make(request: int, agent: AgentName) -> RecallRequest:
    return RecallRequest(request, f"for {agent}", 100)


def start(table: AskTable, now: float = 0.0, timeout_s: float = 1.0) -> tuple[int, dict[AgentName, int]]:
    """Ask both; the ask's number and the request number that each was sent."""
    number, effects = table.start(now, PEERS, make, timeout_s=timeout_s)
    sent = {effect.route: effect.message for effect in effects if isinstance(effect, Send)}
    requests = {}
    for agent, route in PEERS.items():
        message = sent[route]
        assert isinstance(message, RecallRequest)
        assert message.query == f"for {agent}"
        requests[agent] = message.request
    return number, requests


def reply(request: int) -> RecallReply:
    return RecallReply(request, ())


def test_an_ask_ends_with_the_last_answer() -> None:
    table = AskTable(first_request=100)
    number, requests = start(table)

    assert table.on_reply(0.2, CAROL, reply(requests[CAROL])) is None
    outcome = table.on_reply(0.5, BOB, Refused(requests[BOB], "peer-refused", "busy"))

    assert outcome is not None
    assert (outcome.ask, outcome.silent, outcome.elapsed_s) == (number, (), 0.5)
    assert set(outcome.replies) == {BOB, CAROL}
    assert is_refusal(outcome.replies[BOB])
    assert not is_refusal(outcome.replies[CAROL])
    assert table.next_deadline() == math.inf
    table.check()


def test_at_the_deadline_an_ask_ends_with_what_came_and_names_the_silent() -> None:
    table = AskTable(first_request=100)
    _, requests = start(table, now=5.0, timeout_s=2.0)
    table.on_reply(5.5, BOB, reply(requests[BOB]))

    assert table.next_deadline() == 7.0
    assert table.expire(6.9) == []
    (outcome,) = table.expire(7.0)

    assert (set(outcome.replies), outcome.silent, outcome.elapsed_s) == ({BOB}, (CAROL,), 2.0)
    assert table.expire(8.0) == []
    table.check()


def test_late_repeated_and_unasked_answers_are_counted_and_dropped() -> None:
    table = AskTable(first_request=100)
    _, requests = start(table)

    assert table.on_reply(0.1, BOB, reply(requests[BOB])) is None
    assert table.on_reply(0.2, BOB, reply(requests[BOB])) is None  # twice
    assert table.on_reply(0.3, MALLORY, reply(requests[CAROL])) is None  # a stranger
    assert table.on_reply(0.3, BOB, reply(requests[CAROL])) is None  # somebody else's request
    assert table.on_reply(0.3, CAROL, reply(1)) is None  # no request of ours
    (outcome,) = table.expire(1.0)
    assert table.on_reply(1.1, CAROL, reply(requests[CAROL])) is None  # late

    assert table.strays == 5
    assert outcome.silent == (CAROL,)
    table.check()


def test_the_numbers_of_two_asks_differ_and_start_where_they_were_told() -> None:
    table = AskTable(first_request=100)

    first, first_requests = start(table)
    second, second_requests = start(table)

    numbers = {first, second, *first_requests.values(), *second_requests.values()}
    assert numbers == set(range(101, 107))


def test_an_answer_to_one_ask_does_not_end_another() -> None:
    table = AskTable(first_request=100)
    first, first_requests = start(table)
    second, second_requests = start(table)

    table.on_reply(0.1, BOB, reply(first_requests[BOB]))
    table.on_reply(0.1, CAROL, reply(second_requests[CAROL]))

    outcomes = {outcome.ask: outcome.silent for outcome in table.expire(1.0)}
    assert outcomes == {first: (CAROL,), second: (BOB,)}


def test_an_ask_of_nobody_ends_at_once() -> None:
    table = AskTable(first_request=100)

    number, effects = table.start(3.0, {}, make, timeout_s=60.0)

    assert effects == []
    assert table.expire(3.0) == [Outcome(ask=number, replies={}, silent=(), elapsed_s=0.0)]


def test_beyond_the_limit_an_ask_is_refused_and_leaves_nothing_behind() -> None:
    table = AskTable(first_request=100, limit=3)
    start(table)

    with pytest.raises(OverflowError, match="2 requests are outstanding, 3 are allowed"):
        table.start(0.0, PEERS, make, timeout_s=9.0)

    table.check()
    assert table.next_deadline() == 1.0
    table.expire(1.0)
    start(table, now=1.0)


def test_a_request_that_cannot_be_made_leaves_nothing_behind() -> None:
    table = AskTable(first_request=100)

    def fails(request: int, agent: AgentName) -> RecallRequest:
        if agent == CAROL:
            raise LookupError(agent)
        return make(request, agent)

    with pytest.raises(LookupError):
        table.start(0.0, PEERS, fails, timeout_s=1.0)

    table.check()
    assert table.next_deadline() == math.inf


class Asking(RuleBasedStateMachine):
    """Asks and answers in any order, against a plain dict."""

    LIMIT = 6

    def __init__(self) -> None:
        super().__init__()
        self.table = AskTable(first_request=0, limit=self.LIMIT)
        self.now = 0.0
        self.deadlines: dict[int, float] = {}
        self.waiting: dict[int, tuple[int, AgentName]] = {}
        self.sent: list[int] = []
        self.strays = 0

    def take(self, outcomes: list[Outcome]) -> None:
        for outcome in outcomes:
            del self.deadlines[outcome.ask]
            silent = {agent for ask, agent in self.waiting.values() if ask == outcome.ask}
            assert set(outcome.silent) == silent
            assert not silent & set(outcome.replies)
            self.waiting = {r: told for r, told in self.waiting.items() if told[0] != outcome.ask}

    @rule(peers=st.sets(st.sampled_from([BOB, CAROL, MALLORY]), min_size=1), timeout_s=st.integers(1, 5))
    def ask(self, peers: set[AgentName], timeout_s: int) -> None:
        routes = {agent: Route(f"tcp://{agent}:1") for agent in sorted(peers)}
        if len(self.waiting) + len(peers) > self.LIMIT:
            with pytest.raises(OverflowError):
                self.table.start(self.now, routes, make, timeout_s=timeout_s)
            return
        made: list[tuple[int, AgentName]] = []

        def make_and_note(request: int, agent: AgentName) -> RecallRequest:
            made.append((request, agent))
            return make(request, agent)

        number, _ = self.table.start(self.now, routes, make_and_note, timeout_s=timeout_s)
        self.deadlines[number] = self.now + timeout_s
        self.waiting |= {request: (number, agent) for request, agent in made}
        self.sent += [request for request, _ in made]

    @precondition(lambda self: self.sent)
    @rule(data=st.data(), sender=st.sampled_from([BOB, CAROL, MALLORY]))
    def answer(self, data: st.DataObject, sender: AgentName) -> None:
        request = data.draw(st.sampled_from(self.sent))
        ask, asked = self.waiting.get(request, (0, None))
        outcome = self.table.on_reply(self.now, sender, reply(request))
        if asked != sender:
            self.strays += 1
            assert outcome is None
            return
        del self.waiting[request]
        last = all(other != ask for other, _ in self.waiting.values())
        assert (outcome is not None) == last
        self.take([] if outcome is None else [outcome])

    @rule(seconds=st.integers(0, 3))
    def wait(self, seconds: int) -> None:
        self.now += seconds
        due = {number for number, deadline in self.deadlines.items() if self.now >= deadline}
        outcomes = self.table.expire(self.now)
        assert {outcome.ask for outcome in outcomes} == due
        self.take(outcomes)

    @invariant()
    def holds(self) -> None:
        self.table.check()
        assert self.table.strays == self.strays
        assert self.table.next_deadline() == min(self.deadlines.values(), default=math.inf)


TestAsking = Asking.TestCase
TestAsking.settings = settings(max_examples=50, deadline=None)
