"""Who hears whom: symmetric, connected, bounded, and back to that whatever was lost."""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from protocol.digest import EMPTY
from protocol.effects import Effect, Route, Send, Subscribe, Unsubscribe
from protocol.membership import Member, Membership
from protocol.messages import Claim, Neighbour, NeighbourReply, Record, Unlink
from protocol.names import AgentName
from protocol.overlay import Overlay
from protocol.profile import Profile
from protocol.ring import Ring

PROFILE = Profile(full_mesh=6, full_mesh_again=4, neighbours=2, passive=4, shuffle_s=4.0)
BEAT_S = PROFILE.sparse_heartbeat_s


def name(number: int) -> AgentName:
    return AgentName(f"agent-{number:02}")


def record(agent: str) -> Record:
    return Record(agent, 1, 1, 1, "agent", f"tcp://{agent}:1", f"tcp://{agent}:2", EMPTY)


class Node:
    """An overlay, the table it stands on, and whom it hears as its effects say."""

    def __init__(self, own: AgentName, seed: int, now: float, profile: Profile = PROFILE) -> None:
        self.name = own
        self.members = Membership(limit=1_000)
        self.overlay = Overlay(own, self.members, profile=profile, rng=Random(seed), now=now)
        self.heard: dict[AgentName, str] = {}
        self.know(own)

    def know(self, agent: AgentName) -> Member:
        member = self.members.adopt(Member(Claim(agent, 1, 1, "alive"), 0.0))
        self.members.keep(member, record(agent))
        return member

    def perform(self, effects: list[Effect]) -> list[Send]:
        for effect in effects:
            if isinstance(effect, Subscribe):
                self.heard[effect.agent] = effect.address
            elif isinstance(effect, Unsubscribe):
                del self.heard[effect.agent]
        return [effect for effect in effects if isinstance(effect, Send)]

    def check(self) -> None:
        self.overlay.check(member.agent for member in self.members.living() if member.agent != self.name)
        assert self.heard == self.overlay.hears


class FakeMesh:
    """Overlays that know of each other at once, and whose messages may be lost."""

    def __init__(self, seed: int = 0, profile: Profile = PROFILE) -> None:
        self.now, self.loss = 0.0, 0.0
        self.nodes: dict[AgentName, Node] = {}
        self._rng, self._profile = Random(seed), profile
        self._waiting: list[tuple[AgentName, Send]] = []

    def join(self, agent: AgentName) -> None:
        node = Node(agent, self._rng.getrandbits(32), self.now, self._profile)
        others = list(self.nodes.values())
        self.nodes[agent] = node
        for other in others:
            self._perform(other, other.overlay.introduce(other.know(agent), self.now))
            self._perform(node, node.overlay.introduce(node.know(other.name), self.now))
        self.settle()

    def end(self, agent: AgentName) -> None:
        del self.nodes[agent]
        for other in self.nodes.values():
            other.members.apply(Claim(agent, 1, 1, "dead"), self.now)
            self._perform(other, other.overlay.part(agent, self.now))
        self.settle()

    def beat(self) -> None:
        """One heartbeat of everybody."""
        self.now += BEAT_S
        for node in self.nodes.values():
            effects, _ = node.overlay.upkeep(self.now)
            self._perform(node, effects)
            hashes = node.overlay.link_hashes
            for other in self.nodes.values():
                if node.name in other.heard and self._rng.random() >= self.loss:
                    other.overlay.heard(node.name, self.now)
                    self._perform(other, other.overlay.on_links(node.name, hashes, self.now))
        self.settle()

    def settle(self) -> None:
        """Carry messages until nobody has anything to say."""
        for _ in range(10_000):
            if not self._waiting:
                return
            sender, effect = self._waiting.pop(0)
            receiver = self.nodes.get(AgentName(effect.route[6:-2]))
            if receiver is None or sender not in self.nodes or self._rng.random() < self.loss:
                continue
            overlay, back = receiver.overlay, Route(f"tcp://{sender}:1")
            match effect.message:
                case Neighbour() as wish:
                    self._perform(receiver, overlay.on_neighbour(sender, wish, back, self.now))
                case NeighbourReply() as reply:
                    self._perform(receiver, overlay.on_reply(sender, reply, back, self.now))
                case Unlink():
                    self._perform(receiver, overlay.on_unlink(sender, self.now))
        raise AssertionError("they never stop talking")

    def _perform(self, node: Node, effects: list[Effect]) -> None:
        self._waiting += [(node.name, send) for send in node.perform(effects)]

    def check(self) -> None:
        for node in self.nodes.values():
            node.check()

    def one_way(self) -> list[tuple[AgentName, AgentName]]:
        """Who hears somebody that does not hear it."""
        return [(a, b) for a, node in self.nodes.items() for b in node.heard if a not in self.nodes[b].heard]

    def reached(self) -> int:
        """How many hear of the first one, directly or by others."""
        found, waiting = set(), [next(iter(self.nodes))]
        while waiting:
            agent = waiting.pop()
            if agent not in found:
                found.add(agent)
                waiting += [other for other, node in self.nodes.items() if agent in node.heard]
        return len(found)


def mesh_of(count: int, seed: int = 0, profile: Profile = PROFILE) -> FakeMesh:
    mesh = FakeMesh(seed, profile)
    for number in range(count):
        mesh.join(name(number))
    return mesh


# -- the ring


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 12).map(name)), max_size=40))
def test_the_ring_leads_through_everybody_and_back(steps: list[tuple[bool, AgentName]]) -> None:
    ring, held = Ring(), set[AgentName]()
    for adds, agent in steps:
        (ring.add if adds else ring.remove)(agent)
        (held.add if adds else held.discard)(agent)
        ring.check(held)

    for start in held:
        seen = [start]
        while (following := ring.after(seen[-1])) not in (None, start):
            assert following is not None
            assert ring.before(following) == seen[-1]
            seen.append(following)
        assert sorted(seen) == sorted(held)
    assert ring.after(name(99)) is None


# -- small and large


def test_a_small_mesh_hears_everybody_and_has_no_links() -> None:
    mesh = mesh_of(6)

    assert all(len(node.heard) == 5 and not node.overlay.links for node in mesh.nodes.values())
    assert all(node.overlay.link_hashes == b"" and not node.overlay.relays for node in mesh.nodes.values())


def test_a_large_mesh_hears_a_few_both_ways_and_is_connected() -> None:
    mesh = mesh_of(40)
    for _ in range(6):
        mesh.beat()

    mesh.check()
    assert mesh.one_way() == []
    assert mesh.reached() == 40
    assert all(2 <= len(node.heard) <= PROFILE.neighbours + 3 for node in mesh.nodes.values())
    assert all(node.overlay.relays for node in mesh.nodes.values())


def test_everybody_hears_the_next_one_on_the_ring() -> None:
    mesh = mesh_of(40)
    for _ in range(6):
        mesh.beat()
    ring = Ring()
    for agent in mesh.nodes:
        ring.add(agent)

    assert all(ring.after(agent) in node.heard for agent, node in mesh.nodes.items())
    assert all(ring.before(agent) in node.heard for agent, node in mesh.nodes.items())


def test_one_member_that_comes_and_goes_at_the_limit_changes_nothing_over_and_back() -> None:
    mesh = mesh_of(6)
    mesh.join(name(6))
    changes = []
    for _ in range(5):
        mesh.end(name(6))
        changes.append({node.overlay.is_sparse for node in mesh.nodes.values()})
        mesh.join(name(6))
        mesh.check()

    assert changes == [{True}] * 5


def test_a_large_mesh_that_became_small_hears_everybody_again() -> None:
    mesh = mesh_of(9)
    mesh.beat()
    for number in range(6):
        mesh.end(name(number))
        mesh.check()

    assert [sorted(node.heard) for node in mesh.nodes.values()] == [
        [name(7), name(8)],
        [name(6), name(8)],
        [name(6), name(7)],
    ]


def test_news_is_told_on_in_a_full_mesh_as_long_as_one_member_does_not_hear_everybody() -> None:
    mesh = mesh_of(3)
    overlay = mesh.nodes[name(0)].overlay

    overlay.on_links(name(1), bytes(8), 1.0)
    assert overlay.relays
    overlay.on_links(name(1), b"", 2.0)
    assert not overlay.relays


# -- asking and refusing


def sparse(count: int = 12) -> Node:
    """A member of a large mesh that knows everybody and has no links yet."""
    node = Node(name(0), 1, 0.0)
    for number in range(1, count):
        node.perform(node.overlay.introduce(node.know(name(number)), 0.0))
    return node


def answer(node: Node, sender: AgentName, *, isolated: bool = False, ring: bool = False) -> list[object]:
    wish = Neighbour(1, 1, isolated, ring)
    sent = node.perform(node.overlay.on_neighbour(sender, wish, Route(f"tcp://{sender}:1"), 0.0))
    node.check()
    return [send.message for send in sent if send.route == f"tcp://{sender}:1"]


def full(node: Node) -> list[AgentName]:
    """Fill the node's room for random links; who is left over."""
    left = [name(number) for number in range(1, 30) if node.members.get(name(number)) is not None]
    while answer(node, left.pop(0)) == [NeighbourReply(True)]:
        pass
    return left


def test_a_wish_is_refused_where_there_is_no_room() -> None:
    node = sparse()

    full(node)

    assert PROFILE.neighbours < len(node.overlay.links) <= PROFILE.neighbours + 3


@pytest.mark.parametrize("wish", ["isolated", "ring"])
def test_who_has_nobody_or_comes_before_us_is_taken_all_the_same(wish: str) -> None:
    node = sparse(20)
    left = full(node)
    before = len(node.overlay.links)

    assert answer(node, left[0], **{wish: True}) == [NeighbourReply(True)]

    assert left[0] in node.overlay.links
    assert len(node.overlay.links) == before + (wish == "ring")


def test_links_are_bounded_whatever_is_wished() -> None:
    node = sparse(100)
    for number in range(1, 100):
        answer(node, name(number), ring=True)

    assert len(node.overlay.links) == 32
    for _ in range(3):
        node.perform(node.overlay.upkeep(1.0)[0])
    node.check()
    assert len(node.overlay.links) <= PROFILE.neighbours + 3


def test_a_stranger_is_refused_and_nobody_links_to_itself() -> None:
    node = sparse()

    assert answer(node, name(77)) == [NeighbourReply(False)]
    assert node.name not in node.overlay.links


def test_an_acceptance_that_nobody_waits_for_is_called_off() -> None:
    node = sparse()

    sent = node.perform(node.overlay.on_reply(name(77), NeighbourReply(True), Route("tcp://x:1"), 0.0))
    assert sent == []
    asked = {send.route for send in node.perform(node.overlay.upkeep(9.0)[0])}
    other = next(name(n) for n in range(1, 12) if f"tcp://{name(n)}:1" not in asked)
    late = node.perform(node.overlay.on_reply(other, NeighbourReply(True), Route("tcp://x:1"), 0.0))
    assert [send.message for send in late] == [Unlink()]


# -- loss


def test_a_link_that_only_one_side_holds_is_given_up_after_a_grace() -> None:
    node = sparse()
    answer(node, name(3), isolated=True)
    without, with_us = bytes(4), bytes(4) + node.overlay.link_hashes[:4]
    grace_s = 2 * BEAT_S

    node.perform(node.overlay.on_links(name(3), without, grace_s))
    assert name(3) in node.overlay.links
    node.perform(node.overlay.on_links(name(3), with_us, grace_s + 1))
    assert name(3) in node.overlay.links
    node.perform(node.overlay.on_links(name(3), without, grace_s + 1))
    assert name(3) not in node.overlay.links
    node.check()


def test_a_neighbour_that_is_silent_is_named_and_then_given_up() -> None:
    node = sparse()
    answer(node, name(3), isolated=True)

    assert node.overlay.upkeep(PROFILE.silence_s)[1] == []
    assert node.overlay.upkeep(PROFILE.silence_s + 0.1)[1] == [name(3)]
    node.perform(node.overlay.upkeep(2 * PROFILE.silence_s + 0.1)[0])
    assert name(3) not in node.overlay.links


@pytest.mark.parametrize("seed", range(5))
def test_after_any_loss_all_links_are_symmetric_again_and_all_are_reached(seed: int) -> None:
    mesh = mesh_of(30, seed)
    mesh.loss = 0.5
    for _ in range(10):
        mesh.beat()
        mesh.check()
    mesh.loss = 0.0

    for _ in range(8):
        mesh.beat()

    mesh.check()
    assert mesh.one_way() == []
    assert mesh.reached() == 30


@pytest.mark.parametrize("seed", range(5))
def test_a_third_that_ends_at_once_leaves_the_rest_connected(seed: int) -> None:
    mesh = mesh_of(45, seed)
    for _ in range(4):
        mesh.beat()

    for agent in Random(seed).sample(list(mesh.nodes), 15):
        mesh.end(agent)
    for _ in range(6):
        mesh.beat()

    mesh.check()
    assert mesh.one_way() == []
    assert mesh.reached() == 30


def test_the_reserve_is_full_and_changes_over_time() -> None:
    mesh = mesh_of(30)
    overlay = mesh.nodes[name(0)].overlay
    seen: set[AgentName] = set()
    for _ in range(20):
        mesh.beat()
        reserve = set(overlay.company) - set(overlay.links)
        assert len(reserve) == PROFILE.passive
        seen |= reserve

    assert len(seen) > 2 * PROFILE.passive


class Overlays(RuleBasedStateMachine):
    """Members come, go, talk and lose frames around the change from full to sparse and back."""

    def __init__(self) -> None:
        super().__init__()
        self.mesh = mesh_of(3)
        self.next = 3

    @rule(count=st.integers(1, 4))
    def join(self, count: int) -> None:
        for _ in range(count):
            if len(self.mesh.nodes) < 14:
                self.mesh.join(name(self.next))
                self.next += 1

    @rule(data=st.data())
    def end(self, data: st.DataObject) -> None:
        if len(self.mesh.nodes) > 2:
            self.mesh.end(data.draw(st.sampled_from(sorted(self.mesh.nodes))))

    @rule(loss=st.sampled_from([0.0, 0.3, 0.8]))
    def beat(self, loss: float) -> None:
        self.mesh.loss = loss
        self.mesh.beat()

    @invariant()
    def holds(self) -> None:
        self.mesh.check()

    def teardown(self) -> None:
        self.mesh.loss = 0.0
        for _ in range(10):
            self.mesh.beat()
        assert self.mesh.one_way() == []
        assert self.mesh.reached() == len(self.mesh.nodes)


TestOverlays = Overlays.TestCase
TestOverlays.settings = settings(max_examples=60, stateful_step_count=25, deadline=None)
