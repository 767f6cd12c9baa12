"""What a member needs of a network, whatever carries it.

Two channels: *published* frames go to all who subscribe, *direct* ones to one address or back
along the route of a frame that came in. Both may lose frames; nothing here waits or retries.
"""

from __future__ import annotations

from typing import Protocol

import msgspec

from protocol.effects import Route
from protocol.names import AgentName


class Received(msgspec.Struct, frozen=True):
    """One frame that came in. `publisher` is set where it was published: the agent we subscribed to.
    `route` is set where it was sent: it leads back.
    """

    frame: bytes
    route: Route | None = None
    publisher: AgentName | None = None


class Transport(Protocol):
    """Sends frames; how they come in is the driver's or the simulator's matter."""

    @property
    def router_address(self) -> str:
        """Where direct frames reach us."""

    @property
    def publisher_address(self) -> str:
        """Where others subscribe to us."""

    def publish(self, frame: bytes) -> None:
        """To all subscribers; a slow one loses frames rather than slow us."""

    def send(self, route: Route, frame: bytes) -> bool:
        """To one; False where the frame was dropped at once. True promises nothing."""

    def subscribe(self, agent: AgentName, address: str) -> None:
        """Hear `agent` at `address` from now on, and nowhere else."""

    def unsubscribe(self, agent: AgentName) -> None:
        """Stop hearing `agent`; nothing happens where it was not heard."""
