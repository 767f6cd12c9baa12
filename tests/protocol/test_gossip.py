"""The engine alone: frames and ticks in, effects out, two of them joined by hand."""

from __future__ import annotations

from random import Random

import msgspec
import pytest

from protocol.digest import EMPTY, Announced, Digest
from protocol.effects import (
    Effect,
    Halt,
    MemberChanged,
    Publish,
    RaiseIncarnation,
    Route,
    Send,
    Subscribe,
    Unsubscribe,
)
from protocol.gossip import GossipEngine
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
    Record,
    Records,
    Refusal,
    Role,
    Status,
    Sync,
    SyncDiff,
    Welcome,
)
from protocol.names import AgentName
from protocol.profile import Profile
from protocol.wire import decode, encode

PROFILE = Profile()
ALICE, BOB, CAROL = AgentName("alice"), AgentName("bob"), AgentName("carol")


def route(name: str) -> Route:
    return Route(f"tcp://{name}:1")


def record(
    name: str,
    *,
    incarnation: int = 1,
    version: int = 1,
    instance: int = 1,
    role: Role = "agent",
    topics: str = "",
) -> Record:
    digest = Digest.of(Announced(term, 1, 1.0) for term in topics.split()) if topics else EMPTY
    return Record(name, instance, incarnation, version, role, route(name), f"tcp://{name}:2", digest)


def engine(
    name: str = "alice",
    *,
    seeds: str = "",
    mesh: str = "garden",
    profile: Profile = PROFILE,
    incarnation: int = 1,
) -> GossipEngine:
    addresses = [route(seed) for seed in seeds.split()]
    return GossipEngine(
        record(name, incarnation=incarnation),
        mesh=mesh,
        profile=profile,
        rng=Random(1),
        seeds=addresses,
        now=0.0,
    )


def hear(
    told: GossipEngine, now: float, sender: str, message: Message, *, published: bool = False
) -> list[Effect]:
    """Give a message to an engine, over the real bytes, and check its invariants."""
    _, again = decode(encode(AgentName(sender), message))
    assert again == message
    assert isinstance(message, Gossip)
    effects = told.on_message(now, AgentName(sender), None if published else route(sender), message)
    told.check()
    return effects


def sent(effects: list[Effect], to: str) -> list[Message]:
    return [effect.message for effect in effects if isinstance(effect, Send) and effect.route == route(to)]


def published(effects: list[Effect]) -> list[Message]:
    return [effect.message for effect in effects if isinstance(effect, Publish)]


def converse(now: float, effects: list[Effect], speaker: GossipEngine, *others: GossipEngine) -> None:
    """Carry direct messages between engines until nobody has anything to say."""
    engines = {route(told.name): told for told in (speaker, *others)}
    waiting = [(speaker.name, effect) for effect in effects]
    while waiting:
        name, effect = waiting.pop(0)
        if isinstance(effect, Send) and effect.route in engines:
            receiver = engines[effect.route]
            answer = hear(receiver, now, name, effect.message)
            waiting += [(receiver.name, later) for later in answer]


def joined(*names: str, **told: str) -> list[GossipEngine]:
    """Engines that know each other, with nothing to tell; `told` are the topics of some."""
    engines = [engine(name) for name in names]
    for one in engines:
        for other in names:
            if other != one.name:
                hear(one, 0.0, other, Records((record(other, topics=told.get(other, "")),)))
        one.on_tick(PROFILE.debounce_s)  # What it has to tell of the others is out.
    return engines


def status(told: GossipEngine, name: str) -> str:
    member = told.members.get(name)
    return "unknown" if member is None else member.status


def knows(told: GossipEngine, topic: str, now: float = 0.0) -> list[str]:
    return [lead.agent for lead in told.directory.who_knows([topic], now=now)]


# -- joining


def test_hello_and_welcome_make_two_strangers_members() -> None:
    seed, newcomer = engine("alice"), engine("bob", seeds="alice")

    effects = newcomer.on_tick(0.0)
    assert sent(effects, "alice") == [Hello("garden", 1, 1, newcomer.record)]
    assert not newcomer.joined
    converse(0.0, effects, newcomer, seed)

    assert newcomer.joined
    assert (status(seed, "bob"), status(newcomer, "alice")) == ("alive", "alive")
    assert seed.members.view() == newcomer.members.view()


def test_a_newcomer_subscribes_to_everybody_it_is_told_of() -> None:
    seed, _, _ = joined("alice", "bob", "carol")
    newcomer = engine("dave", seeds="alice")

    (welcome,) = sent(hear(seed, 1.0, "dave", Hello("garden", 1, 1, newcomer.record)), "dave")
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
        (Hello("desert", 1, 1, record("bob")), "wrong-mesh"),
        (Hello("garden", 2, 3, record("bob")), "wire-mismatch"),
        (Hello("garden", 1, 1, record("carol", instance=2)), "name-taken"),
        (Hello("garden", 1, 1, record("alice", instance=2)), "name-taken"),
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
    hello = Hello("garden", 1, 1, record("bob", instance=2, incarnation=2))

    refused = sent(hear(seed, PROFILE.silence_s, "bob", hello), "bob")
    welcomed = sent(hear(seed, PROFILE.silence_s + 0.1, "bob", hello), "bob")

    assert [type(message) for message in refused + welcomed] == [Refusal, Welcome]
    assert seed.counters.name_conflicts == 1


def test_a_hello_in_somebody_elses_name_is_answered_with_nothing() -> None:
    seed = engine("alice")

    assert hear(seed, 0.0, "mallory", Hello("garden", 1, 1, record("bob"))) == []
    assert status(seed, "bob") == "unknown"


def test_a_member_that_was_given_up_learns_so_when_it_says_hello_and_comes_back() -> None:
    alice, bob = joined("alice", "bob")
    hear(alice, 1.0, "alice2", Announce((Claim("bob", 1, 1, "dead"),)))
    assert status(alice, "bob") == "dead"

    converse(2.0, [Send(route("alice"), Hello("garden", 1, 1, bob.record))], bob, alice)

    assert bob.record.incarnation == 2
    assert status(alice, "bob") == "alive"
    assert "bob" in alice.directory


def test_a_restart_with_a_higher_incarnation_replaces_address_and_topics() -> None:
    (alice,) = joined("alice", "bob", bob="old")[:1]
    moved = msgspec.structs.replace(
        record("bob", incarnation=2, topics="new"), router="tcp://bob-2:1", publisher="tcp://bob-2:2"
    )

    effects = hear(alice, 1.0, "bob", Hello("garden", 1, 1, moved))

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
    assert news == Announce((Claim("alice", 1, 2, "alive"),), (alice.record,))
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

    assert published(alice.on_tick(0.7)) == [Announce((Claim("carol", 1, 1, "suspect"),), (record("carol"),))]
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


def test_a_record_that_does_not_come_is_asked_for_elsewhere() -> None:
    (alice,) = joined("alice", "bob", "carol")[:1]
    hear(alice, 1.0, "bob", Heartbeat(1, 2, 0), published=True)

    effects = alice.on_tick(1.1 + PROFILE.want_s)

    assert sent(effects, "carol")[-1:] == [Get(("bob",))]


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


# -- life and death


def test_a_silent_member_is_pinged_suspected_declared_dead_and_forgotten() -> None:
    (alice,) = joined("alice", "bob", bob="bitcoin")[:1]
    seen: list[tuple[float, str]] = []
    pings = 0
    for second in range(1, int(PROFILE.tombstone_s) + 40):
        pings += Ping in map(type, sent(alice.on_tick(float(second)), "bob"))
        alice.check()
        if not seen or seen[-1][1] != status(alice, "bob"):
            seen.append((second, status(alice, "bob")))
        assert (knows(alice, "bitcoin") == ["bob"]) == (status(alice, "bob") in ("alive", "suspect"))

    assert [told for _, told in seen] == ["alive", "suspect", "dead", "unknown"]
    moments = [moment for moment, _ in seen]
    assert moments[1] <= PROFILE.silence_s + PROFILE.ping_s + 4
    assert moments[2] - moments[1] <= PROFILE.suspicion_s + 3
    assert PROFILE.tombstone_s < moments[3] - moments[2] <= PROFILE.tombstone_s + 3
    assert pings == 1


def test_an_ack_saves_a_silent_member() -> None:
    (alice,) = joined("alice", "bob")[:1]

    for second in range(1, 60):
        for message in sent(alice.on_tick(float(second)), "bob"):
            if isinstance(message, Ping):
                hear(alice, second + 0.1, "bob", Ack(message.nonce))

    assert status(alice, "bob") == "alive"
    assert alice.counters.pings >= 5


def test_a_ping_is_answered() -> None:
    (alice,) = joined("alice", "bob")[:1]

    assert hear(alice, 1.0, "bob", Ping(7)) == [Send(route("bob"), Ack(7))]


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
    assert news == Announce((Claim("bob", 2, 1, "alive"),), (bob.record,))


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
    assert alice.counters.pings == 0


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
        Hello("garden", 1, 1, record("bob", incarnation=1, topics="old")),
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
    hello = Hello("garden", 1, 1, record("bob"))

    messages: list[Gossip] = [hello, Ping(1), Get(("alice",)), Sync(bytes(256)), Heartbeat(1, 1, 0)]
    for message in messages:
        assert hear(alice, 0.0, "bob", message, published=True) == []
