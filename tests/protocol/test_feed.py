"""Feeds: after quiet a librarian holds what the agent announced last, whatever the link did on the way."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from protocol import wire
from protocol.digest import Announced
from protocol.feed import CONFIRM_S, RETRY_S, FeedReceiver, FeedSender, Intake
from protocol.messages import MAX_TOPICS_A_MESSAGE, Message, Metadata, MetadataAck
from protocol.names import AgentName

ALICE = AgentName("alice")


def topics(*terms: str, memories: int = 1) -> dict[str, Announced]:
    return {term: Announced(term, memories, 0.5) for term in terms}


class Shelf:
    """What a librarian holds of one agent: the receiver, and topics as its answers say."""

    def __init__(self) -> None:
        self.receiver = FeedReceiver()
        self.topics: dict[str, Announced] = {}

    def take(self, message: Metadata) -> MetadataAck:
        intake = self.receiver.take(message)
        if intake.action == "replace":
            self.topics = {}
        if intake.action != "nothing":
            for term in message.removed:
                self.topics.pop(term, None)
            self.topics |= {topic.term: topic for topic in message.topics}
        return intake.ack


def across(message: Message) -> Message:
    """The message as it comes out at the other end."""
    return wire.decode(wire.encode(ALICE, message))[1]


def deliver(message: Metadata, shelf: Shelf, sender: FeedSender) -> None:
    """There and back, without a loss."""
    arrived = across(message)
    assert isinstance(arrived, Metadata)
    ack = across(shelf.take(arrived))
    assert isinstance(ack, MetadataAck)
    sender.on_ack(ack)


def settle(sender: FeedSender, shelf: Shelf, now: float) -> list[Metadata]:
    """Let both talk until all is acknowledged; the messages that took."""
    sent = []
    for _ in range(1000):
        message = sender.due(now)
        if message is not None:
            sent.append(message)
            deliver(message, shelf, sender)
        elif sender.is_settled:
            return sent
        now += RETRY_S
    raise AssertionError("never settled")


def in_order(sender: FeedSender, shelf: Shelf, now: float = 0.0) -> list[Metadata]:
    """One message for each moment, as long as there is one."""
    sent = []
    while (message := sender.due(now)) is not None:
        sent.append(message)
        deliver(message, shelf, sender)
    return sent


def test_the_first_message_is_a_snapshot_and_later_ones_are_changes() -> None:
    sender, shelf = FeedSender(7, topics("a", "b")), Shelf()

    first = in_order(sender, shelf)
    sender.set_topics(topics("b", memories=2) | topics("c"))
    second = in_order(sender, shelf, now=0.1)

    assert first == [Metadata(7, 0, (Announced("a", 1, 0.5), Announced("b", 1, 0.5)))]
    assert second == [Metadata(7, 1, (Announced("b", 2, 0.5), Announced("c", 1, 0.5)), ("a",))]
    assert shelf.topics == topics("b", memories=2) | topics("c")


def test_nothing_is_said_of_topics_that_stay_as_they_are_but_a_confirmation_in_time() -> None:
    sender, shelf = FeedSender(7, topics("a")), Shelf()
    in_order(sender, shelf)

    sender.set_topics(topics("a"))

    assert sender.due(CONFIRM_S - 0.1) is None
    assert sender.due(CONFIRM_S) == Metadata(7, 1, ())


def test_an_unanswered_message_is_repeated_as_it_was_and_not_before_its_time() -> None:
    sender = FeedSender(7, topics("a"))
    first = sender.due(10.0)
    sender.set_topics(topics("b"))

    early, late = sender.due(10.0 + RETRY_S - 0.01), sender.due(10.0 + RETRY_S)

    assert first is not None
    assert (early, late) == (None, first)


def test_a_message_and_its_repetition_are_taken_once_and_both_acknowledged() -> None:
    receiver = FeedReceiver()
    snapshot, change = Metadata(7, 0, ()), Metadata(7, 1, ())

    taken = [receiver.take(message) for message in (snapshot, snapshot, change, snapshot, change)]

    assert taken == [
        Intake("replace", MetadataAck(7, 1)),
        Intake("nothing", MetadataAck(7, 1)),
        Intake("change", MetadataAck(7, 2)),
        Intake("nothing", MetadataAck(7, 1)),
        Intake("nothing", MetadataAck(7, 2)),
    ]


@pytest.mark.parametrize(
    ("known", "message", "answer"),
    [
        ((), Metadata(7, 3, ()), MetadataAck(7, 0)),
        ((Metadata(7, 0, ()),), Metadata(7, 2, ()), MetadataAck(7, 0)),
        ((Metadata(7, 0, ()),), Metadata(8, 1, ()), MetadataAck(8, 0)),
        ((Metadata(7, 0, ()),), Metadata(6, 0, ()), MetadataAck(7, 0)),
    ],
    ids=["unknown feed", "gap", "the middle of a later feed", "older feed"],
)
def test_what_does_not_follow_is_not_taken_and_the_sender_is_told_to_start_again(
    known: tuple[Metadata, ...], message: Metadata, answer: MetadataAck
) -> None:
    receiver = FeedReceiver()
    for earlier in known:
        receiver.take(earlier)

    assert receiver.take(message) == Intake("nothing", answer)


@pytest.mark.parametrize(
    "ack", [MetadataAck(7, 2), MetadataAck(6, 1), MetadataAck(6, 0), MetadataAck(8, 1)], ids=str
)
def test_an_acknowledgement_out_of_turn_changes_nothing(ack: MetadataAck) -> None:
    sender = FeedSender(7, topics("a"))
    message = sender.due(0.0)

    sender.on_ack(ack)

    assert not sender.is_settled
    assert (sender.due(0.0), sender.due(RETRY_S), sender.feed) == (None, message, 7)


def test_a_feed_without_topics_is_settled_only_when_the_librarian_has_heard_so() -> None:
    shelf = Shelf()
    in_order(FeedSender(7, topics("of an earlier life")), shelf)
    sender = FeedSender(8, {})
    before = sender.is_settled

    in_order(sender, shelf)

    assert (before, sender.is_settled, shelf.topics) == (False, True, {})


def test_a_topic_that_comes_and_goes_while_a_message_is_under_way_does_not_stay() -> None:
    sender, shelf = FeedSender(7, topics("a")), Shelf()
    message = sender.due(0.0)
    sender.set_topics(topics("a", "b"))
    sender.set_topics(topics("a"))
    assert message is not None
    deliver(message, shelf, sender)

    in_order(sender, shelf)

    assert shelf.topics == topics("a")


def test_a_librarian_that_lost_everything_has_it_again_after_one_confirmation() -> None:
    sender = FeedSender(7, topics("a", "b"))
    in_order(sender, Shelf())
    restarted = Shelf()

    sent = in_order(sender, restarted, now=CONFIRM_S)

    assert [(message.feed, message.sequence) for message in sent] == [(7, 1), (8, 0)]
    assert restarted.topics == topics("a", "b")


def test_a_restarted_agent_takes_back_what_it_announced_in_its_earlier_life() -> None:
    shelf = Shelf()
    in_order(FeedSender(7, topics("a", "b")), shelf)

    in_order(FeedSender(9, topics("b", "c")), shelf)

    assert shelf.topics == topics("b", "c")


def test_an_agent_whose_clock_was_set_back_is_heard_all_the_same() -> None:
    shelf = Shelf()
    in_order(FeedSender(1000, topics("a", "b")), shelf)
    sender = FeedSender(5, topics("c"))

    in_order(sender, shelf)

    assert (sender.feed, shelf.topics) == (1001, topics("c"))


def test_five_thousand_topics_arrive_in_five_messages() -> None:
    many = topics(*(f"topic-{number}" for number in range(5 * MAX_TOPICS_A_MESSAGE)))
    sender, shelf = FeedSender(7, many), Shelf()

    sent = in_order(sender, shelf)
    sender.set_topics({})
    removals = in_order(sender, shelf, now=0.1)

    assert [len(message.topics) for message in sent] == 5 * [MAX_TOPICS_A_MESSAGE]
    assert [len(message.removed) for message in removals] == 5 * [MAX_TOPICS_A_MESSAGE]
    assert shelf.topics == {}


def test_topics_of_the_longest_terms_fill_frames_that_are_allowed() -> None:
    longest = [f"{number:04}" + "\N{DESERET SMALL LETTER LONG I}" * 60 for number in range(2000)]
    most = {term: Announced(term, 2**32, 0.1) for term in longest}
    sender, shelf = FeedSender(2**53 - 1, most), Shelf()

    sent = in_order(sender, shelf)

    sizes = [len(wire.encode(AgentName("a" * 64), message)) for message in sent]
    assert max(sizes) <= wire.MAX_FRAME_BYTES
    assert len(sizes) < 2000 / 300  # They are filled, too.
    assert shelf.topics == most


TERMS = st.sampled_from([f"t{number}" for number in range(8)])
TOPICS = st.dictionaries(TERMS, st.tuples(st.integers(0, 3), st.sampled_from([0.0, 0.5, 1.0])))


class LossyFeed(RuleBasedStateMachine):
    """A feed over a link that loses, repeats and reorders, between two that start again at any moment."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        self.feeds = 1
        self.announced: Mapping[str, Announced] = {}
        self.sender = FeedSender(self.feeds, self.announced)
        self.shelf = Shelf()
        self.doubtful_up_to = 0
        self.messages: list[Metadata] = []
        self.acks: list[MetadataAck] = []

    @rule(chosen=TOPICS)
    def announce(self, chosen: dict[str, tuple[int, float]]) -> None:
        self.announced = {term: Announced(term, *standing) for term, standing in chosen.items()}
        self.sender.set_topics(self.announced)

    @rule(seconds=st.sampled_from([0.0, RETRY_S, CONFIRM_S]))
    def send(self, seconds: float) -> None:
        self.now += seconds
        message = self.sender.due(self.now)
        self.feeds = max(self.feeds, self.sender.feed)
        if message is not None:
            self.messages.append(message)

    @precondition(lambda self: self.messages)
    @rule(data=st.data(), stays=st.booleans())
    def message_arrives(self, data: st.DataObject, stays: bool) -> None:
        at = data.draw(st.integers(0, len(self.messages) - 1))
        message = self.messages[at] if stays else self.messages.pop(at)
        arrived = across(message)
        assert isinstance(arrived, Metadata)
        self.acks.append(self.shelf.take(arrived))

    @precondition(lambda self: self.acks)
    @rule(data=st.data(), stays=st.booleans())
    def ack_arrives(self, data: st.DataObject, stays: bool) -> None:
        at = data.draw(st.integers(0, len(self.acks) - 1))
        self.sender.on_ack(self.acks[at] if stays else self.acks.pop(at))
        self.feeds = max(self.feeds, self.sender.feed)

    @precondition(lambda self: self.messages or self.acks)
    @rule()
    def all_under_way_is_lost(self) -> None:
        self.messages.clear()
        self.acks.clear()

    @rule()
    def the_agent_starts_again(self) -> None:
        self.feeds += 1
        self.sender = FeedSender(self.feeds, self.announced)

    @rule()
    def the_librarian_starts_again(self) -> None:
        self.shelf = Shelf()
        self.doubtful_up_to = self.sender.feed  # The sender cannot know before its next message.

    @invariant()
    def a_settled_feed_has_told_everything(self) -> None:
        if self.sender.is_settled and self.sender.feed > self.doubtful_up_to:
            assert self.shelf.topics == self.announced

    def teardown(self) -> None:
        for message in self.messages:
            self.shelf.take(message)
        for ack in self.acks:
            self.sender.on_ack(ack)
        settle(self.sender, self.shelf, self.now + RETRY_S)
        settle(self.sender, self.shelf, self.now + 2 * CONFIRM_S + RETRY_S)
        assert self.shelf.topics == self.announced


TestLossyFeed = LossyFeed.TestCase
TestLossyFeed.settings = settings(max_examples=100, stateful_step_count=30)
