"""Whether we ourselves hear: what we could not is held against nobody.

    a pause        our own process did not run (stopped, a closed lid, a busy machine)
    isolation      above the full mesh: none of our neighbours said anything for longer than a heartbeat of
                   theirs. All of them are gone at once, or we are cut off. We wish for new ones, compare our
                   view with some of the reserve at once, and again every `_AGAIN_S` until we hear somebody;
                   suspicions stand still meanwhile (for `retry_s` at most), as refutations do not reach us

Left to the failure detector, whose neighbours all crashed would hear nothing until it had found each of them
dead, and would bury members whose refutations it never heard.
"""

from __future__ import annotations

from typing import Final

from protocol.effects import Effect
from protocol.probing import Prober
from protocol.profile import Profile
from protocol.reconciling import Reconciler
from protocol.view import View

_AGAIN_S: Final = 1.0
# Between two calls for help. Higher spares frames; lower finds a way back sooner where many are lost or dead.
_HELPERS: Final = 2  # Of the reserve, that we compare our view with at each call.


class Hearing:
    """Of one member."""

    def __init__(
        self, view: View, prober: Prober, reconciler: Reconciler, *, profile: Profile, now: float
    ) -> None:
        self._view, self._prober, self._reconciler, self._profile = view, prober, reconciler, profile
        self._ticked_at = now
        self._called_at: float | None = None
        """When we called for help last; None where we hear."""
        self._isolated_since = now

    @property
    def alarm_at(self) -> float:
        """When we are isolated, unless we hear somebody before."""
        alarm_at = self._view.overlay.isolated_at
        return alarm_at if self._called_at is None else max(alarm_at, self._called_at + _AGAIN_S)

    def forgive_pause(self, now: float, due_at: float) -> None:
        """A tick, that was due at `due_at`: what we did not hear while we slept is held against nobody."""
        pause_s, late_s = now - self._ticked_at, now - due_at
        self._ticked_at = now
        view, profile = self._view, self._profile
        if pause_s > profile.silence_s / 2 + profile.heartbeat_s:
            view.counters.pauses += 1
            view.counters.longest_pause_s = max(view.counters.longest_pause_s, pause_s)
            self._prober.forgive(pause_s)
            view.suspicions.forgive(pause_s)
            view.overlay.forgive(pause_s)
            for member in view.members:
                member.heard_at += pause_s
        elif late_s > profile.ping_s:
            self._prober.forgive(late_s)

    def listen(self, now: float) -> list[Effect]:
        """Call for help, where it is time."""
        view = self._view
        if now < view.overlay.isolated_at:
            self._called_at = None
            return []
        if now < self.alarm_at:
            return []
        unheard_s = now - self._called_at if self._called_at is not None else self._profile.sparse_heartbeat_s
        if self._called_at is None:
            self._isolated_since = now
            view.counters.isolations += 1
        self._called_at = now
        if now - self._isolated_since < self._profile.retry_s:  # After that it is they who are gone.
            view.suspicions.forgive(unheard_s)
        routes = [view.ways.to_reserve() for _ in range(_HELPERS)]
        comparisons = [self._reconciler.meet(route) for route in dict.fromkeys(routes) if route is not None]
        return [*view.overlay.call(now), *comparisons]
