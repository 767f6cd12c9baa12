"""The digests of one size, number of hashes and key epoch: their filters, and what is told of each agent.

Agents stand in slots 0 .. living - 1. Where one leaves, the last takes its slot, so that what is held is
what the living need. Beside each filter (see bitslices.py): the agent, when it was last confirmed, and its
level, the number of bits set in its filter, from which the error follows:

    error = (level / 2**log2_bits) ** hashes          (so, in one class: lower level, higher score)

Levels are kept twice, as numbers by slot, and bit-sliced: `planes[i]` bit j is bit i of the level in slot j.
With the planes, the lowest levels among any set of slots are found without looking at each of them.

Invariants, checked by `check()`:
 1. What bitslices.py promises, of as many filters as there are agents.
 2. Levels are those of the filters, planes those of the levels; `suspects` has bits of agents only.
"""

from __future__ import annotations

from array import array

import numpy as np

from protocol.bitslices import BitSlices, Words
from protocol.digest import Digest
from protocol.names import AgentName


class Plane:
    """A bit per slot, that can be read as a number or as words of 64. `ones`: how many are set."""

    def __init__(self) -> None:
        self.ones = 0
        self._bytes = bytearray()
        self._number: int | None = None  # As last read, while nothing changed.

    @property
    def size_bytes(self) -> int:
        """What is allocated."""
        return self._bytes.__sizeof__() + (0 if self._number is None else self._number.__sizeof__())

    def __getitem__(self, slot: int) -> int:
        return self._bytes[slot >> 3] >> (slot & 7) & 1

    def resize(self, slots: int) -> None:
        """Room for so many slots, in whole words; new ones are 0."""
        size_bytes = -(-slots // 64) * 8
        if size_bytes > len(self._bytes):
            self._bytes.extend(bytes(size_bytes - len(self._bytes)))
        else:
            del self._bytes[size_bytes:]

    def flip(self, slot: int) -> None:
        """Change the bit of `slot`."""
        at, bit = slot >> 3, 1 << (slot & 7)
        self._bytes[at] ^= bit
        self.ones += 1 if self._bytes[at] & bit else -1
        self._number = None

    def number(self) -> int:
        """All of it; bit j is that of slot j."""
        number = self._number
        if number is None:
            number = self._number = int.from_bytes(self._bytes, "little")
        return number

    def words(self) -> Words:
        """All of it; to be let go before the plane changes size."""
        self._number = None
        return np.frombuffer(self._bytes, dtype=np.uint64)


class SizeClass:
    """See above. Slots and names are its user's to keep together: it is told who moves where."""

    def __init__(self, log2_bits: int, hashes: int, key_epoch: int = 0, key: bytes = b"") -> None:
        self.log2_bits, self.hashes = log2_bits, hashes
        self.key_epoch, self.key = key_epoch, key
        self.bits = 1 << log2_bits
        self.agents: list[AgentName] = []
        self.confirmed = array("d")
        self.levels = array("H" if log2_bits < 16 else "I")
        self.planes = [Plane() for _ in range(log2_bits + 1)]
        self.suspects = Plane()
        self.error_total = 0.0
        self.slices = BitSlices(log2_bits)

    def __len__(self) -> int:
        return len(self.agents)

    @property
    def size_bytes(self) -> int:
        """What is held, without the names themselves."""
        arrays = self.agents.__sizeof__() + self.confirmed.__sizeof__() + self.levels.__sizeof__()
        planes = sum(plane.size_bytes for plane in (*self.planes, self.suspects))
        return self.slices.size_bytes + arrays + planes

    def error_at(self, level: int) -> float:
        """The error of a filter with so many bits set."""
        return float((level / self.bits) ** self.hashes)

    def add(self, agent: AgentName, digest: Digest, now: float) -> int:
        """Give `agent` a slot."""
        slot = self.slices.append(digest.bits)
        self.agents.append(agent)
        self.confirmed.append(now)
        self.levels.append(0)
        if slot & 63 == 0:
            for plane in (*self.planes, self.suspects):
                plane.resize(slot + 1)
        level = digest.level
        self._set_level(slot, level)
        self.error_total += self.error_at(level)
        return slot

    def replace(self, slot: int, digest: Digest, now: float) -> None:
        """The agent in `slot` announces something else."""
        self.slices.replace(slot, digest.bits)
        self.confirmed[slot] = now
        level = digest.level
        if level != self.levels[slot]:
            self.error_total += self.error_at(level) - self.error_at(self.levels[slot])
            self._set_level(slot, level)
        self.suspect(slot, False)

    def suspect(self, slot: int, suspected: bool) -> None:
        """Whether the agent in `slot` is suspected."""
        if self.suspects[slot] != suspected:
            self.suspects.flip(slot)

    def remove(self, slot: int) -> None:
        """Forget the agent in `slot`; the last one takes its place."""
        last = len(self.agents) - 1
        self.error_total -= self.error_at(self.levels[slot])
        if slot != last:
            self.slices.replace(slot, self.slices.bits_of(last))
            self.agents[slot], self.confirmed[slot] = self.agents[last], self.confirmed[last]
            self._set_level(slot, self.levels[last])
            self.suspect(slot, bool(self.suspects[last]))
        self._set_level(last, 0)
        self.suspect(last, False)
        self.slices.pop()
        for told in (self.agents, self.confirmed, self.levels):
            told.pop()
        if last & 63 == 0:
            for plane in (*self.planes, self.suspects):
                plane.resize(last)
            if (
                self.confirmed.__sizeof__() > 16 * last + 1_024
            ):  # Unlike lists, arrays keep what they once had.
                self.confirmed, self.levels = self.confirmed[:], self.levels[:]

    def _set_level(self, slot: int, level: int) -> None:
        changed = self.levels[slot] ^ level
        self.levels[slot] = level
        while changed:
            turn = changed.bit_length() - 1
            self.planes[turn].flip(slot)
            changed ^= 1 << turn

    def check(self) -> None:
        """Assert the invariants at the head of this module."""
        self.slices.check()
        living = len(self.agents)
        assert len(self.slices) == len(self.confirmed) == len(self.levels) == living
        for slot, level in enumerate(self.levels):
            assert level == sum(plane[slot] << turn for turn, plane in enumerate(self.planes))
            assert level == int.from_bytes(self.slices.bits_of(slot)).bit_count()
        for plane in (*self.planes, self.suspects):
            assert plane.number() >> living == 0, "a bit of nobody"
            assert plane.ones == plane.number().bit_count()
        assert abs(self.error_total - sum(map(self.error_at, self.levels))) < 1e-6
