"""The store against a model of plain dicts: whatever is done in whatever order, the two agree.

    AVM_STATEFUL_S=600 pytest tests/node/memory/test_stateful.py

goes on with new examples for that many seconds instead of about two.
"""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from node.memory import Draft, Store
from node.memory.records import Visibility
from protocol.errors import InvalidInput, NotFound
from protocol.names import AgentName
from tests.support.clock import FakeClock

ALICE, BOB = AgentName("alice"), AgentName("bob")
LONGER_S = float(os.environ.get("AVM_STATEFUL_S", "0"))  # Read before the fixture that removes it.

PATHS = st.sampled_from(["/a", "/a/b", "/b", "/c"])
WORDS = ("zebra", "lion", "tiger")
TEXTS = st.sampled_from([*WORDS, "zebra lion", "zebra tiger lion"])
VISIBILITIES: st.SearchStrategy[Visibility] = st.sampled_from(["private", "listed", "mesh"])
SPANS = st.none() | st.sampled_from([1.0, 5.0])
Said = tuple[str, Visibility, float | None]


class StoreAgainstDicts(RuleBasedStateMachine):
    """`log`: for each path what each version said, None for a tombstone, "erased" for what was removed."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp(prefix="avm-"))
        self.clock = FakeClock()
        self.log: dict[str, list[Said | str | None]] = {}
        self.links: dict[tuple[str, str], float] = {}
        self.grants: set[str] = set()
        self.store = self.opened()

    def opened(self) -> Store:
        return Store.open(self.folder / "alice.db", ALICE, clock=self.clock, cache_entries=2)

    def teardown(self) -> None:
        self.store.close()
        shutil.rmtree(self.folder)

    def live(self) -> dict[str, Said]:
        return {path: said[-1] for path, said in self.log.items() if isinstance(said[-1], tuple)}

    def end_links(self, path: str) -> None:
        self.links = {ends: weight for ends, weight in self.links.items() if path not in ends}

    @rule(path=PATHS, text=TEXTS, visibility=VISIBILITIES, span=SPANS)
    def remember(self, path: str, text: str, visibility: Visibility, span: float | None) -> None:
        said = (text, visibility, None if span is None else self.clock() + span)
        known = self.live().get(path) == said

        receipt = self.store.remember(Draft(text=text, path=path, visibility=visibility, expires_at=said[2]))

        if not known:
            self.log.setdefault(path, []).append(said)
        assert (receipt.stored, receipt.version) == (not known, len(self.log[path]))

    @rule(text=TEXTS, visibility=VISIBILITIES)
    def remember_anywhere(self, text: str, visibility: Visibility) -> None:
        said = (text, visibility, None)
        same = {path for path, found in self.live().items() if found == said}

        receipt = self.store.remember(Draft(text=text, visibility=visibility))

        if receipt.stored:
            assert receipt.path not in self.log
            self.log[receipt.path] = [said]
        else:
            assert receipt.path in same

    @rule(path=PATHS)
    def forget(self, path: str) -> None:
        if path not in self.live():
            with pytest.raises(NotFound):
                self.store.forget(path)
            return
        self.store.forget(path)
        self.log[path].append(None)
        self.end_links(path)

    @rule(path=PATHS)
    def erase(self, path: str) -> None:
        if path not in self.log:
            with pytest.raises(NotFound):
                self.store.erase(path)
            return
        self.store.erase(path)
        self.log[path] = ["erased"] * (len(self.log[path]) + 1)
        self.end_links(path)
        self.grants.discard(path)

    @rule(seconds=st.sampled_from([0.5, 1.0, 10.0]))
    def wait(self, seconds: float) -> None:
        self.clock.advance(seconds)
        for path, said in self.live().items():
            if said[2] is not None and said[2] <= self.clock():
                self.log[path].append(None)
                self.end_links(path)

    @rule(path=PATHS, to=PATHS, weight=st.sampled_from([0.5, 1.0]))
    def link(self, path: str, to: str, weight: float) -> None:
        if path == to or not {path, to} <= self.live().keys():
            with pytest.raises((NotFound, InvalidInput)):
                self.store.relations.link(path, to, "related", weight)
            return
        self.store.relations.link(path, to, "related", weight)
        self.links[path, to] = weight

    @rule(path=PATHS, revoked=st.booleans())
    def grant(self, path: str, revoked: bool) -> None:
        if not revoked:
            self.store.relations.grant(path, BOB)
            self.grants.add(path)
        elif path in self.grants:
            self.store.relations.revoke(path, BOB)
            self.grants.remove(path)
        else:
            with pytest.raises(NotFound):
                self.store.relations.revoke(path, BOB)

    @rule()
    def reopen(self) -> None:
        self.store.close()
        self.store = self.opened()

    @rule()
    def count_topics(self) -> None:
        found = {term: number for term, number, _ in self.store.announced_topics()}
        said = [text.split() for text, visibility, _ in self.live().values() if visibility != "private"]

        assert {word: found.get(word, 0) for word in WORDS} == {
            word: sum(word in words for words in said) for word in WORDS
        }
        told = {one.topic: one.memories for one in self.store.topics("/", 1_000)}
        everything = [text.split() for text, _, _ in self.live().values()]
        assert {word: told.get(word, 0) for word in WORDS} == {
            word: sum(word in words for words in everything) for word in WORDS
        }

    @invariant()
    def agree(self) -> None:
        live = self.live()
        assert [one.path for one in self.store.browse()] == sorted(live)
        for path, versions in self.log.items():
            if path in live:
                memory = self.store.read(path)
                assert (memory.text, memory.visibility, memory.expires_at) == live[path]
            else:
                with pytest.raises(NotFound):
                    self.store.read(path)
            told = self.store.history(path)
            assert [one.version for one in told] == list(range(len(versions), 0, -1))
            assert [one.erased for one in reversed(told)] == [said == "erased" for said in versions]
        assert self.store.count() == len(live)

    @invariant()
    def find_what_may_be_found(self) -> None:
        mine = {path for path, said in self.live().items() if "zebra" in said[0]}
        readable = self.store.relations.readable_by(BOB)
        theirs = {
            path
            for path in mine
            if self.live()[path][1] == "mesh" or (self.live()[path][1] == "listed" and path in self.grants)
        }
        assert {hit.path for hit in self.store.search("zebra", 100)} == mine
        assert {hit.path for hit in self.store.search("zebra", 100, visibilities=readable)} == theirs

    @invariant()
    def know_the_links(self) -> None:
        for path in self.log:
            found = {(one.path, one.target): one.weight for one in self.store.relations.links(path)}
            assert found == {ends: weight for ends, weight in self.links.items() if path in ends}

    @rule()
    def check(self) -> None:
        assert self.store.check().problems == ()


@pytest.mark.timeout(max(120, LONGER_S * 2))
def test_the_store_agrees_with_a_model_of_plain_dicts() -> None:
    ends_at = time.monotonic() + LONGER_S
    while True:
        run_state_machine_as_test(
            StoreAgainstDicts,
            settings=settings(
                max_examples=200 if LONGER_S else 25,
                stateful_step_count=30 if LONGER_S else 20,
                deadline=None,
                derandomize=not LONGER_S,
                database=None,
                phases=(Phase.generate, Phase.shrink),
                suppress_health_check=list(HealthCheck),
            ),
        )
        if time.monotonic() >= ends_at:
            return
