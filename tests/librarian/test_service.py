"""A librarian among nodes: it comes late, it is gone again, it never names who is gone."""

from __future__ import annotations

import signal

import pytest

from librarian.service import Answer, LibrarianStatus
from node.net.control import ControlClient
from node.net.driver import now
from node.net.register import Register
from protocol import feed
from protocol.errors import InvalidInput, NameTaken, NotFound, PeerRefused, PeerSilent
from protocol.messages import Announce, Claim, RecallRequest, Refused
from protocol.names import AgentName
from protocol.profile import PROFILES, Profile
from tests.support.librarians import SmallMesh, holders, wait_for_holders
from tests.support.members import member_process
from tests.support.settings import MakeConfig
from tests.support.waiting import wait_for

pytestmark = pytest.mark.processes


def test_a_librarian_that_comes_late_learns_of_all_and_is_asked_from_then_on(mesh: SmallMesh) -> None:
    alice, bob = mesh.node("alice", "bitcoin"), mesh.node("bob", "bitcoin", "garden")
    librarian = mesh.librarian()
    wait_for_holders(librarian, "bitcoin", "alice", "bob")
    wait_for(lambda: "librarian" in alice.status().librarians)

    found = alice.who_knows("the garden")

    assert (found.source, found.librarian, found.note) == ("librarian", "librarian", "")
    (lead,) = found.leads
    assert (lead.agent, lead.matched, lead.memories, lead.certainty, lead.error) == (
        bob.agent,
        ("garden",),
        1,
        1.0,
        0.0,
    )


def test_a_librarian_that_starts_again_under_its_name_knows_everything_again(mesh: SmallMesh) -> None:
    alice = mesh.node("alice", "bitcoin")
    first = mesh.librarian()
    wait_for_holders(first, "bitcoin", "alice")
    first.close()

    second = mesh.librarian()

    wait_for_holders(second, "bitcoin", "alice")
    wait_for(lambda: alice.who_knows("bitcoin").source == "librarian")


def test_without_a_librarian_gossip_answers_and_says_that_it_does(mesh: SmallMesh) -> None:
    alice, _ = mesh.node("alice"), mesh.node("bob", "garden")
    librarian = mesh.librarian()
    wait_for(lambda: alice.who_knows("garden").source == "librarian")
    wait_for(lambda: alice.who_knows("garden", via="gossip").leads)

    librarian.close()
    wait_for(lambda: not alice.status().librarians)
    found = alice.who_knows("garden")

    assert (found.source, found.librarian) == ("gossip", "")
    assert [lead.agent for lead in found.leads] == ["bob"]
    with pytest.raises(NotFound, match="avm librarian"):
        alice.who_knows("garden", via="librarian")


def test_a_librarian_that_never_answers_costs_a_moment_and_gossip_answers_with_a_note(
    mesh: SmallMesh,
) -> None:
    alice, _ = mesh.node("alice"), mesh.node("bob", "garden")
    librarian = mesh.librarian()
    wait_for(lambda: alice.who_knows("garden").source == "librarian")
    wait_for(lambda: alice.who_knows("garden", via="gossip").leads)
    librarian._endpoint.driver.peer.hooks.on_request = lambda *_: None

    found = alice.who_knows("garden")

    assert found.source == "gossip"
    assert found.note == "librarian librarian did not answer within 0.25 s"
    assert [lead.agent for lead in found.leads] == ["bob"]
    with pytest.raises(PeerSilent, match="did not answer"):
        alice.who_knows("garden", via="librarian")


def test_of_two_librarians_the_second_answers_for_a_first_that_is_silent_or_gone(mesh: SmallMesh) -> None:
    alice, _ = mesh.node("alice"), mesh.node("bob", "garden")
    first, second = mesh.librarian("librarian-1"), mesh.librarian("librarian-2")
    wait_for_holders(first, "garden", "bob")
    wait_for_holders(second, "garden", "bob")
    wait_for(lambda: len(alice.status().librarians) == 2)

    both = alice.who_knows("garden")
    first._endpoint.driver.peer.hooks.on_request = lambda *_: None
    silent = alice.who_knows("garden")
    first.close()
    wait_for(lambda: alice.status().librarians == ("librarian-2",))
    gone = alice.who_knows("garden")

    assert [found.librarian for found in (both, silent, gone)] == [
        "librarian-1",
        "librarian-2",
        "librarian-2",
    ]
    assert "librarian-2" not in first.catalogue  # Librarians announce nothing to each other.


def test_what_is_forgotten_is_gone_from_the_catalogue_and_the_rest_stays(mesh: SmallMesh) -> None:
    alice, librarian = mesh.node("alice", "garden"), mesh.librarian()
    receipt = alice.remember("Something else.", tags=["bitcoin"])
    wait_for_holders(librarian, "bitcoin", "alice")

    alice.forget(receipt.path)

    wait_for_holders(librarian, "bitcoin")
    assert holders(librarian, "garden") == ["alice"]


def test_an_agent_that_leaves_is_dropped_with_all_its_topics(mesh: SmallMesh) -> None:
    alice, bob, librarian = mesh.node("alice", "garden"), mesh.node("bob", "garden"), mesh.librarian()
    wait_for_holders(librarian, "garden", "alice", "bob")

    bob.close()

    wait_for_holders(librarian, "garden", "alice")
    status = librarian.status()
    assert status.members == {"alive": 2, "left": 1}
    assert (list(librarian.catalogue), status.agents) == ([alice.agent], 1)
    assert list(librarian._receivers) == [alice.agent]
    librarian.catalogue.check()


def test_an_agent_that_is_killed_is_never_named_once_it_counts_as_dead(
    mesh: SmallMesh, make_config: MakeConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    hasty = Profile(heartbeat_s=0.2, silence_s=1.2, ping_s=0.5, suspicion_s=0.3)
    librarian_settings = make_config(profile="lan")
    monkeypatch.setitem(PROFILES, "local", lambda: hasty)
    librarian = mesh.librarian()
    with member_process("alice", librarian_settings) as process:
        wait_for(lambda: "alice" in librarian.catalogue)

        process.send(signal.SIGKILL)

        wait_for(lambda: "alice" not in librarian.catalogue)
        wait_for(lambda: librarian.status().members.get("dead") == 1)
        assert librarian.status().agents == 0


def test_a_living_agent_that_was_declared_dead_is_dropped_and_comes_back_with_everything(
    mesh: SmallMesh, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(feed, "CONFIRM_S", 0.1)
    mesh.node("alice", "garden")
    librarian = mesh.librarian()
    wait_for_holders(librarian, "garden", "alice")
    driver = librarian._endpoint.driver

    with driver.lock:
        member = driver.peer.engine.members.get("alice")
        assert member is not None
        rumour = Announce((Claim("alice", member.incarnation, member.version, "dead"),))
        driver.peer.perform(now(), driver.peer.engine.on_message(now(), AgentName("x"), None, rumour))
        at_once = holders(librarian, "garden")

    assert at_once == []
    wait_for_holders(librarian, "garden", "alice")


def test_a_librarian_refuses_to_recall(mesh: SmallMesh) -> None:
    alice, librarian = mesh.node("alice"), mesh.librarian()
    wait_for(lambda: alice.status().librarians)

    outcome = alice._endpoint.driver.ask(
        dict(alice._endpoint.librarians()), lambda number, _: RecallRequest(number, "x", 10), timeout_s=20
    ).wait()

    (refusal,) = outcome.replies.values()
    assert isinstance(refusal, Refused)
    assert refusal.code == PeerRefused.code
    assert refusal.reason == f"{librarian.agent} is a librarian, it has no memory"


def test_its_user_reads_status_members_and_answers_over_the_command_socket(mesh: SmallMesh) -> None:
    alice, librarian = mesh.node("alice", "garden"), mesh.librarian(policy="owner")
    wait_for_holders(librarian, "garden", "alice")
    wait_for(lambda: alice.who_knows("garden", via="auto").source == "librarian")
    client = ControlClient(Register(librarian.config.folder).control_path(librarian.agent))

    try:
        status = client.call(LibrarianStatus, "status")
        answer = client.call(Answer, "who_knows", query="the garden", limit=3)
        members = client.call(list[dict[str, object]], "members")
        with pytest.raises(PeerRefused, match="another program"):
            client.call(type(None), "stop")
    finally:
        client.close()

    assert (status.agent, status.mesh, status.address) == ("librarian", "test", librarian.address)
    assert (status.policy, status.agents, status.members) == ("owner", 1, {"alive": 2})
    assert status.topics == len(librarian.catalogue.topics_of(alice.agent)) > 0
    assert status.metadata_taken > 0
    assert status.questions > 0
    assert (status.metadata_refused, status.topics_refused, status.dropped) == (0, 0, {})
    assert (answer.terms, answer.agents_known) == (("garden",), 1)
    assert [(one.agent, one.matched, one.memories) for one in answer.holders] == [("alice", (), 0)]
    assert [member["agent"] for member in members] == ["alice", "librarian"]


@pytest.mark.parametrize(
    ("query", "limit", "field"),
    [
        ("", 1, "query"),
        (" \n", 1, "query"),
        ("x" * 4097, 1, "query"),
        ("x", 0, "limit"),
        ("x", 1001, "limit"),
    ],
)
def test_a_question_that_is_none_names_its_field(mesh: SmallMesh, query: str, limit: int, field: str) -> None:
    librarian = mesh.librarian()

    with pytest.raises(InvalidInput) as refusal:
        librarian.who_knows(query, limit=limit)

    assert refusal.value.field == field


def test_a_name_that_runs_already_is_not_given_to_a_librarian(mesh: SmallMesh) -> None:
    mesh.node("alice")

    with pytest.raises(NameTaken, match="alice already runs"):
        mesh.librarian("alice")


def test_a_librarian_may_be_closed_twice(mesh: SmallMesh) -> None:
    librarian = mesh.librarian()

    librarian.close()
    librarian.close()

    with mesh.librarian() as again:
        assert again.address
