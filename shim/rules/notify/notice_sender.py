"""Sends the alerts of one receiver from a queue of its own: batches, tries, pauses.

One sender per receiver: a receiver that hangs delays no other. Runs in one event loop.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Final

from shim.metrics import ShimMetrics
from shim.notify.http_poster import PostAnswer, PostOutcome
from shim.notify.signed_webhook import pause_s
from shim.rules.notify.alert_json import TenantAlert
from shim.rules.notify.notice_queue import NoticeQueue

_log: Final = logging.getLogger("shim.notifications")

#: Statuses of a request that one of its alerts may have spoiled, or that is too large.
_SPOILED: Final = frozenset({400, 413, 422})
#: The status for alerts that cannot be written as JSON, as if their receiver had said so.
_UNWRITABLE: Final = 422


@dataclass(frozen=True, slots=True)
class Receiver:
    """How one receiver is reached. `name` shows in metrics and logs, so it contains no secret."""

    name: str
    post: Callable[[Sequence[TenantAlert]], Awaitable[PostAnswer]]
    close: Callable[[], Awaitable[None]]
    #: Whether a later try sends the latest states: else the very same message, with the same id.
    sends_newest: bool
    #: Whether an answer is final. Without it a refused message is tried again, too.
    is_final: Callable[[PostAnswer], bool]


class NoticeSender:
    """Sends until it is stopped; its task begins at once."""

    def __init__(self, receiver: Receiver, queue: NoticeQueue, max_batch: int, metrics: ShimMetrics) -> None:
        self.receiver = receiver
        self._queue = queue
        self._max_batch = max_batch
        self._metrics = metrics
        self._trying = 0
        self._wake = asyncio.Event()
        self._stopping = asyncio.Event()
        metrics.notification_queue_capacity.labels(receiver.name).set(queue.max_alerts)
        self._task = asyncio.create_task(self._run(), name=f"shim-notify-{receiver.name}")

    def put(self, alerts: Sequence[TenantAlert]) -> None:
        """Queue alerts; the oldest are dropped where there are too many."""
        dropped = sum(self._queue.put(alert) for alert in alerts)
        if dropped:
            self._metrics.notifications_dropped.labels(self.receiver.name, "queue_full").inc(dropped)
            _log.warning("event=alerts_dropped receiver=%s alerts=%d", self.receiver.name, dropped)
        self._show_length()
        self._wake.set()

    async def stop(self, deadline_s: float) -> None:
        """Send the queue for some seconds, each batch with one try, then give up the rest."""
        self._stopping.set()
        self._wake.set()
        await asyncio.wait([self._task], timeout=deadline_s)
        self._task.cancel()
        await asyncio.wait([self._task])
        left = len(self._queue) + self._trying
        if left:
            self._metrics.notifications_dropped.labels(self.receiver.name, "stopped").inc(left)
            _log.warning(
                "event=alerts_dropped receiver=%s alerts=%d reason=stopped", self.receiver.name, left
            )
        await self.receiver.close()
        self._metrics.forget_receiver(self.receiver.name)

    async def _run(self) -> None:
        while True:
            await self._wake.wait()
            self._wake.clear()
            while batch := self._queue.take(self._max_batch):
                self._trying = len(batch)
                if not await self._deliver(batch):
                    return
                self._trying = 0
                self._show_length()
            if self._stopping.is_set():
                return

    async def _deliver(self, batch: list[TenantAlert]) -> bool:
        """Try until the batch is taken or refused; return False if it is not when this is stopped."""
        failures = 0
        while True:
            answer = await self._try(batch)
            if answer.outcome is PostOutcome.DELIVERED:
                return True
            if self.receiver.is_final(answer):
                if len(batch) > 1 and answer.status in _SPOILED:
                    half = len(batch) // 2  # one alert that is refused does not take the others along
                    return await self._deliver(batch[:half]) and await self._deliver(batch[half:])
                self._metrics.notifications_dropped.labels(self.receiver.name, "refused").inc(len(batch))
                return True
            failures += 1
            if await self._stopped_within(pause_s(failures, answer.retry_after_s)):
                return False
            if self.receiver.sends_newest:
                batch = self._queue.newest(batch)

    async def _try(self, batch: Sequence[TenantAlert]) -> PostAnswer:
        name, metrics = self.receiver.name, self._metrics
        began_s = time.perf_counter()
        answer = await self._posted(batch)
        metrics.notification_seconds.labels(name).observe(time.perf_counter() - began_s)
        if answer.outcome is PostOutcome.DELIVERED:
            metrics.notifications_sent.labels(name).inc(len(batch))
        else:
            metrics.notification_errors.labels(name).inc(len(batch))
            _log.warning(
                "event=alerts_not_sent receiver=%s alerts=%d error=%s", name, len(batch), answer.text
            )
        return answer

    async def _posted(self, batch: Sequence[TenantAlert]) -> PostAnswer:
        """Post a batch. One that cannot be written is refused, so that it does not hold up other tenants'."""
        try:
            return await self.receiver.post(batch)
        except Exception as e:
            _log.exception("event=alerts_not_written receiver=%s", self.receiver.name)
            return PostAnswer(PostOutcome.REFUSED, _UNWRITABLE, f"{type(e).__name__}")

    async def _stopped_within(self, pause: float) -> bool:
        try:
            await asyncio.wait_for(self._stopping.wait(), pause)
        except TimeoutError:
            return False
        return True

    def _show_length(self) -> None:
        self._metrics.notification_queue_length.labels(self.receiver.name).set(
            len(self._queue) + self._trying
        )
