"""Pauses between attempts: a server that was away is used as soon as it answers."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from indexer.clickhouse.faults import Fault
from indexer.clickhouse.store import StoreError
from indexer.write.attempt_pauses import AttemptPauses


class World:
    """A clock that only sleeping moves, and a server that is away within `away`."""

    def __init__(self, *away: tuple[float, float]) -> None:
        self.now_s = 0.0
        self.asked_s: list[float] = []
        self.failures: list[StoreError] = []
        self._away = away
        self.pauses = AttemptPauses(
            self._call, self._ask, self.failures.append, clock=lambda: self.now_s, sleep=self._sleep
        )

    async def _sleep(self, pause_s: float) -> None:
        self.now_s += pause_s

    async def _call(self, call: Callable[..., Any], *args: object) -> Any:
        return call(*args)

    def _ask(self) -> None:
        self.asked_s.append(self.now_s)
        if any(begin <= self.now_s < end for begin, end in self._away):
            raise StoreError("away", retryable=True, fault=Fault.AWAY)

    def wait(self, tries: int, fault: Fault | None) -> float:
        asyncio.run(self.pauses.wait(tries, fault))
        return self.now_s


@pytest.mark.parametrize("away_s", [0.2, 1.5, 2.0, 8.0, 60.0, 3_600.0])
@pytest.mark.parametrize("tries", [0, 3, 9])
def test_a_server_that_returns_is_used_within_an_eighth_of_its_absence(away_s: float, tries: int) -> None:
    world = World((0.0, away_s))
    waited_s = world.wait(tries, Fault.AWAY)
    assert away_s <= waited_s <= away_s + max(0.06, min(1.0, away_s / 8))
    assert len(world.asked_s) <= 35 + away_s
    assert len(world.failures) == len(world.asked_s) - 1  # each keeps the problem alive in /readyz


@pytest.mark.parametrize("fault", [Fault.AWAY, Fault.BUSY, Fault.OTHER, None])
def test_pauses_grow_while_the_server_answers(fault: Fault | None) -> None:
    pauses = [World().wait(tries, fault) for tries in range(7)]
    assert pauses[0] == pytest.approx(0.1, abs=0.02)
    assert pauses == sorted(pauses)
    assert 5.0 <= pauses[-1] <= 6.0


def test_only_a_server_that_is_away_is_asked() -> None:
    world = World()
    world.wait(5, Fault.BUSY)
    assert world.asked_s == []
