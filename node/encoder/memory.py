"""Giving back to the system what a loaded model no longer needs."""

from __future__ import annotations

import ctypes
import gc
import sys


def return_unused_memory() -> None:
    """Collect garbage, and let glibc hand free pages back: after loading that is some 100 MiB.

    Elsewhere than on Linux with glibc it only collects.
    """
    gc.collect()
    if sys.platform == "linux":
        trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
        if trim is not None:
            trim(0)
