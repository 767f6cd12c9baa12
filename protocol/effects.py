"""What an engine wants done. Data only: whoever drives the engine performs them, in order."""

from __future__ import annotations

from typing import Literal, NewType

import msgspec

from protocol.messages import Message
from protocol.names import AgentName

Route = NewType("Route", str)
"""Where a direct message goes: an address (`tcp://host:port`), or the way back that a transport handed in."""

Standing = Literal["unknown", "alive", "suspect", "dead", "left", "forgotten"]


class Publish(msgspec.Struct, frozen=True):
    """To everybody that hears us."""

    message: Message


class Send(msgspec.Struct, frozen=True):
    """To one member."""

    route: Route
    message: Message


class Subscribe(msgspec.Struct, frozen=True):
    """Hear what `agent` publishes at `address`; replaces an earlier address."""

    agent: AgentName
    address: str


class Unsubscribe(msgspec.Struct, frozen=True):
    """Stop hearing `agent`."""

    agent: AgentName


class MemberChanged(msgspec.Struct, frozen=True):
    """For logs and for who waits: a member went from one standing to another, or its version changed."""

    agent: AgentName
    before: Standing
    after: Standing
    version: int


class RaiseIncarnation(msgspec.Struct, frozen=True):
    """Store this incarnation before anything that follows is sent."""

    incarnation: int


class Halt(msgspec.Struct, frozen=True):
    """We cannot be a member: `code` is one of `errors.BY_CODE`."""

    code: str
    reason: str


Effect = Publish | Send | Subscribe | Unsubscribe | MemberChanged | RaiseIncarnation | Halt
