"""Delivers stored results to a sink, in the order of their ticks, from the sink's own position on.

The table of results has the first result of a tick, whichever shim wrote it. So all shims deliver the same.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, field
from functools import partial
from typing import Final, TypeVar

from indexer.clickhouse.store import Store, StoreError
from indexer.subscriptions.messages_of_subscriptions import Subscription
from indexer.subscriptions.subscription_rows import read_results_after, read_subscriptions
from shim.metrics import ShimMetrics
from shim.model.errors import QueryError
from shim.settings import SubscriptionSettings
from shim.subscriptions.result_sink import ResultSink, SinkAwayError, StoredResult
from shim.subscriptions.subscription_leases import LEASE_KEYS, lease_key
from shim.ticks.due_ticks import Schedule
from shim.ticks.lease import Lease

T = TypeVar("T")

_log: Final = logging.getLogger("shim.subscriptions")

#: Results of one subscription between two looks at the others, and subscriptions that are delivered at once.
_RESULTS: Final = 100
_AT_ONCE: Final = 32
#: Subscriptions whose positions are asked for at once.
_IDS: Final = 1_000


@dataclass(slots=True)
class ResultDelivery:
    """Runs in one event loop; blocking calls run in `pool`. `now_s` is the wall clock."""

    store: Store
    sink: ResultSink
    lease: Lease
    settings: SubscriptionSettings
    metrics: ShimMetrics
    pool: Executor | None = None
    now_s: Callable[[], float] = time.time
    _done: dict[str, int] = field(default_factory=dict)  # the last delivered tick, by subscription

    async def run(self) -> None:
        """Deliver until cancelled."""
        try:
            while True:
                try:
                    await self.round()
                except (StoreError, QueryError, SinkAwayError) as e:
                    self._count("delayed", 1)
                    _log.warning("event=results_not_delivered sink=%s error=%s", self.sink.name, e)
                await asyncio.sleep(self.settings.every_s)
        finally:
            await self.sink.close()

    async def round(self) -> None:
        """Deliver the results that the sink does not have. Raises StoreError, QueryError, SinkAwayError."""
        found = await self._blocking(partial(read_subscriptions, self.store))
        self._done = {of.id: self._done[of.id] for of in found if of.id in self._done}
        held = await self.lease.hold(LEASE_KEYS)
        mine = [of for of in found if lease_key(of) in held and self.sink.wants(of) and self._lacks(of)]
        for at in range(0, len(mine), _IDS):
            self._done.update(await self.sink.positions(mine[at : at + _IDS]))
        mine = [of for of in mine if self._lacks(of)]
        for at in range(0, len(mine), _AT_ONCE):
            await self._deliver_all(mine[at : at + _AT_ONCE])

    async def _deliver_all(self, these: Sequence[Subscription]) -> None:
        ends = await asyncio.gather(*map(self._deliver, these), return_exceptions=True)
        for end in ends:
            if end is not None:
                raise end

    def _lacks(self, of: Subscription) -> bool:
        """Return whether there may be a result of a later tick."""
        last_s = Schedule(of.resolution_s, of.since_s).last_at(int(self.now_s()))
        return last_s > max(of.since_s, self._done.get(of.id, 0))

    async def _deliver(self, of: Subscription) -> None:
        held = await self.lease.hold(LEASE_KEYS)
        if lease_key(of) not in held:
            return
        since_s = self._done.get(of.id, 0)
        most = self.settings.max_late_ticks
        rows = await self._blocking(partial(read_results_after, self.store, of, since_s, _RESULTS, most))
        if not rows:
            return
        results = [StoredResult(*row) for row in rows]
        done_s = await self.sink.deliver(of, results)
        if done_s is not None:
            self._done[of.id] = done_s
            if since_s and results[0].tick_s - since_s > of.resolution_s:
                self._count("skipped", (results[0].tick_s - since_s) // of.resolution_s - 1)

    async def _blocking(self, call: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self.pool, call)

    def _count(self, outcome: str, results: int) -> None:
        self.metrics.subscription_deliveries.labels(self.sink.name, outcome).inc(results)
