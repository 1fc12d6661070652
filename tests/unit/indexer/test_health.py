"""How /readyz and the log report failures, and for how long."""

from __future__ import annotations

import logging

import pytest

from indexer.clickhouse.store_errors import StoreError
from indexer.write.health import STALLED_S, Health, Part


class Clock:
    def __init__(self) -> None:
        self.now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


def error(code: int | None) -> StoreError:
    return StoreError(f"text {code}", retryable=True, code=code)


def test_a_problem_lasts_until_a_write_succeeds() -> None:
    clock = Clock()
    health = Health(clock)
    health.store_failed(error(516))
    clock.now_s += 5
    assert health.problems() == {Part.STORE: "ClickHouse refuses the password of the user (code 516)"}
    assert health.failing_s() == 5
    health.store_works()
    assert (health.problems(), health.failing_s()) == ({}, 0)


def test_a_failure_that_may_be_of_one_batch_does_not_end_readiness_while_others_are_stored() -> None:
    clock = Clock()
    health = Health(clock)
    health.store_works()
    health.store_failed(error(60))
    assert list(health.problems()) == [Part.BATCHES]
    health.nothing_aside()
    assert health.problems() == {}
    clock.now_s += 11
    health.store_failed(error(60))
    assert list(health.problems()) == [Part.STORE]


def test_bytes_are_no_problem_of_the_store() -> None:
    health = Health(Clock())
    health.store_failed(error(321))
    assert health.problems() == {}


def test_without_further_failures_a_problem_is_forgotten() -> None:
    clock = Clock()
    health = Health(clock)
    health.store_failed(error(None))
    clock.now_s += 60
    assert health.problems() == {}


def test_a_writer_that_stalls() -> None:
    health = Health(Clock())
    health.oldest_waits(STALLED_S - 1)
    assert health.problems() == {}
    health.oldest_waits(STALLED_S)
    assert list(health.problems()) == [Part.WRITER]
    health.oldest_waits(0)
    assert health.problems() == {}


def test_the_log_has_one_line_a_minute_and_one_for_each_change(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "indexer")
    clock = Clock()
    health = Health(clock)
    for code in (516, 516, 516, 241, 241):
        health.store_failed(error(code))
        clock.now_s += 1
    clock.now_s += 60
    health.store_failed(error(241))
    health.store_works()
    said = [r.getMessage().split(" text=")[-1] for r in caplog.records]
    assert said == ["text 516", "text 241", "text 241", "event=store_works after_s=65.0"]


def test_a_batch_that_is_set_aside_is_a_problem_whatever_was_looked_at_meanwhile() -> None:
    """Between its failure and its place in the journal, a look finds nothing set aside."""
    health = Health(Clock())
    health.store_works()
    health.store_failed(error(60))
    health.nothing_aside()
    health.batch_aside(error(60).told)
    assert list(health.problems()) == [Part.BATCHES]
    health.nothing_aside()
    health.store_works()
    assert health.problems() == {}
