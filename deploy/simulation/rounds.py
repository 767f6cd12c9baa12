"""The spread of one change in a mesh of up to millions, as arithmetic over arrays: the round model.

What the engine does with one announcement, and nothing else of it:

    push    who learns it tells all that hear it once, `debounce_s` after it learned. Up to `full_mesh`
            members all hear all, and only the origin tells; above, a member hears
            `neighbours` + 3 others, both ways: one more is taken in than is sought, and two on the ring
    repeat  above `full_mesh` the news is told once more with the next heartbeat
    sync    every `sync_s`, plus or minus a tenth, each member compares with a random one: push and pull

Time goes on in rounds of `ROUND_S`. Each frame has a delay and is lost by itself; crashed members take and
tell nothing, and are still among the others' neighbours.
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
_NEVER: Final = np.float32(np.inf)

_Floats = npt.NDArray[np.float32]
_Ints = npt.NDArray[np.int32]


class Spread(msgspec.Struct, frozen=True, kw_only=True):
    """Seconds until 99 % and all of the living knew, copies of the news received per living member, and the
    curve: (seconds, share). `reached` is false where not all knew after `LIMIT_S`; times are then that.
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
        self.learned = np.full(nodes, _NEVER, dtype=np.float32)
        self.frames = 0
        # When each member tells next; after its two tellings never.
        self.tells = np.full(nodes, _NEVER, dtype=np.float32)
        self.told = np.zeros(nodes, dtype=np.int8)
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
        while known < living and now < LIMIT_S:
            now += ROUND_S
            self._tell(now)
            self._compare(now)
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

    def _reach(self, to: _Ints, at: _Floats | float, trips: int = 1, frames: int = 1) -> None:
        """News for each of `to`; those that arrive are learned unless something came earlier."""
        arrives = self.living[to]
        if self.loss:
            arrives &= self.rng.random(len(to), dtype=np.float32) < (1.0 - self.loss) ** frames
        to = to[arrives]
        came = (at if isinstance(at, float) else at[arrives]) + trips * self._delays(len(to))
        self.frames += len(to)
        np.minimum.at(self.learned, to, came.astype(np.float32))

    def _tell(self, now: float) -> None:
        tellers = np.flatnonzero(self.tells <= now).astype(np.int32)
        if not len(tellers):
            return
        at = self.tells[tellers]
        again = self.told[tellers] == 0
        self.told[tellers] += 1
        self.tells[tellers] = _NEVER
        if self.neighbours is None:
            self._reach(np.arange(1, self.nodes, dtype=np.int32), now)
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
        self._reach(partners[knows & ~told], now, trips=3, frames=_SYNC_FRAMES - 1)
        pulls = told & ~knows & self.living[partners]
        self._reach(due[pulls], now, trips=4, frames=_SYNC_FRAMES)

    def _take(self, now: float) -> int:
        """Who has learned since the last round will tell; how many they are."""
        fresh = np.flatnonzero((self.learned <= now) & (self.told == 0) & (self.tells == _NEVER))
        if not len(fresh):
            return 0
        if self.is_full:
            self.told[fresh] = 1  # Published by its owner, it is not relayed.
        else:
            self.tells[fresh] = self.learned[fresh] + np.float32(self.profile.debounce_s)
        return len(fresh)
