"""When to compare views, with whom, and what follows.

    round     every sync_s, with a member of the reserve: the lost frames of pub/sub are made good
    mend      a heartbeat shows another view than ours, and ours has been quiet for a heartbeat, or we have
              compared with nobody for `sparse_heartbeat_s`: one of us missed something, and we compare with
              its sender at once, once a heartbeat at most
    linked    a neighbour is new: what its links told meanwhile may have passed us by
    meet      two parts of a mesh found each other: what each holds of the other is settled now

What is compared, and how, antientropy.py says.
"""

from __future__ import annotations

from protocol import antientropy
from protocol.effects import Effect, Route, Send
from protocol.messages import Sync, SyncDiff
from protocol.profile import Profile
from protocol.view import View


class Reconciler:
    """The comparisons of one member. `due_at`: when the next round is."""

    def __init__(self, view: View, *, profile: Profile, now: float) -> None:
        self.due_at = now + profile.heartbeat_s
        self._view, self._profile = view, profile
        self._quiet_view, self._quiet_since = 0, now
        self._mend_at = now
        self._met_at = now

    def round(self, now: float, jitter: float) -> list[Effect]:
        """It is time for a comparison; `jitter` is about 1."""
        self.due_at, self._met_at = now + self._profile.sync_s * jitter, now
        partner = self._view.ways.to_reserve()
        return [] if partner is None else [self.meet(partner)]

    def soon(self, now: float) -> None:
        """A round a heartbeat from now: we have just come in."""
        self.due_at = now + self._profile.heartbeat_s

    def meet(self, route: Route) -> Effect:
        """Begin a comparison."""
        members = self._view.members
        return Send(route, Sync(members.sync_hashes(members.sync_buckets), self._view.charter_number))

    def mend(self, theirs: int, route: Route | None, now: float) -> list[Effect]:
        """A heartbeat shows the view `theirs`."""
        ours = self._view.members.view()
        if ours != self._quiet_view:
            self._quiet_view, self._quiet_since = ours, now
        # Where something changes all the time no view is ever quiet, and what is missed is not made good.
        is_quiet = now - self._quiet_since > self._profile.heartbeat_s
        is_quiet = is_quiet or now - self._met_at > self._profile.sparse_heartbeat_s
        if theirs == ours or route is None or now < self._mend_at or not is_quiet:
            return []
        self._mend_at, self._met_at = now + self._profile.heartbeat_s, now
        return [self.meet(route)]

    def on_sync(self, sync: Sync, back: Route) -> list[Effect]:
        """Say in what we differ."""
        differences = antientropy.diffs(sync, self._view.members)
        self._view.counters.syncs_differing += bool(differences)
        return [Send(back, difference) for difference in differences]

    def on_sync_diff(self, diff: SyncDiff, back: Route, now: float) -> list[Effect]:
        """Take what is newer there, tell what is newer here."""
        newer = antientropy.newer_here(diff, self._view.members)
        effects: list[Effect] = []
        for claim in diff.claims:
            effects += self._view.take_claim(claim, back, now, relay=True)
            self._view.want_from_holder(claim, back, now)
        return effects + [Send(back, message) for message in antientropy.tell(newer, self._view.gate)]
