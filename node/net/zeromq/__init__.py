"""Frames over ZeroMQ. The only package that imports zmq."""

from node.net.zeromq.control import ControlConnection
from node.net.zeromq.descriptors import descriptor_limit, descriptors_needed, raise_descriptor_limit
from node.net.zeromq.sockets import MAX_CONTROL_FRAME_BYTES
from node.net.zeromq.transport import ControlReceived, ZmqTransport

__all__ = [
    "MAX_CONTROL_FRAME_BYTES",
    "ControlConnection",
    "ControlReceived",
    "ZmqTransport",
    "descriptor_limit",
    "descriptors_needed",
    "raise_descriptor_limit",
]
