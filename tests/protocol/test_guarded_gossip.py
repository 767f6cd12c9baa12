"""Engines of a mesh with an authority: what members, strangers and liars can do to them."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from protocol.effects import Blame, CharterChanged, Effect, Expel, Halt, MemberChanged, Publish, Subscribe
from protocol.gossip import GossipEngine
from protocol.messages import (
    Announce,
    Certificate,
    Chartered,
    Claim,
    Get,
    Gossip,
    Heartbeat,
    Hello,
    Message,
    Records,
    Refusal,
    Sync,
    Welcome,
)
from protocol.profile import Profile
from protocol.wire import WIRE_VERSION as WIRE
from tests.support.authorities import KEYS, T0, TestAuthority, curve_key, name, signed
from tests.support.engines import digest_of, hear, knows, published, sent, status

GARDEN = TestAuthority()
PROFILE = Profile()


def hello(agent: str, *, certificate: Certificate | None = None, charter: int = 1, **given: Any) -> Hello:
    shown = certificate or GARDEN.certificate(agent)
    return Hello("garden", WIRE, WIRE, signed(agent, **given), shown, charter)


def mesh(*agents: str) -> list[GossipEngine]:
    """Engines that have greeted each other."""
    engines = [GARDEN.engine(agent) for agent in agents]
    for one in engines:
        for other in engines:
            if other is not one:
                records = Records((other.record,), (GARDEN.certificate(other.name),))
                hear(one, 0.0, other.name, records)
        one.on_tick(PROFILE.debounce_s)
    return engines


def blamed(effects: list[Effect]) -> list[str]:
    return [effect.agent for effect in effects if isinstance(effect, Blame)]


def test_a_newcomer_with_a_certificate_is_taken_in_and_hears_with_keys() -> None:
    alice, newcomer = GARDEN.engine("alice"), GARDEN.engine("bob", seeds="alice", topics="tea")

    (first,) = newcomer.on_tick(0.0)[:1]
    assert first.route == f"tcp://alice:1#{curve_key('alice').hex()}"  # type: ignore[union-attr]
    effects = hear(alice, 0.0, "bob", first.message)  # type: ignore[union-attr]
    (welcome,) = [message for message in sent(effects, "bob") if isinstance(message, Welcome)]
    answer = hear(newcomer, 0.0, "alice", welcome)

    assert newcomer.joined
    assert Subscribe(name("bob"), f"tcp://bob:2#{curve_key('bob').hex()}") in effects
    assert Subscribe(name("alice"), f"tcp://alice:2#{curve_key('alice').hex()}") in answer
    assert status(alice, "bob") == "alive"


STRANGERS: dict[str, Hello] = {
    "no certificate": Hello("garden", WIRE, WIRE, signed("bob")),
    "another's certificate": hello("bob", certificate=GARDEN.certificate("carol")),
    "of another authority": hello("bob", certificate=TestAuthority(name="x").certificate("bob")),
    "of another mesh": hello("bob", certificate=TestAuthority("desert").certificate("bob")),
    "expired": hello("bob", certificate=GARDEN.certificate("bob", expires_at=T0)),
    "changed by hand": hello(
        "bob", certificate=msgspec.structs.replace(GARDEN.certificate("bob"), role="librarian")
    ),
    "a record it did not sign": hello("bob", signer="mallory"),
    "another role than its certificate's": hello("bob", role="librarian"),
}


@pytest.mark.parametrize("said", STRANGERS.values(), ids=STRANGERS)
def test_a_stranger_is_told_nothing_and_changes_nothing(said: Hello) -> None:
    alice = GARDEN.engine("alice")

    effects = hear(alice, 0.0, "bob", said)

    assert sent(effects, "bob") == []
    assert [type(effect) for effect in effects] == [Blame]
    assert status(alice, "bob") == "unknown"


def test_only_a_member_can_refuse_us() -> None:
    newcomer = GARDEN.engine("bob", seeds="alice")

    forged = Refusal("name-taken", "go away", TestAuthority(name="x").certificate("alice"))
    assert not any(isinstance(effect, Halt) for effect in hear(newcomer, 0.0, "alice", forged))
    bare = hear(newcomer, 0.0, "alice", Refusal("name-taken", "go away"))
    assert not any(isinstance(effect, Halt) for effect in bare)

    effects = hear(newcomer, 0.0, "alice", Refusal("name-taken", "two", GARDEN.certificate("alice")))
    assert [type(effect) for effect in effects] == [Halt]


def test_only_a_member_can_welcome_us() -> None:
    newcomer = GARDEN.engine("bob", seeds="alice")
    forged = TestAuthority(name="x").certificate("alice")

    hear(newcomer, 0.0, "alice", Welcome("garden", WIRE, (signed("alice"),), (forged,)))

    assert not newcomer.joined
    assert status(newcomer, "alice") == "unknown"


FORGERIES = {
    "by another member": signed("bob", version=9, signer="carol"),
    "with no signature": signed("bob", version=9).__class__(*msgspec.structs.astuple(signed("bob"))[:8]),
    "from the future": signed("bob", version=9, signed_at=T0 + 10**6),
    "in another role": signed("bob", version=9, role="librarian"),
    "with another address": msgspec.structs.replace(signed("bob", version=9), router="tcp://mallory:1"),
}


@pytest.mark.parametrize("forged", FORGERIES.values(), ids=FORGERIES)
@pytest.mark.parametrize("published", [True, False])
def test_a_member_that_passes_on_a_forged_record_is_blamed_and_not_believed(
    forged: Any, published: bool
) -> None:
    alice, _, _ = mesh("alice", "bob", "carol")
    forged = msgspec.structs.replace(forged, version=9)
    messages: list[Message] = [Announce((), (forged,)), Records((forged,))]

    for said in messages:
        effects = hear(alice, 1.0, "carol", said, published=published)
        assert blamed(effects) == ["carol"]

    bob = alice.members.get("bob")
    assert bob is not None
    assert bob.record is not None
    assert (bob.version, bob.record.version, bob.record.router) == (1, 1, "tcp://bob:1")
    assert alice.counters.records_forged == 2


def test_an_old_record_of_a_member_changes_nothing_and_blames_nobody() -> None:
    alice, _, _ = mesh("alice", "bob", "carol")
    hear(alice, 0.0, "bob", Records((signed("bob", version=5),)))

    effects = hear(alice, 1.0, "carol", Records((signed("bob", version=2),)))

    assert effects == []
    bob = alice.members.get("bob")
    assert bob is not None
    assert bob.version == 5


def test_a_record_whose_owner_has_shown_no_certificate_is_asked_for_with_it() -> None:
    alice, _ = mesh("alice", "bob")

    asked = hear(alice, 1.0, "bob", Announce((), (signed("carol"),)))
    assert status(alice, "carol") == "alive"
    assert knows(alice, "tea") == []
    (get,) = _messages(asked)
    assert get == Get(("carol",))
    hear(alice, 1.0, "bob", Records((signed("carol"),), (GARDEN.certificate("carol"),)))

    carol = alice.members.get("carol")
    assert carol is not None
    assert carol.route == f"tcp://carol:1#{curve_key('carol').hex()}"


def test_a_forged_certificate_beside_a_record_is_blamed() -> None:
    alice, _ = mesh("alice", "bob")
    forged = TestAuthority(name="x").certificate("carol")

    effects = hear(alice, 1.0, "bob", Records((signed("carol"),), (forged,)))

    assert blamed(effects) == ["bob"]
    carol = alice.members.get("carol")
    assert carol is None or carol.record is None


def test_claims_beyond_the_clock_are_refused_so_that_their_owner_can_outbid_all_others() -> None:
    alice, _, _ = mesh("alice", "bob", "carol")

    hear(alice, 1.0, "carol", Announce((Claim("bob", 2**53 - 1, 1, "dead"),)))

    assert status(alice, "bob") == "alive"
    assert alice.counters.claims_refused == 1


def test_a_revoked_member_is_expelled_everywhere_and_stays_out() -> None:
    alice, bob, _ = mesh("alice", "bob", "carol")
    charter = GARDEN.charter(2, revoked=(GARDEN.certificate("carol").serial,))

    effects = alice.set_charter(1.0, charter)
    (told,) = published(effects)
    at_bob = hear(bob, 1.0, "alice", told, published=True)

    for engine, found in ((alice, effects), (bob, at_bob)):
        assert Expel(name("carol"), "revoked") in found
        assert CharterChanged(charter) in found
        assert any(isinstance(effect, MemberChanged) and effect.after == "forgotten" for effect in found)
        assert status(engine, "carol") == "unknown"
        assert engine.gate.is_barred(name("carol"))
    assert Publish(Chartered(charter)) in at_bob  # Told on once.
    assert hear(bob, 1.0, "alice", told, published=True) == []
    assert sent(hear(alice, 2.0, "carol", hello("carol")), "carol") == []
    hear(alice, 2.0, "bob", Announce((Claim("carol", 1, 5, "alive"),)))
    hear(alice, 2.0, "bob", Records((signed("carol", version=5),), (GARDEN.certificate("carol"),)))
    assert status(alice, "carol") == "unknown"


def test_who_is_revoked_itself_ends() -> None:
    alice, _ = mesh("alice", "bob")

    charter = GARDEN.charter(2, revoked=(GARDEN.certificate("alice").serial,))
    effects = hear(alice, 1.0, "bob", Chartered(charter))

    assert [effect.code for effect in effects if isinstance(effect, Halt)] == ["not-admitted"]


def test_a_forged_charter_is_blamed_and_changes_nothing() -> None:
    alice, _ = mesh("alice", "bob")

    forged = TestAuthority(name="x").charter(9, revoked=(GARDEN.certificate("alice").serial,))

    assert blamed(hear(alice, 1.0, "bob", Chartered(forged))) == ["bob"]
    assert alice.gate.charter == GARDEN.charter()


def test_who_has_an_older_charter_is_sent_the_newer_wherever_two_meet() -> None:
    alice, _ = mesh("alice", "bob")
    charter = GARDEN.charter(3, epochs=2)
    alice.set_charter(1.0, charter)
    newcomer = hello("carol", charter=1)
    asked: list[tuple[str, Gossip]] = [
        ("carol", newcomer),
        ("bob", Sync(bytes(256), 1)),
        ("bob", Welcome("garden", WIRE, (), (), 2)),
    ]

    for sender, message in asked:
        assert Chartered(charter) in sent(hear(alice, 2.0, sender, message), sender)

    newer = sent(hear(alice, 2.0, "bob", Sync(bytes(256), 9)), "bob")
    assert [message.charter for message in newer if isinstance(message, Sync)] == [3]


def test_a_stranger_is_never_sent_the_charter() -> None:
    alice, _ = mesh("alice", "bob")
    forged = hello("bob", certificate=TestAuthority(name="x").certificate("bob"), charter=0)

    assert sent(hear(alice, 2.0, "bob", forged), "bob") == []


def test_whoever_expires_is_expelled_with_the_next_heartbeat() -> None:
    alice = GARDEN.engine("alice")
    certificate = GARDEN.certificate("bob", expires_at=T0 + 10)
    hear(alice, 0.0, "bob", Records((signed("bob"),), (certificate,)))
    for moment in range(1, 13):
        hear(alice, float(moment), "bob", Heartbeat(1, 1, 0), published=True)

    effects = alice.on_tick(13.0)

    assert Expel(name("bob"), "expired") in effects
    assert status(alice, "bob") == "unknown"


def test_a_changed_digest_is_signed_anew_and_believed_as_a_delta() -> None:
    alice, bob = mesh("alice", "bob")
    alice.set_digest(1.0, digest_of("tea", KEYS))

    (news,) = [
        message
        for message in published(alice.on_tick(1.0 + PROFILE.debounce_s))
        if isinstance(message, Announce)
    ]
    effects = hear(bob, 1.1, "alice", news, published=True)

    assert news.deltas
    assert blamed(effects) == []
    assert knows(bob, "tea") == ["alice"]


def test_an_observer_is_a_member_and_no_lead() -> None:
    alice, _ = mesh("alice", "bob")
    shown = GARDEN.certificate("eve", role="observer")

    hear(alice, 1.0, "eve", Hello("garden", WIRE, WIRE, signed("eve", role="observer"), shown, 1))

    assert status(alice, "eve") == "alive"
    assert len(alice.directory) == 2
    assert not alice.librarians
    alice.check()


def test_no_forgery_in_many_is_believed() -> None:
    """The benchmark tries 100,000; here are a few of each kind."""
    alice, _, _ = mesh("alice", "bob", "carol")
    true = signed("bob", version=2)

    for bit in range(64 * 8):
        forged = bytearray(true.signature)
        forged[bit >> 3] ^= 1 << (bit & 7)
        hear(alice, 1.0, "carol", Records((msgspec.structs.replace(true, signature=bytes(forged)),)))

    bob = alice.members.get("bob")
    assert bob is not None
    assert bob.version == 1


def _messages(effects: list[Effect]) -> list[Message]:
    return [effect.message for effect in effects if hasattr(effect, "route")]  # type: ignore[union-attr]
