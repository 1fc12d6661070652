"""The work on subscriptions that runs beside the API: evaluation, and a delivery for each sink."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass

from indexer.clickhouse.store import Store
from shim.engine.live_edge import LiveEdge
from shim.indexers.indexer_clock import IndexerClock
from shim.metrics import ShimMetrics
from shim.notify.signed_webhook import SignedWebhook
from shim.settings import ShimSettings
from shim.snql.service import Languages
from shim.subscriptions.remote_writes import Write
from shim.subscriptions.result_delivery import MAX_AT_ONCE, ResultDelivery
from shim.subscriptions.result_sink import ResultSink
from shim.subscriptions.result_stream import ResultStream
from shim.subscriptions.result_webhooks import ResultWebhooks
from shim.subscriptions.subscription_evaluator import SubscriptionEvaluator
from shim.subscriptions.webhook_rules import WebhookRules
from shim.ticks.lease import Lease


@dataclass(frozen=True, slots=True)
class SubscriptionJobs:
    """The parts of the process that the work needs."""

    store: Store
    write: Write
    settings: ShimSettings
    metrics: ShimMetrics
    lease: Lease
    pool: Executor
    clock: IndexerClock

    def start(self, languages: Languages, edge: LiveEdge) -> Sequence[asyncio.Task[None]]:
        """Start the tasks; they end when they are cancelled."""
        evaluator = SubscriptionEvaluator(
            self.store, languages, edge, self.write, self.settings, self.metrics, self.pool, self.lease,
            self.clock.told_s,
        )  # fmt: skip
        work: list[Coroutine[None, None, None]] = [evaluator.run()]
        work += [self._delivery(sink).run() for sink in self._sinks()]
        return [asyncio.create_task(one, name="shim-subscriptions") for one in work]

    def _sinks(self) -> Sequence[ResultSink]:
        settings, rules = self.settings, WebhookRules(self.settings)
        sinks: list[ResultSink] = []
        if settings.subscriptions.stream_url:
            sinks.append(ResultStream(settings.subscriptions, self.metrics, self.clock.now_s))
        if rules.on:
            webhook = SignedWebhook(
                rules.allowed, timeout_s=settings.webhooks.timeout_s, max_connections=MAX_AT_ONCE
            )
            age_s = settings.subscriptions.webhook_max_age_s
            sinks.append(
                ResultWebhooks(
                    self.store, self.write, rules, webhook, age_s, self.metrics, self.pool, self.clock.now_s
                )
            )
        return sinks

    def _delivery(self, sink: ResultSink) -> ResultDelivery:
        return ResultDelivery(
            self.store, sink, self.lease, self.settings.subscriptions, self.metrics, self.pool,
            self.clock.told_s,
        )  # fmt: skip
