"""Who answers by meaning: a memory without its node, a peer, the local part of a question to the mesh."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from node import LocalMemory, MemoryNode
from node.embedder import BY_WORDS, NONE_EMBEDDED, Embedder
from node.memory import Draft
from tests.support.encoders import StandIn
from tests.support.settings import MakeConfig
from tests.support.waiting import wait_for

QUESTION = "where is the feline?"


@pytest.fixture
def encoder(monkeypatch: pytest.MonkeyPatch) -> StandIn:
    """That of every memory opened in this test."""
    made = StandIn()
    monkeypatch.setattr("node.local.embedder_for", lambda store, _: Embedder(store, made, "stand-in"))
    return made


@pytest.fixture
def memory(encoder: StandIn, make_config: MakeConfig) -> Iterator[LocalMemory]:
    with LocalMemory("a", config=make_config()) as opened:
        opened.remember_many([Draft(text=f"Note {n} on trains.") for n in range(20)])
        opened.remember("The cat sleeps on the sill.", path="/cat")
        yield opened


def test_a_memory_without_a_node_recalls_by_meaning_and_embeds_what_is_new(
    memory: LocalMemory, encoder: StandIn
) -> None:
    found = memory.recall(QUESTION, budget_tokens=10)
    memory.remember("My dog barks.", path="/dog")
    again = memory.recall(QUESTION, budget_tokens=30)

    assert [item.path for item in found.items] == ["/cat"]
    assert found.notes == ()
    assert found.hops["vector"] == 1
    assert {"/cat", "/dog"} <= {item.path for item in again.items}
    assert encoder.embedded == 22


def test_vectors_that_are_stored_are_used_when_it_is_opened_again(
    encoder: StandIn, make_config: MakeConfig
) -> None:
    config = make_config()
    with LocalMemory("a", config=config) as first:
        first.remember("The cat sleeps on the sill.", path="/cat")
        first.recall(QUESTION)

    with LocalMemory("a", config=config) as memory:
        assert memory.recall(QUESTION).items[0].path == "/cat"
    assert encoder.embedded == 1


def test_an_answer_by_words_alone_says_so(
    memory: LocalMemory, encoder: StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("node.local.CATCH_UP_S", 0.0)
    cold = memory.recall("trains")
    monkeypatch.setattr("node.local.CATCH_UP_S", 60.0)
    memory.recall("trains")
    encoder.works = False
    broken = memory.recall("trains")

    assert cold.items
    assert cold.notes == (NONE_EMBEDDED,)
    assert broken.items
    assert broken.notes == (BY_WORDS,)


def test_a_memory_without_the_extra_says_nothing_of_vectors(make_config: MakeConfig) -> None:
    with LocalMemory("a", config=make_config()) as memory:
        memory.remember("The cat sleeps on the sill.")

        assert memory.recall("cat").notes == ()


@pytest.mark.processes
@pytest.mark.usefixtures("encoder")
def test_a_peer_answers_by_meaning_with_what_it_may_give(make_config: MakeConfig) -> None:
    with MemoryNode("a", config=make_config()) as a, MemoryNode("b", config=make_config()) as b:
        b.remember("The cat sleeps on the sill. #pets", path="/cat", visibility="mesh")
        b.remember_many([Draft(text=f"Note {n} on trains.", visibility="mesh") for n in range(5)])
        b.remember("My old dog barks.", path="/more", visibility="mesh")
        b.remember("The dog in the shed.", path="/dog", visibility="private")
        wait_for(lambda: b.status().embedded == 8)
        wait_for(lambda: a.who_knows("pets").leads)

        found = a.ask("pets: where is the feline?", budget_tokens=20)

        assert ("b", "/more") in [(item.agent, item.path) for item in found.items]
        assert "/dog" not in [item.path for item in found.items]


@pytest.mark.processes
def test_a_question_to_the_mesh_looks_for_meaning_at_home_too(
    encoder: StandIn, make_config: MakeConfig
) -> None:
    with MemoryNode("a", config=make_config()) as a:
        a.remember("The cat sleeps on the sill.", path="/cat")
        wait_for(lambda: a.status().embedded == 1)

        found = a.ask(QUESTION, budget_tokens=50)
        encoder.works = False
        by_words = a.ask("cat", budget_tokens=50)

        assert [item.path for item in found.items] == ["/cat"]
        assert found.hops["vector"] == 1
        assert BY_WORDS in by_words.notes
        assert BY_WORDS not in found.notes
