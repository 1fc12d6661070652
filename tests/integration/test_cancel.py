"""When no client waits for an answer any more, its work in ClickHouse ends."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

import aiohttp
import numpy as np
import numpy.typing as npt
import pytest

from indexer.clickhouse.client_pool import ClientPool
from indexer.clickhouse.schema import migrate
from indexer.clickhouse.store import SentTable, Store, StoreError, open_store
from shim.model.errors import Canceled, TimedOut
from shim.model.tenancy import Tenant
from shim.read.reader import Reader
from shim.read.window_plan import Limits
from shim.sql import nodes as sql
from tests.integration.test_http_api import NOW_S, RANGE, load, serving

#: Goes through all numbers and finds none.
ENDLESS = sql.Query(
    (sql.Named(sql.col("number"), "n"),),
    sql.Table("system", "numbers"),
    where=(sql.op("=", sql.call("sipHash64", "number"), 1),),
)


def running(store: Store) -> int:
    [(count,)] = store.rows(
        "SELECT count() FROM system.processes WHERE query LIKE '%sipHash64%' AND query NOT LIKE '%processes%'"
    )
    return int(count)


def wait_for(condition: Callable[[], bool], what: str, deadline_s: float = 120.0) -> None:
    end = time.monotonic() + deadline_s
    while not condition():
        assert time.monotonic() < end, what
        time.sleep(0.02)


@pytest.mark.parametrize("where", ["store", "http_dsn"])
def test_a_cancelled_reader_ends_its_statement(where: str, request: pytest.FixtureRequest) -> None:
    if where == "store":
        store = request.getfixturevalue("store")
    else:
        store = open_store(request.getfixturevalue("http_dsn").rpartition("/")[0] + "/default", pool=3)
    reader = Reader(store, Tenant(1, 1), Limits(settled_s=None), 10, 10, time.monotonic() + 60)
    raised: list[Exception] = []

    def ask() -> None:
        try:
            reader.fetch(ENDLESS, [("n", "<u8")])
        except Exception as e:
            raised.append(e)

    thread = threading.Thread(target=ask)
    thread.start()
    wait_for(lambda: running(store) == 1, "it runs")
    reader.cancel()
    thread.join(120)
    assert isinstance(raised[0], Canceled)
    wait_for(lambda: running(store) == 0, "it has ended")
    with pytest.raises(TimedOut):
        reader.fetch(ENDLESS, [("n", "<u8")])
    if where != "store":
        store.close()


def test_a_tag_cannot_be_sql(store: Store) -> None:
    with pytest.raises(ValueError, match="letters and digits"):
        store.kill("x' OR 1=1 --")


def test_a_cancel_without_a_store_is_no_error(store: Store) -> None:
    closed = Store(ClientPool([], "x"), "x", None, embedded=True)
    with pytest.raises(StoreError):
        closed.kill("tag")
    Reader(closed, Tenant(1, 1), Limits(settled_s=None), 10, 10, 0.0).cancel()


class Endless(Store):
    """A store that is so large that no query of samples ends, or none of series."""

    series = False

    def fetch(
        self, sql: str, dtype: npt.DTypeLike, parameters: Any = None, sent: Sequence[SentTable] = ()
    ) -> npt.NDArray[np.void]:
        return super().fetch(self._endless(sql), dtype, parameters, sent)

    def columns(
        self, sql: str, dtype: npt.DTypeLike, parameters: Any = None, sent: Sequence[SentTable] = ()
    ) -> dict[str, npt.NDArray[np.void]]:
        return super().columns(self._endless(sql), dtype, parameters, sent)

    def _endless(self, sql: str) -> str:
        tag = sql.find("/*")  # statements of a query have one
        if tag >= 0 and ("FROM series" in sql) is self.series:
            return "SELECT number FROM system.numbers WHERE sipHash64(number) = 1 " + sql[tag:]
        return sql


@pytest.fixture
def endless(store: Store) -> Endless:
    migrate(store)
    load(store)
    return Endless(store.pool, store.database, None, embedded=True)


async def until(condition: Callable[[], bool], what: str) -> None:
    await asyncio.to_thread(wait_for, condition, what)


async def test_a_client_that_goes_away_takes_its_query_along(endless: Store) -> None:
    async with serving(endless) as client:
        url = f"{client.base}/api/v1/query?query=temp&time={NOW_S}"
        async with aiohttp.ClientSession() as session:
            asked = asyncio.ensure_future(session.get(url))
            await until(lambda: running(endless) == 1, "it runs")
            asked.cancel()
        await until(lambda: running(endless) == 0, "it has ended")


@pytest.mark.parametrize("series", [False, True])
async def test_a_query_that_times_out_has_ended(endless: Endless, series: bool) -> None:
    endless.series = series
    async with serving(endless) as client:
        reply = await client.ask("query_range", {**RANGE, "query": "sum(temp)", "timeout": "500ms"})
        assert reply.error == (503, "timeout", "query timed out in expression evaluation")
        await until(lambda: running(endless) == 0, "it has ended")
        # Its turn is free again.
        assert (await client.ask("query", {"query": "1"})).status == 200


class Late(Endless):
    """A store whose statements of a query begin after the first try to end them."""

    series = True

    def __init__(self, store: Store) -> None:
        super().__init__(store.pool, store.database, None, embedded=True)
        self.tried = threading.Event()

    def fetch(
        self, sql: str, dtype: npt.DTypeLike, parameters: Any = None, sent: Sequence[SentTable] = ()
    ) -> npt.NDArray[np.void]:
        assert "/*" not in sql or self.tried.wait(120)
        return super().fetch(sql, dtype, parameters, sent)

    def kill(self, tag: str) -> None:
        super().kill(tag)
        self.tried.set()


async def test_a_statement_that_begins_late_is_ended_too(endless: Endless) -> None:
    """It has no deadline of its own: it would hold the only turn for as long as it takes."""
    async with serving(Late(endless), concurrency=1) as client:
        reply = await client.ask("query", {"query": "sum(temp)", "time": str(NOW_S), "timeout": "100ms"})
        assert reply.status == 503
        assert (await client.ask("query", {"query": "1"})).status == 200


@pytest.mark.parametrize(
    ("path", "asked", "message"),
    [
        ("query_range", {"query": "temp", "start": "0", "end": "1e6", "step": "1"}, "exceeded maximum"),
        ("query_range", {"query": "1", "start": "0", "end": "1e15", "step": "1e-9"}, ""),
        ("query", {"query": "max_over_time(temp[10000d:1s])"}, "at most 1000000 are evaluated"),
        ("query", {"query": "(" * 5_000 + "1" + ")" * 5_000}, "nested deeper than"),
        ("query", {"query": "+".join(["temp"] * 5_000)}, "more than 300 operators"),
        ("query", {"query": "temp" + " " * (300 << 10)}, "query is longer than"),
        ("query", {"query": 'temp{room=~"((((a{30}){30}){30}){30})"}'}, "invalid repetition size"),
        ("query", {"query": "temp[1e30]"}, "parse error"),
        ("query", {"query": "temp @ 1e300"}, "out of bounds"),
        ("query", {"query": "temp", "time": "1e300"}, "invalid time value"),
        ("query", {"query": "temp\x00"}, "parse error"),
    ],
)  # fmt: skip
async def test_too_much_is_refused(store: Store, path: str, asked: dict[str, str], message: str) -> None:
    async with serving(store, max_query_bytes=256 << 10) as client:
        reply = await client.ask(path, asked, method="POST")
        assert reply.status in (400, 422), reply.body[:300]
        assert message in reply.json["error"]
