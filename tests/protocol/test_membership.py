"""The member table: one rule of precedence, nothing goes back, nothing grows without bound."""

from __future__ import annotations

from itertools import permutations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from protocol.digest import EMPTY
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
            members.keep(member, record(claim.agent, claim.incarnation, claim.version))
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

    @rule(agent=st.sampled_from("abcde"), behind=st.integers(0, 1))
    def keep(self, agent: str, behind: int) -> None:
        known = self.members.get(agent)
        if known is not None and known.is_living and known.version >= behind:
            newest = record(agent, known.incarnation, known.version - behind)
            if known.record is None or (known.record.incarnation, known.record.version) <= (
                newest.incarnation,
                newest.version,
            ):
                self.members.keep(known, newest)
                assert known.lacks_record == bool(behind)

    @rule(agent=st.sampled_from("abcde"))
    def forget(self, agent: str) -> None:
        known = self.members.get(agent)
        if known is not None:
            self.members.forget(known.agent)
        self.before.pop(agent, None)
        assert self.members.get(agent) is None

    @invariant()
    def what_is_kept_up_is_what_counting_gives(self) -> None:
        anew = Membership(limit=self.LIMIT)
        for member in self.members:
            adopted = anew.adopt(Member(member.claim, self.now))
            if member.record is not None:
                anew.keep(adopted, member.record)
        for buckets in (32, 64, 1024):
            assert self.members.sync_hashes(buckets) == anew.sync_hashes(buckets)
        assert self.members.view() == anew.view()
        assert self.members.living_count == len(self.members.living())
        picked = {self.members.one_of_the_living(at / 10).agent for at in range(10) if anew.living_count}
        assert picked == {member.agent for member in self.members.living()}
        moments = [member.status_since for member in self.members.gone.values()]
        assert moments == sorted(moments), "who went first stands in front"

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


def test_the_gone_stand_in_the_order_in_which_they_went_the_last_time() -> None:
    members = table(claim("a"), claim("b"))
    members.apply(claim("a", status="dead"), 1.0)
    members.apply(claim("b", status="dead"), 2.0)

    members.apply(claim("a", incarnation=2, status="dead"), 3.0)

    assert list(members.gone) == ["b", "a"]
    assert [member.agent for member in members.outlived(12.5, 10.0, 10.0)] == ["b"]
    assert [member.agent for member in members.outlived(13.5, 10.0, 10.0)] == ["b", "a"]


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

    everywhere = range(SYNC_BUCKETS)
    told = sorted(members.in_buckets(everywhere), key=lambda told: told.agent)
    assert told == [claim("a"), claim("b", status="dead")]
    alone = table(claim("a"), backed=True)
    assert (members.sync_hashes(), members.view()) == (alone.sync_hashes(), alone.view())
    assert (members.sync_hashes(), members.view()) != (hashes, view)


@pytest.mark.parametrize(
    ("count", "buckets"), [(1, 32), (1_024, 32), (1_025, 64), (4_096, 128), (40_000, 1_024)]
)
def test_a_larger_mesh_is_compared_in_more_buckets(count: int, buckets: int) -> None:
    members = table(*(claim(f"a{number}") for number in range(count)), limit=count)

    assert members.sync_buckets == buckets


def test_coarse_buckets_are_made_of_fine_ones() -> None:
    names = [f"agent-{number}" for number in range(300)]
    members = table(*map(claim, names), limit=300, backed=True)

    for buckets in (32, 256):
        for bucket in (0, 17, buckets - 1):
            told = {told.agent for told in members.in_buckets((bucket,), buckets)}
            assert told == {name for name in names if bucket_of(name, buckets) == bucket}


def test_buckets_are_those_of_every_other_implementation() -> None:
    assert [bucket_of(name) for name in ("alice", "bob", "carol")] == [29, 18, 20]
