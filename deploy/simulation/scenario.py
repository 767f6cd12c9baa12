"""A scenario: a mesh, what happens to it and when, and what is expected of it. A TOML file of
deploy/scenarios.

    about = "One of 200 members crashes."
    nodes = 200
    seconds = 30.0

    [network]
    loss = 0.1

    [[event]]
    do = "crash"
    at_s = 1.0
    count = 1

    [expect]
    death_99_s = 12.0

Times are virtual seconds after the mesh has settled. Whom an event meets is drawn from the seed: `count` or
`share` of those it can meet, or `names`. Every key has its meaning at its field below.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from node.net.simconditions import Conditions, Share, Span
from node.net.simmember import QUEUE_FRAMES
from protocol.errors import InvalidInput
from protocol.profile import PROFILES, Profile

FOLDER = Path(__file__).resolve().parent.parent / "scenarios"
MAX_NODES = 4096

Count = Annotated[int, Meta(ge=0, le=MAX_NODES)]
Attack = Literal["forge", "bury", "flood", "strangers", "oversized", "saturate", "garbage"]


class _Event(
    msgspec.Struct, frozen=True, kw_only=True, tag_field="do", tag=str.lower, forbid_unknown_fields=True
):
    at_s: Span


class _Met(_Event, frozen=True, kw_only=True):
    """Whom it meets: exactly one of the three."""

    count: Count = 0
    share: Share = 0.0
    names: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if sum((self.count > 0, self.share > 0.0, bool(self.names))) != 1:
            raise ValueError("say whom it meets: one of count, share and names")


class Learn(_Met, frozen=True, kw_only=True):
    """Their topics change. How long it takes until all know is measured."""


class Chatter(_Event, frozen=True, kw_only=True):
    """`share_per_s` of the members learn something every second, spread evenly."""

    for_s: Span
    share_per_s: Share


class Crash(_Met, frozen=True, kw_only=True):
    """Their processes end without a word. How long it takes until all know is measured."""


class Leave(_Met, frozen=True, kw_only=True):
    """They say goodbye."""


class Restart(_Met, frozen=True, kw_only=True):
    """They start again, running or not, with a higher incarnation; `running = false` meets the crashed."""

    same_address: bool = False
    running: bool = True


class Join(_Event, frozen=True, kw_only=True):
    """New members. Measured: until they know all, from their first welcome, and until all know them."""

    count: Annotated[int, Meta(ge=1, le=MAX_NODES)] = 1


class Stop(_Met, frozen=True, kw_only=True):
    """Their processes stand still, as by SIGSTOP; frames wait for them up to the high-water mark."""

    for_s: Span


class Slow(_Met, frozen=True, kw_only=True):
    """Each frame takes them `service_s`; what waits beyond `queue_frames` is lost."""

    for_s: Span
    service_s: Span
    queue_frames: Annotated[int, Meta(ge=1, le=100_000)] = QUEUE_FRAMES


class Skew(_Met, frozen=True, kw_only=True):
    """Their clocks jump `ahead_s`, and run 1 + `drift` times as fast from then on."""

    ahead_s: Span = 0.0
    drift: Annotated[float, Meta(ge=-0.5, le=0.5)] = 0.0


class Partition(_Event, frozen=True, kw_only=True):
    """Two sides that cannot hear each other; the seeds are dealt out to both."""

    share: Annotated[float, Meta(gt=0.0, lt=1.0)] = 0.5


class Deafen(_Met, frozen=True, kw_only=True):
    """One way: they hear nobody, and are heard by all. With `mute` it is they who are not heard."""

    mute: bool = False


class Heal(_Event, frozen=True, kw_only=True):
    """Every cut is mended. How long it takes until all directories are equal is measured."""


class Weather(_Event, frozen=True, kw_only=True):
    """The network is like this from now on."""

    network: Conditions


class Hostile(_Event, frozen=True, kw_only=True):
    """New members that lie, `per_s` frames each, for so long. See hostile.py for what each attack says."""

    for_s: Span
    attack: Attack
    count: Annotated[int, Meta(ge=1, le=64)] = 1
    per_s: Annotated[float, Meta(gt=0.0, le=10_000.0)] = 10.0


class Churn(_Event, frozen=True, kw_only=True):
    """`per_s` members crash each second, and start again after `down_s`."""

    for_s: Span
    per_s: Annotated[float, Meta(gt=0.0, le=100.0)]
    down_s: Span = 5.0


Event = (
    Learn
    | Chatter
    | Crash
    | Leave
    | Restart
    | Join
    | Stop
    | Slow
    | Skew
    | Partition
    | Deafen
    | Heal
    | Weather
    | Hostile
    | Churn
)


class Expect(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What must hold, or the run has failed; a figure that is not given is only reported. All in seconds.

    Of several events of a kind the slowest counts.
    """

    change_99_s: Span | None = None
    change_100_s: Span | None = None
    death_99_s: Span | None = None
    death_100_s: Span | None = None
    join_s: Span | None = None
    equal_s: Span | None = None
    """From the last event until all directories are equal to what runs."""
    bytes_per_node_s: float | None = None
    """Received, over the whole run."""
    false_deaths: Annotated[int, Meta(ge=0)] | None = 0
    """At most so many verdicts on members that lived and could be heard; null where they are only counted."""
    false_suspicions: Annotated[int, Meta(ge=0)] | None = None


class Scenario(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One file."""

    about: Annotated[str, Meta(min_length=1, max_length=400)]
    nodes: Annotated[int, Meta(ge=2, le=MAX_NODES)]
    seconds: Annotated[float, Meta(gt=0.0, le=86_400.0)]
    """It ends after so long; sooner where all is measured, and nothing is to come."""
    whole: bool = False
    """Run all of `seconds`, whatever is known by then."""
    profile: Literal["local", "lan", "wan"] = "lan"
    knobs: dict[str, float] = {}
    """Fields of the profile that differ from it."""
    start: Literal["settled", "together"] = "settled"
    """Members that know each other from the start, or that all say hello to the seeds at once."""
    settle_s: Span = 5.0
    """Before the first event, so that what the start brought about is over."""
    seeds: Annotated[int, Meta(ge=1, le=16)] = 2
    """The first members: all others start with their addresses, and events spare them unless named."""
    topics: Annotated[int, Meta(ge=0, le=5_000)] = 20
    """Of each member at the start."""
    network: Conditions = Conditions()
    queue_frames: Annotated[int, Meta(ge=1, le=100_000)] = QUEUE_FRAMES
    event: tuple[Event, ...] = ()
    expect: Expect = Expect()

    def gossip(self) -> Profile:
        """The profile with this scenario's own knobs; `InvalidInput` where one is none."""
        given: dict[str, Any] = msgspec.structs.asdict(PROFILES[self.profile]())
        for knob, value in self.knobs.items():
            if knob not in given:
                raise InvalidInput(f"knobs.{knob}", "there is no such knob", f"use one of {', '.join(given)}")
            given[knob] = type(given[knob])(value)
        return msgspec.convert(given, Profile)


def available() -> list[str]:
    """Names of the scenarios that come with the product."""
    return sorted(path.stem for path in FOLDER.glob("*.toml"))


def load(name: str) -> Scenario:
    """The scenario of this name, or in the file of this name; `InvalidInput` names the bad field."""
    path = FOLDER / f"{name}.toml"
    if name.endswith(".toml") or "/" in name:
        path = Path(name)
    try:
        text = path.read_bytes()
    except OSError:
        raise InvalidInput(
            "scenario", f"{name[:80]!r} is none", f"use a TOML file or one of {', '.join(available())}"
        ) from None
    return parse(text, path.name)


def parse(text: bytes, source: str) -> Scenario:
    """The scenario that `text` is; `source` names it in errors."""
    try:
        scenario = msgspec.toml.decode(text, type=Scenario)
    except msgspec.ValidationError as error:
        problem, _, path = str(error).partition(" - at `$")
        field = path.rstrip("`").lstrip(".") or "scenario"
        raise InvalidInput(f"{source}: {field}", problem, "see deploy/scenarios for examples") from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise InvalidInput(source, str(error), "write it as TOML") from None
    scenario.gossip()
    return scenario
