"""What the events of a scenario do to a mesh: whom they meet, and what becomes measured by them."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from random import Random
from typing import assert_never

from deploy.simulation import scenario as told
from deploy.simulation.hostile import Liar
from deploy.simulation.scenario import Scenario
from deploy.simulation.spread import Tracker, of_change, of_death, of_join
from deploy.simulation.watch import STATED_LOSS, Watch
from node.net.simconditions import Conditions
from node.net.simnet import SimMember, SimMesh
from protocol.errors import InvalidInput
from protocol.names import AgentName

Met = told.Learn | told.Crash | told.Leave | told.Restart | told.Stop | told.Slow | told.Skew | told.Deafen


class Story:
    """One mesh from its start through its events. `happen` is called when the time of an event has come."""

    def __init__(self, scenario: Scenario, mesh: SimMesh, watch: Watch) -> None:
        self.scenario, self.mesh, self.watch = scenario, mesh, watch
        self.trackers: list[Tracker] = []
        self.liars: list[Liar] = []
        self.busy_until = 0.0
        """Until then an event goes on: chatter, churn, a stop, a lie."""
        self.disturbed_at = 0.0
        self._rng = Random(0)
        self._hostile: set[AgentName] = set()
        self._newcomers: list[tuple[SimMember, float]] = []
        self._names = 0
        self._learned = 0

    # -- the start

    def begin(self) -> None:
        """Start the members that the scenario starts with."""
        scenario = self.scenario
        names = [self._new_name() for _ in range(scenario.nodes)]
        self.seeds = names[: scenario.seeds]
        for name in names:
            known = [seed for seed in self.seeds if AgentName(seed) in self.mesh.members and seed != name]
            self._start(name, seeds=known)
        if self.scenario.start == "settled":
            self.mesh.acquaint()

    def reseed(self, scenario: Scenario) -> None:
        """What happens is told by `scenario`, and drawn from the seed of the mesh."""
        self.scenario = scenario
        self._rng.seed(f"story {self.mesh.seed}")
        if scenario.start == "settled":
            self.mesh.welcome()

    def _start(self, name: str, *, seeds: Sequence[str], same_address: bool = False) -> SimMember:
        own = [f"of-{name}", *(f"{name}-{number}" for number in range(self.scenario.topics))]
        known = self.mesh.members.get(AgentName(name))
        member = self.mesh.add(
            name,
            seeds=seeds,
            hooks=self.watch.hooks(name),
            topics=own[: self.scenario.topics],
            instance=None if known is None else known.engine.record.instance,
            same_address=same_address,
        )
        member.queue_frames = self.scenario.queue_frames
        return member

    def _new_name(self) -> str:
        self._names += 1
        return f"m{self._names - 1:04}"

    # -- whom

    def running(self) -> list[SimMember]:
        """The honest members that run, stopped ones not among them."""
        return [
            member
            for member in self.mesh.members.values()
            if member.running and member.agent not in self._hostile
        ]

    def _met(self, event: Met) -> list[SimMember]:
        if event.names:
            unknown = [name for name in event.names if AgentName(name) not in self.mesh.members]
            if unknown:
                raise InvalidInput("names", f"no member is called {unknown[0]}", "they are m0000, m0001 …")
            return [self.mesh.members[AgentName(name)] for name in event.names]
        everybody = isinstance(event, told.Restart) and event.running and event.share == 1.0
        spared = () if everybody else self.seeds
        if isinstance(event, told.Restart) and not event.running:
            able = [m for m in self.mesh.members.values() if not m.running and not m.keeps_frames]
        else:
            able = self.running()
        able = [member for member in able if member.agent not in spared and member.agent not in self._hostile]
        count = event.count or math.ceil(event.share * len(able))
        return self._rng.sample(able, min(count, len(able)))

    # -- what happens

    def happen(self, event: told.Event) -> None:
        """Do it, and begin to measure what it is there for."""
        now = self.mesh.now
        self.disturbed_at = max(self.disturbed_at, now)
        match event:
            case told.Learn():
                for member in self._met(event):
                    self._learn(member)
            case told.Chatter():
                self._go_on(event.for_s)
                self._chatter(now + event.for_s, event.share_per_s)
            case told.Crash():
                for member in self._met(event):
                    self._crash(member)
            case told.Leave():
                for member in self._met(event):
                    self.watch.excuse(member.agent)
                    self.mesh.leave(member.agent)
            case told.Restart():
                self._restart(self._met(event), same_address=event.same_address)
            case told.Join():
                for _ in range(event.count):
                    self._join()
            case told.Stop():
                self._go_on(event.for_s)
                for member in self._met(event):
                    self.watch.excuse(member.agent)
                    self.mesh.stop(member.agent, keeps_frames=True)
                    self.mesh.later(event.for_s, self._resume, member)
            case told.Slow():
                self._go_on(event.for_s)
                for member in self._met(event):
                    self.watch.excuse(member.agent, now + event.for_s)
                    self.mesh.slow(member.agent, service_s=event.service_s, queue_frames=event.queue_frames)
                    self.mesh.later(event.for_s, self._quicken, member)
            case told.Skew():
                for member in self._met(event):
                    self.mesh.skew(member.agent, ahead_s=event.ahead_s, drift=event.drift)
            case told.Partition():
                self._partition(event.share)
            case told.Deafen():
                self._deafen(event)
            case told.Heal():
                self.mesh.heal()
                # The sides tell each other of deaths when they meet, which is when a lost seed is tried.
                self.watch.excuse_all(now + self.mesh.profile.retry_s)
            case told.Weather():
                self._weather(event.network)
            case told.Hostile():
                self._go_on(event.for_s)
                for _ in range(event.count):
                    self._lie(event)
            case told.Churn():
                self._go_on(event.for_s + event.down_s)
                self._churn(now + event.for_s, event)
            case _:
                assert_never(event)

    def look(self, *, closely: bool = False) -> None:
        """What has become known since the last look; `closely`: of what is fresh."""
        for newcomer, started_at in list(self._newcomers):
            if newcomer.engine.joined:
                self._newcomers.remove((newcomer, started_at))
                self.trackers.append(of_join(newcomer, self.mesh.now, self.running()))
        for tracker in self.trackers:
            if not tracker.is_over and (not closely or self._is_fresh(tracker)):
                tracker.look(self.mesh.now)

    @property
    def has_fresh_news(self) -> bool:
        """Whether something is spreading that is fresh."""
        return any(self._is_fresh(tracker) and not tracker.is_over for tracker in self.trackers)

    def _is_fresh(self, tracker: Tracker) -> bool:
        """Whether it began within the last second, and may spread as fast: nobody finds the dead by then."""
        return tracker.at_s > self.mesh.now - 1.0 and tracker.kind != "death"

    @property
    def is_over(self) -> bool:
        """Nothing goes on, and nothing that is measured is still to come."""
        return (
            self.mesh.now >= self.busy_until
            and not self._newcomers
            and all(tracker.is_over for tracker in self.trackers)
        )

    def _go_on(self, seconds: float) -> None:
        self.busy_until = max(self.busy_until, self.mesh.now + seconds)
        self.disturbed_at = max(self.disturbed_at, self.mesh.now + seconds)

    def _learn(self, member: SimMember) -> None:
        self._learned += 1
        topics = [f"{member.agent}-{number}" for number in range(self.scenario.topics)]
        self.mesh.learn(member.agent, [*topics, f"new-{self._learned}"])
        self.trackers.append(of_change("change", member, self.mesh.now, self.running()))

    def _chatter(self, until: float, share_per_s: float) -> None:
        able = self.running()
        if self.mesh.now >= until or not able or not share_per_s:
            return
        self._learn(self._rng.choice(able))
        self.mesh.later(1.0 / (share_per_s * len(able)), self._chatter, until, share_per_s)

    def _crash(self, member: SimMember) -> None:
        self.watch.excuse(member.agent)
        self.mesh.crash(member.agent)
        self.trackers.append(of_death(member, self.mesh.now, self.running()))

    def _restart(self, members: Iterable[SimMember], *, same_address: bool) -> None:
        members = list(members)
        for member in members:
            self.watch.excuse(member.agent, self.mesh.now)
            self.mesh.crash(member.agent)
        for member in members:
            seeds = [seed for seed in self.seeds if seed != member.agent]
            # A seed is known by its address, so that it has to come back there.
            stays = same_address or member.agent in self.seeds
            self._start(member.agent, seeds=seeds, same_address=stays)

    def _join(self) -> None:
        member = self._start(self._new_name(), seeds=self.seeds)
        self.watch.excuse(member.agent, self.mesh.now)
        self._newcomers.append((member, self.mesh.now))
        self.trackers.append(of_change("arrival", member, self.mesh.now, self.running()))

    def _resume(self, member: SimMember) -> None:
        if member.keeps_frames:
            self.mesh.resume(member.agent)
            self.watch.excuse(member.agent, self.mesh.now)

    def _quicken(self, member: SimMember) -> None:
        if self.mesh.members[member.agent] is member:
            self.mesh.slow(member.agent, service_s=0.0, queue_frames=self.scenario.queue_frames)
            self.watch.excuse(member.agent, self.mesh.now)

    def _partition(self, share: float) -> None:
        names = [member.agent for member in self.mesh.members.values() if member.agent not in self.seeds]
        self._rng.shuffle(names)
        split = round(share * len(names))
        left, right = [*names[:split], *self.seeds[::2]], [*names[split:], *self.seeds[1::2]]
        self.mesh.partition(left, right)
        self.watch.excuse_all()

    def _deafen(self, event: told.Deafen) -> None:
        chosen = [member.agent for member in self._met(event)]
        rest = [name for name in self.mesh.members if name not in chosen]
        if event.mute:
            self.mesh.cut_one_way(chosen, rest)
        else:
            self.mesh.cut_one_way(rest, chosen)
        self.watch.excuse_all()  # The deaf take all for dead, and say so.

    def _weather(self, network: Conditions) -> None:
        was_beyond = _lost(self.mesh.conditions) > STATED_LOSS
        self.mesh.conditions = network
        if _lost(network) > STATED_LOSS:
            self.watch.excuse_all()
        elif was_beyond:
            self.watch.excuse_all(self.mesh.now)

    def _lie(self, event: told.Hostile) -> None:
        now = self.mesh.now
        member = self._start(self._new_name(), seeds=self.seeds)
        self._hostile.add(member.agent)
        self.watch.excuse(member.agent)
        if event.attack in ("bury", "forge"):
            self.watch.excuse_all(now + event.for_s)  # Nothing is signed: it is believed until refuted.
        liar = Liar(
            self.mesh,
            member,
            Random(self._rng.getrandbits(64)),
            event.attack,
            per_s=event.per_s,
            until=now + event.for_s,
        )
        self.liars.append(liar)

    def _churn(self, until: float, event: told.Churn) -> None:
        if self.mesh.now >= until:
            return
        able = [member for member in self.running() if member.agent not in self.seeds]
        if able:
            member = self._rng.choice(able)
            self.watch.excuse(member.agent)
            self.mesh.crash(member.agent)
            self.mesh.later(event.down_s, self._come_back, member)
        self.mesh.later(1.0 / event.per_s, self._churn, until, event)

    def _come_back(self, member: SimMember) -> None:
        if self.mesh.members[member.agent] is member and not member.running:
            self._restart([member], same_address=self._rng.random() < 0.5)


def _lost(network: Conditions) -> float:
    """The share of frames that are lost, bursts included."""
    in_burst = network.burst_s / (network.burst_s + network.burst_every_s) if network.burst_loss else 0.0
    return 1.0 - (1.0 - network.loss) * (1.0 - in_burst * network.burst_loss)
