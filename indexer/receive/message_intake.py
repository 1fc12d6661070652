"""Takes requests of JSON messages: reads them within the bounds of memory, and tells which are stored."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Sequence
from contextlib import AbstractAsyncContextManager
from functools import partial
from typing import Final

from indexer.access.grants import Grant
from indexer.metrics import Metrics
from indexer.receive.message_requests import MessageRequests
from indexer.receive.messages import Parsed, parse
from indexer.receive.pending_requests import PendingRequests
from indexer.settings import Settings
from indexer.write.accepted_frame import AcceptedFrame
from indexer.write.journal_rows import KnownRequest
from indexer.write.split_by_day import RetentionRules

#: Longer bodies are decoded in a thread, so that the loop continues to answer.
LARGE_BYTES: Final = 64 << 10
#: Maximum bytes of memory per byte of JSON: `1,` of a list is a Python float and its place.
_PARSED: Final = 20


class MessageIntake:
    """See the module.

    `memory(size, org_id)` reserves memory, for an org's large body in its turn; `write` stores frames.
    `pending`, `taken`: known requests.
    """

    def __init__(
        self,
        settings: Settings,
        metrics: Metrics,
        memory: Callable[[int, int | None], AbstractAsyncContextManager[None]],
        write: Callable[[Sequence[AcceptedFrame]], Awaitable[object]],
        pending: PendingRequests,
        taken: Callable[[str], Iterable[KnownRequest]],
    ) -> None:
        self._settings = settings
        self._metrics = metrics
        self._memory = memory
        self._rules = RetentionRules(settings.retention, settings.limits.retention_steps)
        self._requests = MessageRequests(self._parse, write, pending, taken)

    async def take(self, body: bytes, key: str, grant: Grant) -> tuple[int, dict[str, object]]:
        """Store messages; return status and answer. Raises MessagesError, WriteError."""
        parsed = await self._requests.write(body, key, grant)
        self._metrics.dropped_rows.labels(reason="expired").inc(parsed.expired)
        self._metrics.messages.labels(outcome="accepted").inc(parsed.accepted)
        self._metrics.messages.labels(outcome="rejected").inc(len(parsed.rejected) - parsed.forbidden)
        self._metrics.messages.labels(outcome="forbidden").inc(parsed.forbidden)
        rejected = [{"position": r.position, "reason": r.reason} for r in parsed.rejected]
        status = 400 if rejected and not parsed.accepted else 200
        if rejected and parsed.forbidden == len(rejected) and not parsed.accepted:
            self._metrics.refused.labels(reason="forbidden").inc()
            status = 403
        return status, {"accepted": parsed.accepted, "rejected": rejected}

    async def _parse(self, body: bytes, key: str, grant: Grant, at_ms: int) -> Parsed:
        """Return the messages of a request as of the time it first came."""
        call = partial(
            parse,
            body,
            key=key,
            created_ms=at_ms,
            first_day=lambda days: self._rules.first_day(self._rules.rounded(days), at_ms, at_ms),
            latest_s=at_ms // 1000 + self._settings.bounds.future_s,
            max_messages=self._settings.bounds.messages,
            grant=grant,
        )
        org_id = grant.tenant.org_id if grant.tenant is not None else 0  # its messages may be of several
        async with self._memory(_PARSED * len(body), org_id if len(body) > LARGE_BYTES else None):
            return await asyncio.to_thread(call)
