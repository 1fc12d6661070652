"""The work that no client asks for: rules and subscriptions at their ticks, and notifications of alerts."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from concurrent.futures import Executor
from contextlib import AsyncExitStack
from typing import Final

from agent.runtime.reload_actions import ReloadActions
from shim.http.admission import Admission
from shim.indexers.message_writes import TakeMessages
from shim.metrics import ShimMetrics
from shim.notify.server_notices import ServerNotices
from shim.parts.query_parts import QueryParts
from shim.rules.notify.alert_notifier import AlertNotifier
from shim.rules.running_rules import TEMPLATE_THREADS, RunningRules
from shim.subscriptions.remote_writes import Write
from shim.subscriptions.subscription_jobs import SubscriptionJobs
from shim.ticks.redis_lease import open_lease

#: Queries of rules that may wait for a slot: one of each group.
_RULES_WAITING: Final = 1_000_000


class TickWork:
    """Rules, subscriptions and the notifier; `start` begins them once the server listens.

    `slots` bounds all queries, `take` is the indexer of this process, `url` leads people to this server.
    """

    def __init__(
        self,
        queries: QueryParts,
        slots: Admission,
        take: TakeMessages | None,
        metrics: ShimMetrics,
        notices: ServerNotices,
        url: str,
    ) -> None:
        settings = queries.settings
        self._queries = queries
        self._metrics = metrics
        self._notices = notices
        self._url = url
        shared, running = settings.tenancy.mode != "single", settings.rules.concurrency
        own, slow, templates = (
            Admission(count, _RULES_WAITING, ShimMetrics(), shared=shared)
            for count in (running, running, TEMPLATE_THREADS)
        )
        self.rules = RunningRules(
            settings, queries.engine, queries.edge, own, slow, templates, slots, metrics, take
        )
        self.notifier = AlertNotifier(settings, url, metrics, notices)

    async def start(
        self, write: Write | None, pool: Executor, reloads: ReloadActions, ends: AsyncExitStack
    ) -> None:
        """Begin; `ends` ends it: first the evaluation, then the leases, so that other shims go on at once."""
        settings = self._queries.settings
        ends.push_async_callback(self.notifier.stop)
        await self.notifier.start()
        lease = open_lease(settings.lease, self._metrics)
        ends.push_async_callback(lease.close)
        ends.push_async_callback(self.rules.stop)
        clock = self._queries.clock
        self.rules.start(self.notifier, lease, self._url, self._notices, clock.now_s, clock.told_s)
        reloads.add("rules", self.rules.reload)
        reloads.add("alertmanagers", self.notifier.reload)
        if write is not None and settings.subscriptions.evaluate:
            jobs = SubscriptionJobs(self._queries.store, write, settings, self._metrics, lease, pool, clock)
            ends.push_async_callback(_cancel, jobs.start(self._queries.languages, self._queries.edge))


async def _cancel(tasks: Sequence[asyncio.Task[None]]) -> None:
    for task in tasks:
        task.cancel()
    if tasks:
        await asyncio.wait(tasks)
