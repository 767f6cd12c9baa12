"""Addresses: `tcp://host:port` to listen on, and with `#` and the key of who listens there to connect to."""

from __future__ import annotations

from ipaddress import ip_address

from protocol.errors import InvalidInput

_KEY_BYTES = 32


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


def with_key(address: str, key: bytes) -> str:
    """The address that others connect to: `key` has 32 bytes."""
    return f"{address}#{key.hex()}"


def split_key(address: str) -> tuple[str, bytes]:
    """Address and key of `tcp://host:port#` and 64 hex digits; `InvalidInput` where it is no such thing."""
    bare, _, digits = address.partition("#")
    try:
        split_address(bare)
        key = bytes.fromhex(digits)
    except ValueError:  # InvalidInput is one.
        key = b""
    if len(key) != _KEY_BYTES or len(digits) != 2 * _KEY_BYTES:
        raise InvalidInput(
            "seeds",
            f"{address[:120]!r} is no address with a key",
            "copy the address of a member as avm status shows it: tcp://host:port#key",
        )
    return bare, key


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches `host`."""
    try:
        return ip_address(host.strip("[]")).is_loopback
    except ValueError:  # A name, and any but this one may lead anywhere.
        return host == "localhost"
