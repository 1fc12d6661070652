"""The shim as a running server: opens its parts, listens, stops in order.

Starting (`_start`): sockets, threads, store, the parts of queries (shim/parts/query_parts.py), the HTTP
application, then the work at ticks (shim/parts/tick_work.py) and the warming of caches.

Stopping: no new connections, requests in flight get a few seconds to finish, then the parts end in the
reverse order. The store is closed only when it was opened here.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import signal
import socket
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack, suppress
from functools import partial
from pathlib import Path

from aiohttp import web

from agent.config.host_port import format_host_port, parse_host_port
from agent.runtime.logs import Log
from agent.runtime.program_version import program_version
from agent.runtime.reload_actions import ReloadAction
from agent.runtime.service_manager import ServiceManager
from indexer.access.grants import EntryError
from indexer.clickhouse.store import Store, open_store
from indexer.clickhouse.wait_for_store import started
from indexer.deletion.deletion_request import DeletionRequest, DeletionResult
from indexer.http.authenticator import Authenticator
from indexer.http.coalesced_reloads import CoalescedReloads
from indexer.http.handshake import ListenerTls, listener_tls
from indexer.http.listening_sockets import START_WAIT_S, close, listen, port_of
from indexer.http.reload_signal import reloading
from indexer.http.web_pages import WebPageRules
from indexer.intern.series import Change
from indexer.subscriptions.messages_of_subscriptions import SubscriptionWrites
from indexer.write.insert_feed import InsertFeed
from shim.catalog import MetadataQueries
from shim.engine.cache_warmer import CacheWarmer
from shim.engine.live_edge import Agents
from shim.http.admission import Admission
from shim.http.app import make_app
from shim.http.context import HttpContext
from shim.http.house_sources import Beside, open_house
from shim.http.readable_store import open_when_readable
from shim.http.server import Runner
from shim.indexers.message_writes import TakeMessages
from shim.metrics import ShimMetrics
from shim.model.tenancy import Proxy, Tenant, TenantResolver, entries
from shim.notify.server_notices import ServerNotices
from shim.parts.local_indexer import LocalIndexer
from shim.parts.query_parts import QueryParts, open_query_parts
from shim.parts.tick_work import TickWork
from shim.settings import ShimSettings
from shim.subscriptions.remote_writes import Write
from shim.subscriptions.subscription_book import SubscriptionBook
from shim.subscriptions.webhook_rules import WebhookRules

_log = logging.getLogger("shim.service")

#: How long requests in flight may take to finish when the server stops.
GRACE_S = 5.0


class ShimService:
    """One HTTP server. `store` is given when it is shared (`meterhouse up`); else `settings.dsn` is opened.

    `version` rises whenever the indexer in the same process registers series; without it look-ups always ask
    the tables. `changes` lists the series registered since a version. `insert_feed` announces its INSERTs;
    without it no cells are kept in memory. `recent`: the file of the warm state (shim/engine/warm_state.py);
    None for no file. `agents`: their progress, if the indexer of this process hears of all of them; without
    it the table is read. `limits` returns an org's ingest limits and their use. `subscribe` is the indexer of
    this process, which stores subscriptions, `take_messages` the one that stores results of rules, `delete`
    the one that deletes samples; without them those of the settings are asked. `socks`: sockets that listen
    already (indexer/http/listening_sockets.py). `beside`: agent and indexer of the same process group, for
    the page about the product.
    """

    def __init__(  # noqa: PLR0913 - the parts of one process, each by its name
        self,
        settings: ShimSettings,
        *,
        store: Store | None = None,
        version: Callable[[], int] | None = None,
        changes: Callable[[int], Sequence[Change] | None] = lambda _: None,
        insert_feed: InsertFeed | None = None,
        recent: Path | None = None,
        agents: Agents | None = None,
        limits: Callable[[int], Mapping[str, int]] | None = None,
        subscribe: Callable[[SubscriptionWrites], None] | None = None,
        take_messages: TakeMessages | None = None,
        delete: Callable[[DeletionRequest], DeletionResult] | None = None,
        socks: list[socket.socket] | None = None,
        metrics: ShimMetrics | None = None,
        beside: Beside | None = None,
        reloads: CoalescedReloads | None = None,
    ) -> None:
        self._settings = settings
        self._store = store
        self._indexer = LocalIndexer(
            version=version,
            changes=changes,
            insert_feed=insert_feed,
            agents=agents,
            limits=limits,
            subscribe=subscribe,
            take_messages=take_messages,
            delete=delete,
        )
        self._recent = recent
        self._beside = beside
        self.metrics = metrics or ShimMetrics()
        self.metrics.build_info.labels(program_version()).set(1)
        self.reloads = reloads or CoalescedReloads(Log("shim.reload"))
        self._notices = ServerNotices()
        self._owned: Store | None = None
        self._runner: Runner | None = None
        self._ends = AsyncExitStack()
        host, self.port = parse_host_port(settings.listen)
        self.host = host or "0.0.0.0"  # noqa: S104  # `:9090` means every address
        self._socks = socks if socks is not None else []
        if self._socks:
            self.port = port_of(self._socks)

    @property
    def address(self) -> str:
        """Where it listens, `host:port`; the port is the real one once it is started."""
        return format_host_port(self.host, self.port)

    @property
    def url(self) -> str:
        """Where it is reached."""
        return f"{'https' if self._settings.tls.cert else 'http'}://{self.address}"

    async def bind(self, wait_s: float = 0.0) -> None:
        """Listen, and serve once started; try again for `wait_s` while the address is in use.

        Raises AddressError.
        """
        self._socks = await listen("shim.listen", self._settings.listen, wait_s)
        self.port = port_of(self._socks)

    async def start(self) -> None:
        """Open the store, wait for its tables, and listen.

        Raises StoreError (not opened, or embedded without tables), OSError (port taken).
        """
        try:
            await self._start()
        except BaseException:
            await self.stop()
            raise

    async def _start(self) -> None:
        """Open the parts in order. Each leaves its end in `_ends`: the last one opened is closed first."""
        settings, indexer = self._settings, self._indexer
        authenticator = _authenticator(settings)
        tls = listener_tls("shim.tls", settings.tls)
        proxy = Proxy(settings.tenancy)
        _warn(settings, authenticator, proxy)
        if not self._socks:
            await self.bind()
        pool = self._open_pool()
        store = self._store or await self._open_store(pool, tls)
        store.kills.failed = self.metrics.statements_not_ended.inc
        queries = await open_query_parts(store, settings, indexer, self.metrics, pool, self._ends)
        settings = queries.settings
        shared = settings.tenancy.mode != "single"
        slots = Admission(settings.concurrency, settings.max_waiting, self.metrics, shared=shared)
        url = settings.external_url or self.url
        work = TickWork(queries, slots, indexer.take_messages, self.metrics, self._notices, url)
        write = indexer.subscription_writes(settings.indexers)
        context = self._context(queries, work, slots, write, pool, authenticator, proxy)
        house = open_house(store, queries.catalog, context.explorer, settings, self.reloads, self._beside)
        await self._listen(make_app(context, house), tls)
        await work.start(write, pool, self.reloads, self._ends)
        _log.info("listening url=%s tenancy=%s", self.url, settings.tenancy.mode)
        if indexer.version is not None:
            self._warm(queries, slots, pool)

    def _open_pool(self) -> ThreadPoolExecutor:
        """Open the threads for all blocking calls. A store of our own is closed after them."""
        pool = ThreadPoolExecutor(self._settings.concurrency + 2, thread_name_prefix="shim")
        self._ends.push_async_callback(self._close_store)
        self._ends.push_async_callback(asyncio.to_thread, pool.shutdown, wait=True, cancel_futures=True)
        return pool

    async def _open_store(self, pool: ThreadPoolExecutor, tls: ListenerTls | None) -> Store:
        """Return its own store once an indexer has made the tables: a user who may only read will do."""
        settings = self._settings
        self._owned = await open_when_readable(
            lambda count: open_store(settings.dsn, pool=count, cluster=settings.cluster),
            2 * settings.concurrency + 2,
            partial(asyncio.get_running_loop().run_in_executor, pool),
            lambda app: self._make_runner(app, tls),
            self._socks,
        )
        return self._owned

    async def _close_store(self) -> None:
        owned, self._owned = self._owned, None
        if owned is not None:
            await asyncio.to_thread(owned.close)

    def _context(
        self,
        queries: QueryParts,
        work: TickWork,
        slots: Admission,
        write: Write | None,
        pool: ThreadPoolExecutor,
        authenticator: Authenticator,
        proxy: Proxy,
    ) -> HttpContext:
        """Return the state that all handlers share."""
        settings, store = queries.settings, queries.store
        webhooks = WebhookRules(settings)
        return HttpContext(
            settings=settings,
            engine=queries.engine,
            explorer=MetadataQueries(queries.catalog, settings),
            languages=queries.languages,
            rules=work.rules,
            subscriptions=SubscriptionBook(
                store, write, settings.max_query_bytes, queries.clock.now_s, webhooks
            ),
            gate=TenantResolver(settings.tenancy),
            proxy=proxy,
            pages=WebPageRules(self.host, settings.http.allowed_hosts),
            authenticator=authenticator,
            metrics=self.metrics,
            turns=slots,
            pool=pool,
            now_ms=lambda: int(queries.clock.now_s() * 1000),
            started_ms=time.time_ns() // 1_000_000,
            ping=lambda: store.command("SELECT 1"),
            notices=self._notices,
            reloads=self.reloads,
            alertmanagers=lambda: work.notifier.urls,
            limits=self._indexer.limits_or_remote(settings.indexers),
            delete=self._indexer.deletions(settings.indexers),
            retention=queries.eras.retention,
        )

    async def _listen(self, app: web.Application, tls: ListenerTls | None) -> None:
        """Serve the application on the bound sockets."""
        self._runner = self._make_runner(app, tls)
        await self._runner.serve(self._socks, min(512, self._settings.http.max_connections))

    def _make_runner(self, app: web.Application, tls: ListenerTls | None) -> Runner:
        settings, closed = self._settings, self.metrics.connections_closed
        return Runner(
            app,
            settings.http,
            lambda why: closed.labels(why.value).inc(),
            listening=tls,
            max_head_bytes=settings.max_head_bytes,
            max_long_heads_bytes=settings.max_long_heads_bytes,
            shutdown_timeout=GRACE_S,
            handler_cancellation=True,  # a client that goes away takes its query along
        )

    def _warm(self, queries: QueryParts, slots: Admission, pool: ThreadPoolExecutor) -> None:
        """Warm the caches in the background, as the last run left them; this run's end notes its own."""
        cache = queries.settings.cache
        recent = self._recent if cache.restore_s else None
        warmer = CacheWarmer(queries.catalog, queries.cells, recent, cache.restore_s, lambda: slots.busy)
        self._ends.push_async_callback(asyncio.to_thread, warmer.remember)
        self._ends.callback(warmer.stop)
        asyncio.get_running_loop().run_in_executor(pool, warmer.run, _only(queries.settings))

    async def stop(self) -> None:
        """Stop listening, wait for requests in flight, close everything. A second call does nothing."""
        close(self._socks)
        runner, self._runner = self._runner, None
        if runner is not None:
            await runner.cleanup()
        await self._ends.aclose()


def _warn(settings: ShimSettings, authenticator: Authenticator, proxy: Proxy) -> None:
    """Log settings of access that have no effect."""
    if settings.tenancy.mode == "header" and not proxy.known:
        _log.warning(
            "event=proxy_unknown hint=who reaches this port sees every org: set shim.tenancy.proxy_secret"
            " or proxy_cert"
        )
    if authenticator.knows_certificates and not settings.tls.client_ca:
        _log.warning("event=certificates_unused hint=shim.tls.client_ca has the CA of client certificates")


def _only(settings: ShimSettings) -> Tenant | None:
    """Return the tenant of single mode; None in other modes."""
    of = settings.tenancy
    return Tenant(of.org_id, of.project_id) if of.mode == "single" else None


def _authenticator(settings: ShimSettings) -> Authenticator:
    """Make the authenticator. Raises OSError for a token file that cannot be used."""
    try:
        return Authenticator(entries(settings.tenancy), settings.tenancy.tokens_file)
    except EntryError as e:
        raise OSError(f"shim.tenancy.tokens_file: {e}") from None


def freeze_started() -> None:
    """Exclude all present objects from garbage collection; entry points call it after the start.

    Modules and their code are some 100,000 objects. A full collection over them takes 70 ms of CPU while all
    threads wait, and would come in the middle of the second or third query after a start.
    """
    gc.freeze()


async def run(
    settings: ShimSettings,
    *,
    store: Store | None = None,
    version: Callable[[], int] | None = None,
    ready: Callable[[ShimService], None] | None = None,
    stop: asyncio.Event | None = None,
    on_reload: ReloadAction | None = None,
) -> None:
    """Serve until `stop` is set; without one, until SIGTERM or SIGINT. Raises StoreError, OSError.

    SIGHUP runs `on_reload`.
    """
    if stop is None:
        stop = asyncio.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            with suppress(NotImplementedError, RuntimeError):  # no signals off the main thread
                asyncio.get_running_loop().add_signal_handler(number, stop.set)
    service = ShimService(settings, store=store, version=version)
    manager = ServiceManager.of_environment()
    await service.bind(START_WAIT_S)
    if not await started(service.start(), stop):  # ClickHouse is away, and we are asked to stop
        return
    freeze_started()
    if on_reload is not None:
        service.reloads.add("settings", on_reload)
    try:
        if ready is not None:
            ready(service)
        manager.ready("answers queries")
        manager.keep_alive(asyncio.get_running_loop().call_later)
        with reloading(service.reloads, stop):
            await stop.wait()
    finally:
        manager.stopping()
        await service.stop()
