"""What a test with real sockets or processes must not leave behind."""

from __future__ import annotations

import threading
from collections import Counter

import psutil


def leftovers() -> Counter[str]:
    """Threads named avm-…, child processes, listening sockets of this process: a line for each, counted."""
    me = psutil.Process()
    threads = [f"thread {thread.name}" for thread in threading.enumerate() if thread.name.startswith("avm-")]
    children = [f"process {child.pid}" for child in me.children(recursive=True)]
    listening = [
        f"socket on port {connection.laddr.port}"
        for connection in me.net_connections(kind="tcp")
        if connection.status == psutil.CONN_LISTEN
    ]
    return Counter(threads + children + listening)
