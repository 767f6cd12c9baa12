"""The settings of a librarian."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Self

from librarian.policy import Policy
from node.net.config import MeshConfig, load


class LibrarianConfig(MeshConfig, frozen=True, kw_only=True):
    """A member's settings, and how much its answers tell."""

    policy: Policy = "owner"
    """`full`: agent, topics, counts; `owner`: whom to ask; `existence`: that somebody knows; `none`."""

    @classmethod
    def load(cls, options: Mapping[str, Any] | None = None) -> Self:
        """From options, environment, project file, user's file and defaults, the first one first."""
        return load(cls, options)
