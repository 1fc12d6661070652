"""The time of ticks: an indexer's where the machine's clock differs, and steady between two looks."""

from __future__ import annotations

import logging
from typing import Any

import pytest

from shim.indexers.indexer_client import IndexerAnswer
from shim.indexers.indexer_clock import IndexerClock
from shim.metrics import ShimMetrics
from shim.model.errors import Unavailable
from tests.support.told_time import ToldTime

NOW_S, DAY_S = 1_700_000_000.0, 86_400.0


class Machine:
    """A machine and its indexer: `ahead_s` of the machine's clock, `took_s` of an answer."""

    def __init__(self, ahead_s: float = 0.0) -> None:
        self.true_s = NOW_S
        self.ahead_s = ahead_s
        self.took_s = 0.0
        self.wrong_s = 0.0  # of an answer, which tells the second alone
        self.indexer = ToldTime(self._answered_s)
        self.metrics = ShimMetrics()
        self.clock = IndexerClock(
            self.indexer, self.metrics, lambda: self.true_s + self.ahead_s, lambda: self.true_s
        )

    def _answered_s(self) -> float:
        self.true_s += self.took_s
        return self.true_s + self.wrong_s

    def error_s(self) -> float:
        return self.clock.now_s() - self.true_s


@pytest.mark.parametrize("ahead_s", [2 * DAY_S, -3_600.0, 30.0])
def test_a_wrong_clock_is_not_followed(ahead_s: float, caplog: pytest.LogCaptureFixture) -> None:
    machine = Machine(ahead_s)
    with caplog.at_level(logging.WARNING, "shim.clock"):
        for _ in range(3):
            machine.clock.look()
            machine.true_s += 10.0
    assert machine.error_s() == 0.0
    assert machine.metrics.registry.get_sample_value("meterhouse_shim_clock_ahead_seconds") == ahead_s
    assert [one.split(" indexer")[0] for one in caplog.messages] == [
        f"event=clock_differs ahead_s={ahead_s:.0f}"
    ]


def test_a_step_between_two_looks_changes_nothing_and_a_clock_put_right_is_followed() -> None:
    machine = Machine()
    machine.clock.look()
    machine.ahead_s = 2 * DAY_S
    machine.true_s += 5.0
    assert machine.error_s() == 0.0
    machine.clock.look()
    machine.ahead_s = 0.75
    machine.clock.look()
    assert machine.error_s() == 0.75  # an indexer tells the second alone


def test_the_last_time_holds_while_no_indexer_answers() -> None:
    machine = Machine(-DAY_S)
    machine.indexer.away = True
    machine.clock.look()
    with pytest.raises(Unavailable, match=r"shim\.indexers\.urls"):
        machine.clock.told_s()
    machine.indexer.away = False
    machine.clock.look()
    machine.indexer.away = True
    machine.true_s += DAY_S
    machine.clock.look()
    assert machine.clock.told_s() == machine.true_s


def test_a_slow_answer_does_not_count() -> None:
    machine = Machine(-DAY_S)
    machine.took_s = 2.5
    machine.clock.look()
    assert machine.error_s() == -DAY_S


def test_a_clock_near_the_bound_is_right_or_wrong_and_not_both_in_turn(
    caplog: pytest.LogCaptureFixture,
) -> None:
    machine = Machine(2.2)
    with caplog.at_level(logging.WARNING, "shim.clock"):
        for number in range(10):
            machine.wrong_s = 0.4 if number % 2 else -0.4
            machine.clock.look()
            assert number == 0 or abs(machine.error_s()) < 0.5
            machine.true_s += 10.0
    assert len(caplog.messages) == 1


def test_a_shim_that_ends_asks_no_further_indexer() -> None:
    asked: list[str] = []
    machine = Machine()

    class Hanging(ToldTime):
        def ask(self, url: str, *_: Any, **__: Any) -> IndexerAnswer:
            asked.append(url)
            clock.close()
            raise TimeoutError

    indexers = Hanging(lambda: NOW_S)
    indexers.urls = ("http://a", "http://b")
    clock = IndexerClock(indexers, machine.metrics)
    clock.look()
    assert asked == ["http://a"]


def test_without_indexers_it_is_the_wall_clock() -> None:
    clock = IndexerClock(None, ShimMetrics(), lambda: NOW_S)
    clock.start()
    clock.look()
    assert clock.told_s() == NOW_S
    clock.close()
