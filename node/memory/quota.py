"""How much a memory may hold. Forgetting and erasing are never refused."""

from __future__ import annotations

import msgspec

from protocol.errors import QuotaExceeded


class Quota(msgspec.Struct, frozen=True, kw_only=True):
    """0 sets no bound. `max_file_bytes` is of the database without its write-ahead log."""

    max_memories: int = 0
    max_file_bytes: int = 0

    @property
    def is_set(self) -> bool:
        """Whether there is anything to check."""
        return bool(self.max_memories or self.max_file_bytes)

    def check_memories(self, live: int, more: int) -> None:
        """Refuse `more` new memories beside those that live, where that is too many."""
        if more and live + more > self.max_memories:
            raise QuotaExceeded(
                f"max_memories: {live} of {self.max_memories} memories are there, {more} more are too many; "
                "forget some, or raise it"
            )

    def check_file_bytes(self, size: int) -> None:
        """Refuse a write that would make the file `size` bytes large."""
        if size > self.max_file_bytes:
            raise QuotaExceeded(
                f"max_file_bytes: the memory would pass {self.max_file_bytes} bytes; erase some, or raise it"
            )
