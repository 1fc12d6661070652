"""A shim whose ClickHouse user may only read and send nothing but text (readonly = 1)."""

from __future__ import annotations

import asyncio
import json
import logging
import time
import urllib.error
import urllib.request
from base64 import b64encode
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, closing
from typing import Any
from urllib.parse import urlencode

import aiohttp
import pytest

import meterhouse
from indexer.clickhouse.store import StoreError, open_store
from shim.model.errors import TimedOut
from shim.model.tenancy import TenancySettings, Tenant
from shim.read.reader import Reader
from shim.read.window_plan import Limits
from shim.service import ShimService
from shim.settings import ShimSettings
from tests.integration.test_cancel import ENDLESS, running, wait_for
from tests.integration.test_http_api import LINES, NOW_S, RANGE, WINDOW
from tests.support.clickhouse_http import PROFILED, as_profiled
from tests.support.pipeline import Pipeline
from tests.support.worlds import over_http

AT = {"time": str(NOW_S)}
#: Series of one metric: more than a statement's text holds of ids otherwise.
SERIES = 700
MANY = 'sum(increase(many{n!="5"}[1m]))'
QUERIES = (
    "sum by (http_method) (increase(http_requests[5m]))",
    "http_requests",
    "temp",
    "avg_over_time(temp[5m])",
    "quantile_over_time(0.5, latency_seconds[5m])",
    "histogram_quantile(0.9, sum(increase(latency_seconds[5m])))",
    "users",
    "sum_over_time(users[5m])",
    "count(increase(many[5m]))",
    MANY,
    'topk(3, increase(many{n=~".*7.*"}[1m]))',
)
LABELS = ("labels", "label/room/values", "label/n/values", "label/__name__/values")


@pytest.fixture(scope="module")
def dsn(clickhouse_port: int) -> Iterator[str]:
    """Provide a database with rows of all types and of two projects, and more series than a text holds."""
    with over_http(clickhouse_port, "readonly_one") as store:
        pipeline = Pipeline.open(store, NOW_S * 1000)
        pipeline.send(LINES)
        pipeline.send([f"temp:99|g|#room:vault|T{NOW_S - 5}"], project_id=2)
        pipeline.send([f"many:2|c|#n:{n}|T{NOW_S - 5}" for n in range(SERIES)])
        pipeline.close()
        yield f"http://127.0.0.1:{clickhouse_port}/readonly_one"


@asynccontextmanager
async def _shim(dsn: str) -> AsyncIterator[str]:
    tenancy = TenancySettings(mode="header")
    service = ShimService(ShimSettings(listen="127.0.0.1:0", dsn=dsn, tenancy=tenancy))
    async with asyncio.timeout(120):
        await service.start()
    try:
        yield service.url
    finally:
        await service.stop()


async def _ask(url: str, path: str, parameters: Mapping[str, str], project: int = 1) -> tuple[int, Any]:
    headers = {"X-Org-Id": "1", "X-Project-Id": str(project)}
    async with (
        aiohttp.ClientSession(headers=headers) as session,
        session.get(f"{url}/api/v1/{path}", params=parameters) as response,
    ):
        return response.status, json.loads(await response.text())


async def test_answers_are_those_of_a_user_who_may_send_settings(
    dsn: str, caplog: pytest.LogCaptureFixture
) -> None:
    """All types, at one time and over a range, labels and series; of two projects. The log says it once."""
    with caplog.at_level(logging.WARNING, "shim.store"):
        async with AsyncExitStack() as shims:
            plain = await shims.enter_async_context(_shim(dsn))
            bare = await shims.enter_async_context(_shim(as_profiled(dsn, "readonly=1,max_threads=1")))
            for project in (1, 2):
                requests = [
                    *(("query", {"query": query, **AT}) for query in QUERIES),
                    *(("query_range", {"query": query, **RANGE}) for query in QUERIES),
                    *((path, WINDOW) for path in LABELS),
                    ("series", {"match[]": '{__name__=~"temp|many"}', **WINDOW}),
                ]
                empty = []
                for path, parameters in requests:
                    wanted = await _ask(plain, path, parameters, project)
                    assert wanted[0] == 200, wanted
                    assert await _ask(bare, path, parameters, project) == wanted
                    data = wanted[1]["data"]
                    if not (data["result"] if isinstance(data, dict) else data):
                        empty.append(parameters)
                assert project == 2 or empty == []
            status, found = await _ask(bare, "query", {"query": MANY, **AT})
            assert (status, found["data"]["result"][0]["value"][1]) == (200, str(2 * (SERIES - 1)))
            status, found = await _ask(bare, "query", {"query": "temp", **AT}, 2)
            assert [one["metric"]["room"] for one in found["data"]["result"]] == ["vault"]
    told = [one for one in caplog.messages if "event=settings_left_out" in one]
    assert len(told) == 1
    assert "max_execution_time" in told[0]


async def test_a_list_that_does_not_fit_into_the_text_is_refused_in_words(dsn: str) -> None:
    async with _shim(as_profiled(dsn, "readonly=1,max_query_size=8192")) as url:
        assert (await _ask(url, "query", {"query": "count(temp)", **AT}))[0] == 200
        status, found = await _ask(url, "query", {"query": MANY, **AT})
        assert status == 422
        assert found["errorType"] == "execution"
        assert "longer than 8192 bytes (max_query_size)" in found["error"]
        assert "(readonly = 1): select fewer series, or give that user readonly = 2" in found["error"]


async def test_a_profile_that_would_change_answers_is_named(dsn: str) -> None:
    """Until it is another one, as with tables that are missing."""
    profile = "readonly=1,join_use_nulls=1,insert_deduplicate=0"
    service = ShimService(ShimSettings(listen="127.0.0.1:0", dsn=as_profiled(dsn, profile)))
    await service.bind()
    starting = asyncio.create_task(service.start())
    try:
        await _until_told(service.url)
        status, found = await _ask(service.url, "query", {"query": "x"})
        assert (status, found["errorType"]) == (503, "unavailable")
        assert found["error"].endswith("would change answers: join_use_nulls = 1 (expected '0')")
    finally:
        starting.cancel()
        await asyncio.gather(starting, return_exceptions=True)
        await service.stop()


async def _until_told(url: str) -> None:
    async with asyncio.timeout(120):
        while True:
            if "would change answers" in str((await _ask(url, "query", {"query": "x"}))[1]):
                return
            await asyncio.sleep(0.05)


def test_a_statement_ends_at_the_deadline_of_its_query(dsn: str) -> None:
    """It cannot carry max_execution_time: the shim ends it, as that user may."""
    with closing(open_store(as_profiled(dsn, "readonly=1"), pool=3)) as store:
        reader = Reader(store, Tenant(1, 1), Limits(settled_s=None), 10, 10, time.monotonic() + 0.5)
        with pytest.raises(TimedOut):
            reader.fetch(ENDLESS, [("n", "<u8")])
        wait_for(lambda: running(store) == 0, "it has ended")


def test_doctor_says_that_nothing_is_sent(dsn: str, capsys: pytest.CaptureFixture[str]) -> None:
    shims = as_profiled(dsn, "readonly=1,insert_deduplicate=0")
    assert meterhouse.main(["doctor", "--dsn", dsn, "--shim-dsn", shims]) == 0, capsys.readouterr()
    words = [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]
    said = "readonly = 1: no settings are sent, and long lists of ids are refused"
    assert f"skipped shim: may send settings {said}" in words
    assert "skipped shim: right CREATE TEMPORARY TABLE readonly = 1: not needed" in words
    assert "passed shim: profile as expected" in words
    wrong = as_profiled(dsn, "readonly=1,join_use_nulls=1")
    assert meterhouse.main(["doctor", "--dsn", dsn, "--shim-dsn", wrong]) == 1
    assert "readonly = 1, and the profile has: join_use_nulls = 1 (expected 0)" in capsys.readouterr().out


def test_the_test_server_takes_from_that_user_what_a_server_takes(dsn: str) -> None:
    with closing(open_store(as_profiled(dsn, "readonly=1"), pool=1)) as store:
        for sql in (
            "CREATE TEMPORARY TABLE x (a UInt8)",
            "SELECT 1 SETTINGS max_threads = 9",
            "CREATE VIEW v AS SELECT 1",
        ):
            with pytest.raises(StoreError) as e:
                store.command(sql)
            assert e.value.code == 164
    part = 'Content-Disposition: form-data; name="sent"; filename="sent"'
    body = f"--x\r\n{part}\r\n\r\n1\r\n--x--\r\n".encode()
    form = {"Content-Type": "multipart/form-data; boundary=x"}
    assert _code(dsn, {"query": "SELECT 1", "limit": "0"}) == 0  # as it is
    assert _code(dsn, {"query": "SELECT 1", "limit": "3"}) == 164
    assert _code(dsn, {"query": "SELECT 1", "send_progress_in_http_headers": "1"}) == 164
    assert _code(dsn, {"query": "SELECT 1", "sent_structure": "a UInt8"}, body, form) == 164


def _code(dsn: str, parameters: Mapping[str, str], body: bytes = b"", headers: Any = None) -> int:
    """Return ClickHouse's code of a request's answer; 0 for none."""
    login = b64encode(f"{PROFILED}:readonly=1".encode()).decode()
    url = f"{dsn.rpartition('/')[0]}/?{urlencode(parameters)}"
    given = {"Authorization": f"Basic {login}", **(headers or {})}
    try:
        with urllib.request.urlopen(urllib.request.Request(url, body, given), timeout=120):
            return 0
    except urllib.error.HTTPError as e:
        with e:
            return int(e.headers["X-ClickHouse-Exception-Code"])
