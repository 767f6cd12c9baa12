"""The raw limit of an idle mesh: processes that only publish a frame now and then and hear some others.

    python -m benchmarks.heartbeats COUNT HEARD EVERY_S

They are forked from one process as the nodes are, each with a PUB and a SUB to HEARD others, and no more
Python than it takes to send and to read a frame of 64 bytes. It prints their numbers on one line when all of
them publish, and ends with its input.
"""

from __future__ import annotations

import os
import random
import signal
import sys
import tempfile
import time
from pathlib import Path
from typing import NoReturn

import zmq

_FRAME = b"x" * 64


def beat(folder: Path, number: int, count: int, heard: int, every_s: float) -> NoReturn:
    """One of the processes."""
    context = zmq.Context()
    publisher, subscriber = context.socket(zmq.PUB), context.socket(zmq.SUB)
    port = publisher.bind_to_random_port("tcp://127.0.0.1")
    draft = folder / f"{number:04}.new"
    draft.write_text(f"tcp://127.0.0.1:{port}")
    draft.rename(folder / f"{number:04}")
    subscriber.setsockopt(zmq.SUBSCRIBE, b"")
    for step in range(1, heard + 1):
        other = folder / f"{(number + step) % count:04}"
        while not other.exists():
            time.sleep(0.05)
        subscriber.connect(other.read_text())
    due = time.monotonic() + every_s * random.random()
    while True:
        if subscriber.poll(max(0, int(1000 * (due - time.monotonic())))):
            subscriber.recv()
        if time.monotonic() >= due:
            publisher.send(_FRAME)
            due += every_s


def main(count: int, heard: int, every_s: float) -> None:
    """Fork them, tell who they are, end them."""
    with tempfile.TemporaryDirectory(prefix="avm-") as name:
        folder, pids = Path(name), []
        try:
            for number in range(count):
                pid = os.fork()
                if pid == 0:
                    beat(folder, number, count, heard, every_s)
                pids.append(pid)
            while len(list(folder.glob("[0-9][0-9][0-9][0-9]"))) < count:
                time.sleep(0.02)
            print(*pids, flush=True)
            sys.stdin.read()
        finally:
            for pid in pids:
                os.kill(pid, signal.SIGKILL)
            for pid in pids:
                os.waitpid(pid, 0)


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3]))
