"""The shim as a running server: opens its parts, listens, stops in order.

Stopping: no new connections, requests in flight get a few seconds to finish, then engine, pool and store
close. The store is closed only when it was opened here.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import signal
import socket
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import TypeVar

import msgspec
from aiohttp import web

from agent.config.host_port import format_host_port, parse_host_port
from agent.runtime.logs import Log
from agent.runtime.reload_actions import ReloadAction, ReloadActions
from agent.runtime.service_manager import ServiceManager
from indexer.access.grants import EntryError
from indexer.clickhouse.schema.eras import eras_for_reading
from indexer.clickhouse.store import Store, open_store
from indexer.clickhouse.wait_for_store import started
from indexer.deletion.deletion_request import DeletionRequest, DeletionResult
from indexer.http.authenticator import Authenticator
from indexer.http.handshake import ListenerTls, listener_tls
from indexer.http.listening_sockets import START_WAIT_S, close, listen, port_of
from indexer.http.reload_signal import reloading
from indexer.http.web_pages import WebPageRules
from indexer.intern.series import Change
from indexer.subscriptions.messages_of_subscriptions import SubscriptionWrites
from indexer.write.insert_feed import InsertFeed
from shim.catalog import Catalog, MetadataQueries
from shim.engine.cache_warmer import CacheWarmer
from shim.engine.engine import QueryEngine
from shim.engine.live_edge import Agents, LiveEdge, TableAgents
from shim.engine.retention_eras import RetentionEras
from shim.http.admission import Admission
from shim.http.app import make_app
from shim.http.context import HttpContext
from shim.http.house_sources import Beside, open_house
from shim.http.ingest_limits import limits_of
from shim.http.readable_store import open_when_readable
from shim.http.server import Runner
from shim.indexers.deletions import DeleteSeries, local_deletions, remote_deletions
from shim.indexers.indexer_client import IndexerClient
from shim.indexers.message_writes import TakeMessages
from shim.metrics import ShimMetrics
from shim.model.tenancy import Proxy, Tenant, TenantResolver, entries
from shim.notify.server_notices import ServerNotices
from shim.read.cell_cache.setup import CellCache
from shim.rules.notify.alert_notifier import AlertNotifier
from shim.rules.running_rules import TEMPLATE_THREADS, RunningRules
from shim.settings import ShimSettings
from shim.snql.service import Languages
from shim.subscriptions.remote_writes import RemoteWrites, Write, local_writes
from shim.subscriptions.subscription_book import SubscriptionBook
from shim.subscriptions.subscription_jobs import SubscriptionJobs
from shim.subscriptions.webhook_rules import WebhookRules
from shim.ticks.lease import Lease
from shim.ticks.redis_lease import open_lease

_log = logging.getLogger("shim.service")

#: How long requests in flight may take to finish when the server stops.
GRACE_S = 5.0
#: Queries of rules that may wait for a slot: one of each group.
_RULES_WAITING = 1_000_000

T = TypeVar("T")


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
        reloads: ReloadActions | None = None,
    ) -> None:
        self._beside = beside
        self.reloads = reloads or ReloadActions(Log("shim.reload"))
        self._limits = limits
        self._subscribe = subscribe
        self._evaluating: Sequence[asyncio.Task[None]] = ()
        self._lease: Lease | None = None
        self._take_messages = take_messages
        self._delete = delete
        self._rules: RunningRules | None = None
        self._agents = agents
        self._table: TableAgents | None = None
        self._settings = settings
        self._insert_feed = insert_feed
        self._recent = recent
        self._warmer: CacheWarmer | None = None
        self._store = store
        self._owned: Store | None = None
        self._version = version
        self._changes = changes
        self.metrics = metrics or ShimMetrics()
        self._notices = ServerNotices()
        self._notifier: AlertNotifier | None = None
        self._runner: Runner | None = None
        self._engine: QueryEngine | None = None
        self._pool: ThreadPoolExecutor | None = None
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
        settings = self._settings
        authenticator = _authenticator(settings)
        tls = listener_tls("shim.tls", settings.tls)
        proxy = Proxy(settings.tenancy)
        _warn(settings, authenticator, proxy)
        if not self._socks:
            await self.bind()
        self._pool = ThreadPoolExecutor(settings.concurrency + 2, thread_name_prefix="shim")
        store = self._store or await self._open(tls)
        eras = await self._in_pool(
            partial(RetentionEras, partial(eras_for_reading, store, settings.retention))
        )
        settings = self._settings = msgspec.structs.replace(settings, retention=eras.retention())
        catalog = Catalog(store, settings, self._version, self.metrics, changes=self._changes)
        blocks = self._blocks(store)
        shared = settings.tenancy.mode != "single"
        turns = Admission(settings.concurrency, settings.max_waiting, self.metrics, shared=shared)
        agents = self._agents
        if agents is None and not store.embedded:
            agents = self._table = TableAgents(store)
        edge = LiveEdge(settings.settle_s, agents)
        self._engine = QueryEngine(store, catalog, settings, blocks=blocks, edge=edge, eras=eras.present)
        languages = Languages(self._engine, catalog, settings)
        write = self._writes()
        running = settings.rules.concurrency
        rule_turns, slow_turns, templates = (
            Admission(count, _RULES_WAITING, ShimMetrics(), shared=shared)
            for count in (running, running, TEMPLATE_THREADS)
        )
        self._rules = RunningRules(
            settings, self._engine, edge, rule_turns, slow_turns, templates, turns, self.metrics,
            self._take_messages,
        )  # fmt: skip
        context = HttpContext(
            settings=settings,
            engine=self._engine,
            explorer=MetadataQueries(catalog, settings),
            languages=languages,
            rules=self._rules,
            subscriptions=SubscriptionBook(
                store, write, settings.max_query_bytes, webhooks=WebhookRules(settings)
            ),
            gate=TenantResolver(settings.tenancy),
            proxy=proxy,
            pages=WebPageRules(self.host, settings.http.allowed_hosts),
            authenticator=authenticator,
            metrics=self.metrics,
            turns=turns,
            pool=self._pool,
            now_ms=lambda: time.time_ns() // 1_000_000,
            started_ms=time.time_ns() // 1_000_000,
            ping=lambda: store.command("SELECT 1"),
            notices=self._notices,
            reloads=self.reloads,
            alertmanagers=lambda: self._notifier.urls if self._notifier else (),
            limits=self._limits or limits_of(settings.indexers),
            delete=self._deletions(),
            retention=eras.retention,
        )
        house = open_house(store, catalog, context.explorer, settings, self._beside)
        await self._listen(make_app(context, house), tls)
        await self._evaluate(store, write, languages, edge)
        _log.info("listening url=%s tenancy=%s", self.url, settings.tenancy.mode)
        if self._version is not None:
            recent = self._recent if settings.cache.restore_s else None
            self._warmer = CacheWarmer(catalog, blocks, recent, settings.cache.restore_s, lambda: turns.busy)
            asyncio.get_running_loop().run_in_executor(self._pool, self._warmer.run, _only(settings))

    async def _listen(self, app: web.Application, tls: ListenerTls | None) -> None:
        """Serve the application on the bound sockets."""
        self._runner = self._make_runner(app, tls)
        await self._runner.setup()
        while self._socks:
            sock = self._socks.pop(0)
            await self._runner.site(sock, min(512, self._settings.http.max_connections)).start()

    async def _evaluate(
        self, store: Store, write: Write | None, languages: Languages, edge: LiveEdge
    ) -> None:
        """Begin the ticks of rules and subscriptions, and the notifier of alerts."""
        settings = self._settings
        assert self._rules is not None
        assert self._pool is not None
        url = settings.external_url or self.url
        self._notifier = AlertNotifier(settings, url, self.metrics, self._notices)
        await self._notifier.start()
        self._lease = open_lease(settings.lease, self.metrics)
        self._rules.start(self._notifier, self._lease, url, self._notices)
        self.reloads.add("rules", self._rules.reload)
        self.reloads.add("alertmanagers", self._notifier.reload)
        if write is not None and settings.subscriptions.evaluate:
            jobs = SubscriptionJobs(store, write, settings, self.metrics, self._lease, self._pool)
            self._evaluating = jobs.start(languages, edge)

    def _writes(self) -> Write | None:
        """Return the way to store subscriptions; None where no indexer is known."""
        if self._subscribe is not None:
            return local_writes(self._subscribe)
        indexers = self._settings.indexers
        return RemoteWrites(IndexerClient(indexers)) if indexers.urls else None

    def _deletions(self) -> DeleteSeries | None:
        """Return the way to delete samples; None where no indexer is known."""
        if self._delete is not None:
            return local_deletions(self._delete)
        indexers = self._settings.indexers
        return remote_deletions(IndexerClient(indexers)) if indexers.urls else None

    def _blocks(self, store: Store) -> CellCache | None:
        """None where they are off, or where others may write to the store."""
        settings = self._settings
        if self._insert_feed is None or not settings.cache.max_bytes or not store.embedded:
            return None
        return CellCache(store, settings.cache, settings.retention, self._insert_feed, self.metrics)

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

    def _in_pool(self, call: Callable[[], T]) -> Awaitable[T]:
        return asyncio.get_running_loop().run_in_executor(self._pool, call)

    async def _open(self, tls: ListenerTls | None) -> Store:
        """Return its own store once an indexer has made the tables: a user who may only read will do."""
        pool = 2 * self._settings.concurrency + 2
        self._owned = await open_when_readable(
            lambda pool: open_store(self._settings.dsn, pool=pool, cluster=self._settings.cluster),
            pool,
            self._in_pool,
            lambda app: self._make_runner(app, tls),
            self._socks,
        )
        return self._owned

    async def stop(self) -> None:
        """Stop listening, wait for requests in flight, close everything. A second call does nothing."""
        close(self._socks)
        runner, self._runner = self._runner, None
        if runner is not None:
            await runner.cleanup()
        rules, self._rules = self._rules, None
        if rules is not None:
            await rules.stop()
        await self._stop_evaluating()
        notifier, self._notifier = self._notifier, None
        if notifier is not None:
            await notifier.stop()
        warmer, self._warmer = self._warmer, None
        if warmer is not None:
            warmer.stop()
            await asyncio.to_thread(warmer.remember)
        engine, self._engine = self._engine, None
        pool, self._pool = self._pool, None
        owned, self._owned = self._owned, None
        if engine is not None:
            await asyncio.to_thread(engine.close)
        table, self._table = self._table, None
        if table is not None:
            await asyncio.to_thread(table.close)
        if pool is not None:
            await asyncio.to_thread(pool.shutdown, wait=True, cancel_futures=True)
        if owned is not None:
            await asyncio.to_thread(owned.close)

    async def _stop_evaluating(self) -> None:
        """End the work on ticks, and let other shims go on with it at once."""
        evaluating, self._evaluating = self._evaluating, ()
        for task in evaluating:
            task.cancel()
        if evaluating:
            await asyncio.wait(evaluating)
        lease, self._lease = self._lease, None
        if lease is not None:
            await lease.close()


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
