"""The spread of one change in a mesh of up to millions, as arithmetic over arrays: the round model.

What the engine does with one announcement whose body rides along, and nothing else of it:

    push    who learns it tells all that hear it once, `debounce_s` after it learned. Up to `full_mesh`
            members all hear all, and only the origin tells, and who learned otherwise than by push; above,
            a member hears `neighbours` + 3 others, both ways: one more is taken in than is sought,
            and two on the ring
    repeat  above `full_mesh` the next heartbeat tells it once more
    mend    a heartbeat of one who knows shows another view to one who does not: the two compare
    sync    every `sync_s`, plus or minus a tenth, each member compares with a random one: push and pull

Time goes on in rounds of `ROUND_S`. Each frame has a delay and is lost by itself; crashed members take and
tell nothing, and are still among the others' neighbours. A table of members holds fewer than a million
(`member_limit`): the model says how news would travel, not what it would cost to know so many.
Parameters come from the `Profile`; benchmarks/simulated.py sets the model beside the engine from 64 to 2,000.
"""

from __future__ import annotations

from typing import Final

import msgspec
import numpy as np
import numpy.typing as npt

from protocol.profile import Profile

ROUND_S: Final = 0.005
LIMIT_S: Final = 120.0
_BEYOND_SOUGHT: Final = 3  # One more neighbour is taken in than is sought, and two on the ring.
_SYNC_FRAMES: Final = 4  # Sync, SyncDiff, Get, Records: a comparison works where all arrive.
_MEND_FRAMES: Final = 5  # The same, after a heartbeat.
_FEW: Final = 0.2  # Below this share the ignorant are looked at one by one.
_NEVER: Final = np.float32(np.inf)

_Floats = npt.NDArray[np.float32]
_Ints = npt.NDArray[np.int32]


class Spread(msgspec.Struct, frozen=True, kw_only=True):
    """Seconds until 99 % and all of the living knew, copies of the news that a living member received by
    push, and the curve: (seconds, share). `reached` is false where not all knew after `LIMIT_S`; times are
    then that.
    """

    nodes: int
    seed: int
    to_99_s: float
    to_100_s: float
    reached: bool
    frames_per_node: float
    curve: list[tuple[float, float]]


def spread(
    nodes: int,
    profile: Profile,
    *,
    seed: int,
    loss: float = 0.0,
    crashed: float = 0.0,
    delay_s: tuple[float, float] = (0.0002, 0.002),
) -> Spread:
    """Let one change spread. `nodes` 2 .. 10,000,000; `crashed` is the share of members that are gone.

    About 60 bytes and 8 us a node.
    """
    return _Model(nodes, profile, seed, loss, crashed, delay_s).run()


class _Model:
    def __init__(
        self,
        nodes: int,
        profile: Profile,
        seed: int,
        loss: float,
        crashed: float,
        delay_s: tuple[float, float],
    ) -> None:
        self.nodes, self.seed, self.loss, self.delay_s = nodes, seed, loss, delay_s
        self.profile = profile
        self.rng = np.random.default_rng(seed)
        self.living = np.ones(nodes, dtype=np.bool_)
        if crashed:
            gone = self.rng.choice(nodes - 1, size=min(nodes - 1, round(crashed * nodes)), replace=False) + 1
            self.living[gone] = False
        self.is_full = nodes <= profile.full_mesh
        self.neighbours = None if self.is_full else self._overlay(profile.neighbours + _BEYOND_SOUGHT)
        self._beats_a_round = np.float32(ROUND_S / profile.sparse_heartbeat_s)
        self.learned = np.full(nodes, _NEVER, dtype=np.float32)
        self.frames = 0
        # When each member tells next; after its two tellings never.
        self.tells = np.full(nodes, _NEVER, dtype=np.float32)
        self.told = np.zeros(nodes, dtype=np.int8)
        # Learned by a direct message: what is published by its owner is not told on where all hear all.
        self.direct = np.zeros(nodes, dtype=np.bool_)
        # The first comparison of each, evenly spread: the members are long up.
        self.syncs = (self.rng.random(nodes, dtype=np.float32) * profile.sync_s).astype(np.float32)

    def _overlay(self, degree: int) -> _Ints:
        """A random symmetric graph: each two columns are the next and the previous on a ring."""
        columns: list[_Ints] = []
        for _ in range((degree + 1) // 2):
            ring = self.rng.permutation(self.nodes).astype(np.int32)
            following = np.empty(self.nodes, dtype=np.int32)
            following[ring] = np.roll(ring, -1)
            previous = np.empty(self.nodes, dtype=np.int32)
            previous[following] = np.arange(self.nodes, dtype=np.int32)
            columns += [following, previous]
        if len(columns) > degree:
            columns.pop()
            # Half a ring: every member with its partner, so that the graph stays symmetric.
            ring = self.rng.permutation(self.nodes).astype(np.int32)
            half = self.nodes // 2
            partner = np.arange(self.nodes, dtype=np.int32)
            partner[ring[:half]], partner[ring[half : 2 * half]] = ring[half : 2 * half], ring[:half]
            columns[-1] = partner
        return np.stack(columns, axis=1)

    def run(self) -> Spread:
        self.learned[0] = 0.0
        self.tells[0] = self.profile.debounce_s
        living = int(self.living.sum())
        curve = [(0.0, 1.0 / living)]
        now = 0.0
        known = 1
        while (known < living or np.isfinite(self.tells).any()) and now < LIMIT_S:
            now += ROUND_S
            self._tell(now)
            if known < living:
                self._compare(now)
                self._beat(now)
            newly = self._take(now)
            if newly:
                known += newly
                curve.append((round(now, 4), known / living))
        times = np.sort(self.learned[self.living])
        at_99 = float(times[int(np.ceil(0.99 * living)) - 1])
        return Spread(
            nodes=self.nodes,
            seed=self.seed,
            to_99_s=round(min(at_99, LIMIT_S), 4),
            to_100_s=round(min(float(times[-1]), LIMIT_S), 4),
            reached=known == living,
            frames_per_node=round(self.frames / living, 3),
            curve=curve,
        )

    def _delays(self, count: int) -> _Floats:
        low, high = self.delay_s
        return (low + (high - low) * self.rng.random(count, dtype=np.float32)).astype(np.float32)

    def _reach(
        self, to: _Ints, at: _Floats | float, *, trips: int = 1, frames: int = 1, direct: bool = False
    ) -> None:
        """News for each of `to`; those that arrive are learned unless something came earlier."""
        arrives = self.living[to]
        if self.loss:
            arrives &= self.rng.random(len(to), dtype=np.float32) < (1.0 - self.loss) ** frames
        to = to[arrives]
        came = (at if isinstance(at, float) else at[arrives]) + trips * self._delays(len(to))
        came = came.astype(np.float32)
        if direct:
            self.direct[to[came < self.learned[to]]] = True
        else:
            self.frames += len(to)
        np.minimum.at(self.learned, to, came)

    def _tell(self, now: float) -> None:
        tellers = np.flatnonzero(self.tells <= now).astype(np.int32)
        if not len(tellers):
            return
        at = self.tells[tellers]
        again = self.told[tellers] == 0
        self.told[tellers] += 1
        self.tells[tellers] = _NEVER
        if self.neighbours is None:
            for teller, moment in zip(tellers, at, strict=True):
                others = np.arange(self.nodes, dtype=np.int32)
                self._reach(others[others != teller], float(moment))
            return
        repeated = tellers[again]
        beats = self.profile.sparse_heartbeat_s * self.rng.random(len(repeated), dtype=np.float32)
        self.tells[repeated] = at[again] + beats.astype(np.float32)
        degree = self.neighbours.shape[1]
        self._reach(self.neighbours[tellers].ravel(), np.repeat(at, degree))

    def _compare(self, now: float) -> None:
        due = np.flatnonzero((self.syncs <= now) & self.living).astype(np.int32)
        if not len(due):
            return
        pace = 0.9 + 0.2 * self.rng.random(len(due), dtype=np.float32)
        self.syncs[due] += (self.profile.sync_s * pace).astype(np.float32)
        partners = self.rng.integers(0, self.nodes, len(due), dtype=np.int32)
        knows, told = self.learned[due] <= now, self.learned[partners] <= now
        pushed, pulled = partners[knows & ~told], due[told & ~knows & self.living[partners]]
        self._reach(pushed, now, trips=3, frames=_SYNC_FRAMES - 1, direct=True)
        self._reach(pulled, now, trips=4, frames=_SYNC_FRAMES, direct=True)

    def _beat(self, now: float) -> None:
        """Heartbeats of those who know, to those who do not; looked at from the side of the few."""
        knows = self.living & (self.learned <= now)
        missing = np.flatnonzero(self.living & ~knows).astype(np.int32)
        if self.neighbours is None:
            beats = self.rng.binomial(int(knows.sum()), ROUND_S / self.profile.heartbeat_s)
            hits = np.full(len(missing), beats)
        elif len(missing) <= _FEW * self.nodes:
            beating = knows & (self.rng.random(self.nodes, dtype=np.float32) < self._beats_a_round)
            hits = beating[self.neighbours[missing]].sum(axis=1)
        else:
            return
        self._reach(np.repeat(missing, hits), now, trips=_MEND_FRAMES, frames=_MEND_FRAMES, direct=True)

    def _take(self, now: float) -> int:
        """Who has learned since the last round will tell; how many they are."""
        fresh = np.flatnonzero((self.learned <= now) & (self.told == 0) & (self.tells == _NEVER))
        if not len(fresh):
            return 0
        if self.is_full:  # Published by its owner, it is not relayed.
            self.told[fresh[~self.direct[fresh]]] = 1
            telling = fresh[self.direct[fresh]]
        else:
            telling = fresh
        self.tells[telling] = self.learned[telling] + np.float32(self.profile.debounce_s)
        return len(fresh)
