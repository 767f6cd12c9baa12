"""ZeroMQ sockets as we open them: what they may hold, how long they wait, and where they listen.

Who is gone unsaid (a host without power, a cable, a firewall that forgot) is found by the kernel and not by
ZeroMQ's own heartbeats: those wake two threads at each end for each connection, as often as they look, and a
member holds a connection to each that it hears. Keep-alives cost a probe only where nothing came for
`_SILENT_S`, and who hears a member hears its heartbeats. A process that is merely stopped keeps its
connections: to connect again would not help, and the prober (protocol/probing.py) is there to find it.
"""

from __future__ import annotations

import errno
import os
import socket

import zmq

from node.net.address import split_key
from node.net.keys import SocketKeys
from protocol.errors import AddressInUse, InvalidInput
from protocol.wire import MAX_FRAME_BYTES

Socket = zmq.Socket[bytes]
Context = zmq.Context[Socket]

MAX_CONTROL_FRAME_BYTES = 64 * 1024 * 1024
QUEUE_FRAMES = 256
"""Frames that wait in one connection, each way: 32 MiB of the largest. Beyond, they are lost."""
SUBSCRIPTION_BYTES = 512
"""Ours is empty; a handshake needs some 100 bytes, 500 with keys."""
_SOCKETS = 8192  # ZeroMQ's own default of 1,023 is less than the members a mesh may have.

ROUTER_DOMAIN, PUBLISHER_DOMAIN = b"router", b"publisher"
"""What ZAP calls our two doors, see admission.py."""
_HANDSHAKE_MS = 10_000
# Who has not finished its handshake within this is hung up on. Higher forgives slower networks and members
# that are slow to be introduced, and holds a descriptor of who says nothing for longer.
_CURVE_BYTES = 33  # Around each frame: its command, nonce, flags, and the code that proves it.
_IN_LINE = 512  # Connections that the system keeps until we take them in: all members may come at once.
_CONNECT_MS = 3000
# A connection that is not made within this is begun anew. TCP alone asks again after 1, 2, 4, 8, 16 s …:
# behind a partition that healed it would be as long again until it does. Higher spares a network whose round
# trips take seconds.
_UNACKNOWLEDGED_MS = 10_000
# So long may what we sent stay unacknowledged, for the same reason. Higher forgives longer outages without a
# new connection; the frames in it are late by then, and what is lost is made good by `Sync`.
_SILENT_S = 10
_AGAIN_S = 5
_PROBES = 3
# A connection over which nothing came for `_SILENT_S` is tried each `_AGAIN_S`, and given up after `_PROBES`
# of them, or what is unacknowledged says so first: a peer that is gone is known within 25 s. Higher holds
# descriptors of the gone longer.


def open_context() -> Context:
    """One I/O thread: gossip is small frames, and a node is one of many processes on its host."""
    context: Context = zmq.Context(io_threads=1)
    context.set(zmq.MAX_SOCKETS, _SOCKETS)
    return context


def open_socket(context: Context, kind: int, limit_bytes: int) -> Socket:
    """A socket that never holds more than its bounds. Raises `ZMQError` where no descriptors are left."""
    opened: Socket = context.socket(kind)
    opened.setsockopt(zmq.LINGER, 0)
    opened.setsockopt(zmq.MAXMSGSIZE, limit_bytes)
    opened.setsockopt(zmq.SNDHWM, QUEUE_FRAMES)
    opened.setsockopt(zmq.RCVHWM, QUEUE_FRAMES)
    opened.setsockopt(zmq.RECONNECT_IVL, 100)
    opened.setsockopt(zmq.RECONNECT_IVL_MAX, 5000)
    opened.setsockopt(zmq.CONNECT_TIMEOUT, _CONNECT_MS)
    opened.setsockopt(zmq.TCP_MAXRT, _UNACKNOWLEDGED_MS)
    opened.setsockopt(zmq.TCP_KEEPALIVE, 1)
    opened.setsockopt(zmq.TCP_KEEPALIVE_IDLE, _SILENT_S)
    opened.setsockopt(zmq.TCP_KEEPALIVE_INTVL, _AGAIN_S)
    opened.setsockopt(zmq.TCP_KEEPALIVE_CNT, _PROBES)
    return opened


def open_door(context: Context, kind: int, keys: SocketKeys, domain: bytes, limit_bytes: int) -> Socket:
    """A socket that others connect to, by CURVE alone; who may, ZAP is asked for `domain`."""
    opened = open_socket(context, kind, limit_bytes + _CURVE_BYTES)
    opened.setsockopt(zmq.CURVE_SERVER, 1)
    opened.setsockopt(zmq.CURVE_SECRETKEY, keys.secret)
    opened.setsockopt(zmq.ZAP_DOMAIN, domain)
    opened.setsockopt(zmq.HANDSHAKE_IVL, _HANDSHAKE_MS)
    return opened


def connect(context: Context, kind: int, address: str, keys: SocketKeys) -> tuple[Socket, bytes]:
    """A socket of ours to `address`, and the key of who listens there, which it names. Raises `ZMQError`, or
    `InvalidInput` where it names none, and leaves nothing open then.
    """
    bare, theirs = split_key(address)
    opened = open_socket(context, kind, MAX_FRAME_BYTES + _CURVE_BYTES)
    try:
        opened.setsockopt(zmq.CURVE_PUBLICKEY, keys.public)
        opened.setsockopt(zmq.CURVE_SECRETKEY, keys.secret)
        opened.setsockopt(zmq.CURVE_SERVERKEY, theirs)
        if "[" in bare:
            opened.setsockopt(zmq.IPV6, 1)
        opened.connect(bare)
    except zmq.ZMQError:
        opened.close(0)
        raise
    return opened, theirs


def open_listener(host: str, port: int) -> socket.socket:
    """A listener at `host`, at any port where it is 0. It is ours, so that we can hang up on who stands in
    line, and give it to one socket of ZeroMQ's after the other. Raises `AddressInUse` or `InvalidInput`.
    """
    try:
        return _listen(host, port)
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise AddressInUse(
                f"listen: tcp://{host}:{port} belongs to another process; "
                "choose another port, or port 0 for any that is free"
            ) from None
        raise InvalidInput(
            "listen",
            f"cannot listen on tcp://{host}:{port} ({error.strerror})",
            "use an address of this host",
        ) from None


def bind(bound: Socket, listener: socket.socket) -> None:
    """Take in who comes to `listener`."""
    host, port = listener.getsockname()[:2]
    if listener.family == socket.AF_INET6:
        bound.setsockopt(zmq.IPV6, 1)
        host = f"[{host.partition('%')[0]}]"
    bound.setsockopt(zmq.USE_FD, listener.dup().detach())  # It closes what it is given.
    bound.bind(f"tcp://{host}:{port}")


def _listen(host: str, port: int) -> socket.socket:
    name = None if host == "*" else host.strip("[]")
    family, kind, protocol, _, address = socket.getaddrinfo(
        name, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )[0]
    listener = socket.socket(family, kind, protocol)
    try:
        if os.name == "posix":  # Elsewhere it would let two processes listen at one port.
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.setblocking(False)
        listener.bind(address)
        listener.listen(_IN_LINE)
    except OSError:
        listener.close()
        raise
    return listener


def bind_control(bound: Socket, path: str) -> None:
    """Listen for commands of this user at `path`."""
    try:
        bound.bind(f"ipc://{path}")
    except zmq.ZMQError as error:
        raise InvalidInput(
            "runtime_dir", f"cannot listen on {path} ({error.strerror})", "use a local folder of your own"
        ) from None


def is_readable(opened: Socket) -> bool:
    """Whether something waits in it."""
    events = opened.getsockopt(zmq.EVENTS)
    return isinstance(events, int) and bool(events & zmq.POLLIN)
