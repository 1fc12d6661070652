"""A turn of a query lasts as long as the thread that works for it."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import Future, ThreadPoolExecutor

from shim.http.admission import Admission
from shim.metrics import ShimMetrics
from shim.model.errors import TimedOut
from tests.unit.shim.http.test_admission import steps


async def test_a_turn_lasts_as_long_as_its_thread() -> None:
    """A query that gives up early has no more threads than one that waits."""
    turns, go = Admission(1, 10, ShimMetrics()), threading.Event()
    with ThreadPoolExecutor(1) as pool:
        work = pool.submit(go.wait)
        while not work.running():  # noqa: ASYNC110 - the thread says nothing
            await asyncio.sleep(0.001)
        await _give_up(turns, work)
        assert turns.busy
        assert not work.done()
        waiting = asyncio.create_task(_one_turn(turns))
        await steps()
        assert not waiting.done()
        go.set()
        await waiting
    assert not turns.busy


async def test_work_that_never_began_holds_no_turn() -> None:
    turns, go = Admission(1, 10, ShimMetrics()), threading.Event()
    with ThreadPoolExecutor(1) as pool:
        pool.submit(go.wait)
        work = pool.submit(go.wait)
        await _give_up(turns, work)
        assert not turns.busy
        assert work.cancelled()
        go.set()


async def _give_up(turns: Admission, work: Future[bool]) -> None:
    """Run a query that does not wait for its work."""
    try:
        async with turns.turn(0.01) as turn:
            turn.lasts(work)
            await asyncio.wrap_future(work)
    except TimedOut:
        return
    raise AssertionError("it came to an end")


async def _one_turn(turns: Admission) -> None:
    async with turns.turn(120):
        pass
