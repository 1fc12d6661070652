"""TLS of indexer and API: accepted and refused clients, and certificates that change without a restart."""

from __future__ import annotations

import asyncio
import io
import logging
import ssl
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from pathlib import Path

import aiohttp
import pytest
import uvloop

from agent.settings import Tls
from indexer.clickhouse.store import open_store
from indexer.http.connections import CloseReason, Connections
from indexer.service import IndexerService
from indexer.settings import Http, JournalSettings, Settings
from shim.service import ShimService
from shim.settings import ShimSettings
from tests.support.certificates import Authority

DEADLINE_S = 120.0
#: No deadline of the server is over before a test says so, however busy the machine is.
UNHURRIED = Http(head_s=3_600.0)

Both = tuple[IndexerService, ShimService]


@asynccontextmanager
async def both(dsn: str, tmp_path: Path, tls: Tls, http: Http | None = None) -> AsyncIterator[Both]:
    http = http or Http()
    store = open_store(dsn, pool=6)
    settings = Settings(
        dsn=dsn,
        listen="127.0.0.1:0",
        up=False,
        journal=JournalSettings(path=str(tmp_path / "j")),
        tls=tls,
        http=http,
    )
    indexer = IndexerService(settings, store)
    api = ShimService(ShimSettings(listen="127.0.0.1:0", tls=tls, http=http), store=store)
    async with AsyncExitStack() as stack:
        stack.callback(store.close)
        stack.push_async_callback(indexer.stop)
        stack.push_async_callback(api.stop)
        await indexer.start()
        await api.start()
        yield indexer, api


def urls(services: Both) -> list[str]:
    indexer, api = services
    return [f"{indexer.url}/healthz", f"{api.url}/-/healthy"]


async def statuses(services: Both, context: ssl.SSLContext) -> list[int | str]:
    """Return the answers of both to a client; the error's text instead of an answer."""
    found: list[int | str] = []
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(force_close=True)) as session:
        for url in urls(services):
            try:
                async with session.get(url, ssl=context) as response:
                    found.append(response.status)
            except (aiohttp.ClientError, OSError) as e:
                found.append(str(e))
    return found


def counted(services: Both, reason: CloseReason) -> list[float]:
    return [s.metrics.connections_closed.labels(reason.value)._value.get() for s in services]


def connections(service: IndexerService | ShimService) -> Connections:
    assert service._runner is not None
    return service._runner.open


@contextmanager
def hurried(services: Both) -> Iterator[None]:
    """Let the deadlines of handshakes and heads be over at each look of the servers."""
    deadlines = [connections(service)._deadlines_s for service in services]
    before = [dict(one) for one in deadlines]
    for one in deadlines:
        one |= dict.fromkeys((CloseReason.HANDSHAKE, CloseReason.HEAD), 0.0)
    try:
        yield
    finally:
        for one, then in zip(deadlines, before, strict=True):
            one |= then


async def until(condition: Callable[[], bool]) -> None:
    """Wait for a log line or a count: a client may see the end of its connection before the server has it."""
    end = time.monotonic() + DEADLINE_S
    while not condition():
        assert time.monotonic() < end
        await asyncio.sleep(0.01)


async def until_counted(services: Both, reason: CloseReason, *counts: float) -> None:
    """Wait until each of the two counted this many."""

    def reached() -> bool:
        return all(now >= count for now, count in zip(counted(services, reason), counts, strict=True))

    await until(reached)


def overwrite(path: str, text: str) -> None:
    Path(path).write_text(text)


def remove(path: str) -> None:
    Path(path).unlink()


async def test_served_and_refused(
    migrated_dsn: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    ca, other = Authority(tmp_path), Authority(tmp_path, "other")
    tls = ca.listener(ca.issue("server"), required=True)
    client = ca.issue("client", name="agent-1")
    async with both(migrated_dsn, tmp_path, tls) as services:
        assert all(url.startswith("https://127.0.0.1:") for url in urls(services))
        assert await statuses(services, ca.context(client)) == [200, 200]
        with caplog.at_level(logging.WARNING):
            assert 200 not in await statuses(services, ca.context())
            assert 200 not in await statuses(services, ca.context(ca.issue("old", expired=True)))
            await until(lambda: "peer did not return a certificate" in caplog.text)
        await until_counted(services, CloseReason.HANDSHAKE_FAILED, 2, 2)  # a client may try twice
        refused = counted(services, CloseReason.HANDSHAKE_FAILED)
        foreign = ca.context(other.issue("foreign"))
        assert 200 not in await statuses(services, foreign)
        trusting_others = other.context(client)
        assert all("certificate verify failed" in str(s) for s in await statuses(services, trusting_others))
        for service in services:  # plain HTTP
            reader, writer = await asyncio.open_connection(service.host, service.port)
            writer.write(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
            assert not (await reader.read()).startswith(b"HTTP/1.1 2")
            writer.close()
        await until_counted(services, CloseReason.HANDSHAKE_FAILED, *(n + 3 for n in refused))
        assert await statuses(services, ca.context(client)) == [200, 200]


async def test_log_says_why(migrated_dsn: str, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    ca = Authority(tmp_path)
    tls = ca.listener(ca.issue("server"), required=True)
    async with both(migrated_dsn, tmp_path, tls) as services:
        await statuses(services, ca.context(ca.issue("old", expired=True)))
        await until(lambda: "handshake_failed peer=127.0.0.1" in caplog.text)
        await until(lambda: "certificate has expired" in caplog.text)


async def test_name_of_the_server(migrated_dsn: str, tmp_path: Path) -> None:
    ca = Authority(tmp_path)
    async with both(migrated_dsn, tmp_path, ca.listener(ca.issue("server", "elsewhere.test"))) as services:
        for said in await statuses(services, ca.context()):
            assert "certificate is not valid for '127.0.0.1'" in str(said)


async def test_half_handshakes(migrated_dsn: str, tmp_path: Path) -> None:
    """They are counted, have a deadline, and make room: others are let in."""
    ca = Authority(tmp_path)
    http = Http(max_connections=20, head_s=3_600.0)
    async with both(migrated_dsn, tmp_path, ca.listener(ca.issue("server")), http) as services:
        streams = []
        for service in services:
            for begun in (b"", b"\x16\x03\x01\x02\x00\x01"):
                for _ in range(30):
                    streams.append(await asyncio.open_connection(service.host, service.port))
                    streams[-1][1].write(begun)
        assert await statuses(services, ca.context()) == [200, 200]
        await until_counted(services, CloseReason.MADE_ROOM, 40, 40)
        with hurried(services):
            async with asyncio.timeout(DEADLINE_S):
                for reader, _ in streams:  # all of them end, none gets an answer
                    try:
                        assert not (await reader.read()).startswith(b"HTTP")
                    except ConnectionError:
                        continue
            await until_counted(services, CloseReason.HANDSHAKE, 1, 1)
        for _, writer in streams:
            writer.close()
        assert await statuses(services, ca.context()) == [200, 200]


async def test_half_requests_after_a_handshake(migrated_dsn: str, tmp_path: Path) -> None:
    ca = Authority(tmp_path)
    async with both(migrated_dsn, tmp_path, ca.listener(ca.issue("server")), UNHURRIED) as services:
        for service in services:
            reader, writer = await asyncio.open_connection(service.host, service.port, ssl=ca.context())
            writer.write(b"GET / HTTP/1.1\r\nX: ")
            waiting = connections(service)
            await until(lambda: [one.waits_for()[0] for one in waiting._open] == [CloseReason.HEAD])  # noqa: B023
            with hurried(services):
                async with asyncio.timeout(DEADLINE_S):
                    assert (await reader.read()).split()[:2] == [b"HTTP/1.1", b"408"]
            writer.close()
        assert counted(services, CloseReason.HEAD) == [1, 1]


async def test_an_answer_that_is_not_read(migrated_dsn: str, tmp_path: Path) -> None:
    """TLS hides the bytes waiting for the client from the loop; the kernel knows them."""
    ca = Authority(tmp_path)
    http = Http(body_s=2.0, idle_s=3_600.0)
    query = b"GET /api/v1/query_range?query=vector(1)&start=0&end=10000&step=1 HTTP/1.1\r\nHost: x\r\n\r\n"
    async with both(migrated_dsn, tmp_path, ca.listener(ca.issue("server")), http) as services:
        api = services[1]
        reader, writer = await asyncio.open_connection(api.host, api.port, ssl=ca.context(), limit=1)
        writer.write(query * 100)
        async with asyncio.timeout(DEADLINE_S):
            while counted(services, CloseReason.UNREAD)[1] == 0:
                assert await statuses(services, ca.context()) == [200, 200]
        writer.transport.abort()
        assert not reader.at_eof()


async def test_a_large_body_is_no_half_head(migrated_dsn: str, tmp_path: Path) -> None:
    """After it the connection waits for the next request, as any other."""
    ca = Authority(tmp_path)
    async with (
        both(migrated_dsn, tmp_path, ca.listener(ca.issue("server"))) as (indexer, _),
        aiohttp.ClientSession() as session,
    ):
        url, headers = f"{indexer.url}/v1/messages", {"Content-Type": "application/json"}
        for _ in range(5):
            body = io.BytesIO(b" " * 3_000_000)
            async with session.post(url, data=body, headers=headers, ssl=ca.context()) as response:
                assert response.status == 400
            for connection in connections(indexer)._open:
                assert connection.waits_for()[0] is not CloseReason.HEAD


async def test_certificates_change(
    migrated_dsn: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A new pair of files holds for new connections; a broken one changes nothing and is logged."""
    ca, other = Authority(tmp_path), Authority(tmp_path, "other")
    pair = ca.issue("server")
    async with both(migrated_dsn, tmp_path, ca.listener(pair)) as services:
        assert await statuses(services, ca.context()) == [200, 200]
        overwrite(pair.cert, "no certificate")
        async with asyncio.timeout(DEADLINE_S):
            while caplog.text.count("certificates_not_read") < 2:
                assert await statuses(services, ca.context()) == [200, 200]
        assert f"indexer.tls.cert = '{pair.cert}'" in caplog.text
        other.issue("server")
        async with asyncio.timeout(DEADLINE_S):
            while await statuses(services, other.context()) != [200, 200]:
                pass  # each request looks at the files


@pytest.mark.parametrize("missing", ["cert", "key"])
async def test_files_that_cannot_be_used(migrated_dsn: str, tmp_path: Path, missing: str) -> None:
    ca = Authority(tmp_path)
    pair = ca.issue("server")
    remove(getattr(pair, missing))
    with pytest.raises(OSError, match=rf"indexer\.tls\.{missing} = .*No such file.*: expected a PEM file"):
        async with both(migrated_dsn, tmp_path, ca.listener(pair)):
            pass


def test_with_the_loop_of_the_product(migrated_dsn: str, tmp_path: Path) -> None:
    """Handshakes and their deadline with uvloop, as `meterhouse` runs."""
    ca = Authority(tmp_path)
    client = ca.issue("client")

    async def run() -> None:
        tls = ca.listener(ca.issue("server"), required=True)
        async with both(migrated_dsn, tmp_path, tls, UNHURRIED) as services:
            for _ in range(30):  # whenever the client's first bytes come
                assert await statuses(services, ca.context(client)) == [200, 200]
            assert 200 not in await statuses(services, ca.context())
            half = [await asyncio.open_connection(s.host, s.port) for s in services]
            with hurried(services):
                for reader, writer in half:
                    async with asyncio.timeout(DEADLINE_S):
                        assert await reader.read() == b""
                    writer.close()
            await until_counted(services, CloseReason.HANDSHAKE, 1, 1)
            assert counted(services, CloseReason.HANDSHAKE) == [1, 1]

    uvloop.run(run())
