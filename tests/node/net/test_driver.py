"""Members on real sockets: they meet, ask each other, and close while they are asked."""

from __future__ import annotations

import signal
import threading
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor

import pytest

from node.net.address import split_key, with_key
from node.net.driver import Driver
from node.net.endpoint import Endpoint
from node.net.peer import Hooks
from protocol.ask import Outcome
from protocol.effects import Route
from protocol.errors import MeshError, NodeClosed, PeerRefused
from protocol.messages import RecallReply, RecallRequest, Request
from protocol.names import AgentName
from tests.support.endpoints import running, stranger
from tests.support.members import member_process
from tests.support.settings import MakeConfig
from tests.support.waiting import wait_for

pytestmark = pytest.mark.processes


def living(endpoint: Endpoint) -> list[str]:
    return [member.agent for member in endpoint.members() if member.status == "alive"]


def ask(driver: Driver, peers: Mapping[str, str], timeout_s: float = 0.2) -> Outcome:
    routes = {AgentName(agent): Route(address) for agent, address in peers.items()}
    return driver.ask(routes, lambda number, _: RecallRequest(number, "q", 10), timeout_s=timeout_s).wait()


def answering(endpoints: list[Endpoint]) -> Hooks:
    """Hooks that answer every question with nothing; the endpoint they belong to is put in the list."""

    def answer(_now: float, _sender: AgentName, route: Route, request: Request) -> None:
        if isinstance(request, RecallRequest):
            endpoints[0].driver.peer.send(route, RecallReply(request.request, ()))

    return Hooks(on_request=answer)


def test_two_members_of_one_host_meet_by_themselves(make_config: MakeConfig) -> None:
    with running("a", make_config(), topics=("apple",)) as a, running("b", make_config()) as b:
        wait_for(lambda: living(a) == living(b) == ["a", "b"])

        with b.driver.lock:
            leads = b.driver.peer.engine.directory.who_knows(["apple"], now=0.0)
        assert [lead.agent for lead in leads] == ["a"]
        assert b.route_to(AgentName("a")) == a.address
        assert b.route_to(AgentName("nobody")) is None


def test_three_members_meet_though_two_know_only_the_first(make_config: MakeConfig) -> None:
    with running("a", make_config(host="1")) as a:
        seeds = (a.address,)
        with (
            running("b", make_config(host="2", seeds=seeds)) as b,
            running("c", make_config(host="3", seeds=seeds)) as c,
        ):
            wait_for(lambda: living(a) == living(b) == living(c) == ["a", "b", "c"])

        wait_for(lambda: living(a) == ["a"])
        assert {member.status for member in a.members() if member.agent != "a"} == {"left"}


def test_a_seed_that_comes_up_later_is_met(make_config: MakeConfig) -> None:
    with running("b", make_config()) as b:
        listen, seed = split_key(b.address)[0], b.address
    with (
        running("a", make_config(host="1", seeds=(seed,))) as a,
        running("b", make_config(host="2", listen=listen)) as b,
    ):
        wait_for(lambda: living(a) == living(b) == ["a", "b"])


def test_who_answers_and_who_is_silent_is_told_at_the_deadline(make_config: MakeConfig) -> None:
    answerers: list[Endpoint] = []
    with running("a", make_config()) as a, running("b", make_config(), hooks=answering(answerers)) as b:
        answerers.append(b)
        with stranger("s", a) as silent:
            outcome = ask(
                a.driver, {"b": b.address, "s": with_key(silent.record.router, silent.credentials.curve_key)}
            )

    assert outcome.silent == ("s",)
    assert list(outcome.replies) == ["b"]
    assert outcome.elapsed_s >= 0.2


def test_an_ask_of_nobody_ends_at_once(make_config: MakeConfig) -> None:
    with running("a", make_config()) as a:
        assert ask(a.driver, {}, timeout_s=3600.0).silent == ()


def test_what_answers_under_a_name_that_was_not_asked_is_a_stray(make_config: MakeConfig) -> None:
    answerers: list[Endpoint] = []
    with running("a", make_config()) as a, running("b", make_config(), hooks=answering(answerers)) as b:
        answerers.append(b)
        wait_for(lambda: living(a) == living(b) == ["a", "b"])

        outcome = ask(a.driver, {"c": b.address})

        assert outcome.silent == ("c",)
        assert a.driver.peer.traffic().strays == 1


def test_too_many_asks_at_once_are_refused(make_config: MakeConfig) -> None:
    with running("a", make_config()) as a:
        nobody = {AgentName(f"m{number}"): Route("tcp://127.0.0.1:1") for number in range(1025)}

        with pytest.raises(PeerRefused, match="too much is asked at once"):
            a.driver.ask(nobody, lambda number, _: RecallRequest(number, "q", 1), timeout_s=1.0)


def test_an_ask_of_a_closed_member_is_refused(make_config: MakeConfig) -> None:
    with running("a", make_config()) as a:
        pass

    with pytest.raises(NodeClosed):
        ask(a.driver, {})


def test_closing_ends_what_is_asked_at_once_and_not_at_its_deadline(make_config: MakeConfig) -> None:
    with (
        running("a", make_config()) as a,
        ThreadPoolExecutor(1, "waiter") as pool,
        stranger("s", a) as silent,
    ):
        pending = a.driver.ask(
            {silent.agent: Route(silent.record.router)},
            lambda number, _: RecallRequest(number, "q", 10),
            timeout_s=3600.0,
        )
        waiting = pool.submit(pending.wait)

        a.close()

        with pytest.raises(NodeClosed, match="closed before its peers answered"):
            waiting.result(20)


def test_an_answer_after_the_deadline_is_a_stray_and_harms_nothing(make_config: MakeConfig) -> None:
    with running("a", make_config()) as a, stranger("s", a) as late:
        ask(a.driver, {"s": late.record.router}, timeout_s=0.05)
        assert late.router.poll(10_000)
        identity, _ = late.router.recv_multipart()
        del identity

        late.tell(RecallReply(1, ()))
        wait_for(lambda: a.driver.peer.traffic().strays == 1)


def test_closing_and_stopping_twice_and_from_two_threads_does_nothing_more(make_config: MakeConfig) -> None:
    with running("a", make_config()) as a:
        threads = [threading.Thread(target=a.close) for _ in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(20)

        a.close()
        a.driver.stop()
        a.driver.leave()


def test_many_threads_may_use_one_member_while_it_gossips(make_config: MakeConfig) -> None:
    answerers: list[Endpoint] = []
    with running("a", make_config()) as a, running("b", make_config(), hooks=answering(answerers)) as b:
        answerers.append(b)
        wait_for(lambda: living(a) == ["a", "b"])
        address = b.address

        with ThreadPoolExecutor(8) as pool:
            outcomes = list(pool.map(lambda _: ask(a.driver, {"b": address}, timeout_s=30.0), range(400)))

    assert all(not outcome.silent for outcome in outcomes)


def test_members_may_be_heard_and_dropped_by_many_threads_while_it_waits(make_config: MakeConfig) -> None:
    def hear(endpoint: Endpoint, name: str, address: str) -> None:
        for _ in range(50):
            with endpoint.driver.lock:
                endpoint.driver.transport.subscribe(AgentName(name), address)
            with endpoint.driver.lock:
                endpoint.driver.transport.unsubscribe(AgentName(name))

    answerers: list[Endpoint] = []
    with running("a", make_config()) as a, running("b", make_config(), hooks=answering(answerers)) as b:
        answerers.append(b)
        address, publisher = b.address, b.driver.transport.publisher_address
        with ThreadPoolExecutor(8) as pool:
            done = [pool.submit(hear, a, f"m{number}", publisher) for number in range(8)]
            for one in done:
                one.result(60)

        assert not ask(a.driver, {"b": address}, timeout_s=20.0).silent
        wait_for(lambda: a.driver.transport.statistics().subscriptions == 1)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_an_error_of_ours_in_the_thread_ends_the_membership_and_is_told(make_config: MakeConfig) -> None:
    def fail(_now: float, _sender: AgentName, _route: Route, _request: Request) -> None:
        raise RuntimeError("a bug")

    told = threading.Event()
    with running("a", make_config(), hooks=Hooks(on_request=fail)) as a:
        a.on_refusal = told.set
        with stranger("s", a) as one:
            one.tell(RecallRequest(1, "q", 10))
            assert told.wait(20)

        with pytest.raises(MeshError, match="own thread failed"):
            a.check()
        assert a.members()[0].agent == "a"


def test_a_stopped_process_is_silent_suspected_and_taken_back_when_it_goes_on(
    make_config: MakeConfig,
) -> None:
    with running("a", make_config()) as a, member_process("b", make_config()) as b:
        wait_for(lambda: living(a) == ["a", "b"])

        b.send(signal.SIGSTOP)
        assert ask(a.driver, {"b": b.address}).silent == ("b",)
        wait_for(lambda: "b" not in living(a))
        b.send(signal.SIGCONT)

        wait_for(lambda: living(a) == ["a", "b"])
        assert ask(a.driver, {"b": b.address}, timeout_s=20.0).silent == ()


def test_a_killed_process_is_given_up_and_its_name_is_free_at_once(make_config: MakeConfig) -> None:
    config = make_config()
    with running("a", config) as a, member_process("b", config) as b:
        wait_for(lambda: living(a) == ["a", "b"])

        b.kill()
        with member_process("b", config) as again:
            wait_for(lambda: a.route_to(AgentName("b")) == again.address)
            assert again.address != b.address
