from __future__ import annotations

import asyncio

import pytest

from indexer.receive.decode_budget import DecodeBudget


async def test_reservations_wait_in_turn_and_are_given_back() -> None:
    budget = DecodeBudget(10)
    order: list[str] = []

    async def use(name: str, size: int, begun: asyncio.Event, end: asyncio.Event) -> None:
        async with budget.reserve(size, 30):
            order.append(name)
            begun.set()
            await end.wait()

    events = {name: (asyncio.Event(), asyncio.Event()) for name in "abc"}
    sizes = {"a": 6, "b": 100, "c": 1}  # b: all there is; c would fit, and waits its turn
    tasks = {}
    for name, size in sizes.items():
        tasks[name] = asyncio.create_task(use(name, size, *events[name]))
        await asyncio.sleep(0)
    assert (order, budget.reserved) == (["a"], 6)
    for name, after in (("a", "b"), ("b", "c")):
        events[name][1].set()
        await events[after][0].wait()
    assert (order, budget.reserved) == (["a", "b", "c"], 1)
    events["c"][1].set()
    await asyncio.gather(*tasks.values())
    assert budget.reserved == 0


async def test_who_waits_too_long_or_goes_away_holds_nothing() -> None:
    budget = DecodeBudget(10)
    async with budget.reserve(10, 1):
        with pytest.raises(TimeoutError):
            async with budget.reserve(1, 0.01):
                pass
    assert budget.reserved == 0
    async with budget.reserve(10, 1):
        pass


async def test_one_that_gave_up_is_passed_over() -> None:
    """It was answered 500: memory released in the same turn of the loop took it out of the queue before."""
    budget = DecodeBudget(10)
    async with budget.reserve(10, 1):
        gives_up = asyncio.create_task(_hold(budget, 10))
        await asyncio.sleep(0)
        gives_up.cancel()
    with pytest.raises(asyncio.CancelledError):
        await gives_up
    assert budget.reserved == 0
    async with budget.reserve(10, 0.01):
        assert budget.reserved == 10


async def test_small_ones_do_not_wait_for_large_ones() -> None:
    budget = DecodeBudget(64 << 20)
    async with budget.reserve(64 << 20, 1), budget.reserve(1 << 20, 0.01):
        with pytest.raises(TimeoutError):
            async with budget.reserve(2 << 20, 0.01):
                pass
        small = [asyncio.create_task(_hold(budget, 1 << 20)) for _ in range(8)]
        await asyncio.sleep(0)
        assert budget.reserved == 64 << 20  # 56 MiB of large ones, 8 of small ones; one waits
    await asyncio.gather(*small)


async def _hold(budget: DecodeBudget, size: int) -> None:
    async with budget.reserve(size, 1):
        await asyncio.sleep(0)
