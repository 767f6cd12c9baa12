"""Transports and raw sockets of tests: with keys of their own, at addresses that carry them."""

from __future__ import annotations

from collections.abc import Callable

import zmq

from node.net.address import split_key, with_key
from node.net.keys import SocketKeys, make_pair
from node.net.zeromq import ZmqTransport

LOOPBACK = "tcp://127.0.0.1:0"


class OpenTransport(ZmqTransport):
    """A transport with keys of its own, new ones or a given `pair`, that everybody may hear unless it is told
    whom; its addresses have its key.
    """

    def __init__(
        self,
        listen: str = LOOPBACK,
        *,
        is_admitted: Callable[[bytes], bool] = lambda _key: True,
        advertise: str = "",
        control_path: str = "",
        pair: tuple[bytes, bytes] | None = None,
    ) -> None:
        self.pair = pair or make_pair()
        self.public, secret = self.pair
        keys = SocketKeys(public=self.public, secret=secret, is_admitted=is_admitted)
        super().__init__(listen, keys=keys, advertise=advertise, control_path=control_path)
        self.router_address = with_key(self.router_address, self.public)
        self.publisher_address = with_key(self.publisher_address, self.public)


def connect(
    opened: zmq.Socket[bytes], address: str, pair: tuple[bytes, bytes] | None = None
) -> tuple[bytes, bytes]:
    """Connect a raw socket to an address with a key, by CURVE; the keys it has: `pair`, or new ones."""
    public, secret = pair or make_pair()
    bare, theirs = split_key(address)
    opened.setsockopt(zmq.CURVE_PUBLICKEY, public)
    opened.setsockopt(zmq.CURVE_SECRETKEY, secret)
    opened.setsockopt(zmq.CURVE_SERVERKEY, theirs)
    opened.connect(bare)
    return public, secret
