"""The roll: every name leads to its number, whatever was entered, moved and removed before."""

from __future__ import annotations

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from protocol import roll
from protocol.names import AgentName
from protocol.roll import Roll

KEYS = st.integers(0, 400)


class Name(str):
    """A number that is its own hash, so that many collide."""

    __slots__ = ()

    def __hash__(self) -> int:
        return int(self)


class RollAgainstDict(RuleBasedStateMachine):
    """All in one table, where runs of names stand side by side."""

    def __init__(self) -> None:
        self._patch = pytest.MonkeyPatch()
        self._patch.setattr(roll, "_PARTS", 1)
        super().__init__()
        self.names: list[AgentName] = []
        self.numbers: dict[AgentName, int] = {}
        self.roll = Roll(self.names.__getitem__)

    def teardown(self) -> None:
        self._patch.undo()

    @rule(key=KEYS)
    def add(self, key: int) -> None:
        name = AgentName(Name(key))
        if name not in self.numbers:
            self.numbers[name] = len(self.names)
            self.names.append(name)
            self.roll.add(name, self.numbers[name])

    @rule(start=st.integers(0, 300))
    def add_a_run(self, start: int) -> None:
        for number in range(start, start + 20):
            self.add(number)

    @precondition(lambda self: self.numbers)
    @rule(data=st.data())
    def remove(self, data: st.DataObject) -> None:
        name = data.draw(st.sampled_from(sorted(self.numbers)))
        self.roll.remove(name)
        del self.numbers[name]

    @rule(start=st.integers(0, 300))
    def remove_a_run(self, start: int) -> None:
        for name in [AgentName(Name(number)) for number in range(start, start + 100)]:
            if name in self.numbers:
                self.roll.remove(name)
                del self.numbers[name]

    @precondition(lambda self: self.numbers)
    @rule(data=st.data())
    def move(self, data: st.DataObject) -> None:
        name = data.draw(st.sampled_from(sorted(self.numbers)))
        self.names.append(name)
        self.roll.move(name, len(self.names) - 1)
        self.numbers[name] = len(self.names) - 1

    @rule(key=KEYS)
    def find(self, key: int) -> None:
        name = AgentName(Name(key))
        assert self.roll.find(name) == self.numbers.get(name)

    @invariant()
    def holds(self) -> None:
        self.roll.check()
        assert sorted(self.roll) == sorted(self.numbers.values())
        assert len(self.roll) == len(self.numbers)
        assert self.roll.size_bytes <= 4 * max(8, 6 * len(self.numbers)) * bool(self.numbers)


TestRollAgainstDict = RollAgainstDict.TestCase
TestRollAgainstDict.settings = settings(max_examples=60, stateful_step_count=50, deadline=None)


@pytest.mark.parametrize("count", [1_000, 20_000])
def test_a_roll_takes_about_eight_bytes_a_name(count: int) -> None:
    names = [AgentName(f"agent-{number}") for number in range(count)]
    entered = Roll(names.__getitem__)
    for number, name in enumerate(names):
        entered.add(name, number)

    assert entered.size_bytes <= 10 * count
    assert [entered.find(name) for name in names] == list(range(count))
    assert entered.find("a stranger") is None
    assert entered.find(7) is None


def test_equal_names_take_equal_memory_whatever_the_key_of_their_hashes() -> None:
    sizes = []
    for turn in (1, 1_000_003):

        class Keyed(str):
            __slots__ = ()

            def __hash__(self, key: int = turn) -> int:
                return str.__hash__(self) * key

        names = [AgentName(Keyed(f"agent-{number}")) for number in range(100)]
        entered = Roll(names.__getitem__)
        for number, name in enumerate(names):
            entered.add(name, number)
        sizes.append(entered.size_bytes)

    assert sizes[0] == sizes[1]
