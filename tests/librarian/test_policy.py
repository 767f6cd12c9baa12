"""Policies: nothing leaves that the policy holds back, and what leaves fits a frame."""

from __future__ import annotations

from typing import get_args

import pytest

from librarian.catalogue import Match
from librarian.config import LibrarianConfig
from librarian.policy import SOMEBODY, Policy, disclosed
from protocol import wire
from protocol.errors import InvalidInput
from protocol.messages import MAX_COUNTER, Holder, WhoReply
from protocol.names import AgentName

FOUND = [
    Match(AgentName("alice"), 3.5, ("bitcoin", "halving"), 7, 1.5),
    Match(AgentName("bob"), 1.25, ("bitcoin",), 1, 0.5),
]


@pytest.mark.parametrize(
    ("policy", "holders"),
    [
        (
            "full",
            (
                Holder("alice", 3.5, ("bitcoin", "halving"), 7, 1.5),
                Holder("bob", 1.25, ("bitcoin",), 1, 0.5),
            ),
        ),
        ("owner", (Holder("alice", 3.5, (), 0, 1.5), Holder("bob", 1.25, (), 0, 0.5))),
        ("existence", (Holder("", 0.0, (), 0, 0.0),)),
        ("none", ()),
    ],
)
def test_an_answer_tells_what_its_policy_allows_and_no_more(
    policy: Policy, holders: tuple[Holder, ...]
) -> None:
    assert disclosed(policy, FOUND) == holders


@pytest.mark.parametrize("policy", get_args(Policy))
def test_of_nothing_no_policy_tells_anything(policy: Policy) -> None:
    assert disclosed(policy, []) == ()


def test_existence_is_told_in_the_same_words_whoever_and_however_many_know() -> None:
    assert disclosed("existence", FOUND) == disclosed("existence", FOUND[1:]) == (SOMEBODY,)


@pytest.mark.parametrize("policy", get_args(Policy))
@pytest.mark.parametrize("terms", [(), tuple(f"{n:02}" + "\U0001f54a" * 62 for n in range(64))])
def test_the_largest_answer_fits_a_frame_with_the_best_first(policy: Policy, terms: tuple[str, ...]) -> None:
    many = [Match(AgentName(f"{n:04}" + "x" * 60), 1e-3 * n, terms, MAX_COUNTER, 0.1) for n in range(1000)]

    holders = disclosed(policy, many)

    reply = WhoReply(MAX_COUNTER, policy, MAX_COUNTER, holders)
    frame = wire.encode(AgentName("l" * 64), reply)
    assert wire.decode(frame)[1] == reply
    if policy in ("full", "owner"):
        assert [holder.agent for holder in holders] == [match.agent for match in many[: len(holders)]]
        assert len(holders) == 1000 or len(frame) > wire.MAX_FRAME_BYTES * 0.8


def test_the_policy_comes_from_the_environment_and_an_option_goes_before_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    default = LibrarianConfig.load().policy
    monkeypatch.setenv("AVM_POLICY", "existence")

    assert (default, LibrarianConfig.load().policy) == ("owner", "existence")
    assert LibrarianConfig.load({"policy": "none"}).policy == "none"


def test_a_policy_that_is_none_of_the_four_is_named_with_its_field(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AVM_POLICY", "everything")

    with pytest.raises(InvalidInput, match=r"policy: .*the environment"):
        LibrarianConfig.load()
