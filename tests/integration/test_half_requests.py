"""Clients that send half a request, or none, keep no others out: real sockets against indexer and API."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp

from indexer.clickhouse.store import open_store
from indexer.http.connections import CloseReason
from indexer.service import IndexerService
from indexer.settings import Http, JournalSettings, Settings
from shim.service import ShimService
from shim.settings import ShimSettings

HEAD = b"POST /v1/messages HTTP/1.1\r\nHost: localhost\r\nX: "
BODY = b"POST %s HTTP/1.1\r\nHost: localhost\r\nContent-Type: %s\r\nContent-Length: 100\r\n\r\n[{"
JSON, FORM = b"application/json", b"application/x-www-form-urlencoded"
DEADLINE_S = 120.0


@dataclass
class Both:
    """Indexer and API on one store, and raw connections to them."""

    indexer: IndexerService
    api: ShimService
    session: aiohttp.ClientSession
    raw: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = field(default_factory=list)

    def addresses(self) -> list[tuple[str, int]]:
        return [(self.indexer.host, self.indexer.port), (self.api.host, self.api.port)]

    async def connect(self, address: tuple[str, int], data: bytes) -> asyncio.StreamReader:
        reader, writer = await asyncio.open_connection(*address)
        self.raw.append((reader, writer))
        writer.write(data)
        return reader

    def abort(self) -> None:
        for _, writer in self.raw:
            writer.transport.abort()

    async def works(self) -> None:
        """Ingest and queries go on."""
        message = {"org_id": 1, "project_id": 1, "name": "n", "type": "c", "value": 1}
        body = [{**message, "timestamp": int(time.time())}]
        async with self.session.post(f"http://{self.indexer.address}/v1/messages", json=body) as r:
            assert r.status == 200, await r.text()
        async with self.session.get(f"http://{self.api.address}/api/v1/query?query=1") as r:
            assert r.status == 200, await r.text()

    def closed(self, reason: CloseReason) -> list[float]:
        """How often each of the two closed a connection for this reason."""
        counters = self.indexer.metrics.connections_closed, self.api.metrics.connections_closed
        return [c.labels(reason.value)._value.get() for c in counters]


@asynccontextmanager
async def both(dsn: str, tmp_path: Path, http: Http) -> AsyncIterator[Both]:
    store = open_store(dsn, pool=6)
    journal = JournalSettings(path=str(tmp_path / "journal.sqlite"))
    indexer = IndexerService(
        Settings(dsn=dsn, listen="127.0.0.1:0", up=False, journal=journal, http=http), store
    )
    api = ShimService(ShimSettings(listen="127.0.0.1:0", http=http), store=store)
    async with AsyncExitStack() as stack:
        stack.callback(store.close)
        stack.push_async_callback(indexer.stop)
        stack.push_async_callback(api.stop)
        await indexer.start()
        await api.start()
        no_reuse = aiohttp.TCPConnector(force_close=True)
        it = Both(indexer, api, await stack.enter_async_context(aiohttp.ClientSession(connector=no_reuse)))
        stack.callback(it.abort)
        yield it


async def ended(reader: asyncio.StreamReader) -> bytes:
    """All that is answered until the server closes."""
    async with asyncio.timeout(DEADLINE_S):
        try:
            return await reader.read()
        except ConnectionError:
            return b""


async def test_hundreds_of_half_requests(migrated_dsn: str, tmp_path: Path) -> None:
    """More than there may be: the oldest that waits makes room."""
    async with both(migrated_dsn, tmp_path, Http(max_connections=200, head_s=120.0, body_s=120.0)) as it:
        for address in it.addresses():
            for begun in (b"", HEAD, BODY % (b"/v1/messages", JSON), BODY % (b"/api/v1/query", FORM)):
                for _ in range(150):
                    await it.connect(address, begun)
        await it.works()
        assert min(it.closed(CloseReason.MADE_ROOM)) >= 400
        assert it.closed(CloseReason.TOO_MANY) == [0, 0]


async def test_deadlines(migrated_dsn: str, tmp_path: Path) -> None:
    async with both(migrated_dsn, tmp_path, Http(head_s=1.0, body_s=2.0, idle_s=1.5)) as it:
        silent = [await it.connect(a, b"") for a in it.addresses()]
        heads = [await it.connect(a, HEAD) for a in it.addresses()]
        paths = (b"/v1/messages", JSON), (b"/api/v1/query", FORM)
        bodies = [await it.connect(a, BODY % of) for a, of in zip(it.addresses(), paths, strict=True)]
        kept = b"GET /-/healthy HTTP/1.1\r\nHost: localhost\r\n\r\n"
        idle = [await it.connect(a, kept) for a in it.addresses()]
        for reader in [*silent, *heads, *bodies]:
            assert (await ended(reader)).split()[:2] == [b"HTTP/1.1", b"408"]
        for reader in idle:
            assert (await ended(reader)).startswith(b"HTTP/1.1 ")
        assert it.closed(CloseReason.HEAD) == [2, 2]
        assert it.closed(CloseReason.BODY) == [1, 1]
        assert it.closed(CloseReason.IDLE) == [1, 1]
        await it.works()


async def test_a_byte_now_and_then_is_not_progress(migrated_dsn: str, tmp_path: Path) -> None:
    async with both(migrated_dsn, tmp_path, Http(head_s=0.5)) as it:
        reader = await it.connect(it.addresses()[0], HEAD)
        writer = it.raw[-1][1]
        async with asyncio.timeout(DEADLINE_S):
            while not reader.at_eof():
                writer.write(b"x")
                try:
                    await asyncio.wait_for(reader.read(100), 0.05)
                except (TimeoutError, ConnectionError):
                    continue
        assert it.closed(CloseReason.HEAD)[0] == 1


async def test_an_answer_that_is_not_read(migrated_dsn: str, tmp_path: Path) -> None:
    async with both(migrated_dsn, tmp_path, Http(body_s=2.0)) as it:
        query = (
            b"GET /api/v1/query_range?query=vector(1)&start=0&end=10000&step=1 HTTP/1.1\r\nHost: x\r\n\r\n"
        )
        # The client's buffer takes a byte: it reads no further.
        reader, writer = await asyncio.open_connection(*it.addresses()[1], limit=1)
        it.raw.append((reader, writer))
        writer.write(query * 100)
        async with asyncio.timeout(DEADLINE_S):
            while it.closed(CloseReason.UNREAD)[1] == 0:
                await it.works()
