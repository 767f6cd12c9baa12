"""What a librarian is told, by whom, and what it tells: topics of living agents, within its policy."""

from __future__ import annotations

import pytest

from librarian import Librarian
from node import MemoryNode
from node.net.transport import Received
from protocol import wire
from protocol.digest import Announced
from protocol.messages import Message, Metadata, MetadataAck, Who, WhoReply
from protocol.names import AgentName
from tests.support.endpoints import stranger
from tests.support.librarians import SmallMesh, wait_for_holders
from tests.support.waiting import wait_for

pytestmark = pytest.mark.processes

STRANGER = AgentName("stranger")
SECRETS = Metadata(1, 0, (Announced("garden", 3, 0.5),))
SENTENCE = "The kestrel over Lisbon counts seventeen copper spoons before sunrise."


def capture(librarian: Librarian) -> list[Received]:
    """What reaches the librarian from now on; it arrives all the same."""
    peer, frames = librarian._endpoint.driver.peer, list[Received]()
    take = peer.on_received

    def listen(now: float, received: Received) -> None:
        frames.append(received)
        take(now, received)

    peer.on_received = listen  # type: ignore[method-assign]
    return frames


def is_known(node: MemoryNode) -> bool:
    return "librarian" in node.status().librarians


def test_no_frame_that_reaches_a_librarian_holds_a_text_a_title_or_a_path(mesh: SmallMesh) -> None:
    librarian = mesh.librarian()
    frames = capture(librarian)
    alice, bob = mesh.node("alice"), mesh.node("bob")
    for node in (alice, bob):
        node.remember(
            SENTENCE, path="/diary/monday", title="What the kestrel did", visibility="mesh", tags=["spoons"]
        )
    wait_for_holders(librarian, "spoons", "alice", "bob")
    wait_for(lambda: is_known(alice))

    quoted = alice.ask("kestrel spoons", budget_tokens=500)
    alice.who_knows("kestrel spoons", via="librarian")

    assert SENTENCE in quoted.text
    whole = b"".join(received.frame for received in frames)
    assert b"spoon" in whole  # The topic, stemmed.
    for text in (SENTENCE, "copper spoons before", "What the kestrel did", "/diary/monday"):
        assert text.encode() not in whole


def test_topics_of_private_memories_never_arrive(mesh: SmallMesh) -> None:
    librarian = mesh.librarian()
    frames = capture(librarian)
    alice = mesh.node("alice")

    receipt = alice.remember("About Zanzibar.", tags=["zanzibar"], visibility="private")
    alice.remember("About Lisbon.", tags=["lisbon"], visibility="listed")
    wait_for_holders(librarian, "lisbon", "alice")
    alice.remember("About Madeira.", tags=["madeira"], visibility="private")
    alice.forget(receipt.path)
    alice.remember("About Porto.", tags=["porto"], visibility="mesh")
    wait_for_holders(librarian, "porto", "alice")

    terms = {topic.term for topic in librarian.catalogue.topics_of(alice.agent)}
    assert {"lisbon", "porto"} <= terms
    whole = b"".join(received.frame for received in frames)
    assert b"lisbon" in whole
    assert b"zanzib" not in whole
    assert b"madeir" not in whole


def test_topics_that_become_private_are_withdrawn(mesh: SmallMesh) -> None:
    librarian, alice = mesh.librarian(), mesh.node("alice")
    alice.remember("Of gardens.", path="/notes", tags=["garden"])
    wait_for_holders(librarian, "garden", "alice")

    alice.remember("Of gardens.", path="/notes", tags=["garden"], visibility="private")

    wait_for_holders(librarian, "garden")


def test_topics_of_a_stranger_are_refused_without_an_answer_until_it_is_a_member(mesh: SmallMesh) -> None:
    librarian = mesh.librarian()
    with stranger(STRANGER, librarian, joins=False) as one:
        one.tell(SECRETS)
        wait_for(lambda: librarian.status().dropped == {"not-introduced": 1})
        before = list(librarian.catalogue)
        one.join()
        one.tell(SECRETS)
        answers: list[Message] = []
        while not any(isinstance(answer, MetadataAck) for answer in answers):
            answers.append(one.hear())

    assert before == []
    assert answers[-1] == MetadataAck(1, 1)
    assert librarian.catalogue.topics_of(STRANGER) == [Announced("garden", 3, 0.5)]
    assert librarian.status().metadata_refused == 0


def test_topics_of_a_librarian_are_refused(mesh: SmallMesh) -> None:
    librarian = mesh.librarian()

    with stranger("other", librarian, role="librarian") as one:
        one.tell(SECRETS)
        wait_for(lambda: librarian.status().metadata_refused == 1)

    assert librarian.status().agents == 0


def ask(librarian: Librarian, *terms: str) -> WhoReply:
    with stranger(STRANGER, librarian) as one:
        one.tell(Who(5, terms, 10))
        reply = one.hear()
    assert isinstance(reply, WhoReply)
    assert reply.request == 5
    return reply


def test_under_full_an_answer_names_agents_topics_and_counts(mesh: SmallMesh) -> None:
    librarian, _ = mesh.librarian(policy="full"), mesh.node("alice", "garden", "rain")
    wait_for_holders(librarian, "garden", "alice")

    reply = ask(librarian, "garden", "rain")

    (holder,) = reply.holders
    assert (reply.policy, reply.agents_known) == ("full", 1)
    assert (holder.agent, holder.matched, holder.memories) == ("alice", ("garden", "rain"), 1)


def test_under_owner_an_answer_names_whom_to_ask_and_no_topic_or_count(mesh: SmallMesh) -> None:
    librarian, alice = mesh.librarian(policy="owner"), mesh.node("alice", "garden", "rain")
    wait_for_holders(librarian, "garden", "alice")

    (holder,) = ask(librarian, "garden", "rain").holders
    wait_for(lambda: is_known(alice))
    found = alice.who_knows("garden")

    assert (holder.agent, holder.matched, holder.memories) == ("alice", (), 0)
    assert holder.score > 0
    assert [(lead.agent, lead.matched, lead.memories) for lead in found.leads] == [("alice", (), None)]
    assert found.source == "librarian"


def test_under_existence_an_answer_says_only_whether_somebody_knows(mesh: SmallMesh) -> None:
    librarian, alice = mesh.librarian(policy="existence"), mesh.node("alice", "garden")
    wait_for(lambda: librarian.who_knows("garden").holders)

    known, unknown = ask(librarian, "garden"), ask(librarian, "bitcoin")
    wait_for(lambda: is_known(alice))
    found = alice.who_knows("garden")
    told = alice.who_knows("garden", via="librarian")

    assert b"alice" not in wire.encode(librarian.agent, known)
    assert [holder.agent for holder in known.holders] == [""]
    assert unknown.holders == ()
    assert (found.source, [lead.agent for lead in found.leads]) == ("gossip", ["alice"])
    assert found.note == told.note == "the policy of librarian librarian tells only that somebody knows"
    assert (told.source, told.leads) == ("librarian", ())


def test_under_none_an_answer_is_the_same_whoever_knows(mesh: SmallMesh) -> None:
    librarian, alice = mesh.librarian(policy="none"), mesh.node("alice", "garden")
    wait_for(lambda: librarian.status().topics > 0)
    wait_for(lambda: is_known(alice))

    found = alice.who_knows("garden")

    assert ask(librarian, "garden") == ask(librarian, "bitcoin") == WhoReply(5, "none", 0, ())
    assert librarian.who_knows("garden").holders == ()
    assert (found.source, found.note) == ("gossip", "the policy of librarian librarian tells nothing")
