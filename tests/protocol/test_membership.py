"""The member table: one rule of precedence, nothing goes back, nothing grows without bound."""

from __future__ import annotations

from itertools import permutations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from protocol import liveness
from protocol.digest import EMPTY
from protocol.liveness import Verdict
from protocol.membership import Member, Membership, bucket_of, precedence
from protocol.messages import SYNC_BUCKETS, SYNC_HASH_BYTES, Claim, Record, Status
from protocol.profile import Profile

PROFILE = Profile()
STATUSES: list[Status] = ["alive", "suspect", "dead", "left"]
CLAIMS = st.builds(
    Claim, st.sampled_from("abcde"), st.integers(0, 3), st.integers(0, 3), st.sampled_from(STATUSES)
)


def record(agent: str = "bob", incarnation: int = 1, version: int = 1) -> Record:
    return Record(agent, 1, incarnation, version, "agent", "tcp://h:1", "tcp://h:2", EMPTY)


def table(*claims: Claim, limit: int = 100, backed: bool = False) -> Membership:
    members = Membership(limit=limit)
    for claim in claims:
        member = members.apply(claim, 0.0)
        if backed and member is not None:
            member.record = record(claim.agent, claim.incarnation, claim.version)
    return members


def claim(agent: str = "bob", incarnation: int = 1, version: int = 1, status: Status = "alive") -> Claim:
    return Claim(agent, incarnation, version, status)


# -- precedence


@pytest.mark.parametrize(
    ("held", "told", "is_news"),
    [
        (claim(), claim(), False),
        (claim(), claim(version=2), True),
        (claim(version=2), claim(version=1), False),
        (claim(version=9), claim(incarnation=2, version=1), True),
        (claim(incarnation=2), claim(incarnation=1, version=9, status="dead"), False),
        (claim(version=9), claim(version=1, status="suspect"), True),
        (claim(status="suspect"), claim(version=9), False),
        (claim(status="suspect"), claim(status="dead"), True),
        (claim(status="dead"), claim(version=9), False),
        (claim(status="dead"), claim(status="left"), False),
        (claim(status="left"), claim(status="dead"), False),
        (claim(status="dead"), claim(incarnation=2), True),
    ],
)
def test_what_is_news(held: Claim, told: Claim, is_news: bool) -> None:
    members = Membership(limit=10)
    members.apply(claim(incarnation=0, version=0), 0.0)
    members.apply(held, 0.0)

    assert (members.apply(told, 1.0) is not None) == is_news


def test_a_suspicion_with_an_older_version_does_not_take_the_version_back() -> None:
    members = table(claim(version=9))

    members.apply(claim(version=3, status="suspect"), 1.0)

    assert members.living()[0].claim == claim(version=9, status="suspect")


@given(st.lists(CLAIMS, min_size=1, max_size=4))
def test_the_order_in_which_claims_come_does_not_matter(claims: list[Claim]) -> None:
    first = [claim(agent, 0, 0) for agent in "abcde"]
    keys = set()
    for order in permutations(claims):
        members = table(*first, *order)
        keys.add(tuple(precedence(member.claim)[:2] for member in members))

    assert len(keys) == 1


class Table(RuleBasedStateMachine):
    """Claims in any order: the invariants at the head of membership.py."""

    LIMIT = 4

    def __init__(self) -> None:
        super().__init__()
        self.members = Membership(limit=self.LIMIT)
        self.before: dict[str, Claim] = {}
        self.now = 0.0

    @rule(told=CLAIMS)
    def apply(self, told: Claim) -> None:
        self.now += 1.0
        known, full = self.members.get(told.agent), len(self.members) == self.LIMIT
        held, refused = None if known is None else known.claim, self.members.refused

        changed = self.members.apply(told, self.now)

        if held is None:
            takes = told.status in ("alive", "suspect") and not full
            assert (changed is not None) == takes
            assert self.members.refused == refused + (told.status in ("alive", "suspect") and full)
        else:
            assert (changed is not None) == (precedence(told) > precedence(held))
        if changed is not None and (held is None or held.status != told.status):
            assert changed.status_since == self.now

    @rule(agent=st.sampled_from("abcde"))
    def forget(self, agent: str) -> None:
        known = self.members.get(agent)
        if known is not None:
            self.members.forget(known.agent)
        self.before.pop(agent, None)
        assert self.members.get(agent) is None

    @invariant()
    def nothing_goes_back(self) -> None:
        self.members.check()
        for member in self.members:
            earlier = self.before.get(member.agent)
            if earlier is not None:
                assert (member.incarnation, member.version) >= (earlier.incarnation, earlier.version)
                revived = member.is_living and earlier.status in ("dead", "left")
                assert not revived or member.incarnation > earlier.incarnation
            self.before[member.agent] = member.claim


TestTable = Table.TestCase
TestTable.settings = settings(max_examples=60, deadline=None)


def test_a_full_table_refuses_strangers_and_counts_them_but_hears_of_those_it_knows() -> None:
    members = table(claim("a"), claim("b"), limit=2)

    assert members.apply(claim("c"), 1.0) is None
    assert members.apply(claim("b", version=2), 1.0) is not None
    assert (len(members), members.refused) == (2, 1)


@pytest.mark.parametrize("status", ["dead", "left"])
def test_a_stranger_that_is_gone_is_not_remembered(status: Status) -> None:
    members = table(claim(status=status))

    assert (len(members), members.refused) == (0, 0)


def test_a_member_lacks_its_record_until_the_newest_came_and_never_when_gone() -> None:
    member = Member(claim(incarnation=2, version=5), 0.0)

    assert member.lacks_record
    member.record = record(incarnation=1, version=9)
    assert member.lacks_record
    member.record = record(incarnation=2, version=5)
    assert not member.lacks_record
    member.record, member.status = None, "dead"
    assert not member.lacks_record


# -- comparison


def test_equal_claims_hash_alike_in_any_order_and_other_claims_do_not() -> None:
    one = table(claim("a"), claim("b"), backed=True)
    other = table(claim("b"), claim("a"), backed=True)

    assert (one.sync_hashes(), one.view()) == (other.sync_hashes(), other.view())
    for changed in (claim("a", version=2), claim("a", incarnation=2), claim("a", status="suspect")):
        newer = table(changed, claim("b"), backed=True)
        assert newer.sync_hashes() != one.sync_hashes()
        assert newer.view() != one.view()


def test_only_the_bucket_of_a_changed_member_differs() -> None:
    names = [f"agent-{number}" for number in range(100)]
    one = table(*map(claim, names), backed=True)
    other = table(*map(claim, names[1:]), claim(names[0], version=2), backed=True)

    width = SYNC_HASH_BYTES
    pairs = zip(one.sync_hashes(), other.sync_hashes(), strict=True)
    differing = {at // width for at, (ours, theirs) in enumerate(pairs) if ours != theirs}
    assert differing == {bucket_of(names[0])}
    assert len(one.sync_hashes()) == SYNC_BUCKETS * width


def test_rumours_and_tombstones_are_not_compared_and_rumours_not_told() -> None:
    members = table(claim("a"), claim("b"), backed=True)
    hashes, view = members.sync_hashes(), members.view()

    members.apply(claim("ghost"), 1.0)
    members.apply(claim("b", status="dead"), 1.0)

    everywhere = frozenset(range(SYNC_BUCKETS))
    assert members.in_buckets(everywhere) == [claim("a"), claim("b", status="dead")]
    alone = table(claim("a"), backed=True)
    assert (members.sync_hashes(), members.view()) == (alone.sync_hashes(), alone.view())
    assert (members.sync_hashes(), members.view()) != (hashes, view)


def test_buckets_are_those_of_every_other_implementation() -> None:
    assert [bucket_of(name) for name in ("alice", "bob", "carol")] == [29, 18, 20]


# -- liveness


def verdict_of(members: Membership, now: float, profile: Profile = PROFILE) -> dict[str, Verdict]:
    own = Member(claim("me"), 0.0)
    return {member.agent: verdict for member, verdict in liveness.verdicts(members, own, profile, now)}


def test_silence_leads_to_a_ping_then_suspicion_then_death_then_oblivion() -> None:
    members = table(claim(), backed=True)
    bob = members.living()[0]

    assert verdict_of(members, PROFILE.silence_s) == {}
    assert verdict_of(members, PROFILE.silence_s + 0.1) == {"bob": "ping"}
    bob.pinged_at = 6.0
    assert verdict_of(members, 6.0 + PROFILE.ping_s) == {}
    assert verdict_of(members, 6.1 + PROFILE.ping_s) == {"bob": "suspect"}
    members.apply(claim(status="suspect"), 8.0)
    assert verdict_of(members, 8.0 + PROFILE.suspicion_s) == {}
    assert verdict_of(members, 8.1 + PROFILE.suspicion_s) == {"bob": "dead"}
    members.apply(claim(status="dead"), 13.0)
    assert verdict_of(members, 13.0 + PROFILE.tombstone_s) == {}
    assert verdict_of(members, 13.1 + PROFILE.tombstone_s) == {"bob": "forget"}


def test_suspicion_lasts_longer_in_a_larger_mesh() -> None:
    members = table(*(claim(f"a{number}") for number in range(100)), backed=True)
    members.apply(claim("a0", status="suspect"), 0.0)

    assert "a0" not in verdict_of(members, 2 * PROFILE.suspicion_s)
    assert verdict_of(members, 2 * PROFILE.suspicion_s + 0.1)["a0"] == "dead"


def test_a_rumour_whose_record_nobody_has_is_forgotten() -> None:
    members = table(claim())

    assert verdict_of(members, 2 * PROFILE.silence_s) == {}
    assert verdict_of(members, 2 * PROFILE.silence_s + 0.1) == {"bob": "forget"}


def test_we_pass_no_verdict_on_ourselves() -> None:
    members = Membership(limit=10)
    own = members.adopt(Member(claim("me"), 0.0))
    own.record = record("me")

    assert list(liveness.verdicts(members, own, PROFILE, 1e6)) == []


def test_a_pause_of_our_own_is_held_against_nobody() -> None:
    members = table(claim("a"), claim("b"), claim("c"), backed=True)
    members.apply(claim("b", status="suspect"), 0.0)
    pinged = members.get("c")
    assert pinged is not None
    pinged.pinged_at = 0.0

    liveness.forgive(members, 60.0)

    assert verdict_of(members, 60.5) == {}
    assert verdict_of(members, 61.5) == {"c": "suspect"}
