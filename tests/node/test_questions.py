"""Who knows, and asking them: leads, budgets, deadlines, and what an owner gives away."""

from __future__ import annotations

import signal
import threading
from typing import Any

import pytest

from node import MemoryNode, NodeClient, serving
from node.net.peer import Hooks
from node.recall import tokens
from node.serving import Server
from protocol.effects import Route
from protocol.errors import InvalidInput, NodeClosed, NotFound, PeerSilent
from protocol.messages import (
    Holder,
    Metadata,
    RecallReply,
    RecallRequest,
    Refused,
    Request,
    Who,
    WhoReply,
)
from protocol.names import AgentName
from tests.support.endpoints import Stranger, running, stranger
from tests.support.members import member_process
from tests.support.settings import MakeConfig
from tests.support.waiting import wait_for

pytestmark = pytest.mark.processes


def leads(node: MemoryNode, query: str) -> list[str]:
    return [lead.agent for lead in node.who_knows(query, via="gossip").leads]


def questions_to(one: Stranger) -> RecallReply | Refused:
    """What the member answers when asked for everything on zebras."""
    one.tell(RecallRequest(1, "zebra", 1_000_000))
    reply = one.hear()
    assert isinstance(reply, RecallReply | Refused)
    return reply


def librarian(policy: Any = "full", *, answers: bool = True) -> tuple[list[Any], Hooks]:
    """Hooks of a librarian that names one holder for everything; the endpoint is to be put in the list."""
    place: list[Any] = []

    def answer(_now: float, _sender: AgentName, route: Route, request: Request) -> None:
        if isinstance(request, Who) and answers:
            agent = "keeper" if policy in ("full", "owner") else ""
            holders = () if policy == "none" else (Holder(agent, 3.0, request.terms, 4, 0.5),)
            place[0].driver.peer.send(route, WhoReply(request.request, policy, 9, holders))

    return place, Hooks(on_request=answer)


def test_who_knows_names_oneself_and_others_the_more_likely_first(make_config: MakeConfig) -> None:
    config = make_config()
    with MemoryNode("a", config=config) as a, MemoryNode("b", config=config) as b:
        a.remember("The zebra.", tags=["zebra"])
        b.remember("The zebra and the giraffe.", tags=["zebra", "giraffe"])
        wait_for(lambda: leads(a, "giraffe") == ["b"] and len(leads(a, "zebra")) == 2)

        found = a.who_knows("zebra giraffe")

        assert [lead.agent for lead in found.leads] == ["b", "a"]
        assert found.source == "gossip"
        assert found.leads[1].age_s == 0.0, "of oneself one knows at once"
        assert len(a.who_knows("zebra giraffe", limit=1).leads) == 1
        assert a.who_knows("okapi").leads == ()


@pytest.mark.parametrize(
    ("field", "options"),
    [
        ("limit", {"limit": 0}),
        ("limit", {"limit": 1001}),
        ("limit", {"limit": "ten"}),
        ("via", {"via": "letter"}),
        ("query", {"query": " "}),
        ("query", {"query": "x" * 20_000}),
    ],
)
def test_a_bad_question_names_its_field(field: str, options: dict[str, Any], make_config: MakeConfig) -> None:
    with MemoryNode("a", config=make_config()) as a, pytest.raises(InvalidInput) as raised:
        a.who_knows(**({"query": "zebra"} | options))

    assert raised.value.field == field


@pytest.mark.parametrize(
    ("field", "options"),
    [
        ("budget_tokens", {"budget_tokens": 0}),
        ("budget_tokens", {"budget_tokens": 1_000_001}),
        ("budget_tokens", {"budget_tokens": 1.5}),
        ("max_peers", {"max_peers": 0}),
        ("max_peers", {"max_peers": 33}),
        ("timeout_s", {"timeout_s": 0.0}),
        ("timeout_s", {"timeout_s": -1.0}),
        ("timeout_s", {"timeout_s": float("nan")}),
        ("timeout_s", {"timeout_s": float("inf")}),
        ("timeout_s", {"timeout_s": "soon"}),
        ("query", {"query": ""}),
        ("query", {"query": 5}),
    ],
)
def test_a_bad_ask_names_its_field(field: str, options: dict[str, Any], make_config: MakeConfig) -> None:
    with MemoryNode("a", config=make_config()) as a, pytest.raises(InvalidInput) as raised:
        a.ask(**({"query": "zebra"} | options))

    assert raised.value.field == field
    assert "\n" not in str(raised.value)


def test_bytes_that_were_no_text_do_not_stop_a_question(make_config: MakeConfig) -> None:
    config = make_config()
    with MemoryNode("a", config=config) as a, MemoryNode("b", config=config) as b:
        b.remember("The zebra.", tags=["zebra"], visibility="mesh")
        wait_for(lambda: leads(a, "zebra") == ["b"])

        assert [lead.agent for lead in a.who_knows("\udcff zebra").leads] == ["b"]
        assert [item.agent for item in a.ask("\udcff zebra", timeout_s=20.0).items] == ["b"]


def test_asking_merges_what_all_say_into_one_budget_and_never_passes_it(make_config: MakeConfig) -> None:
    config = make_config()
    with (
        MemoryNode("a", config=config) as a,
        MemoryNode("b", config=config) as b,
        MemoryNode("c", config=config) as c,
    ):
        for node, animal in ((a, "lion"), (b, "giraffe"), (c, "okapi")):
            for number in range(20):
                node.remember(
                    f"On day {number} the zebra met a {animal} and they walked {number * 7} miles together.",
                    title=f"{animal} {number}",
                    tags=["zebra"],
                    visibility="mesh",
                )
        wait_for(lambda: len(leads(a, "zebra")) == 3)

        for budget in (1, 2, 5, 20, 100, 300, 2000):
            answer = a.ask("zebra", budget_tokens=budget, timeout_s=20.0)
            assert tokens.count(answer.text) == answer.tokens <= budget
            assert answer.silent_peers == ()

        assert {item.agent for item in answer.items} == {"a", "b", "c"}
        assert answer.hops["peer"] == 1
        alone = a.ask("zebra", max_peers=1, timeout_s=20.0)
        assert len({item.agent for item in alone.items} - {"a"}) == 1


def test_only_what_any_member_may_read_is_given_to_a_peer(make_config: MakeConfig) -> None:
    config = make_config()
    with MemoryNode("a", config=config) as a, MemoryNode("b", config=config) as b:
        a.remember("Open: the zebra is striped.", tags=["zebra"], visibility="mesh")
        a.remember("Listed: the zebra has a debt.", tags=["zebra"])
        a.remember("Private: the zebra is ill.", tags=["zebra"], visibility="private")
        a.remember("Once open: the zebra was here.", path="/was", tags=["zebra"], visibility="mesh")
        a.remember("Now listed: the zebra was here.", path="/was", tags=["zebra"])
        wait_for(lambda: leads(b, "zebra") == ["a"])

        answer = b.ask("zebra debt ill was here", timeout_s=20.0)

        assert [item.text for item in answer.items] == ["Open: the zebra is striped."]
        with stranger("m", a) as m:
            reply = questions_to(m)
            assert isinstance(reply, RecallReply)
            assert [quote.text for quote in reply.quotes] == ["Open: the zebra is striped."]


def test_a_reply_larger_than_a_frame_is_cut_and_not_lost(make_config: MakeConfig) -> None:
    with MemoryNode("a", config=make_config()) as a, stranger("m", a) as m:
        for number in range(20):
            text = f"The zebra number {number}. " + f"{number:02}-" + "=" * 20_000
            a.remember(text, tags=["zebra"], visibility="mesh")

        reply = questions_to(m)

        assert isinstance(reply, RecallReply)
        assert 0 < len(reply.quotes) < 20


def test_one_memory_larger_than_a_frame_is_cut_and_not_lost(make_config: MakeConfig) -> None:
    with MemoryNode("a", config=make_config()) as a, stranger("m", a) as m:
        a.remember("The zebra " + "=" * 200_000, tags=["zebra"], visibility="mesh")

        reply = questions_to(m)

        assert isinstance(reply, RecallReply)
        assert len(reply.quotes) == 1
        assert reply.quotes[0].cut
        assert reply.quotes[0].text.startswith("The zebra")


def test_a_node_that_is_no_librarian_says_so(make_config: MakeConfig) -> None:
    with MemoryNode("a", config=make_config()) as a, stranger("m", a) as m:
        m.tell(Who(1, ("zebra",), 10))
        refused = m.hear()
        m.tell(Metadata(1, 0, ()))
        m.tell(Who(2, ("zebra",), 10))

        assert refused == Refused(1, "peer-refused", "a is no librarian")
        assert m.hear() == Refused(2, "peer-refused", "a is no librarian")


def test_a_question_that_is_none_is_refused_on_one_line(make_config: MakeConfig) -> None:
    with MemoryNode("a", config=make_config()) as a, stranger("m", a) as m:
        m.tell(RecallRequest(1, " \n ", 10))

        refused = m.hear()

    assert isinstance(refused, Refused)
    assert refused.code == "invalid-input"
    assert "\n" not in refused.reason


def test_peers_that_are_silent_are_named_and_what_came_is_told(make_config: MakeConfig) -> None:
    config = make_config()
    with (
        MemoryNode("a", config=config) as a,
        member_process("b", config) as b,
        MemoryNode("c", config=config) as c,
    ):
        with NodeClient("b", config=config) as client:
            client.remember("The zebra of b.", tags=["zebra"], visibility="mesh")
        c.remember("The zebra of c.", tags=["zebra"], visibility="mesh")
        a.remember("The zebra of a.", tags=["zebra"])
        wait_for(lambda: len(leads(a, "zebra")) == 3)

        b.send(signal.SIGSTOP)
        answer = a.ask("zebra", timeout_s=0.5)
        b.send(signal.SIGCONT)

        assert answer.silent_peers == ("b",)
        assert {item.agent for item in answer.items} == {"a", "c"}
        wait_for(lambda: a.ask("zebra", timeout_s=20.0).silent_peers == ())


def test_a_peer_that_lies_in_wait_with_no_answer_is_named(make_config: MakeConfig) -> None:
    with MemoryNode("a", config=make_config()) as a, stranger("m", a):
        wait_for(lambda: leads(a, "zebra") == ["m"])

        assert a.ask("zebra", timeout_s=0.1).silent_peers == ("m",)


def test_without_a_librarian_asking_for_one_finds_nothing(make_config: MakeConfig) -> None:
    with MemoryNode("a", config=make_config()) as a:
        with pytest.raises(NotFound, match="avm librarian"):
            a.who_knows("zebra", via="librarian")

        assert a.who_knows("zebra").source == "gossip"


@pytest.mark.parametrize("policy", ["full", "owner"])
def test_a_librarian_answers_where_one_is_there(policy: str, make_config: MakeConfig) -> None:
    config = make_config()
    place, hooks = librarian(policy)
    with running("lib", config, role="librarian", hooks=hooks) as lib, MemoryNode("a", config=config) as a:
        place.append(lib)
        wait_for(lambda: a.status().librarians == ("lib",))

        found = a.who_knows("zebra")

        assert (found.source, found.librarian) == ("librarian", "lib")
        counted = 4 if policy == "full" else None
        assert [(lead.agent, lead.certainty, lead.memories) for lead in found.leads] == [
            ("keeper", 1.0, counted)
        ]
        assert a.who_knows("zebra", via="gossip").leads == ()


@pytest.mark.parametrize(("policy", "note"), [("existence", "somebody knows"), ("none", "tells nothing")])
def test_a_librarian_that_names_nobody_leaves_it_to_gossip(
    policy: str, note: str, make_config: MakeConfig
) -> None:
    config = make_config()
    place, hooks = librarian(policy)
    with running("lib", config, role="librarian", hooks=hooks) as lib, MemoryNode("a", config=config) as a:
        place.append(lib)
        wait_for(lambda: a.status().librarians == ("lib",))

        assert a.who_knows("zebra").source == "gossip"
        assert note in a.who_knows("zebra").note
        assert note in a.who_knows("zebra", via="librarian").note


def test_a_silent_librarian_is_passed_over_and_said_so(make_config: MakeConfig) -> None:
    config = make_config()
    place, hooks = librarian(answers=False)
    with running("lib", config, role="librarian", hooks=hooks) as lib, MemoryNode("a", config=config) as a:
        place.append(lib)
        a.remember("The zebra.", tags=["zebra"])
        wait_for(lambda: a.status().librarians == ("lib",) and leads(a, "zebra"))

        found = a.who_knows("zebra")
        assert (found.source, [lead.agent for lead in found.leads]) == ("gossip", ["a"])
        assert found.note == "librarian lib did not answer within 0.25 s"
        with pytest.raises(PeerSilent, match="lib did not answer"):
            a.who_knows("zebra", via="librarian")


def test_a_closed_node_answers_nothing(make_config: MakeConfig) -> None:
    with MemoryNode("a", config=make_config()) as a:
        pass

    with pytest.raises(NodeClosed):
        a.ask("zebra")
    with pytest.raises(NodeClosed):
        a.who_knows("zebra", via="gossip")


def test_one_that_asks_too_much_at_once_is_told_so_and_the_others_are_answered(
    make_config: MakeConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, go_on = threading.Event(), threading.Event()
    recall = Server._recall

    def slow(self: Server, owner: AgentName, asker: AgentName, *rest: Any) -> bytes:
        if asker == "m":
            begun.set()
            assert go_on.wait(20)
        return recall(self, owner, asker, *rest)

    monkeypatch.setattr(Server, "_recall", slow)
    monkeypatch.setattr(serving, "_THREADS", 4)
    monkeypatch.setattr(serving, "_AT_ONCE", 3)
    with MemoryNode("a", config=make_config()) as a, stranger("m", a) as m, stranger("n", a) as n:
        a.remember("The zebra is striped.", tags=["zebra"], visibility="mesh")
        for request in range(1, 6):
            m.tell(RecallRequest(request, "zebra", 100))
        assert begun.wait(20)

        busy = [m.hear(), m.hear()]
        reply = questions_to(n)
        go_on.set()
        answers = [m.hear() for _ in range(3)]

    assert [one.reason for one in busy if isinstance(one, Refused)] == ["a is busy", "a is busy"]
    assert isinstance(reply, RecallReply)
    assert all(isinstance(one, RecallReply) for one in answers)
