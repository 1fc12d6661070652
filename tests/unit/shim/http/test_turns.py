"""Turns: never more at a time than allowed, never more waiting, and time runs out in both places."""

from __future__ import annotations

import asyncio

import pytest

from shim.errors import TimedOut
from shim.http.turns import Turns
from shim.metrics import ShimMetrics


async def test_no_more_run_than_allowed() -> None:
    turns, running, most = Turns(3, 100, ShimMetrics()), 0, 0

    async def work() -> None:
        nonlocal running, most
        async with turns.turn(10):
            running += 1
            most = max(most, running)
            await asyncio.sleep(0)
            running -= 1

    await asyncio.gather(*(work() for _ in range(50)))
    assert (running, most) == (0, 3)


async def test_no_more_wait_than_allowed() -> None:
    metrics = ShimMetrics()
    turns, release = Turns(1, 2, metrics), asyncio.Event()

    async def work() -> None:
        async with turns.turn(10):
            await release.wait()

    tasks = [asyncio.create_task(work()) for _ in range(3)]
    for _ in range(10):  # each task needs its step to get to its wait; nothing else is to happen
        await asyncio.sleep(0)
    assert metrics.registry.get_sample_value("meterhouse_shim_queries_waiting") == 2
    with pytest.raises(TimedOut, match="max_waiting"):
        async with turns.turn(10):
            pytest.fail("must not run")
    release.set()
    await asyncio.gather(*tasks)
    sample = metrics.registry.get_sample_value
    assert sample("meterhouse_shim_refused_total", {"reason": "too_many_waiting"}) == 1
    assert sample("meterhouse_shim_queries_waiting") == sample("meterhouse_shim_queries_running") == 0


async def test_time_runs_out_while_waiting_and_while_running() -> None:
    turns = Turns(1, 10, ShimMetrics())
    async with turns.turn(10):
        with pytest.raises(TimedOut, match="query timed out in query queue"):
            async with turns.turn(0.01):
                pytest.fail("must not run")
    with pytest.raises(TimedOut, match="query timed out in expression evaluation"):
        async with turns.turn(0.01):
            await asyncio.Event().wait()
    with pytest.raises(TimedOut):
        async with turns.turn(0):
            pytest.fail("must not run")
    async with turns.turn(1):  # every turn was given back
        pass


async def test_an_error_inside_leaves_as_it_is() -> None:
    turns = Turns(1, 1, ShimMetrics())
    with pytest.raises(KeyError):
        async with turns.turn(1):
            raise KeyError("x")
    async with turns.turn(1):
        pass
