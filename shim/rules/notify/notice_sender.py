"""Sends the alerts of one receiver from a queue of its own: messages, tries, pauses.

One sender per receiver: a receiver that hangs delays no other. A message that its receiver does not take is
tried again after pauses of its own, while others go on; after `max_age_s` it is dropped. While the receiver
cannot be reached at all, everything waits for it. Runs in one event loop.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

from shim.metrics import ShimMetrics
from shim.notify.http_poster import PostAnswer, PostOutcome
from shim.notify.signed_webhook import pause_s
from shim.rules.notify.alert_json import TenantAlert
from shim.rules.notify.notice_queue import NoticeMessage, NoticeQueue

_log: Final = logging.getLogger("shim.notifications")

#: Statuses of a request that one of its alerts may have spoiled, or that is too large.
_SPOILED: Final = frozenset({400, 413, 422})
#: The status for alerts that cannot be written as JSON, as if their receiver had said so.
_UNWRITABLE: Final = 422
#: Requests to one receiver at the same time, each of other tenants.
MAX_AT_ONCE: Final = 4


@dataclass(frozen=True, slots=True)
class Receiver:
    """How one receiver is reached. `name` shows in metrics and logs, so it contains no secret."""

    name: str
    post: Callable[[Sequence[TenantAlert]], Awaitable[PostAnswer]]
    close: Callable[[], Awaitable[None]]
    #: Whether an answer is final. Without it a refused message is tried again, too.
    is_final: Callable[[PostAnswer], bool]
    #: Seconds after its first failure in which a message is tried.
    max_age_s: float = 3_600.0


class NoticeSender:
    """Sends until it is stopped; its task begins at once. `clock_s` is monotonic."""

    def __init__(
        self,
        receiver: Receiver,
        queue: NoticeQueue,
        max_batch: int,
        metrics: ShimMetrics,
        clock_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self.receiver = receiver
        self._queue = queue
        self._max_batch = max_batch
        self._metrics = metrics
        self._clock_s = clock_s
        self._running: set[asyncio.Task[None]] = set()
        self._delivered_s = float("-inf")
        self._unreachable = 0  # failures in a row
        self._rests_until_s = float("-inf")
        self._looked_s = float("-inf")
        self._wake = asyncio.Event()
        self._stopping = asyncio.Event()
        metrics.notification_queue_capacity.labels(receiver.name).set(queue.max_alerts)
        self._task = asyncio.create_task(self._run(), name=f"shim-notify-{receiver.name}")

    def put(self, alerts: Sequence[TenantAlert]) -> None:
        """Queue alerts; the oldest are dropped where there are too many."""
        self._drop("queue_full", sum(self._queue.put(alert) for alert in alerts))
        self._show_length()
        self._wake.set()

    async def stop(self, deadline_s: float) -> None:
        """Send the queue for some seconds, each message with one try, then give up the rest."""
        self._stopping.set()
        self._wake.set()
        await asyncio.wait([self._task], timeout=deadline_s)
        tasks = [self._task, *self._running]
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
        self._drop("stopped", len(self._queue) + self._queue.on_their_way)
        await self.receiver.close()
        self._metrics.forget_receiver(self.receiver.name)

    async def _run(self) -> None:
        """Begin messages whenever there may be one to send."""
        while True:
            self._wake.clear()
            self._begin()
            if self._stopping.is_set() and not self._running:
                return
            with suppress(TimeoutError):
                async with asyncio.timeout(self._pause_s()):
                    await self._wake.wait()

    def _begin(self) -> None:
        stopping = self._stopping.is_set()
        now_s = self._looked_s = self._clock_s()
        if now_s < self._rests_until_s and not stopping:
            return
        while len(self._running) < MAX_AT_ONCE:
            message = self._queue.take(self._max_batch, float("inf") if stopping else now_s)
            if message is None:
                break
            task = asyncio.create_task(self._deliver(message), name=f"shim-notify-{self.receiver.name}")
            self._running.add(task)
            task.add_done_callback(self._ended)
        self._show_length()

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._running.discard(task)
        self._show_length()
        self._wake.set()

    def _pause_s(self) -> float | None:
        """Return how long there is nothing to begin; None: until something happens."""
        if len(self._running) >= MAX_AT_ONCE or not len(self._queue):
            return None
        now_s = self._clock_s()
        if now_s < self._rests_until_s:
            return self._rests_until_s - now_s
        due_s = self._queue.next_due_s(self._looked_s)  # others wait for the end of a message
        return None if due_s is None else max(0.0, due_s - now_s)

    async def _deliver(self, message: NoticeMessage) -> None:
        """Try once, and again while no connection is made; hand back alerts that failed."""
        while True:
            tried_stopping = self._stopping.is_set()
            answer = await self._try(message.alerts)
            if answer.reached:
                self._unreachable = 0
                break
            self._rest(answer)
            if tried_stopping or self._is_old(message):
                break
            await self._rested()
            message.alerts = self._queue.newest(message.alerts)
        if answer.outcome is PostOutcome.DELIVERED:
            self._delivered_s = self._clock_s()
            self._queue.done(message)
        elif self.receiver.is_final(answer):
            self._refused(message, answer)
        else:
            self._failed(message, answer, final=tried_stopping)

    def _refused(self, message: NoticeMessage, answer: PostAnswer) -> None:
        """Drop one alert; of several in a message that one may have spoiled, find it."""
        if len(message.alerts) > 1 and answer.status in _SPOILED:
            self._drop("queue_full", self._queue.again(message, message.halves()))
            return
        self._queue.done(message)
        self._drop("refused", len(message.alerts))

    def _failed(self, message: NoticeMessage, answer: PostAnswer, *, final: bool) -> None:
        """Keep a message for a later try, in halves if its receiver takes others; drop an old one."""
        too_old = self._is_old(message)
        if too_old or final:
            self._queue.done(message)
            self._drop("too_old" if too_old else "stopped", len(message.alerts))
            return
        takes_others = len(message.alerts) > 1 and self._delivered_s > message.first_failed_s
        message.failures += 1
        message.due_s = self._clock_s() + pause_s(message.failures, answer.retry_after_s)
        parts = message.halves() if takes_others and message.failures > 1 else [message]
        self._drop("queue_full", self._queue.again(message, parts))

    def _is_old(self, message: NoticeMessage) -> bool:
        """Return whether a message that just failed has been tried for long enough."""
        now_s = self._clock_s()
        message.first_failed_s = message.first_failed_s or now_s
        return now_s - message.first_failed_s >= self.receiver.max_age_s

    def _rest(self, answer: PostAnswer) -> None:
        """Send nothing for a while, as no message would arrive."""
        now_s = self._clock_s()
        if now_s >= self._rests_until_s:
            self._unreachable += 1
            self._rests_until_s = now_s + pause_s(self._unreachable, answer.retry_after_s)

    async def _rested(self) -> None:
        """Wait until the receiver may be reached again, or this is stopped."""
        with suppress(TimeoutError):
            async with asyncio.timeout(max(0.0, self._rests_until_s - self._clock_s())):
                await self._stopping.wait()

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

    def _drop(self, reason: str, alerts: int) -> None:
        if alerts:
            self._metrics.notifications_dropped.labels(self.receiver.name, reason).inc(alerts)
            _log.warning(
                "event=alerts_dropped receiver=%s alerts=%d reason=%s", self.receiver.name, alerts, reason
            )

    def _show_length(self) -> None:
        self._metrics.notification_queue_length.labels(self.receiver.name).set(
            len(self._queue) + self._queue.on_their_way
        )
