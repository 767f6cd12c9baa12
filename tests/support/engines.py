"""Gossip engines joined by hand: no network, but the real bytes, and the invariants after every message."""

from __future__ import annotations

from random import Random

from protocol.digest import Announced, Digest
from protocol.effects import (
    Effect,
    Publish,
    Route,
    Send,
)
from protocol.gate import Open
from protocol.gossip import GossipEngine
from protocol.keyring import UNKEYED, Keyring, newest
from protocol.messages import (
    Gossip,
    Message,
    Record,
    Records,
    Role,
)
from protocol.names import AgentName
from protocol.profile import Profile
from protocol.wire import decode, encode

PROFILE = Profile()
ALICE, BOB = AgentName("alice"), AgentName("bob")


def route(name: str) -> Route:
    """Where the engine of this name takes direct messages."""
    return Route(f"tcp://{name}:1")


def digest_of(topics: str, keys: Keyring = UNKEYED) -> Digest:
    """The digest of these words, under the newest key."""
    epoch, key = newest(keys)
    return Digest.of((Announced(term, 1, 1.0) for term in topics.split()), key_epoch=epoch, key=key)


def record(
    name: str,
    *,
    incarnation: int = 1,
    version: int = 1,
    instance: int = 1,
    role: Role = "agent",
    topics: str = "",
    keys: Keyring = UNKEYED,
) -> Record:
    """A record of this name, its digest under the newest key; equal names share an address."""
    digest = digest_of(topics, keys)
    return Record(name, instance, incarnation, version, role, route(name), f"tcp://{name}:2", digest)


def engine(
    name: str = "alice",
    *,
    seeds: str = "",
    mesh: str = "garden",
    profile: Profile = PROFILE,
    incarnation: int = 1,
    topics: str = "",
    keys: Keyring = UNKEYED,
) -> GossipEngine:
    """An engine that has just started, at moment 0."""
    addresses = [route(seed) for seed in seeds.split()]
    return GossipEngine(
        record(name, incarnation=incarnation, topics=topics, keys=keys),
        mesh=mesh,
        profile=profile,
        rng=Random(1),
        seeds=addresses,
        now=0.0,
        gate=Open(keys),
    )


def change_keys(told: GossipEngine, now: float, keys: Keyring) -> None:
    """The keys of the digests become these."""
    assert isinstance(told.gate, Open)
    told.gate.keys = keys
    told._view.set_keys(keys, now)


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
    """The messages that go to one member."""
    return [effect.message for effect in effects if isinstance(effect, Send) and effect.route == route(to)]


def published(effects: list[Effect]) -> list[Message]:
    """The messages that go to all."""
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
    """What is held of a member."""
    member = told.members.get(name)
    return "unknown" if member is None else member.status


def knows(told: GossipEngine, topic: str, now: float = 0.0) -> list[str]:
    """Who is a lead for a topic."""
    return [lead.agent for lead in told.directory.who_knows([topic], now=now)]
