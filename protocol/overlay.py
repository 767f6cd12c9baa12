"""Who hears whom: everybody everybody in a small mesh, a few symmetric neighbours each in a large one.

    living members       we hear
    up to full_mesh      all of them; below full_mesh_again again, so that it does not flap
    more                 our links: `neighbours` random ones, one more at most, and the two on the ring

    A                              B
    Neighbour(isolated, ring)  ->      takes a wish in where it has room, is next on the ring, or A has nobody
                               <-  NeighbourReply(accepted)
    Unlink                     ->      one of too many, or silent

Frames get lost, so no handshake keeps links symmetric. Every heartbeat names the links of its sender; who
does not find itself there, after a grace, gives up the link as well. (HyParView: Leitao, Pereira, Rodrigues,
2007, whose passive views are sampled by messages, as its members know few others. Ours know all: the reserve
is drawn from the table, and a shuffle is one exchange there.)

Invariants, checked by `check()`:
 1. In a full mesh all living members whose record we hold are heard, above it exactly our links.
 2. Links are living members, never ourselves, and at most `_MOST`; there are none in a full mesh.
 3. The ring holds exactly ourselves and the living members whose record we hold.
 4. The reserve holds living members, at most `passive`, neither ourselves nor links; in a full mesh none.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

from protocol.chance import Randomness, one_of, some_of
from protocol.effects import Effect, Route, Send, Subscribe, Unsubscribe
from protocol.membership import Member, Membership
from protocol.messages import LINK_BYTES, Neighbour, NeighbourReply, Unlink
from protocol.names import AgentName
from protocol.profile import Profile
from protocol.ring import Ring, hash_of

_MOST = 32  # Links, whatever is asked of us: as many hashes a heartbeat carries.
_ISOLATED = 1.2  # Heartbeats in which nobody says anything. At 20 % loss and 6 neighbours: once in 15,000.
_SILENT = 2.2  # Heartbeats in which one neighbour says nothing: it missed two. At 20 % loss once in 25.
_CALLED = 3  # Members asked at once to take us in.
_TRIES = 8  # Draws from the table for one that fits; in a large mesh nearly all do.


class _Link:
    __slots__ = ("heard_at", "since")

    def __init__(self, now: float) -> None:
        self.since = self.heard_at = now


class Overlay:
    """The neighbours of one member."""

    def __init__(
        self, own: AgentName, members: Membership, *, profile: Profile, rng: Randomness, now: float
    ) -> None:
        self.is_sparse = False
        self._own, self._members, self._profile, self._rng = own, members, profile, rng
        self._links: dict[AgentName, _Link] = {}
        self._asked: dict[AgentName, float] = {}
        self._reserve: dict[AgentName, None] = {}
        self._heard: dict[AgentName, str] = {}
        self._sparse_ones: set[AgentName] = set()
        self._promised: dict[AgentName, None] = {}
        self._ring = Ring()
        self._ring.add(own)
        self._shuffle_at = now + profile.shuffle_s
        self._grace_s = 2 * profile.sparse_heartbeat_s
        self._own_hash = _hash_bytes(own)
        self._hashes: bytes | None = None
        self._heard_at = now  # Any of our links.

    # -- what follows from it

    @property
    def links(self) -> list[AgentName]:
        """Our neighbours; in a full mesh none, as everybody is one."""
        return list(self._links)

    @property
    def reserve(self) -> list[AgentName]:
        """Random members to whom we keep connections; in a full mesh none."""
        return list(self._reserve)

    @property
    def hears(self) -> dict[AgentName, str]:
        """Whom we hear, and where."""
        return dict(self._heard)

    @property
    def relays(self) -> bool:
        """Whether news of its owner is to be told on: not where all hear the owner themselves."""
        return self.is_sparse or bool(self._sparse_ones)

    @property
    def company(self) -> list[AgentName]:
        """Whom we probe, and ask to probe for us: links and reserve, in a full mesh everybody we hear."""
        return [*self._links, *self._reserve] if self.is_sparse else list(self._heard)

    @property
    def isolated_at(self) -> float:
        """When all our neighbours have been silent for more than a heartbeat; never in a full mesh."""
        if not self.is_sparse:
            return math.inf
        return self._heard_at + _ISOLATED * self._profile.sparse_heartbeat_s

    @property
    def link_hashes(self) -> bytes:
        """What our heartbeats say of our links: nothing in a full mesh, else our hash, then theirs."""
        if not self.is_sparse:
            return b""
        if self._hashes is None:
            self._hashes = self._own_hash + b"".join(map(_hash_bytes, self._links))
        return self._hashes

    # -- members come and go

    def introduce(self, member: Member, now: float) -> list[Effect]:
        """A living member's record came, its first or one with another address."""
        self._ring.add(member.agent)
        effects = self._settle(now)
        if not self.is_sparse or member.agent in self._links:
            effects += self._hear(member)
        return effects

    def part(self, agent: AgentName, now: float) -> list[Effect]:
        """A member is gone."""
        self._ring.remove(agent)
        self._reserve.pop(agent, None)
        self._asked.pop(agent, None)
        self._sparse_ones.discard(agent)
        self._promised.pop(agent, None)
        return [*self._unlink(agent), *self._ignore(agent), *self._settle(now)]

    def _settle(self, now: float) -> list[Effect]:
        """Change over between full and sparse, if it is time."""
        count = self._members.living_count
        if not self.is_sparse and count > self._profile.full_mesh:
            self.is_sparse, self._hashes, self._heard_at = True, None, now
            self._sparse_ones.clear()
            self._links = {agent: _Link(now) for agent in self._promised if agent in self._heard}
            self._promised.clear()
            strangers = [agent for agent in self._heard if agent not in self._links]
            return [*(effect for agent in strangers for effect in self._ignore(agent)), *self._seek(now)]
        if self.is_sparse and count < self._profile.full_mesh_again:
            self.is_sparse = False
            self._links.clear()
            self._asked.clear()
            self._reserve.clear()
            return [
                effect
                for member in self._members.living()
                if member.agent in self._ring and member.agent != self._own
                for effect in self._hear(member)
            ]
        return []

    # -- time

    def upkeep(self, now: float) -> tuple[list[Effect], list[AgentName]]:
        """Do what is due, at each heartbeat of ours. Also returns the neighbours that are silent."""
        if not self.is_sparse:
            return [], []
        effects: list[Effect] = []
        silent: list[AgentName] = []
        for agent, link in list(self._links.items()):
            unheard_s = now - link.heard_at
            if unheard_s > self._profile.silence_s:
                silent.append(agent)
            if unheard_s > 2 * self._profile.silence_s:
                effects += self._give_up(agent)
        self._asked = {agent: at for agent, at in self._asked.items() if now - at <= self._grace_s}
        self._draw(now)
        return [*effects, *self._seek(now), *self._shed(now)], silent

    def call(self, now: float) -> list[Effect]:
        """All our neighbours are silent: some of the reserve are asked to take us in, room or no room."""
        self._draw(now)
        chosen = [agent for agent in self._reserve if agent not in self._asked]
        effects: list[Effect] = []
        for agent in some_of(self._rng, chosen, _CALLED):
            effects += self._ask(agent, now, ring=False, isolated=True)
        return effects

    def forgive(self, pause_s: float) -> None:
        """We slept for so long: nobody could be heard in that time."""
        self._heard_at += pause_s

    def _draw(self, now: float) -> None:
        """Keep the reserve full, and exchange one of it from time to time."""
        if now >= self._shuffle_at:
            self._shuffle_at = now + self._profile.shuffle_s
            if self._reserve:
                self._reserve.pop(next(iter(self._reserve)))
        for _ in range(self._profile.passive - len(self._reserve)):
            found = self._stranger()
            if found is not None:
                self._reserve[found] = None

    def _stranger(self) -> AgentName | None:
        """A random member that is neither linked, asked nor in the reserve."""
        for _ in range(_TRIES):
            member = self._members.one_of_the_living(self._rng.random())
            agent = member.agent
            if member.record is None or agent == self._own or agent in self._reserve:
                continue
            if agent not in self._links and agent not in self._asked:
                return agent
        return None

    def _seek(self, now: float) -> list[Effect]:
        """Wish for the links that are missing."""
        effects: list[Effect] = []
        following = self._ring.after(self._own)
        if following is not None and following not in self._links and following not in self._asked:
            effects += self._ask(following, now, ring=True)
        speaking = [agent for agent in self._random_links() if not self._is_silent(agent, now)]
        # A wish that has no answer within two pings is lost, or its member is: another is asked meanwhile.
        pending = sum(now - at <= 2 * self._profile.ping_s for at in self._asked.values())
        missing = self._profile.neighbours - len(speaking) - pending
        for _ in range(missing):
            reserve = [agent for agent in self._reserve if agent not in self._asked]
            found = one_of(self._rng, reserve) if reserve else self._stranger()
            if found is not None:
                effects += self._ask(found, now, ring=False)
        return effects

    def _shed(self, now: float) -> list[Effect]:
        """Give up what is beyond the room for random links, the silent ones first."""
        others = self._random_links()
        beyond = max(0, len(others) - self._profile.neighbours - 1)
        silent = [agent for agent in others if self._is_silent(agent, now)][:beyond]
        speaking = [agent for agent in others if agent not in silent]
        chosen = [*silent, *some_of(self._rng, speaking, beyond - len(silent))]
        return [effect for agent in chosen for effect in self._give_up(agent)]

    def _is_silent(self, agent: AgentName, now: float) -> bool:
        """Whether a link missed two of its heartbeats, and told nothing else either."""
        return now - self._links[agent].heard_at > _SILENT * self._profile.sparse_heartbeat_s

    # -- messages

    def heard(self, sender: AgentName, now: float) -> None:
        """`sender` published something."""
        link = self._links.get(sender)
        if link is not None:
            link.heard_at = self._heard_at = now

    def on_links(self, sender: AgentName, hashes: bytes, now: float) -> list[Effect]:
        """What a heartbeat says of its sender's links: who does not hear us is no neighbour."""
        if not self.is_sparse:
            (self._sparse_ones.add if hashes else self._sparse_ones.discard)(sender)
            return []
        link = self._links.get(sender)
        if link is None or not hashes or now - link.since <= self._grace_s:
            return []
        at = hashes.find(self._own_hash, LINK_BYTES)
        while at % LINK_BYTES and at > 0:
            at = hashes.find(self._own_hash, at + 1)
        return [] if at > 0 else self._unlink(sender)

    def on_neighbour(self, sender: AgentName, wish: Neighbour, back: Route, now: float) -> list[Effect]:
        """Take the link in, or refuse it."""
        if not self.is_sparse:  # We hear everybody, so we hear the sender, and keep it when we do not.
            self._promised.pop(sender, None)
            if len(self._promised) <= self._profile.neighbours + 1 or wish.ring or wish.isolated:
                self._promised[sender] = None
            if len(self._promised) > _MOST:
                self._promised.pop(next(iter(self._promised)))
            return [Send(back, NeighbourReply(True))]
        if sender in self._links:
            return [Send(back, NeighbourReply(True))]
        room = len(self._random_links()) <= self._profile.neighbours
        member = self._members.get(sender)
        if not (room or wish.isolated or wish.ring) or len(self._links) >= _MOST or member is None:
            return [Send(back, NeighbourReply(False))]
        if sender not in self._ring:
            return [Send(back, NeighbourReply(False))]
        effects = self._link(member, now)
        if not room and not wish.ring:
            others = [agent for agent in self._random_links() if agent != sender]
            effects += self._give_up(one_of(self._rng, others)) if others else []
        return [*effects, Send(back, NeighbourReply(True))]

    def on_reply(self, sender: AgentName, reply: NeighbourReply, back: Route, now: float) -> list[Effect]:
        """Our wish was answered; one that came too late is called off where the place is taken."""
        wanted = self._asked.pop(sender, None) is not None
        member = self._members.get(sender)
        if not reply.accepted or not self.is_sparse or sender in self._links or member is None:
            return []
        if sender not in self._ring or not wanted or len(self._links) >= _MOST:
            return [Send(back, Unlink())]
        return self._link(member, now)

    def on_unlink(self, sender: AgentName, now: float) -> list[Effect]:
        """The sender does not hear us any more; who has nobody left looks for others at once."""
        effects = self._unlink(sender)
        return effects if self._links or not self.is_sparse else [*effects, *self._seek(now)]

    # -- inside

    def _random_links(self) -> list[AgentName]:
        ring = (self._ring.after(self._own), self._ring.before(self._own))
        return [agent for agent in self._links if agent not in ring]

    def _ask(self, agent: AgentName, now: float, *, ring: bool, isolated: bool = False) -> list[Effect]:
        member, own = self._members.get(agent), self._members.get(self._own)
        route = None if member is None else member.route
        if route is None or own is None:
            return []
        self._asked[agent] = now
        wish = Neighbour(own.incarnation, own.version, isolated or not self._links, ring)
        return [Send(route, wish)]

    def _link(self, member: Member, now: float) -> list[Effect]:
        self._links[member.agent] = _Link(now)
        self._asked.pop(member.agent, None)
        self._reserve.pop(member.agent, None)
        self._hashes = None
        return self._hear(member)

    def _unlink(self, agent: AgentName) -> list[Effect]:
        """The link is no more; nobody is told."""
        if self._links.pop(agent, None) is None:
            return []
        self._hashes = None
        return self._ignore(agent)

    def _give_up(self, agent: AgentName) -> list[Effect]:
        member = self._members.get(agent)
        effects = self._unlink(agent)
        if member is not None and (route := member.route) is not None:
            effects.append(Send(route, Unlink()))
        return effects

    def _hear(self, member: Member) -> list[Effect]:
        assert member.record is not None, "only members whose record is held are heard"
        address = member.source
        if self._heard.get(member.agent) == address:
            return []
        self._heard[member.agent] = address
        return [Subscribe(member.agent, address)]

    def _ignore(self, agent: AgentName) -> list[Effect]:
        return [] if self._heard.pop(agent, None) is None else [Unsubscribe(agent)]

    def check(self, backed: Iterable[AgentName]) -> None:
        """Assert the invariants; `backed` are the living members whose record is held, without ourselves."""
        others = set(backed)
        self._ring.check({*others, self._own})
        assert set(self._heard) == (set(self._links) if self.is_sparse else others), "not those to be heard"
        assert set(self._links) <= others
        assert len(self._links) <= (_MOST if self.is_sparse else 0)
        assert set(self._reserve) <= others - set(self._links)
        assert len(self._reserve) <= (self._profile.passive if self.is_sparse else 0)


def _hash_bytes(agent: AgentName) -> bytes:
    return hash_of(agent).to_bytes(LINK_BYTES, "big")
