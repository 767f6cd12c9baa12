"""A peer has its share, and loses nothing but its own turn by taking more."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from node.net import rates
from node.net.rates import CUT_S, FRAMES_A_SECOND, STRANGER_FRAMES_A_SECOND, Rates

KEY, OTHER = bytes(32), bytes(31) + b"\x01"


def verdicts(taken: Rates, count: int, *, now: float = 0.0, is_member: bool = True) -> list[str]:
    return [taken.take(KEY, now, is_member=is_member) for _ in range(count)]


def test_who_keeps_to_its_share_is_never_slowed() -> None:
    shares = Rates()

    for second in range(10):
        assert set(verdicts(shares, int(FRAMES_A_SECOND), now=float(second))) == {"taken"}


def test_who_takes_more_is_slowed_then_cut_and_taken_again_afterwards() -> None:
    shares = Rates()
    burst = int(2 * FRAMES_A_SECOND)

    told = verdicts(shares, 4 * burst)

    assert told[:burst] == ["taken"] * burst
    assert told[burst : 3 * burst] == ["slowed"] * 2 * burst
    assert set(told[3 * burst :]) == {"cut"}
    assert verdicts(shares, 1, now=CUT_S - 0.1) == ["cut"]
    assert verdicts(shares, 1, now=CUT_S) == ["taken"]


def test_a_stranger_has_a_small_share() -> None:
    told = verdicts(Rates(), 1_000, is_member=False)

    assert told.count("taken") == 2 * STRANGER_FRAMES_A_SECOND


def test_one_that_floods_costs_the_others_nothing() -> None:
    shares = Rates()
    verdicts(shares, 100_000)

    assert shares.take(OTHER, 0.0, is_member=True) == "taken"


@given(count=st.integers(1, 50))
def test_so_many_peers_are_remembered_and_no_more(count: int) -> None:
    shares = Rates()

    for number in range(rates._LIMIT + count):
        shares.take(number.to_bytes(32), 0.0, is_member=False)

    assert len(shares._shares) == rates._LIMIT
