"""Real nodes among members that lie, strangers with stolen papers, and members that are none any more."""

from __future__ import annotations

import time
from types import SimpleNamespace

import msgspec
import pytest
import zmq

from node import MemoryNode, NodeConfig
from node.net import trust
from node.net.address import split_key, with_key
from node.net.audit import read_audit
from node.net.authority import Authority
from node.net.credentials import issue, store
from node.net.endpoint import MemberInfo
from node.net.keys import make_pair
from protocol.messages import Message, Ping, RecallReply, RecallRequest, Records, Refused
from protocol.names import AgentName
from tests.support.endpoints import Stranger, stranger
from tests.support.settings import MakeConfig
from tests.support.sockets import connect
from tests.support.waiting import wait_for

pytestmark = pytest.mark.processes

LISTED, OPEN = "the heron owes silver", "the zebra carries copper"


def leads(node: MemoryNode, topic: str) -> list[str]:
    return sorted(lead.agent for lead in node.who_knows(topic, via="gossip").leads)


def dropped(node: MemoryNode, reason: str) -> int:
    return node.status().dropped.get(reason, 0)


def known_of(node: MemoryNode, agent: str) -> MemberInfo:
    """What the node holds of this member, whenever it heard it."""
    (info,) = [info for info in node.members() if info.agent == agent]
    return msgspec.structs.replace(info, heard_s=0.0)


def publisher_of(node: MemoryNode) -> str:
    """Where the node is heard, with its key."""
    record = node._endpoint.driver.peer.engine.record
    return with_key(record.publisher, split_key(node.address)[1])


def drain(hearer: zmq.Socket[bytes]) -> None:
    """Take what has come."""
    while hearer.poll(0):
        hearer.recv()


def authority(config: NodeConfig) -> Authority:
    return Authority.open(config.credentials, config.mesh)


def asked(one: Stranger, query: str = "zebra") -> Message:
    one.tell(RecallRequest(1, query, 500))
    return one.hear()


# -- who speaks


def test_a_certificate_without_its_key_is_worth_nothing(make_config: MakeConfig) -> None:
    with MemoryNode("a", config=make_config()) as a, stranger("bob", a) as bob:
        before = known_of(a, "bob")
        with stranger("thief", a, joins=False) as thief:
            thief.dealer.disconnect(a.address.partition("#")[0])
            connect(thief.dealer, a.address, make_pair())
            thief.tell(bob.hello(), sender="bob")
            wait_for(lambda: dropped(a, "wrong-key") == 1)
            thief.tell(RecallRequest(1, "zebra", 100), sender="bob")
            wait_for(lambda: dropped(a, "not-introduced") == 1)

            assert not thief.dealer.poll(200)
        assert known_of(a, "bob") == before
        assert [info.agent for info in a.members()] == ["a", "bob"]
        assert isinstance(asked(bob), RecallReply)


@pytest.mark.parametrize(
    "said",
    [Ping(1), Records(()), RecallRequest(1, "zebra", 100)],
    ids=lambda message: type(message).__name__,
)
def test_a_member_that_speaks_in_anothers_name_is_not_heard(said: Message, make_config: MakeConfig) -> None:
    with MemoryNode("a", config=make_config()) as a, stranger("bob", a), stranger("eve", a) as eve:
        a.remember(OPEN, tags=["zebra"], visibility="mesh")

        eve.tell(said, sender="bob")
        wait_for(lambda: dropped(a, "wrong-sender") == 1)

        assert not eve.dealer.poll(200)
        assert [(one.who, one.reason) for one in a.status().net.wrong] == [("eve", "wrong-sender")]
        assert isinstance(asked(eve), RecallReply)  # In its own name it is.


def test_who_forges_records_is_not_listened_to_for_a_while(make_config: MakeConfig) -> None:
    with MemoryNode("a", config=make_config()) as a, stranger("bob", a) as bob, stranger("eve", a) as eve:
        for version in range(2, 9):
            forged = eve.signed(msgspec.structs.replace(bob.record, version=version))
            eve.tell(Records((forged,), (bob.credentials.certificate,)))
        wait_for(lambda: dropped(a, "shut-out") >= 1)

        eve.tell(Ping(1))
        assert not eve.dealer.poll(200)
        bob.tell(Ping(2))
        assert bob.hear()
        assert known_of(a, "bob").version == 1


# -- who is a member


def test_whoever_is_revoked_is_expelled_here_and_on_other_hosts_and_the_others_go_on(
    make_config: MakeConfig,
) -> None:
    config = make_config()
    with (
        MemoryNode("a", config=config) as a,
        MemoryNode("c", config=config) as c,
        stranger("eve", a) as eve,
        MemoryNode("b", config=make_config(host="2", seeds=(a.address,))) as b,
    ):
        a.remember(OPEN, tags=["zebra"], visibility="mesh")
        wait_for(lambda: all(leads(node, "zebra") == ["a", "eve"] for node in (a, b, c)))

        authority(config).revoke(AgentName("eve"))

        wait_for(lambda: all(leads(node, "zebra") == ["a"] for node in (a, b, c)))
        assert "eve" not in {info.agent for node in (a, b, c) for info in node.members()}
        for node in (a, b, c):
            eve.connect(node.address)
            eve.tell(RecallRequest(1, "zebra", 100))
            eve.tell(eve.hello())
            assert not eve.dealer.poll(300)
        assert b.ask("zebra", timeout_s=20.0).items
        wait_for(lambda: {node.status().charter for node in (a, b, c)} == {2})


def test_whoever_is_revoked_hears_nothing_any_more_and_the_others_do(make_config: MakeConfig) -> None:
    config = make_config()
    with (
        MemoryNode("a", config=config) as a,
        stranger("eve", a) as eve,
        stranger("bob", a) as bob,
        eve.hearing(publisher_of(a)) as by_eve,
        bob.hearing(publisher_of(a)) as by_bob,
    ):
        assert by_eve.poll(10_000)
        assert by_bob.poll(10_000)

        authority(config).revoke(AgentName("eve"))
        wait_for(lambda: leads(a, "zebra") == ["bob"])

        for _ in range(4):
            drain(by_bob)
            drain(by_eve)
            assert by_bob.poll(10_000)
        assert not by_eve.poll(0)


def held_epoch(node: MemoryNode, other: MemoryNode) -> int:
    """By which key the digest is made that the node holds of the other one."""
    member = node._endpoint.driver.peer.engine.members.get(other.agent)
    assert member is not None
    return member.record.digest.key_epoch if member.record else 0


def test_the_key_of_the_digests_changes_under_a_running_mesh_and_who_was_away_is_found_again(
    make_config: MakeConfig,
) -> None:
    config = make_config()
    with MemoryNode("a", config=config) as a, MemoryNode("c", config=config) as c:
        a.remember(LISTED, tags=["heron"])
        c.remember("Of a finch.", tags=["finch"])
        with MemoryNode("b", config=config) as b:
            b.remember(OPEN, tags=["zebra"])
            wait_for(lambda: leads(a, "zebra") == leads(c, "zebra") == ["b"])
        wait_for(lambda: leads(c, "heron") == ["a"] and leads(a, "finch") == ["c"])

        authority(config).rotate()

        def have_changed() -> bool:
            assert leads(c, "heron") == ["a"]
            assert leads(a, "finch") == ["c"]
            return all(held_epoch(node, other) == 2 for node in (a, c) for other in (a, c))

        wait_for(have_changed)
        with MemoryNode("b", config=config) as b:
            wait_for(lambda: leads(a, "zebra") == leads(c, "zebra") == ["b"])
            wait_for(lambda: leads(b, "heron") == ["a"] and held_epoch(a, b) == 2)


def test_a_certificate_that_expires_while_its_owner_runs_ends_its_membership(make_config: MakeConfig) -> None:
    config = make_config()
    short = issue(Authority.create(config.credentials, config.mesh), AgentName("eve"), "agent", 1)
    store(config, short)
    with MemoryNode("a", config=config) as a, stranger("eve", a) as eve:
        wait_for(lambda: leads(a, "zebra") == ["eve"])

        a._endpoint._trust._clock = lambda: short.certificate.expires_at + 1.0

        wait_for(lambda: leads(a, "zebra") == [])
        eve.tell(RecallRequest(1, "zebra", 100))
        assert not eve.dealer.poll(300)


@pytest.mark.parametrize("off_s", [3_600.0, -3_600.0], ids=["ahead", "behind"])
def test_a_clock_an_hour_off_changes_nothing(
    off_s: float, make_config: MakeConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    config, right = make_config(), time.time
    with MemoryNode("a", config=config) as a:
        monkeypatch.setattr(trust, "time", SimpleNamespace(time=lambda: right() + off_s))
        with MemoryNode("b", config=config) as b:
            a.remember(LISTED, tags=["heron"], visibility="mesh")
            b.remember(OPEN, tags=["zebra"], visibility="mesh")
            wait_for(lambda: leads(a, "zebra") == ["b"] and leads(b, "heron") == ["a"])

            assert a.ask("zebra", timeout_s=20.0).items
            assert b.ask("heron", timeout_s=20.0).items
            authority(config).rotate()
            wait_for(lambda: held_epoch(a, b) == held_epoch(b, a) == 2)
            assert not a.status().dropped
            assert not b.status().dropped


# -- who is given what


def of_role(config: NodeConfig, name: str, role: str) -> None:
    """Issue a certificate in this role."""
    made = issue(authority(config), AgentName(name), role)  # type: ignore[arg-type]
    store(config, made)


def test_an_observer_asks_and_is_no_lead_and_every_answer_is_written_down(make_config: MakeConfig) -> None:
    config = make_config()
    with MemoryNode("a", config=config) as a:
        of_role(config, "eye", "observer")
        a.remember(OPEN, tags=["zebra"], visibility="mesh", path="/open")
        a.remember(LISTED, tags=["zebra"])
        with MemoryNode("eye", config=config) as eye:
            eye.remember("The zebra was seen.", tags=["zebra"], visibility="mesh")
            wait_for(lambda: leads(eye, "zebra") == ["a"])

            found = eye.ask("zebra", timeout_s=20.0)

            assert OPEN in found.text
            assert LISTED not in found.text
            assert leads(a, "zebra") == ["a"]
            (entry,) = read_audit(config.audit_file(AgentName("a")), limit=10)
            assert (entry.asker, entry.role, entry.decision) == ("eye", "observer", "answered")
            assert entry.paths == ("/open",)
            assert OPEN not in config.audit_file(AgentName("a")).read_text()


def test_a_librarian_is_given_no_text_and_that_is_written_down(make_config: MakeConfig) -> None:
    config = make_config()
    with MemoryNode("a", config=config) as a, stranger("books", a, role="librarian") as books:
        a.remember(OPEN, tags=["zebra"], visibility="mesh")

        books.tell(RecallRequest(1, "zebra", 500))
        answers = [books.hear()]
        while not isinstance(answers[-1], Refused):
            answers.append(books.hear())

        assert answers[-1] == Refused(1, "peer-refused", "a librarian is given no text")
        (entry,) = read_audit(config.audit_file(AgentName("a")), limit=10)
        assert (entry.asker, entry.role, entry.decision) == ("books", "librarian", "refused")
