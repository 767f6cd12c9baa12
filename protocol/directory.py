"""All known digests: *who knows these topics?* answered for every agent at once.

Digests of one size, number of hashes and key epoch form a class (sizeclass.py), which keeps their filters
bit-sliced (bitslices.py). A question reads a few rows of each class, those of its terms under the key of that
epoch, which gives the agents that may hold a term as a set of bits; from these the best leads are picked
without looking at each (shortlist.py). A roll (roll.py) leads from a name to class and slot.

Invariants, checked by `check()`:
 1. An agent stands in exactly one class and slot; a removed one in none.
 2. Read back from its column, an agent's filter is the one that was put in.
 3. What is held follows the living, whatever came before: slots are dense, rows shrink with them, and a class
    without agents is dropped. Of an epoch there are 112 at the most (a size and a number of hashes each).
 4. Each class is of an epoch whose key we have, and is asked under that key.

Memory: beside its filter an agent costs about 30 bytes; its name is shared with the table of members. A class
of a few agents takes up to 8 times the filter of one, so a peer that walks through all sizes and hashes costs
2.1 MB beyond what it put in, and no more however long it walks; twice that where there are two keys.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from types import MappingProxyType

from protocol import bloom
from protocol.digest import Digest
from protocol.keyring import UNKEYED, Keyring, check_key
from protocol.messages import MAX_EPOCHS
from protocol.names import AgentName
from protocol.roll import Roll
from protocol.shortlist import Held, Lead, Shortlist
from protocol.sizeclass import SizeClass

_SLOT_BITS = 24  # 16 million agents a class; the 8 bits above are the class.
_SLOTS = 1 << _SLOT_BITS
_MAX_HASHES = 16
_FORMS = (bloom.MAX_LOG2_BITS - bloom.MIN_LOG2_BITS + 1) * _MAX_HASHES  # Of one epoch.


class Directory:
    """Digests by agent. Not thread-safe: its owner's thread only."""

    def __init__(self, keys: Keyring = UNKEYED) -> None:
        """`keys`: as `set_keys` takes them."""
        self.keys: Keyring = {}
        self._shelves: dict[int, int] = {}  # By epoch, which part of the numbers its classes have.
        self._classes: dict[int, SizeClass] = {}
        self._roll = Roll(self._name_of)
        self.set_keys(keys)

    def __len__(self) -> int:
        return sum(map(len, self._classes.values()))

    def __contains__(self, agent: object) -> bool:
        return self._roll.find(agent) is not None

    def __iter__(self) -> Iterator[AgentName]:
        for part in self._classes.values():
            yield from part.agents

    @property
    def classes(self) -> tuple[SizeClass, ...]:
        """The digests by size, number of hashes and key epoch; to look at."""
        return tuple(self._classes.values())

    @property
    def size_bytes(self) -> int:
        """Bytes held, without the names: they are the members'."""
        return self._roll.size_bytes + sum(part.size_bytes for part in self._classes.values())

    def set_keys(self, keys: Keyring) -> None:
        """Take and look up digests of these epochs, one or two of them, from now on.

        Agents whose digest is of another one, or of one that has another key now, are forgotten. Raises
        `ValueError`, and changes nothing, where there are more epochs, or one has a key it cannot have.
        """
        if len(keys) > MAX_EPOCHS:
            raise ValueError(f"{len(keys)} digest keys where at most {MAX_EPOCHS} hold at a time")
        for epoch, key in keys.items():
            check_key(epoch, key)
        kept = {epoch: at for epoch, at in self._shelves.items() if keys.get(epoch) == self.keys[epoch]}
        for number, part in list(self._classes.items()):
            if part.key_epoch not in kept:
                for agent in part.agents:
                    self._roll.remove(agent)
                del self._classes[number]
        free = iter(set(range(MAX_EPOCHS)) - set(kept.values()))
        self._shelves = {epoch: kept[epoch] if epoch in kept else next(free) for epoch in keys}
        self.keys = MappingProxyType(dict(keys))

    def put(self, agent: AgentName, digest: Digest, *, now: float) -> None:
        """Take `digest` as what `agent` announces from now on; it replaces an earlier one.

        Raises `KeyError`, and changes nothing, where the key of its epoch is not among ours.
        """
        number = self._class_number(digest)
        place = self._roll.find(agent)
        if place is not None:
            if place >> _SLOT_BITS == number:
                self._classes[number].replace(place & _SLOTS - 1, digest, now)
                return
            self.remove(agent)
        part = self._classes.get(number)
        if part is None:
            part = self._classes[number] = self._new_class(digest)
        self._roll.add(agent, number << _SLOT_BITS | part.add(agent, digest, now))

    def remove(self, agent: AgentName) -> None:
        """Forget `agent`; nothing happens where it is not known."""
        place = self._roll.find(agent)
        if place is None:
            return
        number, slot = divmod(place, _SLOTS)
        part = self._classes[number]
        self._roll.remove(agent)
        if slot != len(part) - 1:
            self._roll.move(part.agents[-1], place)
        part.remove(slot)
        if not len(part):
            del self._classes[number]

    def confirm(self, agent: AgentName, *, now: float) -> None:
        """The agent was heard with the version we hold: its digest is as of `now`."""
        place = self._roll.find(agent)
        if place is not None:
            self._classes[place >> _SLOT_BITS].confirmed[place & _SLOTS - 1] = now

    def suspect(self, agent: AgentName, suspected: bool) -> None:
        """Ask a suspected agent after its equals."""
        place = self._roll.find(agent)
        if place is not None:
            self._classes[place >> _SLOT_BITS].suspect(place & _SLOTS - 1, suspected)

    def who_knows(self, terms: Sequence[str], *, now: float, limit: int = 10) -> list[Lead]:
        """The agents that may know of `terms` (normalised), most likely first, at most `limit`.

        Ranked by log-likelihood ratio: a hit on term t is worth -log(e + (1 - e) p), with `e` the error of
        that agent's filter and `p` the share of agents that hold t, so that a term few agents hold counts
        most and a crowded filter counts least. Ties go to the fresher digest, then by name.
        """
        if not self._classes or not terms or limit < 1:
            return []
        held = [Held(part, terms) for part in self._classes.values()]
        shortlist = Shortlist(terms, self._shares(held), now=now, limit=limit)
        for part in held:
            shortlist.offer(part)
        return shortlist.leads()

    def _shares(self, held: list[Held]) -> list[float]:
        """By term, the share of agents that truly hold it: what the filters' errors explain is taken off."""
        if len(held) == 1:
            agents, error_total = len(held[0].size_class.agents), held[0].size_class.error_total
            found = held[0].counts
        else:
            agents, error_total = len(self), sum([part.size_class.error_total for part in held])
            found = [sum(counts) for counts in zip(*[part.counts for part in held], strict=True)]
        error = error_total / agents
        truly, least = 1.0 - error if error < 1.0 - 1e-9 else 1e-9, 0.1 / agents
        shares = []
        for count in found:
            share = (count / agents - error) / truly
            shares.append(least if share < least else share if share < 1.0 else 1.0)
        return shares

    def _class_number(self, digest: Digest) -> int:
        form = (digest.log2_bits - bloom.MIN_LOG2_BITS) * _MAX_HASHES + digest.hashes - 1
        return self._shelves[digest.key_epoch] * _FORMS + form

    def _new_class(self, digest: Digest) -> SizeClass:
        epoch = digest.key_epoch
        return SizeClass(digest.log2_bits, digest.hashes, epoch, self.keys[epoch])

    def _name_of(self, place: int) -> AgentName:
        return self._classes[place >> _SLOT_BITS].agents[place & _SLOTS - 1]

    def check(self, digests: dict[AgentName, Digest]) -> None:
        """Assert the invariants against what should be known; for tests and the simulator."""
        assert len(self) == len(self._roll) == len(digests)
        assert set(self) == set(digests), "not the agents that were put in"
        self._roll.check()
        for agent, digest in digests.items():
            place = self._roll.find(agent)
            assert place is not None
            assert place >> _SLOT_BITS == self._class_number(digest)
            part, slot = self._classes[place >> _SLOT_BITS], place & _SLOTS - 1
            assert part.agents[slot] == agent
            assert part.slices.bits_of(slot) == digest.bits, f"{agent}: not the filter that was put in"
        for part in self._classes.values():
            assert len(part), "a class without agents"
            assert self.keys.get(part.key_epoch) == part.key, "a class whose key is not that of its epoch"
            part.check()
