"""The engine alone: who joins, and how news and records come to everybody."""

from __future__ import annotations

from random import Random

import msgspec
import pytest

from protocol.delta import apply_delta
from protocol.effects import (
    Halt,
    MemberChanged,
    Send,
    Subscribe,
)
from protocol.gossip import GossipEngine
from protocol.messages import (
    Announce,
    Claim,
    Get,
    Heartbeat,
    Hello,
    Records,
    Refusal,
    Sync,
    Welcome,
)
from protocol.wire import WIRE_VERSION as WIRE
from tests.support.engines import (
    ALICE,
    BOB,
    PROFILE,
    converse,
    engine,
    hear,
    joined,
    knows,
    published,
    record,
    route,
    sent,
    status,
)

# -- joining


def test_hello_and_welcome_make_two_strangers_members() -> None:
    seed, newcomer = engine("alice"), engine("bob", seeds="alice")

    effects = newcomer.on_tick(0.0)
    assert sent(effects, "alice") == [Hello("garden", WIRE, WIRE, newcomer.record)]
    assert not newcomer.joined
    converse(0.0, effects, newcomer, seed)

    assert newcomer.joined
    assert (status(seed, "bob"), status(newcomer, "alice")) == ("alive", "alive")
    assert seed.members.view() == newcomer.members.view()


def test_a_newcomer_subscribes_to_everybody_it_is_told_of() -> None:
    seed, _, _ = joined("alice", "bob", "carol")
    newcomer = engine("dave", seeds="alice")

    (welcome,) = sent(hear(seed, 1.0, "dave", Hello("garden", WIRE, WIRE, newcomer.record)), "dave")
    assert isinstance(welcome, Welcome)
    effects = hear(newcomer, 1.0, "alice", welcome)

    heard = {effect.agent for effect in effects if isinstance(effect, Subscribe)}
    assert heard == {"alice", "bob", "carol"}


def test_an_unanswered_hello_is_repeated_at_growing_intervals() -> None:
    newcomer = engine("bob", seeds="alice")

    hellos = [tenth / 10 for tenth in range(80) if sent(newcomer.on_tick(tenth / 10), "alice")]

    assert hellos == [0.0, 0.3, 0.9, 2.1, 4.5]


@pytest.mark.parametrize(
    ("hello", "code"),
    [
        (Hello("desert", WIRE, WIRE, record("bob")), "wrong-mesh"),
        (Hello("garden", 90, 99, record("bob")), "wire-mismatch"),
        (Hello("garden", WIRE, WIRE, record("carol", instance=2)), "name-taken"),
        (Hello("garden", WIRE, WIRE, record("alice", instance=2)), "name-taken"),
    ],
    ids=["another mesh", "no common wire version", "a live member's name", "our own name"],
)
def test_a_hello_that_cannot_be_is_refused_and_changes_nothing(hello: Hello, code: str) -> None:
    (seed,) = joined("alice", "carol")[:1]
    before = seed.members.view()

    (refusal,) = sent(hear(seed, 0.1, hello.record.agent, hello), hello.record.agent)

    assert isinstance(refusal, Refusal)
    assert refusal.code == code
    assert seed.members.view() == before


def test_a_refusal_ends_who_has_not_joined_and_nobody_else() -> None:
    newcomer, member = engine("bob", seeds="alice"), joined("carol", "alice")[0]

    assert hear(newcomer, 0.1, "alice", Refusal("name-taken", "no")) == [Halt("name-taken", "no")]
    assert hear(member, 0.1, "alice", Refusal("name-taken", "no")) == []


def test_a_name_is_free_again_when_its_owner_is_silent() -> None:
    (seed,) = joined("alice", "bob")[:1]
    hello = Hello("garden", WIRE, WIRE, record("bob", instance=2, incarnation=2))

    refused = sent(hear(seed, PROFILE.silence_s, "bob", hello), "bob")
    welcomed = sent(hear(seed, PROFILE.silence_s + 0.1, "bob", hello), "bob")

    assert [type(message) for message in refused + welcomed] == [Refusal, Welcome]
    assert seed.counters.name_conflicts == 1


def test_a_hello_in_somebody_elses_name_is_answered_with_nothing() -> None:
    seed = engine("alice")

    assert hear(seed, 0.0, "mallory", Hello("garden", WIRE, WIRE, record("bob"))) == []
    assert status(seed, "bob") == "unknown"


def test_a_member_that_was_given_up_learns_so_when_it_says_hello_and_comes_back() -> None:
    alice, bob = joined("alice", "bob")
    hear(alice, 1.0, "alice2", Announce((Claim("bob", 1, 1, "dead"),)))
    assert status(alice, "bob") == "dead"

    converse(2.0, [Send(route("alice"), Hello("garden", WIRE, WIRE, bob.record))], bob, alice)

    assert bob.record.incarnation == 2
    assert status(alice, "bob") == "alive"
    assert "bob" in alice.directory


def test_a_dead_member_that_restarts_without_its_incarnation_is_told_and_goes_beyond_it() -> None:
    alice = engine("alice")
    hear(alice, 0.0, "carol", Records((record("bob", incarnation=4),)))
    hear(alice, 0.0, "carol", Announce((Claim("bob", 4, 1, "dead"),)))
    bob = engine("bob", seeds="alice")

    converse(0.1, bob.on_tick(0.1), bob, alice)

    assert bob.record.incarnation == 5
    assert status(alice, "bob") == "alive"


def test_a_restart_with_a_higher_incarnation_replaces_address_and_topics() -> None:
    (alice,) = joined("alice", "bob", bob="old")[:1]
    moved = msgspec.structs.replace(
        record("bob", incarnation=2, topics="new"), router="tcp://bob-2:1", publisher="tcp://bob-2:2"
    )

    effects = hear(alice, 1.0, "bob", Hello("garden", WIRE, WIRE, moved))

    assert Subscribe(BOB, "tcp://bob-2:2") in effects
    assert (knows(alice, "old"), knows(alice, "new")) == ([], ["bob"])


def test_an_agent_that_returns_as_a_librarian_is_no_lead() -> None:
    (alice,) = joined("alice", "bob", bob="bitcoin")[:1]

    hear(alice, 1.0, "bob", Records((record("bob", incarnation=2, role="librarian", topics="bitcoin"),)))

    assert status(alice, "bob") == "alive"
    assert knows(alice, "bitcoin") == []


# -- news


def test_new_topics_are_published_once_after_the_debounce() -> None:
    (alice,) = joined("alice", "bob")[:1]
    digest = record("x", topics="bitcoin").digest
    assert alice.set_digest(1.0, digest) == [MemberChanged(ALICE, "alive", "alive", 2)]
    assert alice.set_digest(1.01, digest) == []
    due = alice.next_deadline()
    (news,) = published(alice.on_tick(1.0 + PROFILE.debounce_s))[-1:]

    assert due <= 1.0 + PROFILE.debounce_s
    assert isinstance(news, Announce)
    assert (news.claims, news.records) == ((Claim("alice", 1, 2, "alive"),), ())
    assert [apply_delta(record("alice"), delta) for delta in news.deltas] == [alice.record]
    assert not any(isinstance(message, Announce) for message in published(alice.on_tick(5.0)))


def test_published_news_reaches_the_directory_and_is_not_relayed() -> None:
    alice, bob = joined("alice", "bob")
    bob.set_digest(0.5, record("x", topics="bitcoin").digest)

    hear(alice, 0.6, "bob", Announce((Claim("bob", 1, 2, "alive"),), (bob.record,)), published=True)

    assert knows(alice, "bitcoin") == ["bob"]
    assert not any(isinstance(message, Announce) for message in published(alice.on_tick(0.7)))


def test_news_of_somebody_else_is_relayed_once() -> None:
    (alice,) = joined("alice", "bob", "carol")[:1]
    alice.on_tick(0.4)
    news = Announce((Claim("carol", 1, 1, "suspect"),))

    hear(alice, 0.5, "bob", news, published=True)
    hear(alice, 0.55, "bob", news, published=True)

    assert published(alice.on_tick(0.7)) == [Announce((Claim("carol", 1, 1, "suspect"),))]
    assert published(alice.on_tick(0.9)) == []


def test_a_heartbeat_with_a_newer_version_pulls_the_record() -> None:
    (alice,) = joined("alice", "bob")[:1]

    effects = hear(alice, 1.0, "bob", Heartbeat(1, 2, 0), published=True)
    assert sent(effects, "bob") == [Get(("bob",))]

    hear(alice, 1.1, "bob", Records((record("bob", version=2, topics="bitcoin"),)))
    assert knows(alice, "bitcoin") == ["bob"]
    assert sent(hear(alice, 2.0, "bob", Heartbeat(1, 2, 0), published=True), "bob") == []


def test_a_heartbeat_keeps_a_digest_fresh() -> None:
    (alice,) = joined("alice", "bob", bob="bitcoin")[:1]

    hear(alice, 3.0, "bob", Heartbeat(1, 1, 0), published=True)

    assert [lead.age_s for lead in alice.directory.who_knows(["bitcoin"], now=3.5)] == [0.5]


def test_an_outdated_record_is_kept_and_the_newest_still_wanted() -> None:
    (alice,) = joined("alice", "bob", "carol")[:1]
    hear(alice, 1.0, "bob", Heartbeat(1, 3, 0), published=True)

    hear(alice, 1.1, "carol", Records((record("bob", version=2, topics="bitcoin"),)))

    assert knows(alice, "bitcoin") == ["bob"]
    assert sent(alice.on_tick(1.2 + PROFILE.want_s), "carol")[-1:] == [Get(("bob",))]


def test_a_record_that_does_not_come_is_asked_for_elsewhere() -> None:
    (alice,) = joined("alice", "bob", "carol")[:1]
    hear(alice, 1.0, "bob", Heartbeat(1, 2, 0), published=True)

    effects = alice.on_tick(1.1 + PROFILE.want_s)

    assert sent(effects, "carol")[-1:] == [Get(("bob",))]


def test_who_is_said_to_have_a_record_that_nobody_has_is_told_and_outbids_it() -> None:
    alice, bob = joined("alice", "bob")
    hear(alice, 1.0, "mallory", Announce((Claim("bob", 1, 4, "alive"),)))

    told = sent(alice.on_tick(1.1 + PROFILE.want_s), "bob")

    assert Announce((Claim("bob", 1, 4, "alive"),)) in told
    (records,) = sent(hear(bob, 2.0, "alice", Announce((Claim("bob", 1, 4, "alive"),))), "alice")
    hear(alice, 2.0, "bob", records)
    member = alice.members.get("bob")
    assert member is not None
    assert (member.incarnation, member.lacks_record) == (2, False)


def test_records_are_given_for_the_living_and_the_news_for_the_gone() -> None:
    (alice,) = joined("alice", "bob", "carol")[:1]
    hear(alice, 1.0, "bob", Announce((Claim("carol", 1, 1, "left"),)))

    answers = sent(hear(alice, 1.1, "bob", Get(("alice", "carol", "nobody"))), "bob")

    assert answers == [Records((alice.record,)), Announce((Claim("carol", 1, 1, "left"),))]


def test_two_views_are_made_equal_by_one_sync_in_both_directions() -> None:
    alice, bob = joined("alice", "bob")
    hear(alice, 1.0, "x", Records((record("carol", topics="volcano"), record("dave", version=7))))
    hear(bob, 1.0, "x", Records((record("dave", version=9), record("erin"))))

    converse(1.5, [Send(route("bob"), Sync(alice.members.sync_hashes()))], alice, bob)

    assert alice.members.sync_hashes() == bob.members.sync_hashes()
    assert knows(bob, "volcano") == ["carol"]
    dave, erin = alice.members.get("dave"), alice.members.get("erin")
    assert dave is not None
    assert dave.record == record("dave", version=9)
    assert erin is not None
    assert erin.record == record("erin")
    assert not sent(hear(bob, 2.0, "alice", Sync(alice.members.sync_hashes())), "alice")


@pytest.mark.parametrize("initiator", ["alice", "bob"])
def test_a_record_that_only_its_owner_has_at_a_new_address_comes_by_sync(initiator: str) -> None:
    (alice,) = joined("alice", "bob", bob="old")[:1]
    moved = msgspec.structs.replace(record("bob", incarnation=2, topics="new"), router="tcp://bob-2:1")
    bob = GossipEngine(moved, mesh="garden", profile=PROFILE, rng=Random(2), seeds=[], now=0.0)
    hear(bob, 0.1, "alice", Records((alice.record,)))
    hear(alice, 0.1, "carol", Announce((Claim("bob", 2, 1, "alive"),)))
    assert knows(alice, "new") == []

    one, other = (alice, bob) if initiator == "alice" else (bob, alice)
    for answer in sent(hear(other, 1.0, one.name, Sync(one.members.sync_hashes())), one.name):
        for reaction in sent(hear(one, 1.0, other.name, answer), other.name):
            for last in sent(hear(other, 1.0, one.name, reaction), one.name):
                hear(one, 1.0, other.name, last)

    assert (knows(alice, "old"), knows(alice, "new")) == ([], ["bob"])
