"""The roll: every name leads to its number, whatever was entered, moved and removed before."""

from __future__ import annotations

from typing import cast

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from protocol.names import AgentName
from protocol.roll import Roll

KEYS = st.integers(0, 400).map(lambda number: number * 64)


class RollAgainstDict(RuleBasedStateMachine):
    """Integers stand for names, since they are their own hashes: all of one table, and many that collide."""

    def __init__(self) -> None:
        super().__init__()
        self.names: list[AgentName] = []
        self.numbers: dict[AgentName, int] = {}
        self.roll = Roll(self.names.__getitem__)

    @rule(key=KEYS)
    def add(self, key: int) -> None:
        name = cast(AgentName, key)
        if name not in self.numbers:
            self.numbers[name] = len(self.names)
            self.names.append(name)
            self.roll.add(name, self.numbers[name])

    @rule(start=st.integers(0, 300))
    def add_a_run(self, start: int) -> None:
        for number in range(start, start + 20):
            self.add(number * 64)

    @precondition(lambda self: self.numbers)
    @rule(data=st.data())
    def remove(self, data: st.DataObject) -> None:
        name = data.draw(st.sampled_from(sorted(self.numbers)))
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
        assert self.roll.find(key) == self.numbers.get(cast(AgentName, key))

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
    roll = Roll(names.__getitem__)
    for number, name in enumerate(names):
        roll.add(name, number)

    assert roll.size_bytes <= 10 * count
    assert [roll.find(name) for name in names] == list(range(count))
    assert roll.find("a stranger") is None
