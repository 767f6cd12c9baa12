"""The embedder over a real store: all is embedded, trouble is told and passes, what is near is recalled.

The encoder here is a stand-in that knows two meanings; the real one is tested in tests/node/encoder, and at
the end where the extra is installed.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from node import MemoryNode, NodeClient
from node.config import NodeConfig
from node.embedder import Embedder, stop_encoder, why_without
from node.memory import Draft, Store
from node.recall import recall
from protocol.names import AgentName
from tests.support.encoders import StandIn
from tests.support.settings import MakeConfig
from tests.support.waiting import wait_for

SENTENCE = "the night build of our gateway timed out twice because a certificate had run out. " * 2


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store.open(tmp_path / "a.db", AgentName("alice")) as opened:
        yield opened


@pytest.fixture
def encoder() -> StandIn:
    return StandIn()


@pytest.fixture
def embedder(store: Store, encoder: StandIn) -> Iterator[Embedder]:
    made = Embedder(store, encoder, "stand-in")
    made.start()
    yield made
    made.close()
    assert encoder.closed


@pytest.fixture
def real(make_config: MakeConfig) -> Iterator[NodeConfig]:
    """Settings with the real encoder, which ends with the test; skips without the extra."""
    config = make_config(vectors="auto")
    if reason := why_without(config):
        pytest.skip(reason)
    yield config
    stop_encoder(config)


def test_what_shares_no_word_is_recalled_by_its_meaning(store: Store, embedder: Embedder) -> None:
    for n in range(20):
        store.remember(Draft(text=f"Note {n} on trains and gardens."))
    store.remember(Draft(text="The cat sleeps on the sill.", path="/cat"))
    embedder.changed()
    wait_for(lambda: embedder.embedded() == 21)

    by_words = recall(store, "where is the feline?", 50)
    found = recall(store, "where is the feline?", 50, nearest=embedder.nearest)

    assert by_words.items == ()
    assert found.items[0].path == "/cat"
    assert found.items[0].source == "context"
    assert found.hops["vector"] == 1


def test_a_hidden_memory_is_not_found_by_its_meaning_either(store: Store, embedder: Embedder) -> None:
    store.remember(Draft(text="The cat sleeps on the sill.", path="/cat", visibility="private"))
    store.remember(Draft(text="The dog sleeps under the table.", path="/dog", visibility="mesh"))
    embedder.changed()
    wait_for(lambda: embedder.embedded() == 2)

    found = recall(store, "where is the feline?", 50, visibilities={"mesh"}, nearest=embedder.nearest)

    assert [item.path for item in found.items] == ["/dog"]


def test_what_may_not_be_read_takes_no_place_from_what_may(store: Store, embedder: Embedder) -> None:
    store.remember_many([Draft(text=f"Private cat {n}.", visibility="private") for n in range(200)])
    store.remember(Draft(text="The dog sleeps under the table.", path="/dog", visibility="mesh"))
    store.remember_many([Draft(text=f"Train {n} is late.", visibility="mesh") for n in range(5)])
    embedder.changed()
    wait_for(lambda: embedder.embedded() == 206)

    near = embedder.nearest("feline", 3, readable={"mesh"})

    assert near is not None
    assert [at for at, _ in near] == [201, 202, 203]
    assert embedder.nearest("feline", 300, readable=()) == []


def test_without_an_encoder_words_answer_and_the_trouble_is_told(
    store: Store, embedder: Embedder, encoder: StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("node.embedder._RETRY_S", 0.05)
    encoder.works = False
    store.remember(Draft(text="The cat sleeps.", path="/cat"))
    embedder.changed()
    wait_for(lambda: embedder.trouble)

    assert recall(store, "cat", 50, nearest=embedder.nearest).items[0].path == "/cat"

    encoder.works = True
    wait_for(lambda: embedder.embedded() == 1)
    assert embedder.trouble == ""


def test_an_overwritten_memory_is_embedded_anew(store: Store, embedder: Embedder) -> None:
    store.remember(Draft(text="The cat sleeps.", path="/a"))
    embedder.changed()
    wait_for(lambda: embedder.embedded() == 1)
    store.remember(Draft(text="The train is late.", path="/a"))
    embedder.changed()
    wait_for(lambda: store.vectors.pending(9) is None)

    near = embedder.nearest("feline", 9)

    assert embedder.embedded() == 1
    assert near is not None
    assert near[0][1] < 0.5


def test_without_a_thread_it_embeds_no_longer_than_it_may(store: Store, encoder: StandIn) -> None:
    store.remember_many([Draft(text=f"The cat sleeps {n} times.") for n in range(100)])
    embedder = Embedder(store, encoder, "stand-in")

    embedder.catch_up_within(0.0)
    assert (embedder.embedded(), embedder.trouble) == (0, "")
    embedder.catch_up_within(60.0)
    assert embedder.embedded() == 100
    encoder.works = False
    store.remember(Draft(text="The dog, too."))
    embedder.catch_up_within(60.0)
    assert "out" in embedder.trouble
    embedder.close()


@pytest.mark.processes
def test_a_node_recalls_a_paraphrase_with_the_real_encoder(real: NodeConfig) -> None:
    with MemoryNode("alice", config=real) as node, NodeClient("alice", config=real) as client:
        node.remember("The physician examined the child.", path="/doctor")
        node.remember("The train to Basel leaves at noon.", path="/train")
        wait_for(lambda: node.status().embedded == 2, timeout=60)

        found = client.recall("a kid visits the doctor's office", budget_tokens=12)
    assert found.items[0].path == "/doctor"


@pytest.mark.processes
def test_an_encoder_killed_while_it_embeds_costs_no_memory_its_vector(real: NodeConfig) -> None:
    with MemoryNode("alice", config=real) as node:
        node.remember("warm")
        wait_for(lambda: node.status().embedded == 1, timeout=60)
        node.remember_many([Draft(text=f"Sentence {n}: {SENTENCE}") for n in range(100)])
        wait_for(lambda: (node.status().embedded or 0) > 64, timeout=60)
        (encoder,) = (
            child
            for child in psutil.Process().children()
            if any("encoder" in word for word in child.cmdline())
        )

        encoder.kill()
        midway = node.status().embedded or 0
        wait_for(lambda: node.status().embedded == 101, timeout=60)

        ids = [at for batch, _ in node._store.vectors.stored() for at in batch]
    assert midway < 101
    assert sorted(ids) == list(range(1, 102))
