"""What librarians are told of our topics, with the librarian's own intake at the other end."""

from __future__ import annotations

from random import Random

from node.feeds import LibrarianFeeds
from protocol.digest import EMPTY, Announced
from protocol.effects import Route, Send
from protocol.feed import CONFIRM_S, RETRY_S, FeedReceiver
from protocol.gossip import GossipEngine
from protocol.messages import Announce, Claim, Hello, Metadata, Record, Role
from protocol.names import AgentName
from protocol.profile import Profile
from protocol.wire import WIRE_VERSION


class Librarian:
    """Takes metadata as a librarian does; `topics` are by term."""

    def __init__(self, name: str) -> None:
        self.agent = AgentName(name)
        self.router = f"tcp://{name}:1"
        self.topics: dict[str, Announced] = {}
        self._receiver = FeedReceiver()

    @property
    def record(self) -> Record:
        return record_of(self.agent, role="librarian", router=self.router)

    def take(self, feeds: LibrarianFeeds, message: Metadata) -> None:
        intake = self._receiver.take(message)
        if intake.action == "replace":
            self.topics = {}
        if intake.action != "nothing":
            self.topics.update((topic.term, topic) for topic in message.topics)
            for term in message.removed:
                self.topics.pop(term, None)
        feeds.on_ack(self.agent, intake.ack)


def record_of(name: str, *, role: Role = "agent", router: str = "tcp://a:1") -> Record:
    return Record(
        agent=name,
        instance=len(name),
        incarnation=1,
        version=1,
        role=role,
        router=router,
        publisher=router[:-1] + "2",
        digest=EMPTY,
    )


def engine() -> GossipEngine:
    return GossipEngine(record_of("a"), mesh="m", profile=Profile.lan(), rng=Random(1), seeds=(), now=0.0)


def meet(one: GossipEngine, librarian: Librarian) -> None:
    hello = Hello("m", WIRE_VERSION, WIRE_VERSION, librarian.record)
    one.on_message(0.0, librarian.agent, Route(librarian.router), hello)


def run(feeds: LibrarianFeeds, one: GossipEngine, librarians: list[Librarian], now: float) -> int:
    """Deliver what is due until nothing is; how many messages that took."""
    sent = 0
    while effects := list(feeds.on_tick(now, one)):
        for effect in effects:
            assert isinstance(effect, Send)
            assert isinstance(effect.message, Metadata)
            sent += 1
            for librarian in librarians:
                if librarian.router == effect.route:
                    librarian.take(feeds, effect.message)
    return sent


def topics(*terms: str) -> list[Announced]:
    return [Announced(term, 1, 1.0) for term in terms]


def test_nothing_is_told_before_the_topics_are_known() -> None:
    one, feeds, librarian = engine(), LibrarianFeeds(), Librarian("lib")
    meet(one, librarian)

    assert list(feeds.on_tick(1.0, one)) == []


def test_a_librarian_that_comes_late_gets_everything() -> None:
    one, feeds, librarian = engine(), LibrarianFeeds(), Librarian("lib")
    feeds.set_topics(topics(*(f"t{number}" for number in range(2500))))
    assert list(feeds.on_tick(1.0, one)) == []

    meet(one, librarian)
    sent = run(feeds, one, [librarian], 2.0)

    assert len(librarian.topics) == 2500
    assert sent == 3
    assert feeds.unsettled() == []


def test_changes_reach_every_librarian_and_only_changes_travel() -> None:
    one, feeds, first, second = engine(), LibrarianFeeds(), Librarian("lib1"), Librarian("lib2")
    meet(one, first)
    meet(one, second)
    feeds.set_topics(topics("zebra", "lion"))
    run(feeds, one, [first, second], 1.0)

    feeds.set_topics(topics("zebra", "okapi"))
    sent = list(feeds.on_tick(2.0, one))

    assert len(sent) == 2
    for effect in sent:
        assert isinstance(effect, Send)
        assert isinstance(effect.message, Metadata)
        assert [topic.term for topic in effect.message.topics] == ["okapi"]
        assert effect.message.removed == ("lion",)


def test_what_is_not_acknowledged_is_sent_again_and_a_current_state_is_confirmed() -> None:
    one, feeds, librarian = engine(), LibrarianFeeds(), Librarian("lib")
    meet(one, librarian)
    feeds.set_topics(topics("zebra"))

    assert len(list(feeds.on_tick(1.0, one))) == 1
    assert list(feeds.on_tick(1.0 + RETRY_S / 2, one)) == []
    assert feeds.unsettled() == ["lib"]
    assert run(feeds, one, [librarian], 1.0 + RETRY_S) == 1

    assert list(feeds.on_tick(2.0 + CONFIRM_S / 2, one)) == []
    assert run(feeds, one, [librarian], 3.0 + CONFIRM_S) == 1
    assert set(librarian.topics) == {"zebra"}


def test_a_librarian_that_lost_its_catalogue_gets_everything_again() -> None:
    one, feeds, librarian = engine(), LibrarianFeeds(), Librarian("lib")
    meet(one, librarian)
    feeds.set_topics(topics("zebra", "lion"))
    run(feeds, one, [librarian], 1.0)

    again = Librarian("lib")
    run(feeds, one, [again], 2.0 + CONFIRM_S)

    assert set(again.topics) == {"zebra", "lion"}


def test_a_librarian_that_is_gone_is_dropped_and_a_stray_acknowledgement_is_nothing() -> None:
    one, feeds, librarian = engine(), LibrarianFeeds(), Librarian("lib")
    meet(one, librarian)
    feeds.set_topics(topics("zebra"))
    message = next(feeds.on_tick(1.0, one))
    assert isinstance(message, Send)
    assert isinstance(message.message, Metadata)

    one.on_message(1.0, librarian.agent, None, Announce((Claim("lib", 1, 1, "left"),)))
    assert list(feeds.on_tick(9.0, one)) == []
    librarian.take(feeds, message.message)

    assert feeds.unsettled() == []
