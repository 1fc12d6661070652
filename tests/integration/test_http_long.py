"""Long requests and long queries over HTTP: which are answered, which are refused, and who parses."""

from __future__ import annotations

import asyncio
import io
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

import pytest

from indexer.clickhouse.store import Store
from shim.http.home import LINKS
from shim.http.params import fields
from shim.http.server import SLOP_BYTES
from shim.plan.parse import parse, parse_selector
from tests.integration.test_http_api import AT, NOW_S, WINDOW, Client, Reply, load, serving
from tests.support.worlds import embedded

MIB = 1 << 20
#: A Grafana variable of many values; two of them are in the data.
VALUES = "|".join(["kitchen", "hall", *(f"room-{i:05}\\\\.example" for i in range(40_000))])


@pytest.fixture(scope="module")
def loaded(chdb_path: Path) -> Iterator[Store]:
    with embedded(chdb_path, "http_long") as store:
        load(store)
        yield store


@pytest.fixture
async def client(loaded: Store) -> AsyncIterator[Client]:
    async with serving(loaded) as client:
        yield client


def _selector(size: int) -> str:
    values = VALUES[:size].rpartition("|")[0]
    return f'temp{{room=~"{values}"}}'


@pytest.mark.parametrize("size", [10_000, 200_000, 700_000])
async def test_a_long_get_is_answered(client: Client, size: int) -> None:
    given = [("match[]", _selector(size)), ("start", WINDOW["start"]), ("end", WINDOW["end"])]
    assert (await client.ask("label/room/values", given)).data == ["hall", "kitchen"]
    reply = await client.ask("query", {"query": f"count({_selector(size)})", **AT})
    assert reply.data["result"][0]["value"] == [NOW_S, "2"]


async def test_a_long_header_is_taken(client: Client) -> None:
    reply = await client.ask("query", {"query": "1"}, headers={"Cookie": "x" * 900_000})
    assert reply.status == 200


async def _raw(client: Client, *parts: bytes) -> bytes:
    """Return the answer to the bytes, on a connection of its own."""
    host, _, port = client.base.removeprefix("http://").rpartition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    try:
        for part in parts:
            writer.write(part)
        return await reader.readuntil(b"\r\n\r\n")
    finally:
        writer.close()


@pytest.mark.parametrize(
    "head",
    [
        b"GET /api/v1/query?query=1%20" + b"+" * (MIB + SLOP_BYTES) + b"1 HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\nCookie: " + b"x" * (MIB + SLOP_BYTES + 1) + b"\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\n" + (b"A: " + b"x" * 100_000 + b"\r\n") * 12 + b"\r\n",
    ],
    ids=["line", "one header", "many headers"],
)
async def test_a_head_over_its_bound_is_refused(client: Client, head: bytes) -> None:
    answered = await _raw(client, head)
    assert answered.split()[1] == b"431", answered
    assert (await client.ask("query", {"query": "1"})).status == 200


async def test_long_heads_have_a_bound_together(loaded: Store) -> None:
    """Unfinished heads hold the memory they take; a connection that ends gives it back."""
    part = b"GET /api/v1/query?query=1&x=" + b"y" * 600_000
    async with serving(loaded, max_long_heads_bytes=MIB) as client:
        host, _, port = client.base.removeprefix("http://").rpartition(":")
        _, first = await asyncio.open_connection(host, int(port))
        first.write(part)
        await first.drain()
        assert (await client.ask("query", {"query": "1"})).status == 200  # short heads go on

        async def second() -> bytes:
            return await _raw(client, part + b" HTTP/1.1\r\nHost: x\r\n\r\n")

        async with asyncio.timeout(120):
            while (refused := await second()).split()[1] != b"503":
                assert refused.split()[1] == b"200"  # the first one has not all arrived
            assert b"Retry-After: 1" in refused
            first.close()
            while (await second()).split()[1] != b"200":
                pass
        for _ in range(4):  # answered requests give back the memory they took
            assert (await second()).split()[1] == b"200"


async def _post(client: Client, path: str, pairs: list[tuple[str, str]]) -> Reply:
    """As `client.ask`, for forms over a mebibyte, which aiohttp warns of."""
    form = io.BytesIO(urlencode(pairs).encode())
    headers = {"Content-Type": "application/x-www-form-urlencoded"}
    async with client.session.post(f"{client.base}/api/v1/{path}", data=form, headers=headers) as r:
        return Reply(r.status, r.headers, await r.read())


async def test_queries_and_selectors_have_a_bound(client: Client, loaded: Store) -> None:
    reply = await _post(client, "labels", [("match[]", f'x{{a="{i}{"b" * 220_000}"}}') for i in range(20)])
    assert reply.error[:2] == (400, "bad_data")
    assert reply.error[2].endswith("selectors are longer than 1048576 bytes (setting shim.max_query_bytes)")
    for path in ("query", "format_query", "parse_query", "query_exemplars"):
        reply = await _post(client, path, [("query", "1" + " " * MIB)])
        assert reply.error[:2] == (400, "bad_data")
        assert "query is longer than 1048576 bytes (setting shim.max_query_bytes)" in reply.error[2]
    async with serving(loaded, max_query_bytes=25) as small:
        two = [("match[]", 'temp{a="b"}'), ("match[]", 'temp{a="c",d="e"}')]
        assert (await small.ask("query", {"query": "1" + " " * 30})).status == 400
        same = [("match[]", "temp")] * 20
        assert (await small.ask("labels", same)).status == 200  # said twice is said once
        assert (await small.ask("labels", two[:1])).status == 200
        assert (await small.ask("labels", two)).status == 400
    async with serving(loaded, max_query_bytes=2 * MIB) as large:
        assert (await _post(large, "query", [("query", "1" + " " * MIB)])).data["result"][1] == "1"


async def test_the_event_loop_does_not_parse(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    """All parsing is done in a thread of the pool, by a request that has its slot."""
    threads: list[threading.Thread] = []

    def noting(parses: Callable[..., Any]) -> Callable[..., Any]:
        def parsing(*args: Any, **kwargs: Any) -> Any:
            threads.append(threading.current_thread())
            return parses(*args, **kwargs)

        return parsing

    monkeypatch.setattr("shim.http.request.parse_selector", noting(parse_selector))
    monkeypatch.setattr("shim.http.language.parse", noting(parse))
    asked = 0
    for path in ("labels", "series", "label/room/values", "/federate"):
        assert (await client.ask(path, [("match[]", "temp"), *WINDOW.items()])).status == 200
        asked += 1
    for path in ("format_query", "parse_query", "query_exemplars"):
        assert (await client.ask(path, {"query": "temp"})).status == 200
        asked += 1
    assert len(threads) == asked
    assert threading.main_thread() not in threads


async def test_a_large_form_is_decoded_in_the_pool(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    threads: list[threading.Thread] = []

    def decoding(encoded: bytes) -> list[tuple[str, str]]:
        if encoded:
            threads.append(threading.current_thread())
        return fields(encoded)

    monkeypatch.setattr("shim.http.request.fields", decoding)
    for query in ("temp", "temp # " + "x" * 100_000):
        assert (await client.ask("query", {"query": query, "time": "1"}, method="POST")).status == 200
    small, large = threads
    assert small is threading.main_thread()
    assert large is not threading.main_thread()


@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize("path", ["/", "/ui/links"])
async def test_the_root_answers(client: Client, path: str, method: str) -> None:
    reply = await client.ask(path, method=method)
    assert reply.status == 200
    assert reply.headers["Content-Type"].startswith("text/html")
    if path == "/ui/links" and method == "GET":
        assert all(quote(link[1:]) in reply.body.decode() for link in LINKS)


async def test_every_link_leads_somewhere(client: Client) -> None:
    for path in LINKS:
        assert (await client.ask(path)).status == 200, path
