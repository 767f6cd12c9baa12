"""Nodes and librarians of one test, in its own process, closed at its end."""

from __future__ import annotations

from contextlib import ExitStack
from typing import Self

import msgspec

from librarian import Librarian, LibrarianConfig
from librarian.policy import Policy
from node import MemoryNode
from tests.support.settings import MakeConfig
from tests.support.waiting import wait_for


class SmallMesh:
    """Start members by name; as a context manager it closes those that still run."""

    def __init__(self, make_config: MakeConfig) -> None:
        self._config = make_config()
        self._members = ExitStack()

    @property
    def settings(self) -> LibrarianConfig:
        """Those of a librarian of this mesh."""
        config = self._config
        return LibrarianConfig(
            mesh=config.mesh,
            profile=config.profile,
            runtime_dir=config.runtime_dir,
            credentials_dir=config.credentials_dir,
        )

    def node(self, name: str, *tags: str) -> MemoryNode:
        """A node; with `tags` it remembers a memory that has them."""
        node = self._members.enter_context(MemoryNode(name, config=self._config))
        if tags:
            node.remember(f"A note of {name}.", tags=tags)
        return node

    def librarian(self, name: str = "librarian", *, policy: Policy = "full") -> Librarian:
        """A librarian."""
        config = msgspec.structs.replace(self.settings, policy=policy)
        return self._members.enter_context(Librarian(name, config))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._members.close()


def holders(librarian: Librarian, topic: str) -> list[str]:
    """Who announced this topic to a librarian that may say so."""
    return [holder.agent for holder in librarian.who_knows(topic).holders]


def wait_for_holders(librarian: Librarian, topic: str, *agents: str) -> None:
    """Until exactly these announced the topic."""
    wait_for(lambda: sorted(holders(librarian, topic)) == sorted(agents))
