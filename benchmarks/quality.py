"""Quality of recall and of who-knows on real questions with gold evidence, against a harness kept elsewhere.

The licences of the questions do not let them travel with this project: without `--data` or `AVM_QUALITY`,
the folder that holds `harness.py` and its `data`, this says so and ends.

    python benchmarks/quality.py [--data FOLDER] [--sets locomo,…] [--meshes mixed,…] [--json PATH]
"""

from __future__ import annotations

import argparse
import functools
import importlib.util
import json
import os
import sys
import tempfile
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from types import ModuleType
from typing import Any

from node.announcer import announced
from node.embedder import Embedder
from node.encoder.client import EncoderClient
from node.memory import Draft, Store
from node.memory.vectors import Vectors
from node.recall import merge, recall
from protocol.digest import Digest
from protocol.directory import Directory
from protocol.names import AgentName
from protocol.topics import query_terms

SETS = ("locomo", "qmsum", "xquad", "hop", "sfaq")
BUDGETS = (500, 1000, 2000)
TARGETS = {500: 63.0, 1000: 71.0, 2000: 79.0}
"""Mean evidence recall over the five sets, in percent, by words and topics alone."""
TARGETS_WITH_VECTORS = {500: 70.0, 1000: 79.0, 2000: 87.0}


class MeshAdapter:
    """What the harness drives: one store an agent, their digests in one directory."""

    encoder: EncoderClient | None = None
    """Set on the class where vectors are to be used."""

    def __init__(self) -> None:
        self._embedders: dict[str, Embedder] = {}
        self._folder = tempfile.TemporaryDirectory(prefix="avm-quality-")
        self._stores: dict[str, Store] = {}
        self._now = 0.0
        self._directory = Directory()
        self._digests: dict[str, Digest] = {}

    def ingest(self, agent: str, items: Sequence[Mapping[str, Any]]) -> None:
        """Remember them in their order, each at its own time."""
        store = self._stores.get(agent)
        if store is None:
            name = AgentName(f"a{len(self._stores)}")
            path = Path(self._folder.name) / f"{name}.db"
            store = self._stores[agent] = Store.open(path, name, clock=lambda: self._now)
        for item in items:
            self._now = datetime.fromisoformat(item["ts"]).timestamp() if item.get("ts") else self._now + 1.0
            store.remember(
                Draft(
                    text=item["text"],
                    title=item.get("title") or "",
                    path=f"/q/{item['id']}".replace("//", "/"),
                    visibility="mesh",
                )
            )

    def ready(self) -> None:
        """Digests of all, as their nodes would announce them."""
        for agent, store in self._stores.items():
            digest = self._digests[agent] = Digest.of(announced(store))
            self._directory.put(AgentName(agent), digest, now=0.0)
            if self.encoder is not None:
                embedder = self._embedders[agent] = Embedder(store, _Remembering(self.encoder), "quality")
                embedder.catch_up()

    def recall(self, agent: str, query: str, budget: int) -> str:
        """From one agent's memory, as text."""
        embedder = self._embedders.get(agent)
        understand = None if embedder is None else embedder.understand
        return recall(self._stores[agent], query, budget, understand=understand).text

    def who_knows(self, query: str, k: int) -> list[str]:
        """By the directory, as every node asks it."""
        return [lead.agent for lead in self._directory.who_knows(query_terms(query), now=0.0, limit=k)]

    def mesh_recall(self, query: str, budget: int, k: int = 3) -> str:
        """The best `k` agents answer, each in the whole budget; their answers are merged into it."""
        parts = [
            recall(self._stores[agent], query, budget, visibilities={"mesh"}).items
            for agent in self.who_knows(query, k)
        ]
        return merge(query, parts, budget).text

    def digest_bytes(self, agent: str) -> int:
        """What the agent's digest takes on the wire."""
        return self._digests[agent].size_bytes

    def close(self) -> None:
        """Close and remove the stores."""
        for store in self._stores.values():
            store.close()
        self._folder.cleanup()


class _Remembering:
    """An encoder that embeds a question once: it is asked with five budgets."""

    def __init__(self, encoder: EncoderClient) -> None:
        self._encoder = encoder
        self._query = functools.cache(lambda text: encoder.try_query(text, 5.0))

    def embed(self, texts: Sequence[str], *, bulk: bool, timeout_s: float) -> Vectors:
        return self._encoder.embed(texts, bulk=bulk, timeout_s=timeout_s)

    def try_query(self, text: str, wait_s: float) -> Vectors | None:
        found: Vectors | None = self._query(text)
        return found

    def close(self) -> None:
        """It is everybody's."""


def harness(folder: Path) -> ModuleType:
    """The module `harness.py` of `folder`."""
    spec = importlib.util.spec_from_file_location("quality_harness", folder / "harness.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def main() -> None:
    """Run it and print the means beside their targets."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=os.environ.get("AVM_QUALITY"), metavar="FOLDER")
    parser.add_argument("--split", default="dev")
    parser.add_argument("--sets", default=",".join(SETS))
    parser.add_argument("--meshes", default="")
    parser.add_argument("--vectors", action="store_true", help="by meaning as well, with the real encoder")
    parser.add_argument("--json", type=Path, metavar="PATH", help="write everything there, too")
    options = parser.parse_args()
    if options.data is None or not (Path(options.data) / "harness.py").exists():
        sys.exit("the questions are not here: give their folder by --data or AVM_QUALITY")
    module = harness(Path(options.data))
    sets = [name for name in options.sets.split(",") if name]
    meshes = [name for name in options.meshes.split(",") if name]

    class Driven(MeshAdapter, module.Adapter):  # type: ignore[name-defined,misc]
        pass

    with tempfile.TemporaryDirectory(prefix="avm-") as place:
        if options.vectors:
            Driven.encoder = EncoderClient(Path(place))
        try:
            found = module.run(Driven, options.split, sets, meshes)
        finally:
            if Driven.encoder is not None:
                Driven.encoder.stop_server()
                Driven.encoder.close()
    targets = TARGETS_WITH_VECTORS if options.vectors else TARGETS
    for budget in BUDGETS:
        scores = [100 * found["recall"][name][budget] for name in sets]
        mean = sum(scores) / max(1, len(scores))
        told = " ".join(f"{score:.1f}" for score in scores)
        print(f"evidence at {budget:>5} tokens: mean {mean:.2f} (target {targets[budget]}) of {told}")
    print("texts over budget:", sum(found["recall"][name]["over_budget"] for name in sets))
    if options.json:
        options.json.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
