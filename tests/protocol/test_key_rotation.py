"""The digest key of a mesh is changed: nobody is lost by it who was away for one change."""

from __future__ import annotations

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from protocol.gossip import GossipEngine
from protocol.keyring import Keyring
from protocol.messages import Announce, Claim, Get, Heartbeat, Record, Records
from tests.support.engines import (
    PROFILE,
    change_keys,
    digest_of,
    engine,
    hear,
    knows,
    published,
    record,
    sent,
    status,
)

FIRST, SECOND, THIRD, FOURTH = ({epoch: bytes([epoch]) * 32} for epoch in range(1, 5))
FORMER, LATTER = FIRST | SECOND, SECOND | THIRD


def announcement(told: GossipEngine, now: float) -> Announce:
    """What it publishes once its change has settled."""
    news = [message for message in published(told.on_tick(now)) if isinstance(message, Announce)]
    assert len(news) == 1
    return news[0]


def test_digests_of_two_epochs_are_read_and_of_others_kept_but_no_lead() -> None:
    alice = engine("alice", keys=FORMER)
    strange = record("erin", topics="bitcoin", keys=SECOND)
    strange = msgspec.structs.replace(strange, digest=msgspec.structs.replace(strange.digest, fmt=9))
    of_others = [
        record(name, topics="bitcoin", keys=keys)
        for name, keys in (("bob", FIRST), ("carol", SECOND), ("dave", THIRD))
    ]

    hear(alice, 0.1, "bob", Records((*of_others, record("frank", topics="bitcoin"), strange)))

    assert sorted(knows(alice, "bitcoin")) == ["bob", "carol"]
    assert {status(alice, name) for name in ("dave", "erin", "frank")} == {"alive"}
    assert alice.counters.digests_unreadable == 3
    change_keys(alice, 0.2, LATTER)
    alice.check()
    assert sorted(knows(alice, "bitcoin")) == ["carol", "dave"]
    assert sent(hear(alice, 0.3, "dave", Get(("bob",))), "dave") == [Records((of_others[0],))]


def test_a_digest_that_cannot_be_read_is_passed_on_all_the_same() -> None:
    alice = engine("alice", keys=FORMER)
    unread = record("dave", topics="bitcoin", keys=THIRD)

    hear(alice, 0.1, "bob", Records((unread,)))

    assert knows(alice, "bitcoin") == []
    assert announcement(alice, 0.3).records == (unread,)
    assert sent(hear(alice, 0.4, "bob", Get(("dave",))), "bob") == [Records((unread,))]


def test_who_was_away_during_one_change_of_the_key_is_a_lead_until_the_next_and_then_by_the_new_one() -> None:
    alice = engine("alice", topics="gold", keys=FIRST)
    hear(alice, 0.0, "bob", Records((record("bob", topics="bitcoin", keys=FIRST),)))
    hear(alice, 1.0, "bob", Announce((Claim("bob", 1, 1, "left"),)))
    change_keys(alice, 2.0, FORMER)
    alice.set_digest(2.0, digest_of("gold", FORMER))

    bob = engine("bob", incarnation=2, topics="bitcoin", keys=FIRST)  # Back, and yet to hear of the change.
    hear(alice, 3.0, "bob", Records((bob.record,)))
    hear(bob, 3.0, "alice", Records((alice.record,)))
    assert knows(alice, "bitcoin") == ["bob"]
    assert knows(bob, "gold") == []

    change_keys(bob, 4.0, FORMER)  # From what is here already: alice says nothing anew.
    assert knows(bob, "gold") == ["alice"]

    change_keys(alice, 5.0, LATTER)
    alice.check()
    assert knows(alice, "bitcoin") == []
    assert status(alice, "bob") == "alive"

    change_keys(bob, 6.0, LATTER)
    bob.set_digest(6.0, digest_of("bitcoin", LATTER))
    hear(alice, 6.5, "bob", announcement(bob, 6.5), published=True)
    assert knows(alice, "bitcoin") == ["bob"]


def test_a_digest_under_a_new_key_is_announced_whole_and_one_more_topic_as_a_delta() -> None:
    alice, bob = engine("alice", topics="gold", keys=FORMER), engine("bob", keys=FORMER)
    hear(bob, 0.0, "alice", Records((alice.record,)))
    alice.on_tick(PROFILE.debounce_s)

    alice.set_digest(1.0, digest_of("gold silver", FORMER))
    first = announcement(alice, 2.0)
    change_keys(alice, 3.0, LATTER)
    alice.set_digest(3.0, digest_of("gold silver", LATTER))
    second = announcement(alice, 4.0)

    assert (len(first.deltas), first.records) == (1, ())
    assert (second.deltas, second.records) == ((), (alice.record,))
    hear(bob, 2.0, "alice", first, published=True)
    hear(bob, 4.0, "alice", second, published=True)
    change_keys(bob, 4.0, LATTER)
    assert knows(bob, "silver") == ["alice"]


def test_we_are_a_lead_for_ourselves_only_by_a_key_that_holds() -> None:
    alice = engine("alice", topics="gold", keys=FIRST)
    assert knows(alice, "gold") == ["alice"]

    change_keys(alice, 1.0, LATTER)
    alice.check()
    assert knows(alice, "gold") == []

    alice.set_digest(1.0, digest_of("gold", LATTER))
    alice.check()
    assert knows(alice, "gold") == ["alice"]


def test_what_is_known_of_a_lead_stays_when_the_other_key_is_changed() -> None:
    alice = engine("alice", keys=FORMER)
    told = (record("bob", topics="bitcoin", keys=SECOND), record("carol", topics="bitcoin", keys=THIRD))
    hear(alice, 1.0, "bob", Records(told))
    hear(alice, 2.0, "bob", Announce((Claim("bob", 1, 1, "suspect"), Claim("carol", 1, 1, "suspect"))))

    change_keys(alice, 4.0, LATTER)

    alice.check()
    leads = alice.directory.who_knows(["bitcoin"], now=5.0)
    assert [(lead.agent, lead.suspect, lead.age_s) for lead in leads] == [
        ("bob", True, 4.0),
        ("carol", True, 4.0),
    ]


def test_a_heartbeat_of_a_member_that_cannot_be_read_makes_it_no_lead() -> None:
    alice = engine("alice", keys=FIRST)
    hear(alice, 0.0, "bob", Records((record("bob", topics="bitcoin", keys=SECOND),)))

    hear(alice, 1.0, "bob", Heartbeat(1, 1, 0), published=True)

    assert knows(alice, "bitcoin") == []


RINGS: list[Keyring] = [FIRST, FORMER, SECOND, LATTER, THIRD, THIRD | FOURTH]
STEPS = st.lists(
    st.tuples(st.sampled_from(["alice", "bob", "carol", "dave"]), st.sampled_from(RINGS)), max_size=30
)


@given(STEPS)
def test_in_whatever_order_keys_and_digests_come_the_leads_are_those_that_can_be_read(
    steps: list[tuple[str, Keyring]],
) -> None:
    keys: Keyring = FIRST
    alice, held = engine("alice", keys=keys), dict[str, Record]()

    for version, (name, ring) in enumerate(steps, 1):
        if name == "alice":
            keys = ring
            change_keys(alice, float(version), keys)
            alice.check()
        else:
            held[name] = record(name, version=version, topics="bitcoin", keys=ring)
            hear(alice, float(version), name, Records((held[name],)))

    readable = {name for name, told in held.items() if told.digest.key_epoch in keys}
    assert set(knows(alice, "bitcoin")) == readable
    for name, told in held.items():
        member = alice.members.get(name)
        assert member is not None
        assert member.record == told
