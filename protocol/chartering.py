"""The charter on its way through the mesh: told on once by whoever learns it, compared wherever two meet.

    set / on_chartered   a newer one, by its authority: who is revoked is expelled at once, the digest keys
                         change, our owner is told (CharterChanged), and it is published
    compare              a hello, a welcome and a sync name the number of their sender's charter: who has the
                         older one is sent the newer

It holds the digest keys, and goes to members alone: whoever calls `compare` knows that it speaks with one.
"""

from __future__ import annotations

from protocol.effects import Blame, CharterChanged, Effect, Publish, Route, Send
from protocol.messages import Charter, Chartered
from protocol.names import AgentName
from protocol.reconciling import Reconciler
from protocol.view import View


class Chartering:
    """Of one member."""

    def __init__(self, view: View, reconciler: Reconciler) -> None:
        self._view, self._reconciler = view, reconciler

    def set(self, charter: Charter, now: float) -> list[Effect]:
        """Our owner has this charter; one that is not newer, or not the authority's, changes nothing."""
        is_newer = charter.number > self._view.charter_number
        return self._in_force(charter, now) if is_newer and not self._view.gate.take(charter) else []

    def on_chartered(self, message: Chartered, sender: AgentName, now: float) -> list[Effect]:
        """A member has this charter."""
        is_newer = message.charter.number > self._view.charter_number
        flaw = self._view.gate.take(message.charter)
        if flaw:
            return [Blame(sender, flaw)]
        return self._in_force(message.charter, now) if is_newer else []

    def compare(self, theirs: int, back: Route) -> list[Effect]:
        """The member behind `back` has the charter of this number."""
        charter = self._view.gate.charter
        if charter is None or charter.number == theirs:
            return []
        return [Send(back, Chartered(charter)) if theirs < charter.number else self._reconciler.meet(back)]

    def _in_force(self, charter: Charter, now: float) -> list[Effect]:
        view = self._view
        view.set_keys(view.gate.keys, now)
        return [*view.expel_lapsed(now), CharterChanged(charter), Publish(Chartered(charter))]
