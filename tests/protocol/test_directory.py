"""The directory: never a missed holder, never a removed one, and the best leads first."""

from __future__ import annotations

import itertools
import math
import tracemalloc
from collections.abc import Callable, Sequence

import msgspec
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from protocol import bitslices, bloom, shortlist
from protocol.digest import Announced, Digest
from protocol.directory import Directory
from protocol.keyring import UNKEYED, Keyring
from protocol.names import AgentName
from protocol.shortlist import Lead

VOCABULARY = [f"topic-{number}" for number in range(12)]
TOPICS = st.frozensets(st.sampled_from(VOCABULARY))
PASSED_S = st.sampled_from([0.0, 0.5, 1.0])
FILLER = [Announced(f"filler-{number}", 1, 0.1) for number in range(400)]


def digest_topics(*terms: str) -> list[Announced]:
    return [Announced(term, 1, 1.0) for term in terms]


def digest_of(*terms: str) -> Digest:
    return Digest.of(digest_topics(*terms))


def agent(number: int) -> AgentName:
    return AgentName(f"agent-{number:04}")


def names(directory: Directory, *terms: str, now: float = 0.0, limit: int = 10) -> list[str]:
    return [lead.agent for lead in directory.who_knows(terms, now=now, limit=limit)]


class Plain:
    """The directory as one would write it down: everything is looked at, one agent after the other."""

    def __init__(self, keys: Keyring = UNKEYED) -> None:
        self.keys = keys
        self.digests: dict[AgentName, Digest] = {}
        self.confirmed: dict[AgentName, float] = {}
        self.suspects: set[AgentName] = set()

    def put(self, name: AgentName, digest: Digest, *, now: float) -> None:
        self.digests[name], self.confirmed[name] = digest, now
        self.suspects.discard(name)

    def remove(self, name: AgentName) -> None:
        for told in (self.digests, self.confirmed):
            told.pop(name, None)
        self.suspects.discard(name)

    def set_keys(self, keys: Keyring) -> None:
        """Forget whose key is none of these."""
        for name, digest in list(self.digests.items()):
            if keys.get(digest.key_epoch) != self.keys[digest.key_epoch]:
                self.remove(name)
        self.keys = keys

    def may_know(self, name: AgentName, term: str) -> bool:
        digest = self.digests[name]
        return digest.may_contain(term, self.keys[digest.key_epoch])

    def who_knows(self, terms: Sequence[str], *, now: float, limit: int) -> list[Lead]:
        agents = len(self.digests)
        if not agents:
            return []
        error = sum(digest.error for digest in self.digests.values()) / agents
        holders = [sum(self.may_know(name, term) for name in self.digests) for term in terms]
        shares = [min(max((n / agents - error) / max(1.0 - error, 1e-9), 0.1 / agents), 1.0) for n in holders]
        leads = []
        for name, digest in self.digests.items():
            held = [at for at, term in enumerate(terms) if self.may_know(name, term)]
            if not held:
                continue
            suspect = name in self.suspects
            missing, suspicion = math.log(2.0) * (len(terms) - len(held)), 1.0 if suspect else 0.0
            bits, doubt = 0.0, 1.0
            for at in sorted(held, key=shares.__getitem__):
                by_chance = digest.error * (1.0 - shares[at])
                bits += math.log2(shares[at] + by_chance)
                doubt *= by_chance / (shares[at] + by_chance)
            leads.append(
                Lead(
                    agent=name,
                    score=-(missing + suspicion + math.log(2.0) * bits),
                    certainty=1.0 - doubt,
                    matched=tuple(terms[at] for at in held),
                    age_s=max(0.0, now - self.confirmed[name]),
                    error=digest.error,
                    suspect=suspect,
                )
            )
        leads.sort(key=lambda lead: (-lead.score, lead.age_s, lead.agent))
        return leads[:limit]


Form = Callable[[list[Announced], int, bytes], Digest]
FORMS: dict[str, Form] = {
    "small": lambda chosen, epoch, key: Digest.of(chosen, key_epoch=epoch, key=key),
    "large": lambda chosen, epoch, key: Digest.of([*chosen, *FILLER], key_epoch=epoch, key=key),
    "classic": lambda chosen, epoch, key: Digest.classic(chosen, key_epoch=epoch, key=key),
    "crowded": lambda chosen, epoch, key: Digest.classic([*chosen, *FILLER], key_epoch=epoch, key=key),
}
OLD, NEW, NEXT = ({epoch: bytes([epoch]) * 32} for epoch in (1, 2, 3))
KEYRINGS: list[Keyring] = [UNKEYED, {**UNKEYED, **OLD}, OLD, OLD | NEW, NEW, NEW | NEXT, {2: b"another"}]


class DirectoryAgainstPlain(RuleBasedStateMachine):
    """Whatever is put, replaced, confirmed, suspected and removed, whatever keys come and go: the directory
    answers as the plain one.
    """

    def __init__(self) -> None:
        super().__init__()
        self.directory, self.plain = Directory(), Plain()
        self.topics: dict[AgentName, frozenset[str]] = {}
        self.now = 0.0

    def put(self, number: int, topics: frozenset[str], form: str, epoch_at: int = 0) -> None:
        epoch = sorted(self.plain.keys)[epoch_at % len(self.plain.keys)]
        chosen = [Announced(term, 1, 1.0) for term in sorted(topics)]
        digest = FORMS[form](chosen, epoch, self.plain.keys[epoch])
        self.directory.put(agent(number), digest, now=self.now)
        self.plain.put(agent(number), digest, now=self.now)
        self.topics[agent(number)] = topics

    @rule(keys=st.sampled_from(KEYRINGS))
    def set_keys(self, keys: Keyring) -> None:
        self.directory.set_keys(keys)
        self.plain.set_keys(keys)
        self.topics = {name: topics for name, topics in self.topics.items() if name in self.plain.digests}

    @rule(
        number=st.integers(0, 9),
        topics=TOPICS,
        form=st.sampled_from(sorted(FORMS)),
        epoch_at=st.integers(0, 1),
        passed_s=PASSED_S,
    )
    def put_one(self, number: int, topics: frozenset[str], form: str, epoch_at: int, passed_s: float) -> None:
        self.now += passed_s
        self.put(number, topics, form, epoch_at)

    @rule(topics=TOPICS, first=st.integers(100, 140), passed_s=PASSED_S, uneven=st.booleans())
    def put_seventy(self, topics: frozenset[str], first: int, passed_s: float, uneven: bool) -> None:
        for number in range(first, first + 70):
            self.now += passed_s
            more = frozenset(f"own-{at}" for at in range(20 + number % 9)) if uneven else frozenset()
            self.put(number, topics | more, "small", number)

    @rule(first=st.integers(100, 140), count=st.integers(1, 70))
    def remove_many(self, first: int, count: int) -> None:
        for number in range(first, first + count):
            self.remove_name(agent(number))

    @precondition(lambda self: self.topics)
    @rule(data=st.data())
    def remove(self, data: st.DataObject) -> None:
        self.remove_name(data.draw(st.sampled_from(sorted(self.topics))))

    def remove_name(self, name: AgentName) -> None:
        self.directory.remove(name)
        self.plain.remove(name)
        self.topics.pop(name, None)

    @rule(number=st.integers(0, 9))
    def remove_a_stranger(self, number: int) -> None:
        self.directory.remove(AgentName(f"stranger-{number}"))

    @precondition(lambda self: self.topics)
    @rule(data=st.data(), suspected=st.booleans())
    def suspect(self, data: st.DataObject, suspected: bool) -> None:
        name = data.draw(st.sampled_from(sorted(self.topics)))
        self.directory.suspect(name, suspected)
        if suspected:
            self.plain.suspects.add(name)
        else:
            self.plain.suspects.discard(name)

    @precondition(lambda self: self.topics)
    @rule(data=st.data(), passed_s=PASSED_S)
    def confirm(self, data: st.DataObject, passed_s: float) -> None:
        self.now += passed_s
        name = data.draw(st.sampled_from(sorted(self.topics)))
        self.directory.confirm(name, now=self.now)
        self.plain.confirmed[name] = self.now

    @rule(
        asked=st.lists(st.sampled_from(VOCABULARY), min_size=1, max_size=4, unique=True),
        limit=st.sampled_from([1, 2, 5, 10, 200]),
    )
    def ask(self, asked: list[str], limit: int) -> None:
        leads = self.directory.who_knows(asked, now=self.now, limit=limit)

        expected = self.plain.who_knows(asked, now=self.now, limit=limit)
        assert [lead.agent for lead in leads] == [lead.agent for lead in expected]
        for lead, due in zip(leads, expected, strict=True):
            assert lead == msgspec.structs.replace(due, score=lead.score, certainty=lead.certainty)
            assert lead.score == pytest.approx(due.score, abs=1e-9)
            assert lead.certainty == pytest.approx(due.certainty, abs=1e-9)
        if limit == 200:
            found = {lead.agent: lead.matched for lead in leads}
            for name, topics in self.topics.items():
                assert set(asked) & topics <= set(found.get(name, ())), "a false negative"

    @invariant()
    def holds(self) -> None:
        self.directory.check(self.plain.digests)
        assert set(self.directory) == set(self.topics)
        assert len(self.directory) == len(self.topics)


class LargeDirectoryAgainstPlain(DirectoryAgainstPlain):
    """The same with sets of slots as arrays and in many blocks, as a large directory has them."""

    def __init__(self) -> None:
        self._patch = pytest.MonkeyPatch()
        self._patch.setattr(shortlist, "_SMALL", 0)
        self._patch.setattr(bitslices, "_BLOCK_BYTES", 0)
        self._patch.setattr(bitslices, "_ODD_BYTES", 8)
        super().__init__()

    def teardown(self) -> None:
        self._patch.undo()


TestDirectoryAgainstPlain = DirectoryAgainstPlain.TestCase
TestLargeDirectoryAgainstPlain = LargeDirectoryAgainstPlain.TestCase
TestDirectoryAgainstPlain.settings = settings(max_examples=40, stateful_step_count=30, deadline=None)
TestLargeDirectoryAgainstPlain.settings = TestDirectoryAgainstPlain.settings


def test_an_empty_directory_or_an_empty_question_has_no_leads() -> None:
    directory = Directory()

    assert names(directory, "bitcoin") == []
    directory.put(agent(1), digest_of("bitcoin"), now=0.0)
    assert names(directory) == []


def test_a_rare_topic_counts_more_than_a_common_one() -> None:
    directory = Directory()
    for number in range(20):
        directory.put(agent(number), digest_of("weather"), now=0.0)
    directory.put(agent(77), digest_of("volcano"), now=0.0)

    first, second, *_ = directory.who_knows(["weather", "volcano"], now=0.0)

    assert (first.agent, first.matched) == (agent(77), ("volcano",))
    assert second.matched == ("weather",)
    assert first.score > second.score


def test_who_knows_both_topics_stands_before_who_knows_one() -> None:
    directory = Directory()
    directory.put(agent(1), digest_of("weather"), now=0.0)
    directory.put(agent(2), digest_of("weather", "volcano"), now=0.0)
    directory.put(agent(3), digest_of("volcano"), now=0.0)

    assert names(directory, "weather", "volcano")[0] == agent(2)


def test_a_crowded_filter_counts_less_than_a_precise_one() -> None:
    directory = Directory()
    topics = [Announced(f"topic-{number}", 1, 1.0) for number in range(350)]
    directory.put(agent(1), Digest.classic(topics), now=0.0)
    directory.put(agent(2), Digest.of(topics), now=0.0)
    for number in range(3, 40):
        directory.put(agent(number), digest_of("other"), now=0.0)

    crowded_last = directory.who_knows(["topic-7"], now=0.0)

    assert [lead.agent for lead in crowded_last] == [agent(2), agent(1)]
    assert crowded_last[0].certainty > crowded_last[1].certainty


def test_a_suspect_stands_after_its_equals_and_before_those_that_know_less() -> None:
    directory = Directory()
    directory.put(agent(1), digest_of("weather", "volcano"), now=0.0)
    directory.put(agent(2), digest_of("weather", "volcano"), now=0.0)
    directory.put(agent(3), digest_of("weather"), now=0.0)
    for number in range(4, 30):
        directory.put(agent(number), digest_of("other"), now=0.0)

    directory.suspect(agent(1), True)
    assert names(directory, "weather", "volcano") == [agent(2), agent(1), agent(3)]

    directory.suspect(agent(1), False)
    assert names(directory, "weather", "volcano") == [agent(1), agent(2), agent(3)]


@pytest.mark.parametrize("agents", [5, 200])
def test_ties_go_to_the_fresher_digest_and_then_by_name(agents: int) -> None:
    directory = Directory()
    for number in reversed(range(agents)):
        directory.put(agent(number), digest_of("weather"), now=1.0)
    directory.confirm(agent(3), now=2.0)

    leads = directory.who_knows(["weather"], now=5.0, limit=2)

    assert [lead.agent for lead in leads] == [agent(3), agent(0)]
    assert [lead.age_s for lead in leads] == [3.0, 4.0]


def test_the_best_stay_ahead_of_many_that_are_equal_and_fresher() -> None:
    directory = Directory()
    for number in range(200):
        better = number in (150, 160, 170)
        topics = ("weather", "volcano") if better else ("weather",)
        directory.put(agent(number), digest_of(*topics), now=0.0 if better else 1.0 + number)

    expected = [agent(number) for number in (150, 160, 170, 199, 198)]
    assert names(directory, "weather", "volcano", now=300.0, limit=5) == expected


def test_a_thousand_agents_are_told_apart() -> None:
    directory = Directory()
    for number in range(1_000):
        directory.put(agent(number), digest_of("weather", f"only-{number}"), now=float(number))

    assert names(directory, "only-500")[0] == agent(500)
    assert len(names(directory, "weather", limit=2_000)) == 1_000
    assert names(directory, "weather", "only-7", limit=1) == [agent(7)]


def test_the_shortlist_of_many_is_what_ranking_all_of_them_gives() -> None:
    directory = Directory()
    for number in range(300):
        topics = ["weather"] + ["volcano"] * (number % 3 == 0) + ["ocean"] * (number % 7 == 0)
        form = Digest.classic if number % 2 else Digest.of
        directory.put(agent(number), form(Announced(term, 1, 1.0) for term in topics), now=number % 5)
        directory.suspect(agent(number), number % 11 == 0)
    asked = ("weather", "volcano", "ocean")

    everybody = names(directory, *asked, now=9.0, limit=300)

    assert len(everybody) == 300
    assert names(directory, *asked, now=9.0, limit=20) == everybody[:20]


def test_a_topic_nobody_announced_is_found_as_rarely_as_the_error_says() -> None:
    directory = Directory()
    for number in range(200):
        topics = [Announced(f"topic-{number}-{at}", 1, 1.0) for at in range(50)]
        directory.put(agent(number), Digest.of(topics), now=0.0)

    found = sum(len(names(directory, f"absent-{number}", limit=200)) for number in range(100))

    assert found / (200 * 100) <= 0.01


def test_a_hit_that_chance_explains_is_an_uncertain_lead() -> None:
    directory = Directory()
    topics = [Announced(f"topic-{number}", 1, 1.0) for number in range(400)]
    for number in range(10):
        directory.put(agent(number), Digest.classic(topics), now=0.0)
    absent = next(term for term in map(str, range(1_000)) if Digest.classic(topics).may_contain(term))
    for number in range(10, 100):
        directory.put(agent(number), digest_of("other"), now=0.0)

    chance = directory.who_knows([absent], now=0.0)[0]
    sure = directory.who_knows(["other"], now=0.0)[0]

    assert chance.certainty < 0.9 < sure.certainty


def test_a_peer_that_walks_through_all_sizes_leaves_no_rows_behind() -> None:
    directory = Directory()
    for log2_bits in range(10, 17):
        for hashes in range(1, 17):
            digest = Digest(log2_bits=log2_bits, hashes=hashes, bits=bytes((1 << log2_bits) // 8))
            directory.put(agent(1), digest, now=0.0)

    directory.check({agent(1): digest})
    directory.remove(agent(1))
    directory.check({})


@pytest.mark.parametrize("limit", [1, 5])
def test_where_everybody_holds_a_topic_the_error_counts_for_nothing_and_the_fresher_come_first(
    limit: int,
) -> None:
    directory = Directory()
    for number in range(100):
        own = [f"own-{at}" for at in range(20 + number % 40)]
        directory.put(agent(number), digest_of("weather", *own), now=float(number))

    expected = [agent(number) for number in range(99, 99 - limit, -1)]
    assert names(directory, "weather", now=200.0, limit=limit) == expected


def test_among_many_equals_in_a_large_directory_the_freshest_are_found(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(shortlist, "_SMALL", 0)
    directory = Directory()
    for number in range(3_000):
        topic = "weather" if number % 10 else "volcano"
        directory.put(agent(number), digest_of(topic), now=float(number * 7 % 3_000))

    freshest = sorted((n * 7 % 3_000, n) for n in range(3_000) if n % 10 == 0)[:-11:-1]
    assert names(directory, "volcano", now=3_000.0) == [agent(number) for _, number in freshest]


def test_few_holders_among_many_agents_are_ranked_as_if_each_were_looked_at(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(shortlist, "_SMALL", 0)
    monkeypatch.setattr(shortlist, "_THIN", 1)
    directory, plain = Directory(), Plain()
    for number in range(3_000):
        own = [f"own-{number}-{at}" for at in range(20 + number * 13 % 37)]
        rare = [f"rare-{share}" for share in (50, 70, 90, 130) if number % share == 0]
        digest = digest_of("weather", *rare, *own)
        for either in (directory, plain):
            either.put(agent(number), digest, now=float(number))

    for share in (50, 70, 90, 130):
        expected = plain.who_knows([f"rare-{share}"], now=3_000.0, limit=3_000)
        for limit in range(1, 60, 2):
            leads = directory.who_knows([f"rare-{share}"], now=3_000.0, limit=limit)
            assert [told_of(lead) for lead in leads] == [told_of(lead) for lead in expected[:limit]]


def test_errors_too_small_to_tell_scores_apart_leave_the_order_to_freshness() -> None:
    directory, plain = Directory(), Plain()
    bits = bloom.build(["weather"], 10, 16)
    more = bytes([0xFF]) + bits[1:]
    crowded = bloom.build(["weather", *map(str, range(60))], 10, 16)
    for number in range(100):
        digest = digest_of("other")
        if number < 13:
            digest = Digest(hashes=16, bits=crowded if number < 2 else bits if number < 7 else more)
        for either in (directory, plain):
            either.put(agent(number), digest, now=float(number))

    leads = directory.who_knows(["weather"], now=100.0, limit=10)

    expected = plain.who_knows(["weather"], now=100.0, limit=10)
    assert [lead.agent for lead in expected] == [agent(number) for number in range(12, 2, -1)]
    assert [told_of(lead) for lead in leads] == [told_of(lead) for lead in expected]


def test_agents_of_one_topic_stand_before_those_of_many_and_the_fresher_of_them_first() -> None:
    directory, plain = Directory(), Plain()
    for number in range(300):
        own = [f"own-{number}-{at}" for at in range(30 + number % 7)] if number % 50 else []
        for either in (directory, plain):
            either.put(agent(number), digest_of("weather", *own), now=float(number))
    for number in range(300, 400):
        for either in (directory, plain):
            either.put(agent(number), digest_of("other"), now=0.0)

    leads = directory.who_knows(["weather"], now=300.0)

    expected = plain.who_knows(["weather"], now=300.0, limit=10)
    assert [told_of(lead) for lead in leads] == [told_of(lead) for lead in expected]
    assert [lead.agent for lead in leads[:3]] == [agent(250), agent(200), agent(150)]


def test_a_precise_holder_of_a_rare_topic_is_ahead_of_a_crowded_one_that_seems_to_hold_all() -> None:
    directory = Directory()
    topics = [Announced(f"topic-{number}", 1, 1.0) for number in range(500)]
    directory.put(agent(1), Digest.classic([*topics, *digest_topics("weather", "volcano")]), now=0.0)
    directory.put(agent(2), digest_of("weather", "volcano"), now=0.0)
    directory.put(agent(3), digest_of("volcano"), now=0.0)
    for number in range(10, 200):
        directory.put(agent(number), digest_of("other"), now=0.0)

    assert names(directory, "weather", "volcano", limit=2) == [agent(2), agent(3)]


def test_who_announces_something_new_is_suspected_no_longer() -> None:
    directory = Directory()
    for topic in ("weather", "volcano"):
        directory.put(agent(1), digest_of(topic), now=0.0)
        assert [lead.suspect for lead in directory.who_knows([topic], now=0.0)] == [False]
        directory.suspect(agent(1), True)
        assert [lead.suspect for lead in directory.who_knows([topic], now=0.0)] == [True]


@pytest.mark.parametrize("small", [0, 1 << 16])
def test_who_takes_the_slot_of_one_that_left_keeps_all_that_is_told_of_it(
    small: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shortlist, "_SMALL", small)
    directory, plain = Directory(), Plain()
    for number in range(150):
        digest = digest_of("weather", *["volcano"] * (number % 2), *map(str, range(20 + number % 5)))
        for either in (directory, plain):
            either.put(agent(number), digest, now=float(number * 7 % 150))
        directory.suspect(agent(number), number % 3 == 0)
        if number % 3 == 0:
            plain.suspects.add(agent(number))

    for number in range(0, 140, 2):
        for either in (directory, plain):
            either.remove(agent(number))

    directory.check(plain.digests)
    for asked in (["weather"], ["weather", "volcano"]):
        for limit in (1, 10, 150):
            leads = directory.who_knows(asked, now=200.0, limit=limit)
            expected = plain.who_knows(asked, now=200.0, limit=limit)
            assert [told_of(lead) for lead in leads] == [told_of(lead) for lead in expected]


def told_of(lead: Lead) -> tuple[str, tuple[str, ...], float, float, bool]:
    return lead.agent, lead.matched, lead.age_s, lead.error, lead.suspect


def test_what_the_directory_says_it_holds_is_what_it_takes_and_within_the_bound() -> None:
    held = [
        (agent(number), digest_of(*(f"topic-{number}-{at}" for at in range(50)))) for number in range(3_000)
    ]
    tracemalloc.start()
    directory = Directory()
    for name, digest in held:
        directory.put(name, digest, now=1e6 + hash(name) % 1_000 / 7)

    taken_bytes, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert taken_bytes == pytest.approx(directory.size_bytes, rel=0.05)
    assert taken_bytes <= 1.3 * sum(digest.size_bytes for _, digest in held)


def test_a_directory_gives_back_what_the_gone_have_taken() -> None:
    directory = Directory()
    for number in range(2_000):
        directory.put(agent(number), digest_of("weather"), now=0.0)
    full_bytes = directory.size_bytes

    for number in range(10, 2_000):
        directory.remove(agent(number))

    assert directory.size_bytes < full_bytes / 40
    assert names(directory, "weather") == [agent(number) for number in range(10)]


@pytest.mark.parametrize("keys", [UNKEYED, OLD | NEW], ids=["one epoch", "two epochs"])
def test_a_peer_that_puts_an_agent_of_each_size_and_number_of_hashes_costs_what_is_stated(
    keys: Keyring,
) -> None:
    directory, filter_bytes = Directory(keys), 0
    for epoch, log2_bits, hashes in itertools.product(keys, range(10, 17), range(1, 17)):
        bits = bytes((1 << log2_bits) // 8)
        digest = Digest(key_epoch=epoch, log2_bits=log2_bits, hashes=hashes, bits=bits)
        directory.put(AgentName(f"agent-{epoch}-{log2_bits}-{hashes}"), digest, now=0.0)
        filter_bytes += digest.size_bytes

    assert len(directory.classes) == 112 * len(keys)
    assert directory.size_bytes - filter_bytes <= 2_100_000 * len(keys)


# -- keys


def keyed(keys: Keyring, epoch: int, *terms: str) -> Digest:
    return Digest.of(digest_topics(*terms), key_epoch=epoch, key=keys[epoch])


def test_agents_of_two_epochs_are_ranked_together() -> None:
    directory = Directory(OLD | NEW)
    directory.put(agent(1), keyed(OLD, 1, "weather"), now=1.0)
    directory.put(agent(2), keyed(NEW, 2, "weather", "volcano"), now=1.0)
    directory.put(agent(3), keyed(NEW, 2, "weather"), now=2.0)

    assert names(directory, "weather", "volcano", now=2.0) == [agent(2), agent(3), agent(1)]


def test_who_announces_in_the_new_epoch_stands_in_the_old_one_no_longer() -> None:
    directory = Directory(OLD | NEW)
    directory.put(agent(1), keyed(OLD, 1, "weather"), now=0.0)

    digest = keyed(NEW, 2, "volcano")
    directory.put(agent(1), digest, now=0.0)

    directory.check({agent(1): digest})
    assert names(directory, "weather") == []
    assert names(directory, "volcano") == [agent(1)]


def test_with_its_key_an_epoch_goes_and_the_other_stays_as_it_was() -> None:
    directory = Directory(OLD | NEW)
    kept = keyed(NEW, 2, "weather")
    for number in range(100):
        directory.put(agent(number), keyed(OLD, 1, "weather"), now=0.0)
    directory.put(agent(100), kept, now=5.0)

    directory.set_keys(NEW | NEXT)

    directory.check({agent(100): kept})
    assert [(lead.agent, lead.age_s) for lead in directory.who_knows(["weather"], now=7.0)] == [
        (agent(100), 2.0)
    ]


def test_a_digest_whose_key_is_not_there_is_refused_and_what_stood_there_stays() -> None:
    directory = Directory(OLD)
    digest = keyed(OLD, 1, "weather")
    directory.put(agent(1), digest, now=0.0)

    for stranger in (digest_of("volcano"), keyed(NEW, 2, "volcano")):
        with pytest.raises(KeyError):
            directory.put(agent(1), stranger, now=0.0)

    directory.check({agent(1): digest})


@pytest.mark.parametrize(
    "keys", [OLD | NEW | NEXT, {1: b""}, {0: b"key"}], ids=["three", "no key", "epoch 0"]
)
def test_a_keyring_that_cannot_be_is_refused_and_the_old_one_holds(keys: Keyring) -> None:
    directory = Directory(OLD)
    directory.put(agent(1), keyed(OLD, 1, "weather"), now=0.0)

    with pytest.raises(ValueError, match="key"):
        directory.set_keys(keys)

    assert directory.keys == OLD
    assert names(directory, "weather") == [agent(1)]
