"""What an engine wants done. Data only: whoever drives the engine performs them, in order."""

from __future__ import annotations

from typing import Literal, NewType

import msgspec

from protocol.messages import Charter, Message
from protocol.names import AgentName

Route = NewType("Route", str)
"""Where a direct message goes: an address (`tcp://host:port`, `#` and the key of who listens there, in a mesh
with an authority), or the way back that a transport handed in."""

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


class Blame(msgspec.Struct, frozen=True):
    """`agent` sent what no honest member sends; or somebody who has shown no certificate did in its name."""

    agent: AgentName
    reason: str


class Expel(msgspec.Struct, frozen=True):
    """`agent` is a member no more: it may not hear us either."""

    agent: AgentName
    reason: str


class CharterChanged(msgspec.Struct, frozen=True):
    """Keep this charter; digests are made with the present key of it from now on."""

    charter: Charter


class Halt(msgspec.Struct, frozen=True):
    """We cannot be a member: `code` is one of `errors.BY_CODE`."""

    code: str
    reason: str


Trust = Blame | Expel | CharterChanged
Effect = Publish | Send | Subscribe | Unsubscribe | MemberChanged | RaiseIncarnation | Trust | Halt
