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
    `route` is set where it was sent: it leads back. `key` is the public key of the sockets it came from, 32
    bytes that its owner has proven to have; None where the network knows no keys.
    """

    frame: bytes
    route: Route | None = None
    publisher: AgentName | None = None
    key: bytes | None = None


class TransportStatistics(msgspec.Struct, frozen=True, kw_only=True):
    """How a transport stands, and what it lost since the start.

    `subscriptions`: members we hear. `unheard`: those we should hear and cannot, for want of descriptors or
    of an address that is one. `hearers`: who hears us. `dealers`: connections we made for direct frames.
    `queue_frames`: so many frames wait for one peer at most, each way.
    `descriptors` of this process are open, of `descriptor_limit` (0: none, or not known); `times_out`: so
    often none was left, and `turned_away`: so many connections were hung up on therefore.

    `overflows`: so often the queue of somebody who hears us was found full: the frame, and those that
    followed until half of the queue was read, were lost to it. How many these were ZeroMQ does not tell, nor
    to whom. `refused`: direct frames that were not taken at once, as the queue was full or the way back gone.
    (A DEALER's queue also fills while its peer cannot be reached.) Connections that were made again are not
    counted: ZeroMQ tells of them only by one more socket for each, and blocks where that is not read in time.
    """

    subscriptions: int = 0
    unheard: int = 0
    hearers: int = 0
    dealers: int = 0
    queue_frames: int = 0
    descriptors: int = 0
    descriptor_limit: int = 0
    times_out: int = 0
    turned_away: int = 0
    overflows: int = 0
    refused: int = 0


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

    def cut_off(self) -> None:
        """Somebody may hear us no longer: all who hear us are asked again who they are."""

    def statistics(self) -> TransportStatistics:
        """A frozen snapshot."""
