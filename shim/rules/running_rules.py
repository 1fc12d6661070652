"""The rules of one process: joins files, leases, queries, writes and the evaluator."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Final

from shim.engine.api import Engine
from shim.engine.live_edge import LiveEdge
from shim.indexers.indexer_client import IndexerClient
from shim.indexers.message_writes import (
    Stored,
    StoreMessages,
    TakeMessages,
    local_messages,
    remote_messages,
)
from shim.metrics import ShimMetrics
from shim.model.tenancy import Tenant
from shim.notify.server_notices import ServerNotices
from shim.rules.alert_sink import AlertSink
from shim.rules.group_evaluation import External
from shim.rules.rule_directory import RuleDirectory
from shim.rules.rule_evaluator import RuleEvaluator
from shim.rules.store_queries import QueryPlace, QuerySlots
from shim.rules.tenant_group import RunnerParts
from shim.settings import ShimSettings
from shim.ticks.lease import Lease

#: Threads for templates of alerts, for files, and for requests to indexers, which may hang.
TEMPLATE_THREADS: Final = 2
_THREADS: Final = 2
_WRITE_THREADS: Final = 4


class RunningRules:
    """The rules of the settings; without `shim.rules.path` there are none.

    `own_slots` bounds the queries of rules, `slow_slots` those of slow groups, `pool_slots` their templates,
    `slots` all queries. `take`: the indexer of this process.
    """

    def __init__(  # noqa: PLR0913 - the parts of one process, each by its name
        self,
        settings: ShimSettings,
        engine: Engine,
        edge: LiveEdge,
        own_slots: QuerySlots,
        slow_slots: QuerySlots,
        pool_slots: QuerySlots,
        slots: QuerySlots,
        metrics: ShimMetrics,
        take: TakeMessages | None,
    ) -> None:
        self._settings = settings
        self._place_of = engine, own_slots, slots, pool_slots
        self._slow_slots = slow_slots
        self._edge = edge
        self._metrics = metrics
        self._take = take
        self._pools: list[ThreadPoolExecutor] = []
        self._task: asyncio.Task[None] | None = None
        self.evaluator: RuleEvaluator | None = None

    def start(
        self,
        sink: AlertSink,
        lease: Lease,
        external_url: str,
        notices: ServerNotices,
        now_s: Callable[[], float] = time.time,
        told_s: Callable[[], float] = time.time,
    ) -> None:
        """Begin to load and evaluate, in the running loop.

        `now_s` is the time of ticks. `told_s` raises Unavailable while it may be wrong: nothing is stored.
        """
        of = self._settings.rules
        if not of.path:
            return
        templates = ThreadPoolExecutor(TEMPLATE_THREADS, thread_name_prefix="templates")
        pool = ThreadPoolExecutor(_THREADS, thread_name_prefix="rules")
        writes = ThreadPoolExecutor(_WRITE_THREADS, thread_name_prefix="rule-writes")
        self._pools = [templates, pool, writes]
        parts = RunnerParts(
            of,
            QueryPlace(*self._place_of, templates, of.timeout_s, self._slow_slots, of.max_series),
            _once_told(told_s, self._writes(writes)),
            sink,
            lease,
            self._metrics,
            External(self._settings.external_labels, external_url),
            now_s,
            settle_s=self._settings.settle_s,
        )
        directory = RuleDirectory(of.path, self._single, limits=of)
        self.evaluator = RuleEvaluator(directory, self._edge, parts, pool, notices)
        self._task = asyncio.create_task(self.evaluator.run(), name="shim-rules")

    async def reload(self) -> Sequence[str]:
        """Read changed files now; return the problems of all files."""
        evaluator = self.evaluator
        if evaluator is None:
            return []
        await evaluator.reload()
        errors = [evaluator.directory.error, *(one.error for one in evaluator.directory.files.values())]
        return [error for error in errors if error]

    async def stop(self) -> None:
        """End all groups and give up their leases. Twice does nothing."""
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            await asyncio.wait([task])
        pools, self._pools = self._pools, []
        for pool in pools:
            await asyncio.to_thread(pool.shutdown, wait=True, cancel_futures=True)

    @property
    def new_names_s(self) -> float:
        """How long a metric that was just stored may be unknown to queries of this process."""
        return self._settings.catalog.names_max_age_s if self._take is None else 0.0

    @property
    def _single(self) -> Tenant | None:
        of = self._settings.tenancy
        return Tenant(of.org_id, of.project_id) if of.mode == "single" else None

    def _writes(self, pool: ThreadPoolExecutor) -> StoreMessages:
        if self._take is not None:
            return local_messages(self._take)
        return remote_messages(IndexerClient(self._settings.indexers), pool)


def _once_told(told_s: Callable[[], float], store: StoreMessages) -> StoreMessages:
    """Return writes that wait until the time of ticks is known. Raises as `told_s` does."""

    async def checked(body: bytes, key: str) -> Stored:
        told_s()
        return await store(body, key)

    return checked
