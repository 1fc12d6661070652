"""The indexer as a service: joins store, strings, registry, writer and HTTP.

Owns the order of starting (store, tables, replay, listen) and of stopping (stop accepting, drain, close).
"""

from __future__ import annotations

import asyncio
import logging
import socket
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING, Any, Final, TypeVar

from agent.config.host_port import format_host_port, parse_host_port
from agent.wire.metadata import MetadataMessage
from indexer.agents.observer import AgentObserver
from indexer.agents.registry import AgentRegistry
from indexer.agents.up import instance_of
from indexer.background_parts import BackgroundParts
from indexer.clickhouse.store import Store, StoreError, embedded_path
from indexer.clickhouse.wait_for_store import done_when_whole, open_when_there
from indexer.deletion.deleter import Deleter
from indexer.deletion.deletion_request import DeletionBusyError, DeletionRequest, DeletionResult
from indexer.deletion.open_deleter import open_deleter
from indexer.http.authenticator import Authenticator, open_authenticator
from indexer.http.handshake import ListenerTls, listener_tls
from indexer.http.listening_sockets import close, listen, port_of
from indexer.http.server import Runner
from indexer.intern.catalog_watch import CatalogWatch
from indexer.intern.id_store import ClickHouseIdStore
from indexer.intern.series import SeriesRegistry
from indexer.intern.string_caches import StringCaches
from indexer.intern.string_indexer import StringIndexer
from indexer.metrics import Metrics
from indexer.receive.gauges import show_agents, show_catalog, show_waiting
from indexer.receive.intake import Intake
from indexer.receive.limits_http import shown
from indexer.receive.org_rates import OrgRates, open_shared_rates
from indexer.receive.pending_requests import PendingRequests, open_pending
from indexer.receive.readiness import Readiness
from indexer.receive.receiver import Receiver, ReceiverParts
from indexer.settings import Settings
from indexer.status import Status
from indexer.streams.start_consumers import start_consumers
from indexer.subscriptions.messages_of_subscriptions import SubscriptionWrites
from indexer.subscriptions.subscription_rows import open_subscription_writer
from indexer.tables_ready import EarlyTables, ReadyTables, look, open_settings_store, upgrade
from indexer.write.assembly import Writing, open_writing
from indexer.write.frame_retention import open_retention
from indexer.write.frame_writer import FrameWriter
from indexer.write.health import Health, Part
from indexer.write.insert_feed import InsertFeed
from indexer.write.journal import Journal
from indexer.write.journal_file import check_journal
from indexer.write.journal_writer import JournalWriter
from indexer.write.known_frames import open_known_frames
from indexer.write.metadata import MetadataWriter
from indexer.write.series_limit import SeriesLimit

if TYPE_CHECKING:
    from indexer.streams.consumer import StreamConsumer

T = TypeVar("T")

log = logging.getLogger(__name__)

_DAY_MS: Final = 86_400_000


class IndexerService:
    """Runs the indexer.

    `store`: use this one and leave it open; None opens (and closes) one of the settings' DSN. `insert_feed`:
    announces INSERTs to readers in the same process. `socks`: sockets that listen already
    (indexer/http/listening_sockets.py); None binds those of the settings. `early`: tables that are made ready
    already.

    Raises StoreError, JournalError or OSError from `start` when it cannot work.
    """

    def __init__(
        self,
        settings: Settings,
        store: Store | None = None,
        *,
        insert_feed: InsertFeed | None = None,
        socks: list[socket.socket] | None = None,
        early: EarlyTables | None = None,
    ) -> None:
        self.settings = settings
        self._early = early
        self._insert_feed = insert_feed
        self.metrics = Metrics()
        self.registry = SeriesRegistry(settings.bounds.cached_series)
        self.rates = OrgRates(settings.limits)
        self.agents = AgentRegistry(settings.bounds.agents)
        self.host, port = parse_host_port(settings.listen)
        self._socks = socks if socks is not None else []
        self.port = port_of(socks) if socks else port
        self._store = store
        self._owns_store = store is None
        self._caches = StringCaches(settings.bounds.cached_strings, settings.redis_url)
        self._threads = ThreadPoolExecutor(1, thread_name_prefix="indexer-service")
        self.health = Health()
        self._readiness = Readiness(self.health)
        self._shared_rates = open_shared_rates(settings.redis_url, self.rates, self.metrics.mistake)
        self._journal: Journal | None = None
        self._pending: PendingRequests | None = None
        self._strings: StringIndexer | None = None
        self._limit: SeriesLimit | None = None
        self._writer: JournalWriter | FrameWriter | None = None
        self._watch: CatalogWatch | None = None
        self._background: BackgroundParts | None = None
        self._subscriptions: Callable[[SubscriptionWrites], None] | None = None
        self._deleter: Deleter | None = None
        self._streams: list[StreamConsumer] = []
        self._receiver: Receiver | None = None
        self._runner: Runner | None = None

    @property
    def address(self) -> str:
        """`host:port` with the real port."""
        return format_host_port(self.host, self.port)

    @property
    def url(self) -> str:
        """The URL of the listener."""
        return f"{'https' if self.settings.tls.cert else 'http'}://{self.address}"

    @property
    def held_bytes(self) -> int:
        """Bytes of frames taken and not yet written."""
        return self._writer.held_bytes if self._writer is not None else 0

    def version(self) -> int:
        """Return the version of the registry; it rises when the table `series` gets rows."""
        return self.registry.version

    def limits(self, org_id: int) -> Mapping[str, int]:
        """Return an org's limits and their use, for `/api/v1/status/tsdb`."""
        today = _now_ms() // _DAY_MS
        series_today = self._limit.known(org_id, today) if self._limit is not None else 0
        return shown(self.settings.limits, series_today, self.metrics.limited_of(org_id))

    def subscribe(self, writes: SubscriptionWrites) -> None:
        """Store definitions, removals and results. Blocks. Raises StoreError, TooManySubscriptionsError."""
        if self._subscriptions is None:
            raise StoreError("the indexer is not started", retryable=True, public=True)
        self._subscriptions(writes)

    def delete(self, asked: DeletionRequest) -> DeletionResult:
        """Delete samples, or count them. Blocks. Raises DeletionError, DeletionBusyError, StoreError."""
        if self._deleter is None:
            raise DeletionBusyError("the indexer is not started")
        return self._deleter.delete(asked)

    async def take_messages(self, body: bytes, key: str) -> tuple[int, bytes]:
        """Return status and body of the answer to messages of this process, as its HTTP API gives them."""
        if self._receiver is None:
            return 503, b'{"error": "the indexer is not started"}'
        return await self._receiver.take_messages(body, key)

    def agents_seen(self, shows: Callable[[int, int], bool]) -> list[dict[str, Any]]:
        """Return the visible agents of orgs and projects, as `/status` shows them."""
        return self._background.observer.listing(shows) if self._background is not None else []

    def status(self) -> Status:
        """Return the numbers of the status line."""
        return Status(self.metrics.rows_total, len(self.registry), self.metrics.last_write_s)

    async def bind(self, wait_s: float = 0.0) -> None:
        """Listen now, unless sockets are given; retry for `wait_s` while the address is in use.

        Raises AddressError.
        """
        if not self._socks:
            self._socks = await listen("indexer.listen", self.settings.listen, wait_s)
            self.port = port_of(self._socks)

    async def start(self) -> None:
        """Bind, open, migrate, finish the work of a crashed run, serve. A failure closes everything."""
        try:
            await self._start()
        except BaseException:
            await self.stop()
            raise

    async def _start(self) -> None:
        authenticator = open_authenticator(self.settings)
        tls = listener_tls("indexer.tls", self.settings.tls)
        if authenticator.knows_certificates and not self.settings.tls.client_ca:
            log.warning(
                "event=certificates_unused hint=indexer.tls.client_ca has the CA of client certificates"
            )
        await self.bind()
        tables = await self._ready_tables()
        store, legacy = tables.store, tables.legacy
        writing = await self._in_thread(partial(self._open_writing, store, legacy=legacy))
        if self._watch is not None:
            await self._watch.start()
            if tables.series is not None:
                self._watch.learn(tables.series)
        await writing.writer.start()
        assert self._strings is not None  # _open_writing has made them
        self._background = BackgroundParts(
            store, self.settings, writing, self._strings,
            agents=self.agents, metrics=self.metrics, health=self.health,
        )  # fmt: skip
        self._background.start()
        receiver = await self._make_receiver(tables, writing, authenticator, self._background.observer)
        self._receiver = receiver
        await self._serve(receiver, tls)
        self._streams = start_consumers(
            self.settings, store, receiver.write_messages, self.metrics, self.health
        )

    async def _ready_tables(self) -> ReadyTables:
        """Return the tables of the given store, or of the settings' once it answers."""
        early = await self._in_thread(self._early.take) if self._early is not None else None
        if early is not None:
            self._store = early.store
            return early
        checking = partial(check_journal, self.settings)
        if embedded_path(self.settings.dsn) is None:
            await self._in_thread(checking)
        if self._store is None:
            self._store = await open_when_there(partial(open_settings_store, self.settings), self._in_thread)
        store = self._store
        if store.embedded:  # the lock of its data is that of the journal
            await self._in_thread(checking)
        upgrading = partial(upgrade, store, self.settings)
        await (self._in_thread(upgrading) if store.embedded else done_when_whole(upgrading, self._in_thread))
        return await self._in_thread(partial(look, store))

    def _open_writing(self, store: Store, *, legacy: bool) -> Writing:
        """Make the string indexer and the writer over it."""
        self._watch = CatalogWatch(
            store, self.registry, self._caches.redis, self._forget, self.metrics.mistake
        )
        self.health.on_back = self._watch.wake
        self._strings = StringIndexer(
            ClickHouseIdStore(store),
            self._caches.all(),
            on_created=partial(self.rates.charge, "strings"),
            on_stored=self._watch.stored,
        )
        writing = open_writing(
            store, self.settings, self._strings, self.registry, self.metrics, self.health,
            insert_feed=self._insert_feed, legacy=legacy,
        )  # fmt: skip
        self._writer, self._limit, self._journal = writing.writer, writing.limit, writing.journal
        self._deleter = open_deleter(store, self.settings, writing, self._insert_feed, self._watch.renew)
        return writing

    async def _make_receiver(
        self, tables: ReadyTables, writing: Writing, authenticator: Authenticator, observer: AgentObserver
    ) -> Receiver:
        """Return the HTTP side, with the memory of frames and requests that the store has."""
        store = tables.store
        settings, journal = self.settings, writing.journal
        self._subscriptions = open_subscription_writer(store, settings.bounds.subscriptions, _now_ms)
        parts = journal, writing.identities, self.metrics, settings, _now_ms, tables.applied_ms
        known = await self._in_thread(partial(open_known_frames, store, *parts))
        recorded = store if journal is None else None
        retentions = open_retention(settings, recorded, legacy=tables.legacy)
        dropped = self.metrics.forgotten_requests.inc
        self._pending = await self._in_thread(partial(open_pending, settings, dropped))
        return Receiver(
            settings,
            self.metrics,
            Intake(writing.writer, retentions, known, self.metrics, self.rates),
            ReceiverParts(
                ready=self._ready,
                refresh=self._refresh_gauges,
                describe=partial(self._describe, MetadataWriter(store, _now_ms)),
                authenticator=authenticator,
                observer=observer,
                limits=self.limits,
                subscribe=self.subscribe,
                pending=self._pending,
                taken=journal.taken if journal is not None else lambda _: (),
                set_aside=writing.writer.aside if isinstance(writing.writer, JournalWriter) else None,
                scoped_from_ms=tables.scoped_from_ms,
                remembers_s=known.remembers_s,
                delete=self.delete if settings.admin_api else None,
                deletions=self._deleter.running if self._deleter is not None else tuple,
                name=journal.name if journal and not (store.embedded or settings.only_indexer) else "",
            ),
        )

    async def _serve(self, receiver: Receiver, tls: ListenerTls | None) -> None:
        """Serve on the bound sockets, and start writing `up` and exchanging rates."""
        closed = self.metrics.connections_closed
        self._runner = Runner(
            receiver.app(),
            self.settings.http,
            lambda why: closed.labels(why.value).inc(),
            listening=tls,
            handle_signals=False,
        )
        await self._runner.serve(self._socks)
        if self._background is not None:
            self._background.start_up(instance_of(self.host, self.port))
        if self._shared_rates is not None:
            self._shared_rates.start()
        log.info("event=listening part=indexer url=%s", self.url)

    async def stop(self) -> None:
        """Stop accepting, write the accepted frames (until the deadline), close. Twice does nothing."""
        close(self._socks)
        if self._runner is not None:
            await self._runner.stop_accepting()
        await self._drain()
        await self._stop_background()
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None
        if self._shared_rates is not None:
            await self._in_thread(self._shared_rates.stop)
        self._caches.close()
        if self._owns_store and self._store is not None:
            await self._in_thread(self._store.close)
            self._store = None
        self._readiness.close()
        self._threads.shutdown()

    async def _drain(self) -> None:
        """Stop streams and `up`, write the accepted frames, and close the file of pending requests."""
        while self._streams:
            await self._streams.pop().stop()
        if self._background is not None:
            await self._background.stop_up()
        if self._writer is not None:
            await self._writer.stop(self.settings.drain_s)
            self._writer = None
        if self._pending is not None:
            self._pending.close()
            self._pending = None

    async def _stop_background(self) -> None:
        """Stop watching the catalog, and the parts beside the writing."""
        if self._watch is not None:
            await self._watch.stop()
            self._watch = None
        if self._background is not None:
            await self._background.stop()

    def _forget(self, database_id: str) -> None:
        """Empty every cache of strings and series, for data with this id."""
        if self._shared_rates is not None:
            self._shared_rates.use_database(database_id)
        self._caches.renew(database_id)
        if self._strings is not None:
            self._strings.forget(self._caches.all())
        if self._limit is not None:
            self._limit.forget()
        self.registry.forget()

    def _refresh_gauges(self) -> None:
        m = self.metrics
        if self._watch is not None:
            m.catalog_resets.set(self._watch.resets)
        m.held_bytes.set(self.held_bytes)
        m.cached.set(len(self._caches.near))
        show_catalog(m, self.registry, self._strings, self._caches.redis, self._shared_rates)
        heartbeats = self._background.heartbeats if self._background is not None else None
        show_agents(m, self.agents, heartbeats, _now_ms())
        if self._pending is not None:
            m.pending_requests.set(len(self._pending))
        if self._journal is not None:
            m.dropped_aside.set(self._journal.dropped_ended)
        if self._writer is not None:
            show_waiting(m, self.health, self._writer, self._journal)

    async def _ready(self) -> Mapping[Part, str]:
        """Return why the indexer cannot store frames, by part; empty when it is ready."""
        if self._store is None or self._writer is None:
            return {Part.STORE: "not started"}
        self.health.oldest_waits(self._writer.oldest_waiting_s())
        return await self._readiness.problems(self._store, self._journal)

    async def _describe(self, writer: MetadataWriter, message: MetadataMessage) -> int:
        return await self._in_thread(partial(writer.write, message))

    async def _in_thread(self, call: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._threads, call)


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
