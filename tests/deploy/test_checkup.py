"""What the doctor says of running members: a line with its help for each trouble, and none for no trouble."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import msgspec
import pytest

from deploy import checkup
from deploy.times import shown
from node import MemoryNode
from node.config import NodeConfig
from node.net.authority import Authority
from node.net.credentials import issue, store
from node.net.peer import PeerStatistics, TrafficStatistics
from node.net.peerwatch import SilentPeer, WrongPeer
from node.net.transport import TransportStatistics
from protocol.names import AgentName
from protocol.statistics import Counters, GossipStatistics
from tests.deploy.conftest import Avm
from tests.support.waiting import wait_for

WELL = PeerStatistics(
    traffic=TrafficStatistics(
        frames_in=1, bytes_in=1, frames_out=1, bytes_out=1, unsent=0, strays=0, dropped={}
    ),
    transport=TransportStatistics(subscriptions=2, hearers=2, descriptors=50, descriptor_limit=1024),
    gossip=GossipStatistics(
        members=3,
        living=3,
        suspected=0,
        gone=0,
        refused=0,
        sparse=False,
        neighbours=0,
        heard=2,
        health=0,
        probes=0,
        counters=Counters(),
    ),
    silent=(),
    wrong=(),
)


def lines(net: PeerStatistics, *, shift_s: float = 0.0) -> list[str]:
    """The troubles of alice, each with its verdict before it."""
    told = checkup._Told(net, shift_s)
    return [f"{verdict}: {line}" for verdict, line in checkup._troubles("alice", told, NodeConfig())]


def with_transport(**changed: int) -> PeerStatistics:
    return msgspec.structs.replace(WELL, transport=msgspec.structs.replace(WELL.transport, **changed))


def with_gossip(**changed: object) -> PeerStatistics:
    return msgspec.structs.replace(WELL, gossip=msgspec.structs.replace(WELL.gossip, **changed))


def test_of_a_member_that_is_well_nothing_is_said() -> None:
    assert lines(WELL, shift_s=1.0) == []


SILENT = SilentPeer(agent="bob", silent_s=34.0)
WRONG = WrongPeer(who="x at tcp://h:1", reason="wrong-mesh", frames=7, ago_s=1.0, detail="it is of mesh y")
TROUBLES = {
    "scarce": (with_transport(descriptors=1000), 0.0, "bad", "ulimit -n 112"),
    "none left": (with_transport(times_out=2, turned_away=9), 0.0, "bad", "9 connections were turned away"),
    "unheard": (with_transport(unheard=3), 0.0, "bad", "3 members are not listened to"),
    "silent": (msgspec.structs.replace(WELL, silent=(SILENT,)), 0.0, "note", "nothing of bob for 34 s"),
    "wrong": (
        msgspec.structs.replace(WELL, wrong=(WRONG,)),
        0.0,
        "note",
        "x at tcp://h:1, 7 times wrong-mesh",
    ),
    "overflows": (with_transport(overflows=4, queue_frames=256), 0.0, "note", "of 256 frames"),
    "unwell": (with_gossip(health=4), 0.0, "note", "its health is 4 of 8"),
    "paused": (with_gossip(counters=Counters(pauses=2, longest_pause_s=61.0)), 0.0, "note", "61 s at most"),
    "clock set": (WELL, -3600.0, "note", "set by -3600 s"),
}


@pytest.mark.parametrize("name", TROUBLES)
def test_a_trouble_is_one_line_that_says_what_was_seen_and_what_helps(name: str) -> None:
    net, shift_s, verdict, told = TROUBLES[name]

    found = lines(net, shift_s=shift_s)

    assert len(found) == 1
    assert found[0].startswith(f"{verdict}: alice: ")
    assert told in found[0]
    assert "\n" not in found[0]


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"joined": False}, "avm mesh show the same on both hosts?"),
        ({"expires_at": int(time.time() + 10.4 * 86_400)}, "its certificate ends in 10 days"),
        ({"expires_at": int(time.time() - 5)}, "its certificate is over: no other member hears it"),
    ],
    ids=["no seed answers", "a certificate ends soon", "a certificate is over"],
)
def test_what_keeps_it_from_being_a_member_is_told(changed: dict[str, Any], told: str) -> None:
    found = list(checkup._troubles("alice", checkup._Told(WELL, 0.0, **changed), NodeConfig()))

    assert [verdict for verdict, _ in found] == ["bad" if "is over" in told else "note"]
    assert told in found[0][1]


def wrong(reason: str, who: str = "a stranger") -> WrongPeer:
    return WrongPeer(who=who, reason=reason, frames=7, ago_s=1.0, detail="as it was")


@pytest.mark.parametrize(
    ("reason", "helps"),
    [
        ("forged", "avm mesh revoke it"),
        ("wrong-key", "somebody has a copy of the certificate"),
        ("wrong-sender", "avm mesh revoke its agent"),
        ("not-introduced", "later it is no member"),
        ("expelled", "where that was not meant"),
        ("bad-msgpack", "upgrade it"),
    ],
)
def test_against_refused_frames_is_said_what_helps_for_their_reason(reason: str, helps: str) -> None:
    (line,) = lines(msgspec.structs.replace(WELL, wrong=(wrong(reason, "x"), wrong(reason, "y"))))

    assert f"refused frames of x, 7 times {reason} (as it was); y, 7 times" in line
    assert helps in line


def test_what_different_things_help_against_is_told_in_lines_of_their_own() -> None:
    several = (wrong("wrong-mesh"), wrong("forged"), wrong("barred"), wrong("expelled"))

    found = lines(msgspec.structs.replace(WELL, wrong=several))

    assert [line.count("7 times") for line in found] == [1, 1, 2]
    assert "7 times barred" in found[2]
    assert "7 times expelled" in found[2]


def test_a_certificate_that_lasts_is_not_spoken_of() -> None:
    lasting = checkup._Told(WELL, 0.0, expires_at=int(time.time() + 60 * 86_400))

    assert list(checkup._troubles("alice", lasting, NodeConfig())) == []


def test_of_many_silent_ones_three_are_named_and_the_others_counted() -> None:
    silent = tuple(SilentPeer(agent=f"m{number}", silent_s=9.0) for number in range(12))

    (line,) = lines(msgspec.structs.replace(WELL, silent=silent))

    assert "m2 for 9 s; and 9 more" in line
    assert "m3" not in line


@pytest.mark.parametrize(
    ("most", "usual", "verdict", "told"),
    [
        (0, 0, "ok", "any number of at most; 64 members need 478, 1,000 need 1451"),
        (20_000, 20_000, "ok", "20000 at most"),
        (20_000, 1024, "note", "a node inside another program has 1024: start that after ulimit -n 1451"),
        (1024, 1024, "note", "enough for now; before the mesh grows, raise the hard limit, ulimit -Hn 1451"),
        (256, 256, "bad", "members would not all be heard; raise the hard limit, ulimit -Hn 1451"),
    ],
)
def test_the_limit_is_held_against_what_meshes_need(
    most: int, usual: int, verdict: str, told: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checkup, "descriptor_limit", lambda *, most=False, of=(most, usual): of[not most])

    ((found, line),) = checkup.limit(NodeConfig(profile="lan"))

    assert found == verdict
    assert told in line


@pytest.mark.processes
def test_the_doctor_asks_the_members_that_run(avm: Avm) -> None:
    with MemoryNode("alice", config=NodeConfig.load()), MemoryNode("bob", config=NodeConfig.load()) as bob:
        wait_for(lambda: len(bob.members()) == 2 and bob.status().net.transport.hearers == 1)
        found = avm("doctor", "--json").envelope["data"]

    told = {one["told"].partition(":")[0]: one for one in found if one["what"] == "how they are"}
    assert {name: one["verdict"] for name, one in told.items()} == {"alice": "ok", "bob": "ok"}
    assert "hears 1, heard by 1, 0 silent" in told["bob"]["told"]


@pytest.mark.processes
def test_the_doctor_and_the_status_tell_who_a_running_node_is(avm: Avm) -> None:
    config = NodeConfig.load()
    short = issue(Authority.create(config.credentials, config.mesh), AgentName("alice"), "observer", 9)
    store(config, short)
    with MemoryNode("alice", config=config):
        status = avm("status")
        found = avm("doctor", "--json").envelope["data"]

    assert f"observer, certificate until {shown(short.certificate.expires_at)}, charter 1" in status.out
    (line,) = [one for one in found if one["what"] == "how they are"]
    assert line["verdict"] == "note"
    assert "alice: its certificate ends in 9 days" in line["told"]


@pytest.mark.processes
def test_the_doctor_tells_of_a_seed_that_keeps_silent_to_members_of_another_authority(avm: Avm) -> None:
    config = NodeConfig.load()
    elsewhere = msgspec.structs.replace(
        config,
        runtime_dir=config.runtime_dir / "other",
        data_dir=config.data_dir / "other",
        credentials_dir=config.credentials_dir / "other",
    )
    with MemoryNode("bob", config=elsewhere) as bob:
        seeded = msgspec.structs.replace(config, seeds=(bob.address,))
        with MemoryNode("alice", config=seeded):
            wait_for(lambda: bob.status().net.wrong)
            asker = [told for _, told in checkup.members(config)]
            asked = [told for _, told in checkup.members(elsewhere)]

    assert any("alice: none of its seeds has answered; members say nothing to who" in told for told in asker)
    assert any("bob: refused frames of alice" in told and "fingerprint" in told for told in asked)


@pytest.mark.processes
def test_a_member_that_does_not_answer_is_named_with_its_process(
    avm: Avm, short_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checkup, "_ANSWER_S", 0.1)
    with MemoryNode("alice", config=NodeConfig.load()) as alice:
        monkeypatch.setattr(alice._endpoint._control, "on_frame", lambda *_: None)
        found = avm("doctor", "--json").envelope

    told = [one for one in found["data"] if one["what"] == "how they are"]
    assert [one["verdict"] for one in told] == ["bad"]
    assert told[0]["told"].startswith("alice (process ")
    assert found["status"] == "failed"
