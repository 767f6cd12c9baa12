"""Waiting for what other threads and processes do, without a fixed sleep."""

from __future__ import annotations

import time
from collections.abc import Callable

_STEP_S = 0.01


def holds_within(timeout_s: float, condition: Callable[[], object]) -> bool:
    """Whether `condition` becomes true in time; it is looked at every 10 ms, and once at least."""
    end = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() >= end:
            return False
        time.sleep(_STEP_S)
    return True


def wait_for(condition: Callable[[], object], timeout: float = 20.0) -> None:
    """Return as soon as `condition` is true; fail after `timeout` seconds, generous on a busy machine."""
    assert holds_within(timeout, condition), f"still not so after {timeout:g} s"
