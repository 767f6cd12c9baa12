"""The type of the fixture `make_config`."""

from __future__ import annotations

from typing import Any, Protocol

from node.config import NodeConfig


class MakeConfig(Protocol):
    """Settings in a folder of the test's own. Members of one `host` find each other by its register."""

    def __call__(self, *, host: str = "h", **options: Any) -> NodeConfig:
        """`options` come before mesh "test", profile "local" and the folders of that host; the
        credentials are in one folder for all hosts, so that they are of one authority.
        """
