"""What must hold while a mesh runs, whatever happens to it; looked at all the time, and to the end.

Invariants:
 1. A version never goes back: (incarnation, version) that a member holds of another, while it remembers it.
 2. No live member is declared dead: none that ran, heard and was heard for `grace_s`, at a loss of
    at most 20 %.
 3. A forgotten or dead member is never a lead: exactly living members stand in a directory.
 4. Memory is bounded: tables within `member_limit`, directories within tables, queues within their mark.
 5. The engines' own invariants (`GossipEngine.check`).

1 and 2 are looked at on every change of a member's standing, 4 once a second, 3 and 5 in turn: a quarter and
a fortieth of the members each second. At the end all but 2 are looked at for all.
"""

from __future__ import annotations

import gc
import math
import sys
from types import BuiltinFunctionType, FunctionType, MethodType, ModuleType
from typing import Final

from node.net.peer import Hooks
from node.net.simnet import SimMember, SimMesh
from protocol.effects import MemberChanged
from protocol.names import AgentName
from protocol.profile import Profile

STATED_LOSS: Final = 0.2
_IN_TURN: Final = 40
_LEADS_IN_TURN: Final = 4
_WEIGHED_EVERY: Final = 5
_MEMBER_BYTES: Final = 12 * 1024  # What one member may cost at most, see `Profile.member_limit`.
_BASE_BYTES: Final = 4 << 20  # An engine with nobody in it, and rows of every size class of digests.

_NOT_ITS_OWN: Final = (type, ModuleType, FunctionType, MethodType, BuiltinFunctionType)


class Broken(AssertionError):
    """An invariant did not hold; `invariant` is its short name."""

    def __init__(self, invariant: str, told: str) -> None:
        super().__init__(f"{invariant}: {told}")
        self.invariant = invariant


def grace_s(profile: Profile, nodes: int) -> float:
    """How long a verdict may still follow from a trouble that is over."""
    suspicion_s = profile.suspicion_s * math.log10(max(10, nodes))
    return profile.silence_s + 2 * profile.ping_s + suspicion_s + 2 * profile.heartbeat_s


class Watch:
    """Watches one mesh. Members are excused of what their own trouble brought about."""

    def __init__(self, mesh: SimMesh, *, grace_s: float) -> None:
        self.mesh, self.grace_s = mesh, grace_s
        self.false_deaths = self.false_suspicions = 0
        self.told: list[str] = []
        """The first false deaths, one line each."""
        self.most_bytes = 0
        """Held by one engine, of those that were measured: one every five seconds, one at the end."""
        self._held: dict[AgentName, dict[AgentName, tuple[int, int]]] = {}
        self._excused: dict[AgentName, float] = {}
        self._all_excused = -math.inf
        self._turn = 0

    # -- who is excused

    def excuse(self, agent: str, until: float = math.inf) -> None:
        """Nothing said of this member before `until` plus the grace is held against anybody."""
        self._excused[AgentName(agent)] = until + self.grace_s

    def excuse_all(self, until: float = math.inf) -> None:
        """The same for all: the network itself is in trouble."""
        self._all_excused = until + self.grace_s

    def settled(self) -> None:
        """All directories are equal: the trouble is over, sooner than it had to be. What it made
        members suspect they may still believe, so that the grace begins now.
        """
        if math.isfinite(self._all_excused):
            self._all_excused = min(self._all_excused, self.mesh.now + self.grace_s)

    def _is_excused(self, agent: AgentName) -> bool:
        now = self.mesh.now
        return now < self._all_excused or now < self._excused.get(agent, -math.inf)

    # -- what is heard of members

    def hooks(self, agent: str) -> Hooks:
        """For a member that starts: tells this watch of all that it believes."""
        observer = AgentName(agent)
        self._held[observer] = {}
        return Hooks(on_member_changed=lambda _now, change: self._on_change(observer, change))

    def _on_change(self, observer: AgentName, change: MemberChanged) -> None:
        self._see(observer, change.agent)
        if change.after == change.before or change.after not in ("dead", "suspect"):
            return
        subject = self.mesh.members.get(change.agent)
        if subject is None or not subject.running or self._is_excused(change.agent):
            return
        if change.after == "suspect":
            self.false_suspicions += 1
        else:
            self.false_deaths += 1
            if len(self.told) < 5:
                self.told.append(f"{observer} took {change.agent} for dead at {self.mesh.now:.2f} s")

    def _see(self, observer: AgentName, agent: AgentName) -> None:
        held = self.mesh.members[observer].engine.members.get(agent)
        seen = self._held[observer]
        if held is None:
            seen.pop(agent, None)
            return
        now = (held.incarnation, held.version)
        before = seen.get(agent, now)
        if now < before:
            raise Broken("versions", f"{observer} went back from {before} to {now} of {agent}")
        seen[agent] = now

    # -- what is looked at

    def look(self) -> None:
        """Once a second."""
        for number, member in enumerate(self._running()):
            self._look_at_sizes(member)
            if number % _LEADS_IN_TURN == self._turn % _LEADS_IN_TURN:
                self._look_at_leads(member)
            if number % _IN_TURN == self._turn:
                self._check(member)
        if self._turn % _WEIGHED_EVERY == 0 and (running := self._running()):
            self.most_bytes = max(self.most_bytes, self.weigh(running[self._turn % len(running)]))
        self._turn = (self._turn + 1) % _IN_TURN

    def look_at_all(self) -> None:
        """At the end: everything, of every pair."""
        self.look_at_versions()
        for member in self._running():
            self._look_at_sizes(member)
            self._look_at_leads(member)
            self._check(member)
        if running := self._running():
            self.most_bytes = max(self.most_bytes, self.weigh(running[0]))

    def look_at_versions(self) -> None:
        """Of every pair, against what was last heard."""
        for member in self._running():
            for other in list(self._held[member.agent]):
                self._see(member.agent, other)

    def weigh(self, member: SimMember) -> int:
        """What this member's engine holds, in bytes. A millisecond for every 50 members that it knows."""
        held_bytes = size_of(member.engine)
        bound = _BASE_BYTES + _MEMBER_BYTES * self.mesh.profile.member_limit
        if held_bytes > bound:
            raise Broken("memory", f"{member.agent} holds {held_bytes} bytes, {bound} are allowed")
        return held_bytes

    def _running(self) -> list[SimMember]:
        return [member for member in self.mesh.members.values() if member.running]

    def _look_at_sizes(self, member: SimMember) -> None:
        engine, limit = member.engine, self.mesh.profile.member_limit
        if len(engine.members) > limit:
            raise Broken("memory", f"{member.agent} knows {len(engine.members)} members, {limit} are allowed")
        if len(member.inbox) > member.queue_frames:
            raise Broken("memory", f"{member.agent} keeps {len(member.inbox)} frames")

    def _look_at_leads(self, member: SimMember) -> None:
        engine = member.engine
        for agent in engine.directory:
            held = engine.members.get(agent)
            if held is None or not held.is_living:
                raise Broken("leads", f"{agent} is a lead of {member.agent}, and no living member")

    def _check(self, member: SimMember) -> None:
        try:
            member.engine.check()
            member.peer.asks.check()
        except AssertionError as error:
            raise Broken("engine", f"{member.agent}: {error}") from error


def size_of(root: object) -> int:
    """Bytes that an engine keeps alive, itself included; classes, modules and code are not its own.

    Records are shared among the members of a simulation (see simwire.py) and are counted in full here: a
    process of its own would hold each.
    """
    seen: set[int] = set()
    waiting: list[object] = [root]
    total = 0
    while waiting:
        one = waiting.pop()
        if id(one) in seen or isinstance(one, _NOT_ITS_OWN):
            continue
        seen.add(id(one))
        total += sys.getsizeof(one)
        waiting.extend(gc.get_referents(one))
    return total
