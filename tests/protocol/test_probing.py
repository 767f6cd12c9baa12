"""Probes: who is asked, through whom, and what counts as an answer."""

from __future__ import annotations

from random import Random

import pytest

from protocol.digest import EMPTY
from protocol.effects import Effect, Route, Send
from protocol.health import LocalHealth
from protocol.membership import Member, Membership
from protocol.messages import Ack, Claim, Message, Nack, Ping, PingRequest, Record
from protocol.names import AgentName
from protocol.probing import Prober
from protocol.profile import Profile

PROFILE = Profile()
SILENT = PROFILE.silence_s + 1.0  # A moment at which nobody was heard lately.
BACK = Route("tcp://back:1")


def name(text: str) -> AgentName:
    return AgentName(text)


class Alone:
    """A prober, the members it knows, and what it wants done."""

    def __init__(self, *agents: str, now: float = 0.0) -> None:
        self.members = Membership(limit=100)
        self.company = [name(agent) for agent in agents]
        for agent in agents:
            member = self.members.adopt(Member(Claim(agent, 1, 1, "alive"), 0.0))
            self.members.keep(
                member, Record(agent, 1, 1, 1, "agent", f"tcp://{agent}:1", f"tcp://{agent}:2", EMPTY)
            )
        self.prober = Prober(self.members, LocalHealth(), profile=PROFILE, rng=Random(1), now=now)

    def tick(self, now: float, *, at_once: bool = False) -> tuple[list[tuple[str, Message]], list[str]]:
        effects, silent = self.prober.tick(now, self.company, at_once=at_once)
        self.prober.check()
        return sends(effects), [member.agent for member in silent]

    def member(self, agent: str) -> Member:
        found = self.members.get(agent)
        assert found is not None
        return found


def sends(effects: list[Effect]) -> list[tuple[str, Message]]:
    return [(effect.route, effect.message) for effect in effects if isinstance(effect, Send)]


def nonce_of(message: Message) -> int:
    assert isinstance(message, Ping | PingRequest)
    return message.nonce


def test_one_silent_member_is_pinged_each_period_and_each_of_them_in_its_turn() -> None:
    alone = Alone("a", "b", "c")
    pinged = []
    for turn in range(3):
        moment = SILENT + 1.2 * PROFILE.probe_s * turn
        ((route, message),) = alone.tick(moment)[0]
        assert isinstance(message, Ping)
        pinged.append(route)
        alone.prober.on_ack(name(route[6]), Ack(message.nonce), moment)

    assert sorted(pinged) == ["tcp://a:1", "tcp://b:1", "tcp://c:1"]


def test_who_was_heard_lately_is_passed_over() -> None:
    alone = Alone("a", "b", "c")
    alone.member("a").heard_at = alone.member("c").heard_at = SILENT

    assert [route for route, _ in alone.tick(SILENT)[0]] == ["tcp://b:1"]
    assert alone.tick(SILENT)[0] == []


def test_several_silent_ones_are_pinged_at_once_where_it_is_wished() -> None:
    alone = Alone(*"abcdef")

    assert len(alone.tick(SILENT, at_once=True)[0]) == 4


def test_an_unanswered_ping_is_given_to_helpers_and_then_the_member_is_silent() -> None:
    alone = Alone(*"abcdef")
    bob = alone.member("b")
    ((_, ping),) = sends(alone.prober.probe(bob, SILENT))

    asked, silent = alone.tick(SILENT + PROFILE.ping_s)
    requests = [(route, message) for route, message in asked if isinstance(message, PingRequest)]
    again = [message for route, message in asked if route == "tcp://b:1"]

    assert (again, silent) == ([ping], [])
    assert len({route for route, _ in requests}) == PROFILE.helpers
    assert all(message == PingRequest(nonce_of(ping), "b") for _, message in requests)
    assert "tcp://b:1" not in dict(requests)
    assert alone.tick(SILENT + 2 * PROFILE.ping_s)[1] == ["b"]


@pytest.mark.parametrize("through", ["b", "helper"])
def test_an_answer_of_the_member_or_of_a_helper_saves_it(through: str) -> None:
    alone = Alone(*"abcd")
    ((_, ping),) = sends(alone.prober.probe(alone.member("b"), SILENT))
    asked, _ = alone.tick(SILENT + PROFILE.ping_s)
    helper = next(route[6] for route, message in asked if isinstance(message, PingRequest))

    alone.prober.on_ack(name(helper if through == "helper" else "b"), Ack(nonce_of(ping)), SILENT + 1.5)

    assert alone.tick(SILENT + 3 * PROFILE.ping_s)[1] == []
    assert alone.member("b").heard_at == SILENT + 1.5


@pytest.mark.parametrize(("sender", "off"), [("c", 0), ("b", 1)])
def test_an_answer_of_somebody_else_or_to_something_else_does_not(sender: str, off: int) -> None:
    alone = Alone("b", "c")
    ((_, ping),) = sends(alone.prober.probe(alone.member("b"), SILENT))

    alone.prober.on_ack(name(sender), Ack(nonce_of(ping) + off), SILENT + 0.1)
    alone.tick(SILENT + PROFILE.ping_s)

    assert alone.tick(SILENT + 2 * PROFILE.ping_s)[1] == ["b"]


def test_any_word_of_the_member_meanwhile_saves_it() -> None:
    alone = Alone("b", "c")
    alone.prober.probe(alone.member("b"), SILENT)

    alone.member("b").heard_at = SILENT + 0.5

    assert alone.tick(SILENT + PROFILE.ping_s)[1] == []
    assert alone.tick(SILENT + 2 * PROFILE.ping_s)[1] == []


def test_a_restart_meanwhile_ends_the_probe() -> None:
    alone = Alone("b", "c")
    alone.prober.probe(alone.member("b"), SILENT)

    alone.members.apply(Claim("b", 2, 1, "alive"), SILENT + 0.5)

    alone.tick(SILENT + PROFILE.ping_s)
    assert alone.tick(SILENT + 2 * PROFILE.ping_s)[1] == []


# -- for others


def test_a_ping_is_made_for_who_asks_and_the_answer_passed_on() -> None:
    alone = Alone("b")

    ((route, ping),) = sends(alone.prober.on_ping_request(PingRequest(77, "b"), BACK, 0.0))
    assert route == "tcp://b:1"
    answer = alone.prober.on_ack(name("b"), Ack(nonce_of(ping), 1, 1), 0.1)

    assert sends(answer) == [(BACK, Ack(77))]
    assert alone.tick(0.9)[0] == []


def test_without_an_answer_who_asked_is_told_that_we_at_least_are_there() -> None:
    alone = Alone("b")
    alone.prober.on_ping_request(PingRequest(77, "b"), BACK, 0.0)

    assert alone.tick(0.79)[0] == []
    assert alone.tick(0.8)[0] == [(BACK, Nack(77))]
    assert sends(alone.prober.on_ping_request(PingRequest(78, "stranger"), BACK, 0.9)) == [(BACK, Nack(78))]


def test_errands_are_bounded_whatever_is_asked() -> None:
    alone = Alone("b")

    for number in range(1_000):
        alone.prober.on_ping_request(PingRequest(number, "b"), BACK, 0.0)
        alone.prober.check()


# -- how well we are


def test_silent_helpers_speak_against_us_and_nacks_do_not() -> None:
    alone = Alone(*"abcd")
    for nacking, score in ((True, 0), (False, 3)):
        start = SILENT + 100 * nacking
        ((_, ping),) = sends(alone.prober.probe(alone.member("b"), start))
        asked, _ = alone.tick(start + PROFILE.ping_s)
        for route, message in asked:
            if nacking and isinstance(message, PingRequest):
                alone.prober.on_nack(name(route[6]), Nack(nonce_of(ping)))
        assert alone.tick(start + 2 * PROFILE.ping_s)[1] == ["b"]

        assert alone.prober.health.score == score


def test_our_own_slowness_gives_others_longer() -> None:
    alone = Alone("b", "c")
    alone.prober.health.worsen(2)
    alone.prober.probe(alone.member("b"), SILENT)

    assert alone.tick(SILENT + 2.9 * PROFILE.ping_s)[0] == []
    assert len(alone.tick(SILENT + 3.0 * PROFILE.ping_s)[0]) >= 2
    assert alone.tick(SILENT + 5.9 * PROFILE.ping_s)[1] == []
    assert alone.tick(SILENT + 6.0 * PROFILE.ping_s)[1] == ["b"]


def test_what_we_slept_counts_against_nobody_but_us() -> None:
    alone = Alone("b", "c")
    alone.prober.probe(alone.member("b"), SILENT)

    alone.prober.forgive(60.0)

    assert alone.prober.health.score == 1
    assert all(not isinstance(message, PingRequest) for _, message in alone.tick(SILENT + 60.0)[0])
    assert any(isinstance(message, PingRequest) for _, message in alone.tick(SILENT + 61.0)[0])
