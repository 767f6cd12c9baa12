"""What one running member proves itself with, and by what it tells members from strangers.

Its own credentials are read at the start. From then on `look` keeps up with what this host knows: its clock
(certificates end by it), and the charter of an authority on this host, which `avm mesh revoke` and `rotate`
change under a running mesh. A charter that comes by gossip is kept for the next start.
"""

from __future__ import annotations

import logging
import time
from typing import Final

import msgspec

from node.net.authority import charter_file
from node.net.config import MeshConfig
from node.net.credentials import load_or_make, store_charter
from node.net.keys import SocketKeys
from node.net.private_files import read_private
from protocol.errors import MeshError
from protocol.gate import Guarded
from protocol.identity import DAY_S, Signer
from protocol.messages import Charter, Role
from protocol.names import AgentName

_log = logging.getLogger(__name__)

LOOK_S: Final = 2.0
"""So often it is looked whether the authority on this host says something new. Lower makes a revocation
quicker, by a system call each time."""
_WARNED_BEFORE_S: Final = 30 * DAY_S


class Trust:
    """Of one member. `look` is called by its driver."""

    def __init__(self, config: MeshConfig, agent: AgentName, role: Role, *, now: float) -> None:
        """Raises what `load_or_make` raises."""
        self._config, self.agent = config, agent
        self._clock = time.time
        self.credentials = load_or_make(config, agent, role)
        own = self.credentials.certificate
        self.role: Role = own.role
        self.expires_at = own.expires_at
        self.gate = Guarded(
            own,
            Signer(self.credentials.sign_secret),
            self.credentials.charter,
            authority=self.credentials.authority,
            unix_s=self._clock(),
            now=now,
            limit=2 * config.gossip.member_limit,
        )
        self.keys = SocketKeys(
            public=own.curve_key, secret=self.credentials.curve_secret, is_admitted=self.gate.is_admitted
        )
        self._charter_file = charter_file(config.credentials)
        self._look_at = now
        self._seen: tuple[int, int] | None = None
        left_s = own.expires_at - self._clock()
        if left_s < _WARNED_BEFORE_S:
            _log.warning("the certificate of %s expires in %.0f days", agent, left_s / DAY_S)

    def look(self, now: float) -> Charter | None:
        """A charter of the authority on this host that was not seen before; mostly it is not time to look."""
        if now < self._look_at:
            return None
        self._look_at = now + LOOK_S
        self.gate.set_clock(self._clock(), now)
        try:
            found = self._charter_file.stat()
            if self._seen == (found.st_mtime_ns, found.st_ino):
                return None
            self._seen = found.st_mtime_ns, found.st_ino
            content = read_private(self._charter_file)
            return None if content is None else msgspec.json.decode(content, type=Charter)
        except FileNotFoundError:  # The authority is on another host.
            return None
        except (OSError, MeshError, msgspec.MsgspecError) as error:
            _log.warning("cannot read the charter of the authority on this host: %s", error)
            return None

    def keep(self, charter: Charter) -> None:
        """Remember it for the next start; from any thread."""
        try:
            store_charter(self._config, self.agent, charter)
        except (OSError, MeshError) as error:
            _log.warning("could not keep charter %d for the next start: %s", charter.number, error)
