"""Every setting of a librarian: those of any member, and how much its answers tell."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Self

from librarian.policy import Policy
from node.net.config import MeshConfig, load


class LibrarianConfig(MeshConfig, frozen=True, kw_only=True):
    """A member's settings, and the policy of its answers."""

    policy: Policy = "owner"
    """What an answer tells: `full` who, which topics and how many memories; `owner` whom to ask;
    `existence` that somebody knows; `none` nothing. `AVM_POLICY` in the environment."""

    @classmethod
    def load(cls, options: Mapping[str, Any] | None = None) -> Self:
        """From options, environment, project file, user's file and defaults, the first one first."""
        return load(cls, options)
