"""Addresses to listen on and to connect to: `tcp://host:port`."""

from __future__ import annotations

from ipaddress import ip_address

from protocol.errors import InvalidInput


def split_address(address: str) -> tuple[str, int]:
    """Host and port of `tcp://host:port`; `InvalidInput` where it is no such thing."""
    scheme, _, rest = address.partition("://")
    host, _, port = rest.rpartition(":")
    if (
        scheme != "tcp"
        or not host
        or any(map(str.isspace, host))
        or not port.isdecimal()
        or not 0 <= int(port) <= 65_535
    ):
        raise InvalidInput("listen", f"{address[:80]!r} is no address", "write it as tcp://127.0.0.1:7700")
    return host, int(port)


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches `host`."""
    try:
        return ip_address(host.strip("[]")).is_loopback
    except ValueError:  # A name, and any but this one may lead anywhere.
        return host == "localhost"
