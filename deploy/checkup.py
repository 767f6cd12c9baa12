"""How the running members of this host are: one line for each that is well, and one for each trouble.

A line says what was seen, what it means, and what helps. Nothing here is the health of a memory's file, which
`doctor` looks at.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from typing import Literal

import msgspec

from node.config import NodeConfig
from node.net.control import ControlClient
from node.net.peer import PeerStatistics
from node.net.peerwatch import WrongPeer
from node.net.register import Entry, Register
from node.net.zeromq import descriptor_limit, descriptors_needed
from protocol.errors import MeshError
from protocol.health import WORST
from protocol.identity import DAY_S

Verdict = Literal["ok", "note", "bad"]

_ANSWER_S = 3.0
_NAMED = 3  # Of many silent or wrong peers, so many are named; --json of `avm status` has all.
_SCARCE = 0.9  # Of the descriptors in use: the next members may not be heard.
_SLOW = 3  # A score of health up to here comes and goes on a busy machine.
_WARNED_BEFORE_S = 30 * DAY_S
_SHIFT_S = 5.0  # By so much a clock may be set without a word.

_IN_ANOTHERS_NAME = "a member speaks in another's name: its program is no avm, so avm mesh revoke its agent"
_EXPELLED = "where that was not meant, avm mesh issue it a new certificate with --replace"
_HELP = {
    "forged": "what it shows is not signed as it must be; is the fingerprint of avm mesh show the same on "
    "both hosts? if so, avm mesh revoke it",
    "wrong-key": "somebody shows a certificate that is for other keys; give that agent its newest file by "
    "avm mesh join and start it again; if it goes on, somebody has a copy of the certificate, to no use",
    "wrong-sender": _IN_ANOTHERS_NAME,
    "wrong-publisher": _IN_ANOTHERS_NAME,
    "not-introduced": "somebody speaks whose certificate is not known here; soon after a start that is "
    "nothing, later it is no member: see avm mesh show on both hosts",
    "expelled": _EXPELLED,
    "barred": _EXPELLED,
}
"""What helps against frames that were refused for this reason; for any other, `_HELP_ELSE`."""
_HELP_ELSE = "give that program its own mesh or address, upgrade it, or see avm mesh show on both hosts"


class _Told(msgspec.Struct, frozen=True):
    """The part of a node's or a librarian's status that is looked at here."""

    net: PeerStatistics
    clock_shift_s: float
    joined: bool = True
    expires_at: int = 0


def limit(config: NodeConfig) -> Iterator[tuple[Verdict, str]]:
    """Whether as many files may be open as a mesh that hears itself in full, and one of 1,000, needs.

    `avm node` and `avm librarian` take what they may have at most; a program with a node in it what it has.
    """
    most, usual = descriptor_limit(most=True), descriptor_limit()
    full = config.gossip.full_mesh
    small, large = (descriptors_needed(count, full_mesh=full) for count in (full, 1000))
    told = f"{most or 'any number of'} at most; {full} members need {small}, 1,000 need {large}"
    if most and most < small:
        yield "bad", f"{told}: members would not all be heard; raise the hard limit, ulimit -Hn {large}"
    elif most and most < large:
        yield (
            "note",
            f"{told}: enough for now; before the mesh grows, raise the hard limit, ulimit -Hn {large}",
        )
    elif usual and usual < large:
        yield "note", f"{told}; a node inside another program has {usual}: start that after ulimit -n {large}"
    else:
        yield "ok", told


def members(config: NodeConfig) -> Iterator[tuple[Verdict, str]]:
    """Each member of this host, as it says itself."""
    entries = Register(config.folder).all_running()
    if not entries:
        yield "ok", "nobody to ask"
    for entry in entries:
        try:
            told = _ask(entry)
        except MeshError as error:
            yield _bad(
                f"{entry.agent} (process {entry.pid}) does not answer ({error}); "
                "where that stays so, end it and start it again"
            )
            continue
        troubles = list(_troubles(entry.agent, told, config))
        yield from troubles
        if not troubles:
            yield "ok", f"{entry.agent}: {summary(told.net)}"


def summary(net: PeerStatistics) -> str:
    """One line on how a member is."""
    gossip, transport, traffic = net.gossip, net.transport, net.traffic
    allowed = f" of {transport.descriptor_limit:,}" if transport.descriptor_limit else ""
    refused = sum(traffic.dropped.values())
    return (
        f"health {gossip.health} of {WORST} (0 is best), hears {transport.subscriptions}, "
        f"heard by {transport.hearers}, {len(net.silent)} silent, "
        f"{transport.overflows} queues full, {traffic.unsent} unsent, {refused} frames refused, "
        f"{gossip.counters.pauses} pauses, {transport.descriptors:,}{allowed} descriptors"
    )


def _ask(entry: Entry) -> _Told:
    client = ControlClient(entry.control)
    try:
        return client.call(_Told, "status", answer_s=_ANSWER_S)
    finally:
        client.close()


def _troubles(agent: str, told: _Told, config: NodeConfig) -> Iterator[tuple[Verdict, str]]:
    net, gossip, transport = told.net, told.net.gossip, told.net.transport
    counters = gossip.counters
    allowed = transport.descriptor_limit
    if transport.times_out or (allowed and transport.descriptors > _SCARCE * allowed):
        needed = descriptors_needed(gossip.living, full_mesh=config.gossip.full_mesh)
        yield _bad(
            f"{agent}: {transport.descriptors:,} of {allowed:,} descriptors are open, none was left "
            f"{transport.times_out} times, {transport.turned_away} connections were turned away; "
            f"a mesh of {gossip.living} needs up to {needed:,}: start it again after ulimit -n {needed}"
        )
    if transport.unheard:
        yield _bad(
            f"{agent}: {transport.unheard} members are not listened to, for want of descriptors or of an "
            "address that is one; see its log, and avm members for their addresses"
        )
    if net.silent:
        named = _some([f"{one.agent} for {one.silent_s:.0f} s" for one in net.silent])
        yield _note(
            f"{agent}: hears nothing of {named}; does its process run, and may this host connect to its "
            "second port (the publisher's)?"
        )
    for helps, wrong in _by_help(net.wrong).items():
        named = _some([f"{one.who}, {one.frames} times {one.reason} ({one.detail})" for one in wrong])
        yield _note(f"{agent}: refused frames of {named}; {helps}")
    if transport.overflows:
        yield _note(
            f"{agent}: the queue of {transport.queue_frames} frames to somebody who hears it was full "
            f"{transport.overflows} times, and frames were lost; look for a member that is stopped or slow "
            "(avm members: suspect, or heard long ago)"
        )
    if gossip.health > _SLOW:
        yield _note(
            f"{agent}: its health is {gossip.health} of {WORST} (0 is best): answers come late, or none; "
            "the machine or the network is too busy, or use the profile wan"
        )
    if counters.pauses:
        yield _note(
            f"{agent}: did not run {counters.pauses} times, for {counters.longest_pause_s:.0f} s at most; "
            "where that was no sleep of the machine, it has too little of a processor"
        )
    if not told.joined:
        yield _note(
            f"{agent}: none of its seeds has answered; members say nothing to who has no certificate "
            "of their own authority: is the fingerprint of avm mesh show the same on both hosts?"
        )
    if told.expires_at and (left_s := told.expires_at - time.time()) < _WARNED_BEFORE_S:
        ends = f"ends in {left_s / DAY_S:.0f} days" if left_s > 0 else "is over: no other member hears it"
        renewed = (
            f"start it again where the authority is, or there avm mesh issue {agent} --replace and here "
            "avm mesh join"
        )
        yield (_note if left_s > 0 else _bad)(f"{agent}: its certificate {ends}; {renewed}")
    if abs(told.clock_shift_s) > _SHIFT_S:
        yield _note(
            f"{agent}: the system's clock was set by {told.clock_shift_s:+.0f} s since its start; expiry and "
            "times of memories follow the clock, so keep it by NTP"
        )


def _by_help(wrong: Iterable[WrongPeer]) -> dict[str, list[WrongPeer]]:
    """Those that the same helps against, together."""
    found: dict[str, list[WrongPeer]] = {}
    for one in wrong:
        found.setdefault(_HELP.get(one.reason, _HELP_ELSE), []).append(one)
    return found


def _bad(told: str) -> tuple[Verdict, str]:
    return "bad", told


def _note(told: str) -> tuple[Verdict, str]:
    return "note", told


def _some(told: list[str]) -> str:
    more = len(told) - _NAMED
    return "; ".join(told[:_NAMED]) + (f"; and {more} more" if more > 0 else "")
