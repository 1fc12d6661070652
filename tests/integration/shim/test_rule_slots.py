"""Slots of rules: one for all early queries of a tick, and others for groups that are slow."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, cast

import numpy as np
import pytest

from shim.engine.api import Answered, OnSubmitted, QueryOptions, QueryResult
from shim.http.admission import Admission
from shim.metrics import ShimMetrics
from shim.model.errors import ExecutionError
from shim.model.grid import Grid
from shim.model.tenancy import Tenant
from shim.model.values import Scalar, Vector
from shim.plan.parse import parse
from shim.rules.memory_samples import MemorySamples
from shim.rules.store_queries import QueryPlace, StoreQueries

TENANT = Tenant(1, 1)


class FakeEngine:
    """Answers at once with 1, but queries of "hangs" when it is told to; `wide` has 5 series."""

    def __init__(self) -> None:
        self.go_on, self.hanging = asyncio.Event(), asyncio.Event()
        self.asked: list[Sequence[str]] = []

    async def instants(
        self,
        tenant: Tenant,
        queries: Sequence[str],
        at_ms: int,
        options: QueryOptions,
        work: Callable[[QueryResult], Any],
        together_s: float,
        begun: OnSubmitted | None = None,
    ) -> Sequence[Answered[Any]]:
        del tenant, options, together_s, begun
        self.asked.append(queries)
        found = []
        for query in queries:
            if query == "hangs":
                self.hanging.set()
                await self.go_on.wait()
            value: Any = Scalar(np.ones(1))
            if query == "wide":
                labels = [(("n", str(n)),) for n in range(5)]
                value = Vector(1, labels, np.ones((5, 1)), np.ones((5, 1), bool))
            try:
                value = work(QueryResult("vector", value, Grid.instant(at_ms)))
            except ExecutionError as e:
                value = e
            found.append(Answered(value, 1.5 if query == "long" else 0.25))
        return found


def _place(engine: FakeEngine, pool: ThreadPoolExecutor, max_series: int = 0) -> QueryPlace:
    own, slow, templates, every = (Admission(n, 100, ShimMetrics()) for n in (1, 1, 1, 4))
    return QueryPlace(cast("Any", engine), own, every, templates, pool, 30.0, slow, max_series)


async def _query(queries: StoreQueries, text: str) -> Any:
    return await queries.query(parse(text), text, 0)


async def test_early_queries_share_a_slot_and_keep_their_times() -> None:
    engine = FakeEngine()
    with ThreadPoolExecutor(1) as pool:
        queries = StoreQueries.of_tick(_place(engine, pool), TENANT, MemorySamples(), ("a", "b", "c"))
        for text in ("a", "b", "x", "c"):
            assert list(await _query(queries, text)) == [((), 1.0)]
    assert engine.asked == [["a", "b", "c"], ["x"]]
    assert queries.seconds_of("b") == 0.25
    assert queries.total_s == 1.0


async def test_a_result_of_the_tick_replaces_an_earlier_answer() -> None:
    """The same expression before and after the rule that yields the series it reads."""
    engine, seen = FakeEngine(), MemorySamples()
    with ThreadPoolExecutor(1) as pool:
        queries = StoreQueries.of_tick(_place(engine, pool), TENANT, seen, ("a",))
        await _query(queries, "a")
        seen.append((("__name__", "a"),), 0, 2.0)
        with pytest.raises(AttributeError, match="instant"):  # asked anew, over the results
            await _query(queries, "a")


async def test_too_many_series_are_refused_before_they_are_made_a_list() -> None:
    engine = FakeEngine()
    with ThreadPoolExecutor(1) as pool:
        queries = StoreQueries.of_tick(_place(engine, pool, 4), TENANT, MemorySamples(), ("wide", "a"))
        with pytest.raises(ExecutionError, match=r"yields 5 series: expected at most 4 \(setting shim.rules"):
            await _query(queries, "wide")
        assert await _query(queries, "a")


async def test_a_group_is_slow_from_its_first_long_query_on() -> None:
    with ThreadPoolExecutor(1) as pool:
        place = _place(FakeEngine(), pool)
        queries = StoreQueries.of_tick(place, TENANT, MemorySamples())
        await _query(queries, "a")
        assert (queries.slow, queries.fast) == (False, True)
        await _query(queries, "long")
        async with place.own_slots.turn(30.0):  # the next one needs none of these
            assert await asyncio.wait_for(_query(queries, "b"), 120)
        assert (queries.slow, queries.fast) == (True, False)
        queries = StoreQueries.of_tick(place, TENANT, MemorySamples())
        for number in range(9):
            await _query(queries, str(number))
        assert queries.slow  # together they took more than 2 s


async def test_slow_groups_hold_no_slot_of_others() -> None:
    engine = FakeEngine()
    with ThreadPoolExecutor(1) as pool:
        place = _place(engine, pool)
        slow = [StoreQueries.of_tick(place, TENANT, MemorySamples(), slow=True) for _ in range(2)]
        hanging = [asyncio.create_task(_query(one, "hangs")) for one in slow]
        await asyncio.wait_for(engine.hanging.wait(), 120)
        fast = StoreQueries.of_tick(place, TENANT, MemorySamples())
        assert list(await asyncio.wait_for(_query(fast, "a"), 120)) == [((), 1.0)]
        assert engine.asked == [["hangs"], ["a"]]  # the second slow one waits for the first
        engine.go_on.set()
        await asyncio.gather(*hanging)
