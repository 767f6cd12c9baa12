"""Names of agents and meshes: checked where they enter, typed from there on."""

from __future__ import annotations

import re
from typing import NewType

from protocol.errors import InvalidInput

AgentName = NewType("AgentName", str)

_NAME = re.compile(r"[a-z0-9][a-z0-9_.-]{0,63}")


def check_agent_name(text: str) -> AgentName:
    """`text` as an agent's name: 1 to 64 of a-z 0-9 _ . -, the first one a letter or digit."""
    return AgentName(_check(text, "agent"))


def check_mesh_name(text: str) -> str:
    """`text` as a mesh's name; the same rule as for agents."""
    return _check(text, "mesh")


def is_agent_name(text: str) -> bool:
    """Whether `text` may name an agent; for frames from peers, where nobody is to be told off."""
    return _NAME.fullmatch(text) is not None


def _check(text: str, field: str) -> str:
    if _NAME.fullmatch(text) is None:
        raise InvalidInput(
            field,
            f"{text[:80]!r} is no name",
            "use 1 to 64 of a-z 0-9 _ . - and start with a letter or digit",
        )
    return text
