"""A process that runs one scenario after the other, fed through its stdin; see many.py.

It prepares a mesh once and forks for every run, so that what a settled mesh costs is paid once and not
once a run; where a system cannot fork every run prepares its own. The results are the same.
"""

from __future__ import annotations

import gc
import os
import signal
import sys
import time
from typing import IO

import msgspec

from deploy.simulation.run import Prepared, run
from deploy.simulation.scenario import Scenario

_LENGTH_BYTES = 8
_LOOK_S = 0.05


def read_block(stream: IO[bytes]) -> bytes:
    """What `write_block` wrote; empty where the other side is gone."""
    length = stream.read(_LENGTH_BYTES)
    return stream.read(int.from_bytes(length, "big")) if len(length) == _LENGTH_BYTES else b""


def write_block(stream: IO[bytes], block: bytes) -> None:
    """The block, and its length before it."""
    stream.write(len(block).to_bytes(_LENGTH_BYTES, "big"))
    stream.write(block)
    stream.flush()


def main() -> None:
    """Until stdin ends."""
    prepared: Prepared | None = None
    while block := read_block(sys.stdin.buffer):
        seed, scenario = msgspec.msgpack.decode(block, type=tuple[int, Scenario])
        if not hasattr(os, "fork"):
            write_block(sys.stdout.buffer, msgspec.msgpack.encode(run(scenario, seed=seed)))
            continue
        if prepared is None or prepared.key != Prepared.key_of(scenario):
            prepared = None  # The last one may be large.
            gc.unfreeze()
            prepared = Prepared(scenario)
            gc.freeze()  # Forks neither search what they share for garbage, nor copy it for that.
        child = os.fork()
        if child == 0:
            _run_and_exit(seed, scenario, prepared)
        if _wait(child):
            sys.exit("a run ended by an error")


def _wait(child: int) -> int:
    """Its status, when it has ended. Where whoever feeds us is killed meanwhile, both of us end."""
    feeder = os.getppid()
    while True:
        ended, status = os.waitpid(child, os.WNOHANG)
        if ended:
            return status
        if os.getppid() != feeder:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
            sys.exit("nobody waits for the result any more")
        time.sleep(_LOOK_S)


def _run_and_exit(seed: int, scenario: Scenario, prepared: Prepared) -> None:
    """In the fork, which writes the result itself."""
    status = 1
    try:
        write_block(sys.stdout.buffer, msgspec.msgpack.encode(run(scenario, seed=seed, prepared=prepared)))
        status = 0
    except Exception:  # noqa: BLE001 - Told, and then it ends.
        sys.excepthook(*sys.exc_info())
    finally:
        sys.stderr.flush()
        os._exit(status)


if __name__ == "__main__":
    main()
