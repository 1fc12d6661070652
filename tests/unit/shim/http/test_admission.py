"""Turns: never more at once than allowed, never more waiting, and time runs out in both places."""

from __future__ import annotations

import asyncio

import pytest

from shim.http.admission import Admission
from shim.metrics import ShimMetrics
from shim.model.errors import TimedOut


async def test_no_more_run_than_allowed() -> None:
    turns, running, most = Admission(3, 100, ShimMetrics()), 0, 0

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
    turns, release = Admission(1, 2, metrics), asyncio.Event()

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
    turns = Admission(1, 10, ShimMetrics())
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
    turns = Admission(1, 1, ShimMetrics())
    with pytest.raises(KeyError):
        async with turns.turn(1):
            raise KeyError("x")
    async with turns.turn(1):
        pass


class Busy:
    """Queries that run until the test ends them; `ran` has their orgs in the order of their slots."""

    def __init__(self, turns: Admission) -> None:
        self._turns = turns
        self._go: dict[int, asyncio.Event] = {}
        self.ran: list[int] = []
        self.refused: list[int] = []

    async def ask(self, org_id: int, timeout_s: float = 10.0) -> asyncio.Task[None]:
        task = asyncio.create_task(self._run(org_id, timeout_s))
        await steps()
        return task

    async def _run(self, org_id: int, timeout_s: float) -> None:
        try:
            async with self._turns.turn(timeout_s, org_id):
                self.ran.append(org_id)
                await self._go.setdefault(org_id, asyncio.Event()).wait()
        except TimedOut:
            self.refused.append(org_id)

    async def let_go(self, org_id: int) -> None:
        self._go.pop(org_id).set()
        await steps()


async def steps() -> None:
    for _ in range(20):  # each task needs its steps to get to its wait; nothing else is to happen
        await asyncio.sleep(0)


async def test_one_org_never_has_every_turn() -> None:
    metrics = ShimMetrics()
    turns = Admission(3, 10, metrics, shared=True)
    busy = Busy(turns)
    tasks = [await busy.ask(1) for _ in range(5)]
    assert busy.ran == [1, 1]
    tasks += [await busy.ask(2), await busy.ask(3)]
    assert busy.ran == [1, 1, 2]  # at once, past those of org 1 that wait
    await busy.let_go(1)
    assert busy.ran == [1, 1, 2, 3, 1]  # who has nothing yet goes first
    for org_id in (2, 3, 1):
        await busy.let_go(org_id)
    await busy.let_go(1)
    await asyncio.gather(*tasks)
    assert busy.ran.count(1) == 5
    assert metrics.registry.get_sample_value("meterhouse_shim_queries_waiting") == 0


async def test_a_full_queue_refuses_the_org_that_fills_it() -> None:
    busy = Busy(Admission(1, 4, ShimMetrics(), shared=True))
    tasks = [await busy.ask(1) for _ in range(5)]
    tasks.append(await busy.ask(1))
    assert busy.refused == [1]
    tasks += [await busy.ask(2), await busy.ask(2)]
    assert busy.refused == [1, 1, 1]
    tasks.append(await busy.ask(2))  # now both have two
    assert busy.refused == [1, 1, 1, 2]
    for org_id in (1, 2, 1, 2, 1):
        await busy.let_go(org_id)
    await asyncio.gather(*tasks)
    assert busy.ran == [1, 2, 1, 2, 1]


async def test_who_gives_up_waiting_leaves_no_trace() -> None:
    metrics = ShimMetrics()
    busy = Busy(Admission(1, 4, metrics, shared=True))
    first = await busy.ask(1)
    given_up, second = await busy.ask(2), await busy.ask(3)
    given_up.cancel()
    await steps()
    await busy.let_go(1)
    assert busy.ran == [1, 3]
    await busy.let_go(3)
    await asyncio.gather(first, second)
    assert (await asyncio.gather(given_up, return_exceptions=True))[0].__class__ is asyncio.CancelledError
    sample = metrics.registry.get_sample_value
    assert sample("meterhouse_shim_queries_waiting") == sample("meterhouse_shim_queries_running") == 0


async def test_a_single_tenant_has_every_turn() -> None:
    busy = Busy(Admission(3, 10, ShimMetrics()))
    tasks = [await busy.ask(1) for _ in range(3)]
    assert busy.ran == [1, 1, 1]
    await busy.let_go(1)
    await asyncio.gather(*tasks)


@pytest.mark.parametrize("between", range(6))
async def test_a_turn_that_comes_as_its_query_goes_is_not_lost(between: int) -> None:
    turns = Admission(1, 4, ShimMetrics(), shared=True)
    busy = Busy(turns)
    first, second = await busy.ask(1), await busy.ask(2)
    busy._go.pop(1).set()
    for _ in range(between):
        await asyncio.sleep(0)
    second.cancel()
    await asyncio.gather(first, second, return_exceptions=True)
    assert not turns.busy
    third = await busy.ask(3)
    await busy.let_go(3)
    await third
