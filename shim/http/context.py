"""The state that all handlers share."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor, Future
from dataclasses import dataclass, field
from typing import Final, ParamSpec, TypeVar

from aiohttp import web

from agent.runtime.reload_actions import ReloadActions
from indexer.access.grants import Grant
from indexer.clickhouse.retention import Retention
from indexer.deletion.deletion_threads import DeletionThreads
from indexer.http.authenticator import Authenticator
from indexer.http.web_pages import WebPageRules
from shim.catalog import MetadataQueries
from shim.engine.api import Engine
from shim.http.admission import Admission
from shim.indexers.deletions import DeleteSeries
from shim.metrics import ShimMetrics
from shim.model.tenancy import Proxy, TenantResolver
from shim.notify.server_notices import ServerNotices
from shim.rules.running_rules import RunningRules
from shim.settings import ShimSettings
from shim.snql.service import Languages
from shim.subscriptions.subscription_book import SubscriptionBook

P = ParamSpec("P")
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class HttpContext:
    """Settings, engine, catalog, metrics and pools of one server."""

    settings: ShimSettings
    engine: Engine
    explorer: MetadataQueries
    languages: Languages
    rules: RunningRules
    subscriptions: SubscriptionBook
    gate: TenantResolver
    proxy: Proxy  # whose requests alone are answered, where it is known
    pages: WebPageRules
    authenticator: Authenticator
    metrics: ShimMetrics
    turns: Admission
    pool: Executor  # for everything that blocks: the store, encoding, compressing
    now_ms: Callable[[], int]
    started_ms: int
    ping: Callable[[], None]  # asks the store for a sign of life; raises StoreError
    notices: ServerNotices
    reloads: ReloadActions
    #: the retention that rows of now have
    retention: Callable[[], Retention]
    #: the URLs that alerts are posted to
    alertmanagers: Callable[[], Sequence[str]] = tuple
    #: an org's limits of ingest and their use; may block (shim/http/ingest_limits.py)
    limits: Callable[[int], Mapping[str, int]] | None = None
    #: deletes samples; None where no indexer is known
    delete: DeleteSeries | None = None
    deletion_threads: DeletionThreads = field(default_factory=DeletionThreads)

    def begin(self, call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """Start `call` in the pool without waiting for its end."""
        return self.pool.submit(call, *args, **kwargs)

    async def blocking(self, call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run `call` in the pool."""
        return await asyncio.get_running_loop().run_in_executor(self.pool, lambda: call(*args, **kwargs))


CONTEXT: Final = web.AppKey("context", HttpContext)
#: Where a request holds the grant of its credential.
GRANT: Final = web.RequestKey("grant", Grant)
