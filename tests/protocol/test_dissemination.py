"""What is pushed, pulled and compared: every group fits a frame, everything asked for is asked for again."""

from __future__ import annotations

import math

import msgspec
import pytest

from protocol import wire
from protocol.antientropy import differing_buckets, diffs, newer_here, tell
from protocol.digest import EMPTY, Announced, Digest
from protocol.dissemination import News, Pulls, chunks, portions
from protocol.effects import Effect, Publish, Route, Send
from protocol.gate import Open
from protocol.membership import Member, Membership, bucket_of
from protocol.messages import (
    MAX_COUNTER,
    MAX_MEMBERS_A_MESSAGE,
    Announce,
    Claim,
    Get,
    Message,
    Record,
    Records,
    Sync,
    SyncDiff,
    Welcome,
)
from protocol.names import AgentName
from protocol.profile import Profile
from protocol.suspicion import Suspicions

LONGEST = AgentName("z" * 64)
FAR = "tcp://" + "h" * 244 + ":65535"
PROFILE = Profile(debounce_s=0.1)
SMALL = EMPTY
LARGE = Digest.of(Announced(f"topic-{number}", 1, 1.0) for number in range(7_000))


def long_name(number: int) -> AgentName:
    return AgentName(f"{number:05}".ljust(64, "x"))


def record(agent: str, version: int = 1, digest: Digest = SMALL) -> Record:
    return Record(agent, 2**63 - 1, MAX_COUNTER, version, "librarian", FAR, FAR, digest)


def members_of(*records: Record, limit: int = 10_000) -> Membership:
    """A table in which these are alive, at the version of their record."""
    members = Membership(limit=limit)
    for told in records:
        member = members.apply(Claim(told.agent, told.incarnation, told.version, "alive"), 0.0)
        assert member is not None
        members.keep(member, told)
    return members


def taken(news: News, members: Membership, *, sparse: bool = False) -> list[Effect]:
    return news.take(members, Suspicions(PROFILE), sparse=sparse)


def fits(message: Message) -> bool:
    return len(wire.encode(LONGEST, message)) <= wire.MAX_FRAME_BYTES


# -- groups


@pytest.mark.parametrize("digest", [SMALL, LARGE], ids=["small", "large"])
def test_records_of_any_size_are_grouped_so_that_each_group_fits_a_frame(digest: Digest) -> None:
    records = [record(long_name(number), MAX_COUNTER, digest) for number in range(600)]

    groups = portions(records)

    assert [told for group in groups for told in group] == records
    assert all(0 < len(group) <= MAX_MEMBERS_A_MESSAGE for group in groups)
    assert all(fits(Records(group)) and fits(Welcome(LONGEST, 1, group)) for group in groups)


def test_no_records_are_one_empty_group() -> None:
    assert portions([]) == [()]


def test_chunks_name_everybody_once() -> None:
    members = [Member(Claim(long_name(number), 1, 1, "alive"), 0.0) for number in range(1_030)]

    parts = list(chunks(members))

    assert [len(part) for part in parts] == [512, 512, 6]
    assert [member for part in parts for member in part] == members


# -- news


def test_news_waits_for_the_debounce_of_its_first_part() -> None:
    news = News(PROFILE)

    assert news.due_at == math.inf
    news.add(AgentName("bob"), 5.0)
    news.add(AgentName("carol"), 5.05)
    assert news.due_at == pytest.approx(5.1)

    members = members_of(record("bob"), record("carol"))
    (effect,) = taken(news, members)
    assert isinstance(effect, Publish)
    assert isinstance(effect.message, Announce)
    assert [claim.agent for claim in effect.message.claims] == ["bob", "carol"]
    assert news.due_at == math.inf
    assert taken(news, members) == []


def test_a_small_record_rides_along_and_a_large_one_is_left_to_be_pulled() -> None:
    news = News(PROFILE)
    for agent in ("bob", "carol"):
        news.add(AgentName(agent), 0.0)

    (effect,) = taken(news, members_of(record("bob"), record("carol", digest=LARGE)))

    assert isinstance(effect, Publish)
    assert isinstance(effect.message, Announce)
    assert len(effect.message.claims) == 2
    assert effect.message.records == (record("bob"),)


def test_no_record_of_the_gone_and_no_outdated_one_rides_along() -> None:
    news = News(PROFILE)
    members = members_of(record("bob"), record("carol"))
    members.apply(Claim("bob", MAX_COUNTER, 1, "dead"), 1.0)
    members.apply(Claim("carol", MAX_COUNTER, 2, "alive"), 1.0)
    for agent in ("bob", "carol", "nobody"):
        news.add(AgentName(agent), 0.0)

    (effect,) = taken(news, members)

    carol = Claim("carol", MAX_COUNTER, 2, "alive")
    assert effect == Publish(Announce((Claim("bob", MAX_COUNTER, 1, "dead"), carol), ()))


def test_news_of_everybody_at_once_fits_its_frames() -> None:
    news = News(PROFILE)
    medium = Digest.of(Announced(f"topic-{number}", 1, 1.0) for number in range(500))
    told = [record(long_name(number), MAX_COUNTER, medium) for number in range(600)]
    for about in told:
        news.add(AgentName(about.agent), 0.0)

    effects = taken(news, members_of(*told))

    announcements = [effect.message for effect in effects if isinstance(effect, Publish)]
    assert all(fits(message) for message in announcements)
    assert [record for m in announcements if isinstance(m, Announce) for record in m.records] == told
    assert sum(len(m.claims) for m in announcements if isinstance(m, Announce)) == 600


# -- pulls


def test_a_wanted_record_is_asked_for_once_until_it_is_overdue() -> None:
    pulls = Pulls(patience_s=1.0)
    bob, holder = AgentName("bob"), Route("tcp://h:1")

    pulls.want(bob, holder, 0.0)

    assert list(pulls.take()) == [Send(holder, Get(("bob",)))]
    assert list(pulls.take()) == []
    assert bob in pulls
    assert pulls.overdue(1.0) == []
    assert pulls.overdue(1.1) == [bob]
    pulls.want(bob, Route("tcp://other:1"), 1.1)
    assert list(pulls.take()) == [Send(Route("tcp://other:1"), Get(("bob",)))]
    assert pulls.overdue(1.2) == []


def test_what_came_meanwhile_is_not_asked_for() -> None:
    pulls = Pulls(patience_s=1.0)
    pulls.want(AgentName("bob"), Route("tcp://h:1"), 0.0)

    pulls.settle(AgentName("bob"))

    assert list(pulls.take()) == []
    assert pulls.overdue(100.0) == []
    assert AgentName("bob") not in pulls


def test_a_record_that_nobody_is_known_to_hold_becomes_overdue_all_the_same() -> None:
    pulls = Pulls(patience_s=1.0)

    pulls.want(AgentName("bob"), None, 0.0)

    assert list(pulls.take()) == []
    assert pulls.overdue(1.1) == ["bob"]


def test_many_wants_are_as_many_messages_as_they_need() -> None:
    pulls = Pulls(patience_s=1.0)
    for number in range(600):
        pulls.want(long_name(number), Route("tcp://h:1"), 0.0)

    asked = [effect.message for effect in pulls.take() if isinstance(effect, Send)]

    assert [len(message.agents) for message in asked if isinstance(message, Get)] == [512, 88]
    assert all(fits(message) for message in asked)


# -- anti-entropy


def exchange(one: Membership, other: Membership) -> tuple[list[SyncDiff], list[Member]]:
    """The peer's answers to our sync, and what we then know better."""
    answers = diffs(Sync(one.sync_hashes()), other)
    return answers, [member for answer in answers for member in newer_here(answer, one)]


def test_equal_views_have_nothing_to_say() -> None:
    one = members_of(record("bob"), record("carol"))
    other = members_of(record("carol"), record("bob"))

    assert exchange(one, other) == ([], [])


def test_only_what_differs_is_told_in_both_directions() -> None:
    shared = [record(f"agent-{number}") for number in range(200)]
    one = members_of(*shared, record("bob", 2), record("carol", 1))
    other = members_of(*shared, record("bob", 1), record("carol", 2), record("dave"))

    answers, newer = exchange(one, other)

    buckets = {bucket_of(name) for name in ("bob", "carol", "dave")}
    assert {bucket for answer in answers for bucket in answer.buckets} == buckets
    assert set(differing_buckets(Sync(one.sync_hashes()), other)) == buckets
    assert [member.agent for member in newer] == ["bob"]
    claims = {claim.agent: claim for answer in answers for claim in answer.claims}
    assert claims["carol"].version == 2
    assert "dave" in claims
    assert tell(newer, Open()) == [
        Announce((Claim("bob", MAX_COUNTER, 2, "alive"),)),
        Records((record("bob", 2),)),
    ]


def test_a_death_is_told_to_who_holds_it_alive_and_not_to_strangers() -> None:
    beside = next(name for name in map(long_name, range(1_000)) if bucket_of(name) == bucket_of("bob"))
    one = members_of(record("bob"), record(beside))
    one.apply(Claim("bob", MAX_COUNTER, 1, "dead"), 1.0)

    _, to_who_knew = exchange(one, members_of(record("bob"), record(beside)))
    _, to_a_stranger = exchange(one, members_of(record(beside, 2)))

    assert [member.agent for member in to_who_knew] == ["bob"]
    assert tell(to_who_knew, Open()) == [Announce((Claim("bob", MAX_COUNTER, 1, "dead"),))]
    assert to_a_stranger == []


def test_the_differences_of_a_full_table_fit_their_frames() -> None:
    full = members_of(*(record(long_name(number), MAX_COUNTER) for number in range(4_096)))

    answers = diffs(Sync(bytes(256)), full)

    assert all(fits(answer) for answer in answers)
    assert sum(len(answer.claims) for answer in answers) == 4_096
    assert sorted(bucket for answer in answers for bucket in answer.buckets) == list(range(32))
    told = tell(full.living(), Open())
    assert all(fits(message) for message in told)


def test_one_crowded_bucket_still_fits_a_frame() -> None:
    crowd = [name for name in map(long_name, range(60_000)) if bucket_of(name) == 0]
    full = members_of(*(record(name, MAX_COUNTER) for name in crowd))

    answers = diffs(Sync(bytes(256)), full)

    assert len(crowd) > 1_700
    assert all(fits(answer) for answer in answers)
    assert [answer.buckets for answer in answers] == [(0,)]


def test_a_reply_may_be_cut_and_the_rest_is_told_the_next_time() -> None:
    answer = SyncDiff((bucket_of("bob"),), ())

    assert [member.agent for member in newer_here(answer, members_of(record("bob"), record("alice")))] == [
        "bob"
    ]
    assert newer_here(msgspec.structs.replace(answer, buckets=()), members_of(record("bob"))) == []
