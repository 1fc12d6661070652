"""Subscriptions over HTTP: a shim sends definitions, removals and results, which the indexer stores.

Needs a credential that may write to every project of the message.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import msgspec
from aiohttp import web

from indexer.access.grants import ForbiddenError, Right, foreign
from indexer.clickhouse.store import StoreError
from indexer.http.paths import SUBSCRIPTIONS
from indexer.metrics import Metrics
from indexer.receive.answers import error_answer, grant_of, json_answer
from indexer.subscriptions.messages_of_subscriptions import SubscriptionWrites
from indexer.subscriptions.subscription_rows import TickAheadError, TooManySubscriptionsError
from indexer.write.errors import Unavailable


class SubscriptionPages:
    """The HTTP handler; `write` stores a message in a thread."""

    def __init__(self, write: Callable[[SubscriptionWrites], None], metrics: Metrics) -> None:
        self._write = write
        self._metrics = metrics
        self._decoder = msgspec.json.Decoder(SubscriptionWrites)

    def add_to(self, app: web.Application) -> None:
        """Add the route."""
        app.router.add_post(SUBSCRIPTIONS, self._store)

    async def _store(self, request: web.Request) -> web.Response:
        body = await request.read()
        self._metrics.received_bytes.inc(len(body))
        try:
            writes = self._decoder.decode(body)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as e:
            self._metrics.refused.labels(reason="bad_subscriptions").inc()
            return error_answer(400, f"subscriptions: {e}: expected a message of docs/subscriptions.md")
        grant = grant_of(request)
        for org_id, project_id in writes.projects():
            grant.require(Right.WRITE)
            if not grant.covers(org_id, project_id):
                raise ForbiddenError(foreign(org_id, project_id or "*", grant))
        try:
            await asyncio.to_thread(self._write, writes)
        except TooManySubscriptionsError as e:
            self._metrics.refused.labels(reason="subscriptions").inc()
            return error_answer(429, str(e))
        except TickAheadError as e:
            self._metrics.refused.labels(reason="tick_ahead").inc()
            return error_answer(409, str(e))
        except StoreError as e:
            self._metrics.store_failed(e)
            raise Unavailable(f"subscriptions: {e.told}", retry_after_s=5) from e
        return json_answer({"stored": True})
