"""The process of a member that is to end: signalled and waited for, and never mistaken for another.

Its number may belong to another process as soon as it has ended. On Linux a descriptor stands for the process
itself, and says when it is gone to the last; elsewhere, and where no descriptor is left, its socket and its
entry in the register have to do, which it gives up shortly before.
"""

from __future__ import annotations

import os
import select
import signal
import sys

from node.net.register import Entry, Register
from protocol.names import check_agent_name


class Ending:
    """Made while its socket is known to listen; `close` it."""

    def __init__(self, register: Register, entry: Entry) -> None:
        self.entry = entry
        self._register, self._name = register, check_agent_name(entry.agent)
        self._process: int | None = None
        self._gone = False
        if sys.platform == "linux":
            try:
                self._process = os.pidfd_open(entry.pid)
            except ProcessLookupError:
                self._gone = True
            except OSError:  # No descriptors left, or an old kernel.
                return

    def signal(self, number: signal.Signals) -> None:
        """To that process, if it is still there."""
        try:
            if sys.platform == "linux" and self._process is not None:
                signal.pidfd_send_signal(self._process, number)
            elif not self.has_ended(knock=True):
                os.kill(self.entry.pid, number)
        except ProcessLookupError:
            self._gone = True

    def has_ended(self, *, knock: bool) -> bool:
        """Whether it is gone. To `knock` finds one that was killed where there is no descriptor; it costs a
        connection."""
        if self._gone:
            return True
        if self._process is not None:
            self._gone = bool(select.select([self._process], [], [], 0)[0])
        else:
            found = (self._register.running if knock else self._register.read)(self._name)
            self._gone = found is None or found.pid != self.entry.pid
        return self._gone

    def close(self) -> None:
        """Let go of the descriptor."""
        if self._process is not None:
            os.close(self._process)
            self._process = None
