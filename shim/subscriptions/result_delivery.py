"""Delivers stored results to a sink, in the order of their ticks, from the sink's own position on.

The table of results has the first result of a tick, whichever shim wrote it. So all shims deliver the same.
Positions are compared with the indexers' time (shim/indexers/indexer_clock.py), not with that of each shim.
Shims differ by seconds yet: a position a little ahead is that of another one.
Subscriptions are delivered side by side. Those of one org take a few places, so that receivers that hang
delay their own org alone.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, field
from functools import partial
from typing import Final, TypeVar

from agent.runtime.logs import Log
from indexer.clickhouse.store import Store
from indexer.subscriptions.messages_of_subscriptions import Subscription
from indexer.subscriptions.subscription_rows import SLACK_S, read_results_after, read_subscriptions
from shim.metrics import ShimMetrics
from shim.settings import SubscriptionSettings
from shim.subscriptions.result_sink import ResultSink, StoredResult
from shim.subscriptions.subscription_leases import LEASE_KEYS, lease_key
from shim.ticks.due_ticks import Schedule
from shim.ticks.lease import Lease

T = TypeVar("T")

#: Results of one subscription in one turn.
_RESULTS: Final = 100
#: Subscriptions that are delivered at the same time: of all orgs, and of one.
MAX_AT_ONCE: Final = 64
MAX_OF_ORG: Final = 8
#: Subscriptions whose positions are asked for at once.
_IDS: Final = 1_000


@dataclass(slots=True)
class ResultDelivery:
    """Runs in one event loop; blocking calls run in `pool`. `now_s`: the time of ticks."""

    store: Store
    sink: ResultSink
    lease: Lease
    settings: SubscriptionSettings
    metrics: ShimMetrics
    pool: Executor | None = None
    now_s: Callable[[], float] = time.time
    _done: dict[str, int] = field(default_factory=dict)  # the last delivered tick, by subscription
    _turns: dict[str, int] = field(default_factory=dict)  # the round of the last turn, by subscription
    _rounds: int = 0
    _running: dict[asyncio.Task[None], Subscription] = field(default_factory=dict)
    _log: Log = field(default_factory=lambda: Log("shim.subscriptions"))

    async def run(self) -> None:
        """Deliver until cancelled."""
        try:
            while True:
                try:
                    await self.begin()
                except Exception as e:  # also a mistake of ours: later turns begin
                    self._failed(e)
                await asyncio.sleep(self.settings.every_s)
        finally:
            running = list(self._running)
            for task in running:
                task.cancel()
            if running:
                await asyncio.wait(running)
            await self.sink.close()

    async def round(self) -> None:
        """Begin the turns that have a place, and wait for their end. Raises as `begin` does."""
        await self.begin()
        if self._running:
            await asyncio.wait(list(self._running))

    async def begin(self) -> None:
        """Begin the turns of subscriptions that have a place.

        Raises StoreError, QueryError, SinkAwayError.
        """
        found = await self._blocking(partial(read_subscriptions, self.store))
        known = {of.id for of in found}
        now_s = int(self.now_s())  # a clock that was ahead has delivered ticks that come again
        self._done = {id_: min(tick_s, now_s) for id_, tick_s in self._done.items() if id_ in known}
        self._turns = {id_: number for id_, number in self._turns.items() if id_ in known}
        self.sink.keep(known)
        held = await self.lease.hold(LEASE_KEYS)
        mine = [of for of in found if lease_key(of) in held and self.sink.wants(of) and self._lacks(of)]
        for at in range(0, len(mine), _IDS):
            for id_, tick_s in (await self.sink.positions(mine[at : at + _IDS])).items():
                self._done[id_] = tick_s if tick_s <= now_s + SLACK_S else self._done.get(id_, now_s)
        self._rounds += 1
        for of in self._next([of for of in mine if self._lacks(of)]):
            self._turns[of.id] = self._rounds
            task = asyncio.create_task(self._deliver(of), name="shim-subscriptions")
            self._running[task] = of
            task.add_done_callback(self._ended)

    def _next(self, these: Sequence[Subscription]) -> list[Subscription]:
        """Return those that have a place now, the ones first that wait for longest."""
        running = {of.id for of in self._running.values()}
        of_org = Counter(of.org_id for of in self._running.values())
        out: list[Subscription] = []
        for of in sorted(these, key=lambda of: self._turns.get(of.id, 0)):
            if len(running) >= MAX_AT_ONCE:
                break
            if of.id not in running and of_org[of.org_id] < MAX_OF_ORG:
                running.add(of.id)
                of_org[of.org_id] += 1
                out.append(of)
        return out

    def _lacks(self, of: Subscription) -> bool:
        """Return whether there may be a result of a later tick."""
        now_s = int(self.now_s())
        since_s = of.since_s if of.since_s <= now_s else 0
        return Schedule(of.resolution_s).last_at(now_s) > max(since_s, self._done.get(of.id, 0))

    async def _deliver(self, of: Subscription) -> None:
        if lease_key(of) not in await self.lease.hold(LEASE_KEYS):
            return
        since_s = self._done.get(of.id, 0)
        until_s, most = int(self.now_s()), self.settings.max_late_ticks
        rows = await self._blocking(
            partial(read_results_after, self.store, of, since_s, until_s, _RESULTS, most)
        )
        if not rows:
            return
        results = [StoredResult(*row) for row in rows]
        done_s = await self.sink.deliver(of, results)
        if done_s is not None:
            self._done[of.id] = done_s
            if since_s and results[0].tick_s - since_s > of.resolution_s:
                self._count("skipped", (results[0].tick_s - since_s) // of.resolution_s - 1)

    def _ended(self, task: asyncio.Task[None]) -> None:
        del self._running[task]
        if not task.cancelled() and (error := task.exception()) is not None:
            self._failed(error)

    def _failed(self, error: BaseException) -> None:
        self._count("delayed", 1)
        self._log.throttled("results_not_delivered", sink=self.sink.name, error=error)

    async def _blocking(self, call: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self.pool, call)

    def _count(self, outcome: str, results: int) -> None:
        self.metrics.subscription_deliveries.labels(self.sink.name, outcome).inc(results)
