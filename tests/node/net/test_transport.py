"""What every transport does, run over sockets and over the simulated network."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from protocol.effects import Route
from protocol.names import AgentName
from tests.support.transports import SimWorld, World, ZmqWorld, until

A, B, C = AgentName("a"), AgentName("b"), AgentName("c")


@pytest.fixture(params=[SimWorld, pytest.param(ZmqWorld, marks=pytest.mark.processes)])
def world(request: pytest.FixtureRequest) -> Iterator[World]:
    opened: World = request.param()
    yield opened
    opened.close()


def frames(world: World, name: str) -> list[bytes]:
    return [received.frame for received in world.received[name]]


def pass_time(world: World) -> None:
    for _ in range(20):
        world.step()


def test_what_is_published_reaches_who_subscribed_and_nobody_else(world: World) -> None:
    a, b, _ = world.member("a"), world.member("b"), world.member("c")

    b.subscribe(A, a.publisher_address)
    until(world, lambda: b"news" in frames(world, "b"), lambda: a.publish(b"news"))

    assert {received.publisher for received in world.received["b"]} == {A}
    assert {received.route for received in world.received["b"]} == {None}
    assert world.received["a"] == world.received["c"] == []


def test_a_publisher_carries_the_name_under_which_it_was_subscribed_to(world: World) -> None:
    a, b = world.member("a"), world.member("b")

    b.subscribe(C, a.publisher_address)
    until(world, lambda: world.received["b"], lambda: a.publish(b"news"))

    assert world.received["b"][0].publisher == C


def test_a_direct_frame_reaches_its_address_and_an_answer_finds_the_way_back(world: World) -> None:
    a, b, _ = world.member("a"), world.member("b"), world.member("c")

    assert a.send(Route(b.router_address), b"question")
    until(world, lambda: world.received["b"])
    route = world.received["b"][0].route
    assert route is not None
    assert b.send(route, b"answer")
    until(world, lambda: world.received["a"])

    assert frames(world, "b") == [b"question"]
    assert frames(world, "a") == [b"answer"]
    assert world.received["a"][0].route == b.router_address
    assert world.received["a"][0].publisher is world.received["b"][0].publisher is None
    assert world.received["c"] == []


def test_nothing_is_heard_of_a_member_after_unsubscribing(world: World) -> None:
    a, b = world.member("a"), world.member("b")
    b.subscribe(A, a.publisher_address)
    until(world, lambda: world.received["b"], lambda: a.publish(b"before"))

    b.unsubscribe(A)
    a.publish(b"after")
    pass_time(world)

    assert b"after" not in frames(world, "b")


def test_a_subscription_given_up_before_it_took_effect_does_not_take_effect(world: World) -> None:
    a, b = world.member("a"), world.member("b")

    b.subscribe(A, a.publisher_address)
    b.unsubscribe(A)
    pass_time(world)
    a.publish(b"news")
    pass_time(world)

    assert world.received["b"] == []


def test_unsubscribing_from_a_stranger_is_nothing(world: World) -> None:
    world.member("a").unsubscribe(B)


def test_a_member_that_moved_is_heard_at_its_new_address_only(world: World) -> None:
    old, new, b = world.member("a"), world.member("c"), world.member("b")
    b.subscribe(A, old.publisher_address)
    until(world, lambda: world.received["b"], lambda: old.publish(b"from the old one"))

    b.subscribe(A, new.publisher_address)
    until(world, lambda: b"from the new one" in frames(world, "b"), lambda: new.publish(b"from the new one"))
    world.received["b"].clear()
    old.publish(b"from the old one")
    pass_time(world)

    assert b"from the old one" not in frames(world, "b")


def test_a_frame_to_where_nobody_listens_is_lost_and_nothing_else(world: World) -> None:
    a = world.member("a")

    a.send(Route("tcp://127.0.0.1:1"), b"anybody?")
    pass_time(world)

    assert world.received["a"] == []


def test_whom_a_transport_hears_and_who_hears_it_are_counted(world: World) -> None:
    a, b = world.member("a"), world.member("b")

    b.subscribe(A, a.publisher_address)
    until(world, lambda: a.statistics().hearers == 1)
    heard = b.statistics()
    b.unsubscribe(A)
    until(world, lambda: a.statistics().hearers == 0)

    assert (heard.subscriptions, heard.hearers, heard.unheard) == (1, 0, 0)
    assert b.statistics().subscriptions == 0


def test_a_direct_frame_that_is_not_taken_is_counted(world: World) -> None:
    a = world.member("a")

    assert not a.send(Route("router:00c0ffee00"), b"to nobody")

    assert a.statistics().refused == 1
