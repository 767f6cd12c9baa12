"""The engine alone: silence, death, return and refutation, and what hostile peers say."""

from __future__ import annotations

import pytest

from protocol.delta import apply_delta
from protocol.effects import (
    MemberChanged,
    RaiseIncarnation,
    Send,
    Subscribe,
    Unsubscribe,
)
from protocol.messages import (
    MAX_COUNTER,
    Ack,
    Announce,
    Claim,
    Get,
    Gossip,
    Heartbeat,
    Hello,
    Message,
    Ping,
    Records,
    Status,
    Sync,
    SyncDiff,
    Welcome,
)
from protocol.profile import Profile
from protocol.wire import WIRE_VERSION as WIRE
from tests.support.engines import (
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

# -- life and death


def test_a_silent_member_is_pinged_suspected_declared_dead_and_forgotten() -> None:
    (alice,) = joined("alice", "bob", bob="bitcoin")[:1]
    seen: list[tuple[float, str]] = []
    pings: list[str] = []
    for second in range(1, int(PROFILE.tombstone_s) + 40):
        before = status(alice, "bob")
        pinged = Ping in map(type, sent(alice.on_tick(float(second)), "bob"))
        pings += [before] * pinged
        alice.check()
        if not seen or seen[-1][1] != status(alice, "bob"):
            seen.append((second, status(alice, "bob")))
        assert (knows(alice, "bitcoin") == ["bob"]) == (status(alice, "bob") in ("alive", "suspect"))

    assert [told for _, told in seen] == ["alive", "suspect", "dead", "unknown"]
    moments = [moment for moment, _ in seen]
    assert moments[1] <= PROFILE.silence_s + PROFILE.ping_s + 4
    assert moments[2] - moments[1] <= PROFILE.suspicion_s + 3
    assert PROFILE.tombstone_s < moments[3] - moments[2] <= PROFILE.tombstone_s + 3
    assert pings[0] == "alive"
    assert set(pings) <= {"alive", "suspect"}, "the dead are left alone"


def test_an_ack_saves_a_silent_member() -> None:
    (alice,) = joined("alice", "bob")[:1]

    for second in range(1, 60):
        for message in sent(alice.on_tick(float(second)), "bob"):
            if isinstance(message, Ping):
                hear(alice, second + 0.1, "bob", Ack(message.nonce))

    assert status(alice, "bob") == "alive"
    assert alice.prober.sent >= 5


def test_a_ping_is_answered() -> None:
    (alice,) = joined("alice", "bob")[:1]

    assert hear(alice, 1.0, "bob", Ping(7)) == [Send(route("bob"), Ack(7, 1, 1))]


def test_who_goes_is_dropped_at_once_and_who_went_says_nothing_more() -> None:
    alice, bob = joined("alice", "bob", bob="bitcoin")

    (farewell,) = published(bob.leave(1.0))
    assert isinstance(farewell, Announce)
    effects = hear(alice, 1.01, "bob", farewell, published=True)

    assert MemberChanged(BOB, "alive", "left", 1) in effects
    assert Unsubscribe(BOB) in effects
    assert knows(alice, "bitcoin") == []
    assert bob.on_tick(2.0) == bob.leave(2.0) == hear(bob, 2.0, "alice", Ping(1)) == []
    assert bob.next_deadline() == float("inf")


@pytest.mark.parametrize("said", ["suspect", "dead", "left"])
def test_what_is_falsely_said_of_us_is_refuted_by_a_higher_incarnation(said: Status) -> None:
    alice, bob = joined("alice", "bob")
    hear(alice, 1.0, "bob", Announce((Claim("carol", 1, 1, "alive"),)))

    effects = hear(bob, 1.0, "alice", Announce((Claim("bob", 1, 1, said),)))

    assert effects[0] == RaiseIncarnation(2), "stored before it is told"
    assert sent(effects, "alice") == [Records((bob.record,))]
    assert (bob.record.incarnation, bob.counters.refutations) == (2, 1)
    (news,) = published(bob.on_tick(1.1))[-1:]
    assert isinstance(news, Announce)
    assert news.claims == (Claim("bob", 2, 1, "alive"),)
    assert [apply_delta(record("bob"), delta) for delta in news.deltas] == [bob.record]


def test_old_rumours_about_us_are_not_worth_a_refutation() -> None:
    bob = engine("bob", incarnation=5)

    for old in (Claim("bob", 4, 9, "dead"), Claim("bob", 5, 1, "alive"), Claim("bob", 5, 0, "alive")):
        assert hear(bob, 1.0, "alice", Announce((old,))) == []
    assert bob.counters.refutations == 0


def test_a_version_of_ours_that_we_never_had_is_refuted() -> None:
    bob = engine("bob", incarnation=5)

    effects = hear(bob, 1.0, "alice", Announce((Claim("bob", 5, 2, "alive"),)))

    assert RaiseIncarnation(6) in effects


def test_a_restart_that_forgot_its_incarnation_goes_beyond_what_the_others_remember() -> None:
    alice = engine("alice")
    hear(alice, 0.0, "bob", Records((record("bob", incarnation=4, version=9),)))
    bob = engine("bob", seeds="alice")

    converse(0.1, bob.on_tick(0.1), bob, alice)

    assert bob.record.incarnation == 5
    member = alice.members.get("bob")
    assert member is not None
    assert (member.incarnation, member.record) == (5, bob.record)


def test_a_claim_about_us_that_nothing_could_refute_is_ignored_and_counted() -> None:
    bob = engine("bob")

    assert hear(bob, 1.0, "mallory", Announce((Claim("bob", MAX_COUNTER, 1, "dead"),))) == []
    assert (bob.record.incarnation, bob.counters.records_refused) == (1, 1)
    effects = hear(bob, 1.0, "mallory", Announce((Claim("bob", MAX_COUNTER - 1, 1, "dead"),)))
    assert RaiseIncarnation(MAX_COUNTER) in effects


def test_a_suspect_that_is_heard_is_told_so_that_it_can_refute() -> None:
    alice, bob = joined("alice", "bob")
    hear(alice, 1.0, "carol", Announce((Claim("bob", 1, 1, "suspect"),)))

    effects = hear(alice, 1.5, "bob", Heartbeat(1, 1, 0), published=True)
    assert sent(effects, "bob") == [Announce((Claim("bob", 1, 1, "suspect"),))]
    converse(1.5, effects, alice, bob)

    assert status(alice, "bob") == "alive"


def test_a_member_that_says_less_of_itself_than_was_said_of_it_is_told_and_outbids_it() -> None:
    alice, bob = joined("alice", "bob")
    hear(alice, 1.0, "mallory", Announce((Claim("bob", 1, 4, "alive"),)))
    assert status(alice, "bob") == "alive"

    told = hear(alice, 2.0, "bob", Heartbeat(1, 1, 0), published=True)

    (claim,) = [
        one for message in sent(told, "bob") if isinstance(message, Announce) for one in message.claims
    ]
    hear(bob, 2.0, "alice", Announce((claim,)))
    assert (claim.version, bob.record.incarnation) == (4, 2)
    assert sent(hear(alice, 3.0, "bob", Heartbeat(2, 1, 0), published=True), "bob") == [Get(("bob",))]


def test_who_comes_back_to_life_is_a_lead_again_before_its_new_record_came() -> None:
    (alice,) = joined("alice", "bob", "carol", bob="bitcoin")[:1]
    hear(alice, 1.0, "carol", Announce((Claim("bob", 1, 1, "dead"),)))
    assert knows(alice, "bitcoin") == []

    effects = hear(alice, 2.0, "carol", Announce((Claim("bob", 2, 1, "alive"),)))

    assert knows(alice, "bitcoin") == ["bob"]
    assert Subscribe(BOB, "tcp://bob:2") in effects
    assert sent(effects, "carol") == [Get(("bob",))]


def test_our_own_long_pause_is_held_against_nobody() -> None:
    (alice,) = joined("alice", "bob")[:1]
    alice.on_tick(1.0)

    alice.on_tick(300.0)
    alice.on_tick(301.0)

    assert status(alice, "bob") == "alive"
    assert alice.prober.sent == 0


def test_lost_seeds_and_dead_members_are_greeted_from_time_to_time() -> None:
    alice = engine("alice", seeds="seed")
    hear(alice, 0.0, "bob", Welcome("garden", 1, (record("bob"), record("carol"))))
    hear(alice, 0.0, "bob", Announce((Claim("carol", 1, 1, "dead"),)))

    greeted = set()
    for second in range(1, 40):
        hear(alice, float(second), "bob", Heartbeat(1, 1, 0), published=True)
        for effect in alice.on_tick(float(second)):
            if isinstance(effect, Send) and isinstance(effect.message, Hello):
                greeted.add(effect.route)

    assert greeted == {route("seed"), route("carol")}


# -- hostile peers


def test_invented_members_fill_the_table_to_its_limit_and_no_further() -> None:
    alice = engine("alice", profile=Profile(member_limit=50))
    for number in range(20):
        invented = tuple(record(f"x{number}-{at}") for at in range(10))
        hear(alice, 0.1, "mallory", Records(invented))

    assert (len(alice.members), len(alice.directory)) == (50, 50)
    assert alice.members.refused == 151


def test_rumours_without_records_are_wanted_in_bounds_and_forgotten() -> None:
    alice = engine("alice", profile=Profile(member_limit=50))
    rumours = tuple(Claim(f"ghost-{number}", 1, 1, "alive") for number in range(300))

    hear(alice, 0.1, "mallory", Announce(rumours))
    assert len(alice.members) == 50
    assert not knows(alice, "bitcoin")
    for second in range(1, 15):
        alice.on_tick(float(second))
        alice.check()

    assert [member.agent for member in alice.members] == ["alice"]


def test_a_forgotten_rumour_does_not_come_back_by_sync() -> None:
    alice, bob = joined("alice", "bob")
    hear(alice, 0.1, "mallory", Announce((Claim("ghost", 1, 1, "alive"), Claim("grave", 1, 1, "dead"))))

    converse(0.2, [Send(route("bob"), Sync(alice.members.sync_hashes()))], alice, bob)
    converse(0.3, [Send(route("alice"), Sync(bob.members.sync_hashes()))], bob, alice)
    converse(0.4, [Send(route("alice"), SyncDiff(tuple(range(32)), ()))], bob, alice)

    assert (status(alice, "ghost"), status(bob, "ghost")) == ("alive", "unknown")
    assert (status(alice, "grave"), status(bob, "grave")) == ("unknown", "unknown")


def test_a_version_never_goes_back_whatever_is_said() -> None:
    (alice,) = joined("alice", "bob")[:1]
    hear(alice, 0.1, "bob", Records((record("bob", incarnation=3, version=8, topics="new"),)))

    older: list[Message] = [
        Records((record("bob", incarnation=3, version=7, topics="old"),)),
        Records((record("bob", incarnation=2, version=99, topics="old"),)),
        Announce((Claim("bob", 3, 2, "suspect"),), (record("bob", version=1, topics="old"),)),
        Hello("garden", WIRE, WIRE, record("bob", incarnation=1, topics="old")),
    ]
    for message in older:
        hear(alice, 0.2, "bob", message)

    member = alice.members.get("bob")
    assert member is not None
    assert (member.incarnation, member.version) == (3, 8)
    assert (knows(alice, "new"), knows(alice, "old")) == (["bob"], [])


def test_nobody_else_speaks_in_our_name() -> None:
    (alice,) = joined("alice", "bob")[:1]

    assert hear(alice, 1.0, "alice", Announce((Claim("bob", 1, 1, "dead"),))) == []
    assert status(alice, "bob") == "alive"


def test_a_second_process_with_a_members_name_does_not_replace_it() -> None:
    (alice,) = joined("alice", "bob", "carol", bob="bitcoin")[:1]

    hear(alice, 1.0, "carol", Records((record("bob", instance=2, incarnation=9, topics="fake"),)))

    assert (knows(alice, "bitcoin"), knows(alice, "fake")) == (["bob"], [])
    assert alice.counters.name_conflicts == 1


def test_a_process_that_replaced_another_is_believed_though_its_record_comes_late() -> None:
    (alice,) = joined("alice", "bob", bob="old")[:1]
    hear(alice, 1.0, "carol", Announce((Claim("bob", 2, 1, "alive"),)))

    hear(alice, 1.1, "carol", Records((record("bob", instance=2, incarnation=2, topics="new"),)))

    assert (knows(alice, "old"), knows(alice, "new")) == ([], ["bob"])


def test_messages_of_strangers_without_a_way_back_are_harmless() -> None:
    alice = engine("alice")
    hello = Hello("garden", WIRE, WIRE, record("bob"))

    messages: list[Gossip] = [hello, Ping(1), Get(("alice",)), Sync(bytes(256)), Heartbeat(1, 1, 0)]
    for message in messages:
        assert hear(alice, 0.0, "bob", message, published=True) == []
