"""Hypothesis without its clock and its dice: a slow machine fails nothing, and a run repeats itself."""

from __future__ import annotations

from hypothesis import settings

settings.register_profile("repeatable", deadline=None, derandomize=True, print_blob=True)
settings.load_profile("repeatable")
