"""Results as signed webhooks, each at least once, in the order of their ticks.

Progress is stored by an indexer after a result is sent, so another shim goes on from there. A result that was
sent before its progress was stored is sent again, under the same `webhook-id`.

A result that has failed for a while holds up the next ones no more: once its receiver takes a later one,
it is given up. While the receiver takes none, all of them wait.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, field
from functools import partial
from typing import ClassVar, Final

from agent.runtime.logs import Log
from indexer.clickhouse.store import Store
from indexer.subscriptions.messages_of_subscriptions import SentTick, Subscription, SubscriptionWrites
from indexer.subscriptions.subscription_rows import read_sent_ticks
from shim.metrics import ShimMetrics
from shim.notify.http_poster import PostOutcome
from shim.notify.signed_webhook import SignedWebhook, pause_s
from shim.subscriptions.remote_writes import Write
from shim.subscriptions.result_sink import StoredResult
from shim.subscriptions.webhook_rules import WebhookRules

#: Seconds that one subscription may take before others have their turn.
_TURN_S: Final = 10.0
#: Seconds after which a result that fails is passed over for the next one, and how many are.
_STUCK_S: Final = 300.0
_MAX_STUCK: Final = 3


@dataclass(slots=True)
class _Failing:
    """A subscription's failures in a row, and when the results that wait failed first, by tick."""

    failures: int = 0
    until_s: float = 0.0  # no try before
    since_s: dict[int, float] = field(default_factory=dict)


@dataclass(slots=True)
class ResultWebhooks:
    """Sends to the URL of each subscription. Results older than `max_age_s` are given up.

    `now_s` is the wall clock, `steady_s` one that never steps.
    """

    store: Store
    write: Write
    rules: WebhookRules
    webhook: SignedWebhook
    max_age_s: float
    metrics: ShimMetrics
    pool: Executor | None = None
    now_s: Callable[[], float] = time.time
    steady_s: Callable[[], float] = time.monotonic
    _failing: dict[str, _Failing] = field(default_factory=dict)
    _log: Log = field(default_factory=lambda: Log("shim.subscriptions"))
    name: ClassVar[str] = "webhook"

    def wants(self, of: Subscription) -> bool:
        """Return whether there is a webhook that is not paused after a failure."""
        failing = self._failing.get(of.id)
        return bool(of.webhook) and (failing is None or self.steady_s() >= failing.until_s)

    async def positions(self, of: Sequence[Subscription]) -> Mapping[str, int]:
        """Return the last ticks that were sent. Raises StoreError."""
        if not of:
            return {}
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self.pool, partial(read_sent_ticks, self.store, of))

    def keep(self, ids: Collection[str]) -> None:
        """Forget the failures of subscriptions that are not among these."""
        self._failing = {id_: failing for id_, failing in self._failing.items() if id_ in ids}

    async def deliver(self, of: Subscription, results: Sequence[StoredResult]) -> int | None:
        """Send results until one fails; return the last tick that is done with. Raises QueryError."""
        done_s = None
        turn_ends_s = self.steady_s() + _TURN_S
        stuck = 0
        for one in results:
            if await self._is_done(of, one):
                self.metrics.subscription_deliveries.labels(self.name, "given_up").inc(stuck)
                self._failing.pop(of.id, None)
                done_s, stuck = one.tick_s, 0
            elif stuck < _MAX_STUCK and self._is_stuck(of, one):
                stuck += 1
            else:
                break
            if self.steady_s() >= turn_ends_s:
                break
        if done_s is not None:
            sent = SentTick(org_id=of.org_id, project_id=of.project_id, id=of.id, tick_s=done_s)
            write = partial(self.write, SubscriptionWrites(sent=[sent]))
            await asyncio.get_running_loop().run_in_executor(self.pool, write)
        return done_s

    async def close(self) -> None:
        """Close the connections."""
        await self.webhook.close()

    async def _is_done(self, of: Subscription, one: StoredResult) -> bool:
        """Send a result; return False if it has to be sent again."""
        count = self.metrics.subscription_deliveries.labels
        now_s = self.now_s()
        if one.tick_s < now_s - self.max_age_s:
            count(self.name, "skipped").inc()
            return True
        id_, body = f"{of.id}-{one.tick_s}", one.document.encode()
        answer = await self.webhook.send(of.webhook, id_, body, [self.rules.key(of.id)], now_s)
        match answer.outcome:
            case PostOutcome.DELIVERED:
                count(self.name, "delivered").inc()
            case PostOutcome.REFUSED:
                count(self.name, "refused").inc()
                self._log.throttled("webhook_refused", subscription=of.id, error=answer.text)
            case PostOutcome.RETRY:
                count(self.name, "delayed").inc()
                failing = self._failing.setdefault(of.id, _Failing())
                failing.failures += 1
                steady_s = self.steady_s()
                failing.until_s = steady_s + pause_s(failing.failures, answer.retry_after_s)
                failing.since_s.setdefault(one.tick_s, steady_s)
                self._log.throttled("webhook_failed", subscription=of.id, error=answer.text)
                return False
        return True

    def _is_stuck(self, of: Subscription, one: StoredResult) -> bool:
        """Return whether a result that just failed has failed for long."""
        return self.steady_s() - self._failing[of.id].since_s[one.tick_s] >= _STUCK_S
