"""The engine alone, above the full-mesh limit."""

from __future__ import annotations

import msgspec
import pytest

from protocol.delta import delta_of
from protocol.effects import Send, Subscribe, Unsubscribe
from protocol.gossip import GossipEngine
from protocol.messages import (
    Ack,
    Announce,
    Claim,
    Get,
    Heartbeat,
    Neighbour,
    NeighbourReply,
    Ping,
    Records,
    Suspicion,
    Sync,
)
from protocol.profile import Profile
from tests.support.engines import engine, hear, knows, published, record, route, sent, status

SMALL = Profile(full_mesh=3, full_mesh_again=2)


def large(*, profile: Profile = SMALL) -> GossipEngine:
    """An engine that knows eight others, is above its limit, and has `bob` and `carol` for neighbours."""
    alice = engine("alice", profile=profile)
    others = ["bob", "carol", "dave", "erin", "frank", "grace", "heidi", "ivan"]
    hear(alice, 0.0, "bob", Records(tuple(record(other) for other in others)))
    for neighbour in ("bob", "carol"):
        hear(alice, 0.0, neighbour, Neighbour(1, 1, True, False))
    alice.on_tick(0.1)
    return alice


# -- above the limit


def test_above_the_limit_only_neighbours_are_heard() -> None:
    alice = engine("alice", profile=SMALL)
    hear(alice, 0.0, "bob", Records((record("bob"), record("carol"))))
    assert sorted(alice.overlay.hears) == ["bob", "carol"]

    effects = hear(alice, 0.0, "bob", Records((record("dave"),)))

    assert {effect.agent for effect in effects if isinstance(effect, Unsubscribe)} == {"bob", "carol"}
    wishes = [
        effect for effect in effects if isinstance(effect, Send) and isinstance(effect.message, Neighbour)
    ]
    assert {wish.route for wish in wishes} <= {route("bob"), route("carol"), route("dave")}
    accepted = hear(alice, 0.1, wishes[0].route[6:-2], NeighbourReply(True))
    assert any(isinstance(effect, Subscribe) for effect in accepted)


def test_what_its_owner_published_is_told_on_above_the_limit_once() -> None:
    alice = large()
    news = Announce((Claim("bob", 1, 2, "alive"),), (record("bob", version=2, topics="bitcoin"),))

    hear(alice, 1.0, "bob", news, published=True)
    hear(alice, 1.01, "carol", news, published=True)

    told = [message for message in published(alice.on_tick(1.2)) if isinstance(message, Announce)]
    assert [message.claims for message in told] == [(Claim("bob", 1, 2, "alive"),)]
    again = [message for message in published(alice.on_tick(1.4)) if isinstance(message, Announce)]
    assert again == []


def test_a_small_change_is_told_on_as_flips_and_a_whole_record_left_to_be_pulled() -> None:
    alice = large()
    changed, fresh = record("bob", version=2, topics="bitcoin"), record("zoe", topics="volcano")

    hear(alice, 1.0, "bob", Announce((Claim("bob", 1, 2, "alive"),), (changed,)), published=True)
    hear(alice, 1.0, "bob", Announce((Claim("zoe", 1, 1, "alive"),), (fresh,)), published=True)

    (told,) = [message for message in published(alice.on_tick(1.2)) if isinstance(message, Announce)]
    assert told.records == ()
    assert told.deltas == (delta_of(record("bob"), changed, limit_bytes=64),)
    assert [claim.agent for claim in told.claims] == ["bob", "zoe"]


def test_flips_are_applied_and_on_another_base_the_record_is_pulled_from_who_told() -> None:
    first, third = record("bob"), record("bob", version=3, topics="bitcoin")
    delta = delta_of(first, third, limit_bytes=99)
    assert delta is not None
    news = Announce((Claim("bob", 1, 3, "alive"),), (), (delta,))

    alice, behind = large(), large()
    hear(behind, 0.5, "bob", Records((record("bob", version=2, topics="volcano"),)))

    assert sent(hear(alice, 1.0, "carol", news, published=True), "carol") == []
    assert knows(alice, "bitcoin") == ["bob"]
    assert sent(hear(behind, 1.0, "carol", news, published=True), "carol") == [Get(("bob",))]
    assert knows(behind, "bitcoin") == []


def test_flips_that_do_not_come_out_are_refused_and_the_record_pulled() -> None:
    alice = large()
    delta = delta_of(record("bob"), record("bob", version=2, topics="bitcoin"), limit_bytes=99)
    assert delta is not None
    forged = msgspec.structs.replace(delta, check=delta.check ^ 1)

    effects = hear(
        alice, 1.0, "carol", Announce((Claim("bob", 1, 2, "alive"),), (), (forged,)), published=True
    )

    assert sent(effects, "carol") == [Get(("bob",))]
    assert alice.counters.deltas_refused == 1


def test_news_is_told_on_when_its_record_is_here_and_not_before() -> None:
    alice = large()
    hear(alice, 1.0, "carol", Announce((Claim("bob", 1, 2, "alive"),)), published=True)
    early = [message for message in published(alice.on_tick(1.2)) if isinstance(message, Announce)]

    hear(alice, 1.3, "carol", Records((record("bob", version=2, topics="bitcoin"),)))
    late = [message for message in published(alice.on_tick(1.5)) if isinstance(message, Announce)]

    assert early == []
    assert [message.claims for message in late] == [(Claim("bob", 1, 2, "alive"),)]


def test_a_heartbeat_repeats_what_was_announced_and_a_lost_announcement_is_made_good_by_it() -> None:
    alice = large()
    hear(alice, 0.2, "bob", Records((record("bob", version=2, topics="bitcoin"),)))
    effects = [effect for tenth in range(3, 50) for effect in alice.on_tick(tenth / 10)]
    beats = [message for message in published(effects) if isinstance(message, Heartbeat)]
    repeating = next(beat for beat in beats if beat.recent)
    assert Claim("bob", 1, 2, "alive") in repeating.recent

    other = large()
    answer = hear(other, 5.0, "carol", repeating, published=True)

    assert Get(("bob",)) in sent(answer, "carol")


def test_who_hears_another_view_while_its_own_is_quiet_compares_at_once_and_not_too_often() -> None:
    alice = large()
    beat = Heartbeat(1, 1, 12345, alice.overlay.link_hashes)
    hear(alice, 1.0, "bob", beat, published=True)

    answers = [sent(hear(alice, 2.5 + tenth / 10, "bob", beat, published=True), "bob") for tenth in range(5)]

    assert [sum(isinstance(message, Sync) for message in answer) for answer in answers] == [1, 0, 0, 0, 0]
    same = Heartbeat(1, 1, alice.members.view(), alice.overlay.link_hashes)
    assert sent(hear(alice, 9.0, "bob", same, published=True), "bob") == []


# -- suspicion


def test_confirmations_shorten_a_suspicion_and_are_told_on() -> None:
    alice = large()
    hear(alice, 1.0, "bob", Announce((Claim("ivan", 1, 1, "suspect"),)), published=True)
    before = alice.next_deadline()
    accusers = Suspicion("ivan", 1, ("bob", "carol", "dave", "erin"))

    hear(alice, 1.1, "carol", Announce((), (), (), (accusers,)), published=True)
    told = [m for m in published(alice.on_tick(1.3)) if isinstance(m, Announce) and m.suspicions]

    assert before <= 1.3
    assert told[0].suspicions == (accusers,)
    alice.on_tick(1.0 + SMALL.suspicion_s * SMALL.suspicion_least - 0.1)
    assert status(alice, "ivan") == "suspect"
    alice.on_tick(1.0 + SMALL.suspicion_s * SMALL.suspicion_least + 0.1)
    assert status(alice, "ivan") == "dead"


@pytest.mark.parametrize(
    "suspicion",
    [
        Suspicion("ivan", 1, ("x1", "x2", "x3", "x4")),
        Suspicion("ivan", 2, ("bob", "carol", "dave", "erin")),
        Suspicion("ivan", 1, ("ivan", "ivan", "bob", "bob")),
        Suspicion("ivan", 1, ("erin", "frank", "grace", "heidi")),
    ],
    ids=["strangers", "another incarnation", "itself, and one twice", "the dead"],
)
def test_accusers_that_do_not_count_shorten_nothing(suspicion: Suspicion) -> None:
    alice = large()
    gone = [Claim(agent, 1, 1, "dead") for agent in ("erin", "frank", "grace", "heidi")]
    hear(alice, 1.0, "bob", Announce((Claim("ivan", 1, 1, "suspect"), *gone)), published=True)

    hear(alice, 1.1, "carol", Announce((), (), (), (suspicion,)), published=True)
    for share in (0.2, 0.4, 0.6, 0.9):  # In steps, or it would be taken for a pause of our own.
        alice.on_tick(1.0 + share * SMALL.suspicion_s)

    assert status(alice, "ivan") == "suspect"


def test_who_was_given_up_and_asks_to_be_a_neighbour_is_told_and_refutes() -> None:
    alice = large()
    hear(alice, 1.0, "bob", Announce((Claim("ivan", 1, 1, "dead"),)))

    told = sent(hear(alice, 2.0, "ivan", Neighbour(1, 1, True, False)), "ivan")
    assert told[0] == Announce((Claim("ivan", 1, 1, "dead"),))
    hear(alice, 2.1, "ivan", Neighbour(2, 1, True, False))

    assert status(alice, "ivan") == "alive"


def test_an_answer_to_a_probe_says_where_the_member_stands() -> None:
    alice = large()
    alice.on_tick(3.0)
    effects = [effect for moment in (5.5, 7.5) for effect in alice.on_tick(moment)]
    ping = next(e for e in effects if isinstance(e, Send) and isinstance(e.message, Ping))
    assert isinstance(ping.message, Ping)
    pinged = ping.route[6:-2]

    answer = hear(alice, 7.6, pinged, Ack(ping.message.nonce, 1, 7))

    assert sent(answer, pinged) == [Get((pinged,))]


def test_a_refutation_speaks_against_our_own_health() -> None:
    alice = large()

    hear(alice, 1.0, "bob", Announce((Claim("alice", 1, 1, "suspect"),)))

    assert alice.statistics().health == 1
    assert alice.statistics().counters.refutations == 1


def test_a_version_that_nobody_has_of_a_member_that_is_gone_does_not_keep_it_alive() -> None:
    alice = engine("alice", profile=Profile(full_mesh=1, full_mesh_again=0, passive=0))
    hear(alice, 0.1, "mallory", Records((record("bob", topics="bitcoin"),)))

    hear(alice, 0.2, "mallory", Announce((Claim("bob", 1, 9, "alive"),)))
    for tenth in range(3, 700):
        alice.on_tick(tenth / 10)
        alice.check()

    assert status(alice, "bob") == "dead"
    assert knows(alice, "bitcoin") == []
