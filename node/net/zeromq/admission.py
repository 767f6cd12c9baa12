"""Who may connect: the ZAP handler (RFC 27) of one member's sockets, served by its driver.

    router       any key: who its owner is, is looked at with every frame
    publisher    the keys of members; others wait in the doorway

Who waits is answered as soon as it is introduced: a new member's connections may be quicker than the news of
it. Who is not introduced in time is never answered: its handshake times out, and a member tries again by
itself. (A refusal by ZAP's status 400 or 300 makes ZeroMQ's own client give up for ever.) So a stranger
learns nothing, not even that it was refused. Whatever else is asked, is not answered either.

Invariant: at most `_DOORWAY` wait; beyond that those that came first are forgotten.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from typing import Final

import zmq

from node.net.keys import SocketKeys
from node.net.zeromq.sockets import PUBLISHER_DOMAIN, ROUTER_DOMAIN, Context, Socket, is_readable

_ADDRESS: Final = "inproc://zeromq.zap.01"
_VERSION: Final = b"1.0"
_DOORWAY: Final = 1024
_KEY_BYTES: Final = 32
_WATCHED_S: Final = 60.0
_ODD_WISHES: Final = 16
_OUT_S: Final = 60.0


class Admission:
    """Of one transport, whose owner's lock is held by whoever calls."""

    def __init__(self, context: Context, keys: SocketKeys) -> None:
        self._keys = keys
        self._odd: dict[bytes, int] = {}  # Of members alone, so no more than there are.
        self._out: dict[bytes, float] = {}
        self._strangers: OrderedDict[bytes, float] = OrderedDict()
        self._doorway: OrderedDict[tuple[bytes, bytes], bytes] = OrderedDict()
        self.socket: Socket = context.socket(zmq.ROUTER)
        self.socket.setsockopt(zmq.LINGER, 0)
        self.socket.bind(_ADDRESS)

    def serve(self) -> None:
        """Take the requests that came, and answer those that can be answered now."""
        while is_readable(self.socket):
            self._take(self.socket.recv_multipart(zmq.NOBLOCK))
        self.look()

    def has_strangers(self, now: float) -> bool:
        """Whether somebody connected to the router of late who is no member, nor became one."""
        while self._strangers:
            key, until = next(iter(self._strangers.items()))
            if now < until and not self._keys.is_admitted(key):
                return True
            del self._strangers[key]
        return False

    def look(self) -> None:
        """Answer those in the doorway who were introduced meanwhile."""
        if not self._doorway:
            return
        for (sender, request), key in list(self._doorway.items()):
            if self._may_hear(key):
                del self._doorway[sender, request]
                self._admit(sender, request, key)

    def is_enough(self, key: bytes) -> bool:
        """The owner of `key` subscribed to something else than everything, which no member of ours does: each
        such wish costs us memory for as long as it is connected. Whether it is hung up on, by whoever calls,
        and not let in again for `_OUT_S`.
        """
        self._odd[key] = self._odd.get(key, 0) + 1
        if self._odd[key] < _ODD_WISHES:
            return False
        del self._odd[key]
        self._out[key] = time.monotonic() + _OUT_S
        return True

    def _may_hear(self, key: bytes) -> bool:
        until = self._out.get(key)
        if until is not None and time.monotonic() >= until:
            del self._out[key]
            until = None
        return until is None and self._keys.is_admitted(key)

    @property
    def waiting(self) -> int:
        """How many stand in the doorway, or left it unanswered."""
        return len(self._doorway)

    def _take(self, parts: list[bytes]) -> None:
        match parts:
            case [sender, b"", version, request, domain, _address, _identity, b"CURVE", key] if (
                version == _VERSION and len(key) == _KEY_BYTES
            ):
                if domain == ROUTER_DOMAIN:
                    if not self._keys.is_admitted(key):
                        self._strangers[key] = time.monotonic() + _WATCHED_S
                        if len(self._strangers) > _DOORWAY:
                            self._strangers.popitem(last=False)
                    self._admit(sender, request, key)
                elif domain == PUBLISHER_DOMAIN:
                    self._doorway[sender, request] = key
                    if len(self._doorway) > _DOORWAY:
                        self._doorway.popitem(last=False)

    def _admit(self, sender: bytes, request: bytes, key: bytes) -> None:
        user = key.hex().encode()
        self.socket.send_multipart((sender, b"", _VERSION, request, b"200", b"", user, b""), zmq.NOBLOCK)
