"""Frames between members: one interface, ZeroMQ sockets and a simulated network behind it."""
