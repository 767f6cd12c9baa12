"""What a simulated network does to frames: delay, loss in ones and in bursts, repetition, reordering, cuts.

One frame at a time: `Network.fate` says after which delays its copies arrive, `Network.passes` whether a
cut stops one on arrival. All draws come from the one random source handed in, and none is made
for what is switched off, so that equal calls give equal fates.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable
from random import Random
from typing import Annotated, Final, Literal

import msgspec
from msgspec import Meta

from protocol.names import AgentName

Share = Annotated[float, Meta(ge=0.0, le=1.0)]
Span = Annotated[float, Meta(ge=0.0, le=86_400.0)]

_Z_95: Final = 1.6449  # 95 % of a normal distribution lie below so many standard deviations.
_LINKS: Final = 1 << 20  # Of links with a memory; beyond that all of them start anew.


class Conditions(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Delays and spans in seconds, the others are shares (0..1) of frames. The default: a quiet LAN."""

    delay_s: tuple[Span, Span] = (0.0002, 0.002)
    """Least and greatest delay where it is uniform; where it is lognormal its 5 % and 95 % quantiles."""
    distribution: Literal["uniform", "lognormal"] = "uniform"
    link_spread: Annotated[float, Meta(ge=0.0, le=3.0)] = 0.0
    """Each pair of members has a factor of its own on all its delays, exp(normal(0, link_spread)): 0.5 makes
    one link in six 1.65 times as slow, and one in six as much faster."""
    loss: Share = 0.0
    burst_loss: Share = 0.0
    """Of frames on a link, one way, that is in a burst (Gilbert, Elliott)."""
    burst_s: Span = 1.0
    """Mean length of a burst."""
    burst_every_s: Span = 30.0
    """Mean time between the end of one and the start of the next."""
    duplication: Share = 0.0
    reordering: Share = 0.0
    """Of frames that are held back, so that later ones overtake them. Delays are drawn frame by frame, so
    that frames overtake each other within `delay_s` without this, too."""
    reorder_s: Span = 0.2
    """A frame is held back for so long at most."""

    def __post_init__(self) -> None:
        low, high = self.delay_s
        if high < low or (self.distribution == "lognormal" and low == 0.0):
            raise ValueError(f"delay_s: {low} to {high} is no range for a {self.distribution} delay")
        if self.burst_loss and not (self.burst_s and self.burst_every_s):
            raise ValueError("burst_loss: bursts need a burst_s and a burst_every_s above 0")


class Cut(msgspec.Struct, frozen=True):
    """Nothing passes from `senders` to `receivers`, nor back where it is `mutual`."""

    senders: frozenset[AgentName]
    receivers: frozenset[AgentName]
    mutual: bool

    def stops(self, sender: AgentName, receiver: AgentName) -> bool:
        """Whether a frame of `sender` does not reach `receiver`."""
        if sender in self.senders and receiver in self.receivers:
            return True
        return self.mutual and sender in self.receivers and receiver in self.senders


class Network:
    """The conditions of now, and the memory of links that conditions need."""

    def __init__(self, rng: Random, conditions: Conditions) -> None:
        self._rng = rng
        self._factors: dict[tuple[AgentName, AgentName], float] = {}
        self._bursts: dict[tuple[AgentName, AgentName], tuple[bool, float]] = {}
        self.cuts: list[Cut] = []
        self.conditions = conditions

    @property
    def conditions(self) -> Conditions:
        """What holds now; a frame on its way keeps the fate it was given."""
        return self._conditions

    @conditions.setter
    def conditions(self, conditions: Conditions) -> None:
        self._conditions = conditions
        low, high = conditions.delay_s
        self._low, self._width = low, high - low
        self._is_lognormal = conditions.distribution == "lognormal"
        if self._is_lognormal:
            self._mu = (math.log(low) + math.log(high)) / 2
            self._sigma = (math.log(high) - math.log(low)) / (2 * _Z_95)
        self._factors.clear()
        self._bursts.clear()
        self._is_plain = not (
            conditions.link_spread or conditions.burst_loss or conditions.duplication or conditions.reordering
        )

    def delay_s(self) -> float:
        """One delay, drawn anew, of a link like most."""
        if self._is_lognormal:
            return self._rng.lognormvariate(self._mu, self._sigma)
        return self._low + self._width * self._rng.random()

    def fate(self, now: float, sender: AgentName, receiver: AgentName) -> tuple[float, ...]:
        """The delays after which copies of one frame arrive; none where it is lost."""
        conditions, draw = self._conditions, self._rng.random
        if self._is_plain:
            if conditions.loss and draw() < conditions.loss:
                return ()
            return (self.delay_s(),)
        copies = 2 if conditions.duplication and draw() < conditions.duplication else 1
        arrivals = []
        for _ in range(copies):
            if conditions.loss and draw() < conditions.loss:
                continue
            if (
                conditions.burst_loss
                and self._in_burst(now, (sender, receiver))
                and (draw() < conditions.burst_loss)
            ):
                continue
            delay_s = self.delay_s()
            if conditions.link_spread:
                delay_s *= self._factor((min(sender, receiver), max(sender, receiver)))
            if conditions.reordering and draw() < conditions.reordering:
                delay_s += conditions.reorder_s * draw()
            arrivals.append(delay_s)
        return tuple(arrivals)

    def passes(self, sender: AgentName, receiver: AgentName) -> bool:
        """Whether no cut lies between the two."""
        return not any(cut.stops(sender, receiver) for cut in self.cuts)

    def cut(self, senders: Iterable[str], receivers: Iterable[str], *, mutual: bool) -> None:
        """Stop what goes from `senders` to `receivers`; with `mutual` what comes back, too."""
        self.cuts.append(Cut(_names(senders), _names(receivers), mutual))

    def _factor(self, link: tuple[AgentName, AgentName]) -> float:
        factor = self._factors.get(link)
        if factor is None:
            if len(self._factors) >= _LINKS:
                self._factors.clear()
            factor = math.exp(self._rng.gauss(0.0, self._conditions.link_spread))
            self._factors[link] = factor
        return factor

    def _in_burst(self, now: float, link: tuple[AgentName, AgentName]) -> bool:
        conditions, draw = self._conditions, self._rng.expovariate
        known = self._bursts.get(link)
        if known is None:
            if len(self._bursts) >= _LINKS:
                self._bursts.clear()
            known = (False, now + draw(1.0 / conditions.burst_every_s))
        is_bad, until = known
        while until <= now:
            is_bad = not is_bad
            until += draw(1.0 / (conditions.burst_s if is_bad else conditions.burst_every_s))
        self._bursts[link] = (is_bad, until)
        return is_bad


def _names(given: Iterable[str]) -> frozenset[AgentName]:
    names: Collection[AgentName] = [AgentName(name) for name in given]
    return frozenset(names)
