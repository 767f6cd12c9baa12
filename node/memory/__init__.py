"""One agent's memory: an append-only log of versions in one SQLite file, and what is derived from it."""

from node.memory.records import Draft, Hit, Memory, Receipt, Statistics, Summary, Version, Visibility
from node.memory.store import Store

__all__ = ["Draft", "Hit", "Memory", "Receipt", "Statistics", "Store", "Summary", "Version", "Visibility"]
