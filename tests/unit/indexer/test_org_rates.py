"""Rates of orgs: frames of any size go while nothing is owed, and each org owes for itself."""

from __future__ import annotations

from indexer.receive.org_rates import DebtBucket, OrgRates
from indexer.settings import Limits


class Clock:
    def __init__(self) -> None:
        self.now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


def rates(clock: Clock) -> OrgRates:
    return OrgRates(Limits(rows_per_s=10, rows_burst=100, strings_per_s=1, strings_burst=5), clock)


def test_a_frame_above_the_burst_is_taken_and_owed() -> None:
    clock = Clock()
    of = rates(clock)
    assert of.exceeded(1) is None
    of.charge("rows", 1, 1_000)
    assert of.exceeded(1) == ("rows", 90)
    clock.now_s += 89
    assert of.exceeded(1) == ("rows", 1)
    clock.now_s += 1
    assert of.exceeded(1) is None


def test_orgs_and_rates_do_not_share() -> None:
    of = rates(Clock())
    of.charge("rows", 1, 101)
    of.charge("strings", 2, 7)
    assert of.exceeded(1) == ("rows", 1)
    assert of.exceeded(2) == ("strings", 2)
    assert of.exceeded(3) is None


def test_a_burst_fills_up_again_and_not_beyond() -> None:
    bucket = DebtBucket(rate=10, burst=100, now_s=0)
    bucket.charge(100, 0)
    assert bucket.debt_s(0) == 0
    assert not bucket.full(9.9)
    assert bucket.full(10)
    bucket.charge(110, 1_000)
    assert bucket.debt_s(1_000) == 1
    assert bucket.debt_s(999) == 1  # a clock that went back


def test_none_is_no_limit_and_a_wait_has_a_bound() -> None:
    of = OrgRates(Limits(rows_per_s=0, strings_per_s=1, strings_burst=1), Clock())
    of.charge("rows", 1, 1 << 40)
    assert of.exceeded(1) is None
    of.charge("strings", 1, 1 << 40)
    assert of.exceeded(1) == ("strings", 300)


def test_buckets_that_are_full_are_forgotten() -> None:
    clock = Clock()
    of = rates(clock)
    for org_id in range(10_000):
        of.charge("rows", org_id, 1 if org_id else 10_000)
    clock.now_s += 1
    of.charge("rows", 20_000, 1)
    assert len(of._buckets) == 2
    assert of.exceeded(0) is not None
