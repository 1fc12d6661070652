from __future__ import annotations

import asyncio

import pytest

from indexer.budget import DecodeBudget


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
