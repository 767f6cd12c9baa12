"""One scenario, one seed, one run: from the start to a verdict.

Time goes on in steps; between them the run looks at what became known (every `STEP_S`, and in
the first second of each news every `FRESH_STEP_S`), whether all
directories are equal (every `EQUAL_S`) and whether the invariants hold (every second).
Looking changes nothing, so that a run that is looked at more closely is the same run.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Final

import msgspec

from deploy.simulation.scenario import Scenario
from deploy.simulation.spread import Kind, Spread
from deploy.simulation.story import Story
from deploy.simulation.watch import Broken, Watch, grace_s
from node.net.peer import Peer
from node.net.simnet import SimMember, SimMesh

STEP_S: Final = 0.05
FRESH_STEP_S: Final = 0.01
EQUAL_S: Final = 0.25
INVARIANTS: Final = ("versions", "live", "leads", "memory", "engine")


class Sample(msgspec.Struct, frozen=True, kw_only=True):
    """The mesh at one second. Rates are of the second before, received, per running member."""

    at_s: float
    running: int
    frames_per_node_s: float
    bytes_per_node_s: float
    false_suspicions: int
    false_deaths: int


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """Whether one thing that was expected or must always hold did; `told` says what was seen."""

    what: str
    held: bool
    told: str


class Result(msgspec.Struct, frozen=True, kw_only=True):
    """What one run brought. Times in seconds; `equal_after_s` counts from the last event, None where the
    directories were not equal when it ended.
    """

    seed: int
    nodes: int
    profile: str
    virtual_s: float
    took_s: float
    frames: int
    bytes: int
    frames_per_node_s: float
    bytes_per_node_s: float
    overflowed: int
    most_bytes_held: int
    false_suspicions: int
    false_deaths: int
    equal_after_s: float | None
    spreads: list[Spread]
    samples: list[Sample]
    verdicts: list[Verdict]

    @property
    def held(self) -> bool:
        """Whether everything did."""
        return all(verdict.held for verdict in self.verdicts)


class Prepared:
    """A mesh at its start, before anything was drawn from a seed: equal for all seeds of a scenario, and for
    all scenarios with the same `key`. Preparing a thousand settled members takes minutes; see `schedule`.
    """

    def __init__(self, scenario: Scenario) -> None:
        self.key = self.key_of(scenario)
        self.mesh = SimMesh(seed=0, profile=scenario.gossip())
        self.watch = Watch(self.mesh, grace_s=grace_s(self.mesh.profile, scenario.nodes))
        self.story = Story(scenario, self.mesh, self.watch)
        self.story.begin()

    @staticmethod
    def key_of(scenario: Scenario) -> tuple[object, ...]:
        """What of a scenario its start depends on."""
        return (
            *(scenario.nodes, scenario.profile, tuple(sorted(scenario.knobs.items())), scenario.start),
            *(scenario.seeds, scenario.topics, scenario.queue_frames),
        )


def run(
    scenario: Scenario,
    *,
    seed: int,
    prepared: Prepared | None = None,
    progress: Callable[[float], None] = lambda _share: None,
) -> Result:
    """Run it. `prepared` is used up; the result is the same without. `progress` is told the share of virtual
    time that has passed, 0..1.
    """
    log = logging.getLogger(Peer.__module__)
    level = log.level
    log.setLevel(logging.CRITICAL)  # Bad frames are what hostile members are there for.
    try:
        return _Run(scenario, seed, prepared or Prepared(scenario)).run(progress)
    finally:
        log.setLevel(level)


class _Run:
    def __init__(self, scenario: Scenario, seed: int, prepared: Prepared) -> None:
        self.scenario = scenario
        self.mesh, self.watch, self.story = prepared.mesh, prepared.watch, prepared.story
        self.mesh.reseed(seed)
        self.mesh.conditions = scenario.network
        self.story.reseed(scenario)
        self.samples: list[Sample] = []
        self.broken: Broken | None = None
        self.equal_after_s: float | None = None
        self.started_at = 0.0
        self._differing: SimMember | None = None
        self._received: dict[int, tuple[int, int]] = {}
        self._sampled_at = 0.0

    def run(self, progress: Callable[[float], None]) -> Result:
        begun = time.perf_counter()
        try:
            # A mesh that starts together is in trouble of its own making until it has.
            self.watch.excuse_all(0.0)
            self.mesh.run(seconds=self.scenario.settle_s)
            self.started_at = self.mesh.now
            self.story.disturbed_at = 0.0 if self.scenario.start == "together" else self.started_at
            self._sample()
            self.samples.clear()
            self._go_on(progress)
            self.watch.look_at_all()
        except Broken as error:
            self.broken = error
        return self._result(time.perf_counter() - begun)

    def _go_on(self, progress: Callable[[float], None]) -> None:
        mesh, scenario = self.mesh, self.scenario
        to_come = sorted(scenario.event, key=lambda event: event.at_s)
        end = self.started_at + scenario.seconds
        steps = 0
        while mesh.now < end - 1e-9:
            steps += 1
            until = min(end, self.started_at + steps * STEP_S)
            while to_come and self.started_at + to_come[0].at_s <= until:
                event = to_come.pop(0)
                mesh.run(seconds=max(0.0, self.started_at + event.at_s - mesh.now))
                self.story.happen(event)
                self.equal_after_s = None
            self._pass(until)
            if steps % round(EQUAL_S / STEP_S) == 0:
                self._look_whether_equal()
            if steps % round(1.0 / STEP_S) == 0:
                self.watch.look()
                self._sample()
                progress((mesh.now - self.started_at) / scenario.seconds)
            if not to_come and not scenario.whole and self.story.is_over and self.equal_after_s is not None:
                break
        if mesh.now - self._sampled_at > STEP_S / 2:
            self._sample()
        progress(1.0)

    def _pass(self, until: float) -> None:
        """Let time pass, and look closely while news is fresh."""
        while self.story.has_fresh_news and until - self.mesh.now > FRESH_STEP_S:
            self.mesh.run(seconds=FRESH_STEP_S)
            self.story.look(closely=True)
        self.mesh.run(seconds=max(0.0, until - self.mesh.now))
        self.story.look()

    def _look_whether_equal(self) -> None:
        if self.mesh.now < self.story.busy_until:
            self.equal_after_s = None
        elif self.equal_after_s is None and self._are_equal():
            self.equal_after_s = self.mesh.now - self.story.disturbed_at
            self.watch.settled()

    def _are_equal(self) -> bool:
        """Whether every member holds the records of exactly those that run, as they are."""
        running = [member for member in self.mesh.members.values() if member.running]
        own = [member.engine.record for member in running]
        truth = {record.agent: (record.incarnation, record.version) for record in own}
        if self._differing is not None and self._differing.running and not _holds(self._differing, truth):
            return False
        self._differing = next((member for member in running if not _holds(member, truth)), None)
        return self._differing is None

    def _sample(self) -> None:
        running = [member for member in self.mesh.members.values() if member.running]
        frames = received = 0
        for member in self.mesh.members.values():
            statistics = member.peer.traffic()
            before = self._received.get(id(member.peer), (0, 0))
            frames += statistics.frames_in - before[0]
            received += statistics.bytes_in - before[1]
            self._received[id(member.peer)] = statistics.frames_in, statistics.bytes_in
        spent = max(self.mesh.now - self._sampled_at, 1e-9) * max(1, len(running))
        self._sampled_at = self.mesh.now
        self.samples.append(
            Sample(
                at_s=round(self.mesh.now - self.started_at, 3),
                running=len(running),
                frames_per_node_s=round(frames / spent, 3),
                bytes_per_node_s=round(received / spent, 1),
                false_suspicions=self.watch.false_suspicions,
                false_deaths=self.watch.false_deaths,
            )
        )

    def _result(self, took_s: float) -> Result:
        samples = self.samples
        spreads = [tracker.result() for tracker in self.story.trackers]
        count = max(1, len(samples))
        result = Result(
            seed=self.mesh.seed,
            nodes=self.scenario.nodes,
            profile=self.scenario.profile,
            virtual_s=round(self.mesh.now, 3),
            took_s=round(took_s, 3),
            frames=self.mesh.frames,
            bytes=self.mesh.bytes,
            frames_per_node_s=round(sum(sample.frames_per_node_s for sample in samples) / count, 2),
            bytes_per_node_s=round(sum(sample.bytes_per_node_s for sample in samples) / count, 1),
            overflowed=sum(member.overflowed for member in self.mesh.members.values()),
            most_bytes_held=self.watch.most_bytes,
            false_suspicions=self.watch.false_suspicions,
            false_deaths=self.watch.false_deaths,
            equal_after_s=None if self.equal_after_s is None else round(self.equal_after_s, 3),
            spreads=spreads,
            samples=samples,
            verdicts=[],
        )
        return msgspec.structs.replace(result, verdicts=self._verdicts(result))

    def _verdicts(self, result: Result) -> list[Verdict]:
        expect, verdicts = self.scenario.expect, []
        for name in INVARIANTS:
            if name == "live":
                continue
            told = str(self.broken) if self.broken is not None and self.broken.invariant == name else ""
            verdicts.append(Verdict(what=name, held=not told, told=told))
        if expect.false_deaths is not None:
            told = f"{result.false_deaths}, at most {expect.false_deaths} allowed"
            if self.watch.told:
                told += f": {'; '.join(self.watch.told)}"
            verdicts.append(Verdict(what="live", held=result.false_deaths <= expect.false_deaths, told=told))
        if expect.false_suspicions is not None:
            told = f"{result.false_suspicions}, at most {expect.false_suspicions} allowed"
            held = result.false_suspicions <= expect.false_suspicions
            verdicts.append(Verdict(what="false_suspicions", held=held, told=told))
        for field, kinds, share in (
            ("change_99_s", ("change",), 99),
            ("change_100_s", ("change",), 100),
            ("death_99_s", ("death",), 99),
            ("death_100_s", ("death",), 100),
            ("join_s", ("join", "arrival"), 100),
        ):
            limit: float | None = getattr(expect, field)
            if limit is not None:
                verdicts.append(_in_time(field, slowest(result, kinds, share), limit))
        if expect.equal_s is not None:
            verdicts.append(_in_time("equal_s", result.equal_after_s, expect.equal_s))
        if expect.bytes_per_node_s is not None:
            told = f"{result.bytes_per_node_s:.0f}, at most {expect.bytes_per_node_s:.0f}"
            held = result.bytes_per_node_s <= expect.bytes_per_node_s
            verdicts.append(Verdict(what="bytes_per_node_s", held=held, told=told))
        return verdicts


def slowest(result: Result, kinds: tuple[Kind, ...] | tuple[str, ...], share: int) -> float | None:
    """Seconds of the slowest spread of these kinds to `share` percent (99 or 100); None where one never
    came so far, or there was none.
    """
    times = [
        spread.to_99_s if share == 99 else spread.to_100_s
        for spread in result.spreads
        if spread.kind in kinds
    ]
    if not times or any(took_s is None for took_s in times):
        return None
    return max(took_s for took_s in times if took_s is not None)


def _in_time(what: str, took_s: float | None, limit_s: float) -> Verdict:
    seen = "not in the time of the run" if took_s is None else f"{took_s:.2f} s"
    return Verdict(
        what=what, held=took_s is not None and took_s <= limit_s, told=f"{seen}, at most {limit_s:g} s"
    )


def _holds(member: SimMember, truth: dict[str, tuple[int, int]]) -> bool:
    living = member.engine.members.living()
    return len(living) == len(truth) and all(
        truth.get(one.agent) == (one.incarnation, one.version) and not one.lacks_record for one in living
    )
