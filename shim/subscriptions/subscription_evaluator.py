"""Evaluates subscriptions: at each tick, once the buckets of its window are complete.

Owns when a tick is evaluated. A tick has one result however many shims evaluate it: the table of results
keeps one row per subscription and tick. The last stored tick says where to go on after a restart. Ticks ahead
of a clock that was set back do not count: the indexer forgets them, and they are evaluated when they come.
That is a deletion, which may be slow: its own subscriptions wait for it, all others go on.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Collection, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, field
from functools import partial
from typing import Final, TypeVar

from indexer.clickhouse.store import Store, StoreError
from indexer.subscriptions.messages_of_subscriptions import (
    SentTick,
    Subscription,
    SubscriptionWrites,
    TickResult,
)
from indexer.subscriptions.subscription_rows import (
    read_last_ticks,
    read_subscriptions,
    read_ticks_ahead,
)
from shim.engine.api import QueryOptions
from shim.engine.live_edge import LiveEdge
from shim.metrics import ShimMetrics
from shim.model.errors import Canceled, InternalError, QueryError, TimedOut, Unavailable
from shim.model.tenancy import Tenant
from shim.settings import ShimSettings
from shim.snql.answering import LanguageAnswer
from shim.snql.lower import Asked
from shim.snql.service import Languages
from shim.subscriptions.remote_writes import Write
from shim.subscriptions.subscription_book import public_id
from shim.subscriptions.subscription_leases import LEASE_KEYS, lease_key
from shim.subscriptions.tick_payload import result_of
from shim.subscriptions.validators import at_tick
from shim.ticks.due_ticks import DueTicks, Schedule, due_ticks
from shim.ticks.lease import Lease, SoleEvaluator

T = TypeVar("T")

_log: Final = logging.getLogger("shim.subscriptions")

#: Errors after which the same tick is evaluated again.
_PASSING: Final = (Canceled, InternalError, TimedOut, Unavailable)
#: Ticks of one subscription between two looks at the others, and bytes of results that wait to be written.
_TICKS: Final = 100
_BYTES: Final = 4 << 20
#: Subscriptions whose last ticks are read by one statement.
_IDS: Final = 1_000
#: Seconds between two looks for ticks that have not come.
_AHEAD_EVERY_S: Final = 30.0


@dataclass(slots=True)
class SubscriptionEvaluator:
    """Runs in one event loop; blocking calls run in `pool`. `now_s`: the time of ticks; `steady_s`: no steps.

    Of several shims the one with the lease evaluates a subscription. `forget_wait_s`: how long a round waits
    for the deletion of ticks ahead.
    """

    store: Store
    languages: Languages
    edge: LiveEdge
    write: Write
    settings: ShimSettings
    metrics: ShimMetrics
    pool: Executor | None = None
    lease: Lease = field(default_factory=SoleEvaluator)
    now_s: Callable[[], float] = time.time
    steady_s: Callable[[], float] = time.monotonic
    forget_wait_s: float = 1.0
    _looked_s: float = float("-inf")
    _forgetting: asyncio.Task[None] | None = None
    _forgotten: frozenset[str] = frozenset()  # ids of subscriptions whose ticks are being forgotten
    _last: dict[str, int] = field(default_factory=dict)
    _since: dict[str, int] = field(default_factory=dict)  # of those made while the clock was ahead

    async def run(self) -> None:
        """Evaluate until cancelled."""
        try:
            while True:
                try:
                    await self.round()
                except (StoreError, QueryError) as e:
                    self.metrics.subscription_ticks.labels("delayed").inc()
                    _log.warning("event=subscriptions_not_evaluated error=%s", e)
                except Exception:  # a mistake of ours: later ticks are evaluated
                    self.metrics.subscription_ticks.labels("delayed").inc()
                    _log.exception("event=subscriptions_failed")
                await asyncio.sleep(self.settings.subscriptions.every_s)
        finally:
            if self._forgetting is not None:
                self._forgetting.cancel()
                await asyncio.gather(self._forgetting, return_exceptions=True)

    async def round(self) -> int:
        """Evaluate the ticks that are due; return how many. Raises StoreError, QueryError."""
        done = 0
        held = await self.lease.hold(LEASE_KEYS)
        found = await self._blocking(self._read)
        await self._forget_ahead([of for of in found if lease_key(of) in held])
        for of, due in await self._blocking(partial(self._due, found, held)):
            if lease_key(of) in await self.lease.hold(LEASE_KEYS):
                done += await self._evaluate(of, due)
        return done

    async def _blocking(self, call: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self.pool, call)

    def _read(self) -> list[Subscription]:
        found = read_subscriptions(self.store)
        self.metrics.subscriptions.set(len(found))
        self._follow_clock(found)
        return found

    def _due(
        self, found: Sequence[Subscription], held: Collection[str]
    ) -> list[tuple[Subscription, DueTicks]]:
        """List the subscriptions with ticks that are due, as other shims have left them."""
        complete = {tenant: self._complete_s(tenant) for tenant in {_tenant(of) for of in found}}
        found = [of for of in found if lease_key(of) in held and of.id not in self._forgotten]
        pending = [of for of in found if self._ticks(of, complete[_tenant(of)]).ticks]
        for at in range(0, len(pending), _IDS):
            last = read_last_ticks(self.store, pending[at : at + _IDS], int(self.now_s()))
            self._last.update(last)
        due = [(of, self._ticks(of, complete[_tenant(of)])) for of in pending]
        return [(of, ticks) for of, ticks in due if ticks.ticks]

    def _follow_clock(self, found: Sequence[Subscription]) -> None:
        """Forget the ticks and beginnings that lie ahead of the clock, and those of other subscriptions."""
        now_s = int(self.now_s())
        last = {of.id: self._last[of.id] for of in found if of.id in self._last}
        self._last = {id_: tick_s for id_, tick_s in last.items() if tick_s <= now_s}
        if len(self._last) < len(last):
            _log.warning("event=clock_set_back subscriptions=%d", len(last) - len(self._last))
            self._looked_s = float("-inf")
        ahead = [of for of in found if of.since_s > now_s]
        self._since = {of.id: min(now_s, self._since.get(of.id, now_s)) for of in ahead}

    async def _forget_ahead(self, held: Sequence[Subscription]) -> None:
        """Let the indexer forget ticks that have not come, of a clock that was ahead. Raises StoreError.

        Usually that is over at once. If not, it goes on beside the rounds, without these subscriptions: a
        result that is stored meanwhile might be deleted, too.
        """
        if self._forgetting is None:
            if self.steady_s() - self._looked_s < _AHEAD_EVERY_S:
                return
            ahead = await self._blocking(partial(self._ahead, held))
            self._looked_s = self.steady_s()
            if not ahead:
                return
            self._forgotten = frozenset(one.id for one in ahead)
            self._forgetting = asyncio.create_task(self._forget(ahead), name="shim-ticks-ahead")
            await asyncio.wait((self._forgetting,), timeout=self.forget_wait_s)
        if self._forgetting.done():
            task, self._forgetting, self._forgotten = self._forgetting, None, frozenset()
            if self._looked_s > float("-inf"):  # the clock was not set back meanwhile
                self._looked_s = self.steady_s()
            task.result()

    def _ahead(self, held: Sequence[Subscription]) -> list[SentTick]:
        """Return the last ticks that have not come and are evaluated or sent."""
        now_s, ahead = int(self.now_s()), []
        for at in range(0, len(held), _IDS):
            asked = held[at : at + _IDS]
            found = read_ticks_ahead(self.store, asked, now_s)
            ahead += [
                SentTick(org_id=of.org_id, project_id=of.project_id, id=of.id, tick_s=found[of.id])
                for of in asked
                if of.id in found
            ]
        return ahead

    async def _forget(self, ahead: Sequence[SentTick]) -> None:
        """Let the indexer forget ticks; where it cannot, these keep their results for now."""
        for at in range(0, len(ahead), _IDS):
            some = list(ahead[at : at + _IDS])
            try:
                await self._blocking(partial(self.write, SubscriptionWrites(ahead=some)))
            except QueryError as e:
                self.metrics.subscription_ticks.labels("delayed").inc(len(some))
                _log.warning("event=results_ahead_not_deleted subscriptions=%d error=%s", len(some), e)

    def _ticks(self, of: Subscription, complete_s: int) -> DueTicks:
        every = Schedule(of.resolution_s, self._since.get(of.id, of.since_s))
        return due_ticks(every, self._last.get(of.id), complete_s, self.settings.subscriptions.max_late_ticks)

    def _complete_s(self, tenant: Tenant) -> int:
        now_s = self.now_s()
        found = self.edge.complete_s(tenant, int(now_s * 1000), now_s)
        return int(now_s) if found is None else found

    async def _evaluate(self, of: Subscription, due: DueTicks) -> int:
        """Evaluate and store ticks in order; return how many are stored. Raises QueryError."""
        waiting: list[TickResult] = []
        size = done = 0
        for tick_s in due.ticks[:_TICKS]:
            if lease_key(of) not in await self.lease.hold(LEASE_KEYS):
                break
            found = await self._answer(of, tick_s)
            if found is None:
                break
            waiting.append(result_of(of, public_id(of), tick_s, found))
            size += len(waiting[-1].payload)
            if size > _BYTES:
                done += await self._store(of, waiting)
                waiting, size = [], 0
        done += await self._store(of, waiting)
        if done and due.skipped:
            self.metrics.subscription_ticks.labels("skipped").inc(due.skipped)
            _log.warning("event=ticks_skipped subscription=%s ticks=%d", of.id, due.skipped)
        return done

    async def _answer(self, of: Subscription, tick_s: int) -> LanguageAnswer | str | None:
        """Return the answer, an error's text if there can be none, or None to try again later."""
        asked = at_tick(Asked(_tenant(of), tick_s, of.dataset), tick_s, of.time_window_s)
        options = QueryOptions(timeout_s=self.settings.timeout_s)
        try:
            return await self.languages.snql(of.query, asked, options, dry_run=False)
        except _PASSING as e:
            self.metrics.subscription_ticks.labels("delayed").inc()
            _log.warning("event=tick_delayed subscription=%s tick=%d error=%s", of.id, tick_s, e)
            return None
        except QueryError as e:
            self.metrics.subscription_ticks.labels("failed").inc()
            return str(e)

    async def _store(self, of: Subscription, results: Sequence[TickResult]) -> int:
        if not results:
            return 0
        await self._blocking(partial(self.write, SubscriptionWrites(results=list(results))))
        self._last[of.id] = results[-1].tick_s
        self.metrics.subscription_ticks.labels("stored").inc(len(results))
        return len(results)


def _tenant(of: Subscription) -> Tenant:
    return Tenant(of.org_id, of.project)
