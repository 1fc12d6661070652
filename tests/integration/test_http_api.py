"""The HTTP API as a client sees it: the real service on a real port, over real tables."""

from __future__ import annotations

import asyncio
import gc
import gzip
import json
import logging
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from indexer.clickhouse.store import Store
from shim.model.tenancy import TenancySettings
from shim.service import ShimService, run
from shim.settings import ShimSettings
from tests.support.pipeline import Pipeline
from tests.support.worlds import embedded

NOW_S = int(time.time()) // 3600 * 3600 - 3600
AT = {"time": str(NOW_S)}
WINDOW = {"start": str(NOW_S - 600), "end": str(NOW_S)}
RANGE = {**WINDOW, "step": "60"}
LINES = [
    *(f"temp:{20 + i}|g|#room:{room}|T{NOW_S - 5}" for i, room in enumerate(("kitchen", "hall", "attic"))),
    f"temp:19|g|#room:hall|T{NOW_S - 125}",
    *(f"http.requests:{n}|c|#http.method:GET|T{NOW_S - 60 * n}" for n in range(1, 6)),
    *(f"latency_seconds:{n}|d|#route:a|T{NOW_S - 20}" for n in range(1, 11)),
    *(f"users:{name}|s|T{NOW_S - 5}" for name in ("ada", "bob", "ada")),
]

Pairs = Sequence[tuple[str, str]] | dict[str, str]


@dataclass
class Reply:
    status: int
    headers: Any
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def data(self) -> Any:
        assert self.status == 200, self.body
        assert self.json["status"] == "success"
        return self.json["data"]

    @property
    def error(self) -> tuple[int, str, str]:
        return self.status, self.json["errorType"], self.json["error"]


@dataclass
class Client:
    session: aiohttp.ClientSession
    base: str

    async def ask(self, path: str, params: Pairs = (), *, method: str = "GET", headers: Pairs = ()) -> Reply:
        """GET with the parameters in the URL, POST with them in a form."""
        pairs = list(params.items()) if isinstance(params, dict) else list(params)
        more = {"data": aiohttp.FormData(pairs)} if method == "POST" else {"params": pairs}
        url = self.base + (path if path.startswith("/") else f"/api/v1/{path}")
        given = headers.items() if isinstance(headers, dict) else headers
        async with self.session.request(method, url, headers=list(given), **more) as r:
            return Reply(r.status, r.headers, await r.read())


@asynccontextmanager
async def serving(store: Store, **settings: Any) -> AsyncIterator[Client]:
    service = ShimService(ShimSettings(**{"listen": "127.0.0.1:0", **settings}), store=store)
    await service.start()
    try:
        async with aiohttp.ClientSession(
            auto_decompress=False, headers={"Accept-Encoding": "identity"}
        ) as session:
            yield Client(session, f"http://{service.address}")
    finally:
        await service.stop()


def load(store: Store) -> None:
    pipeline = Pipeline.open(store, NOW_S * 1000)
    pipeline.send(LINES)
    pipeline.send([f"secret:1|g|#of:two|T{NOW_S - 5}", f"temp:99|g|#room:vault|T{NOW_S - 5}"], project_id=2)
    pipeline.close()


@pytest.fixture(scope="module")
def loaded(chdb_path: Path) -> Iterator[Store]:
    """Provide the tables with all lines; tests only read them."""
    with embedded(chdb_path, "http_api") as store:
        load(store)
        yield store


@pytest.fixture
async def client(loaded: Store) -> AsyncIterator[Client]:
    async with serving(loaded) as client:
        yield client


@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_instant(client: Client, method: str) -> None:
    async def ask(query: str) -> Any:
        return (await client.ask("query", {"query": query, **AT}, method=method)).data

    assert await ask("1+1") == {"resultType": "scalar", "result": [NOW_S, "2"]}
    assert await ask('"x"') == {"resultType": "string", "result": [NOW_S, "x"]}
    assert await ask('temp{room="hall"}') == {
        "resultType": "vector",
        "result": [{"metric": {"__name__": "temp", "room": "hall"}, "value": [NOW_S, "21"]}],
    }
    assert await ask("sum(increase(http_requests[10m]))") == {
        "resultType": "vector",
        "result": [{"metric": {}, "value": [NOW_S, "15"]}],
    }
    assert (await ask('{"http.requests"}'))["result"][0]["metric"] == {
        "__name__": "http_requests",
        "http_method": "GET",
    }
    assert await ask("users") == {
        "resultType": "vector",
        "result": [{"metric": {"__name__": "users"}, "value": [NOW_S, "2"]}],
    }
    assert await ask("nosuch") == {"resultType": "vector", "result": []}
    raw = await ask("temp[1m]")
    assert raw["resultType"] == "matrix"
    assert [r["values"][0][1] for r in raw["result"]] == ["22", "21", "20"]  # attic, hall, kitchen


async def test_histogram(client: Client) -> None:
    (series,) = (await client.ask("query", {"query": "latency_seconds", **AT})).data["result"]
    at, histogram = series["histogram"]
    assert (at, histogram["count"], histogram["sum"]) == (NOW_S, "10", "55")
    assert sum(float(bucket[3]) for bucket in histogram["buckets"]) == 10
    for rule, low, high, count in histogram["buckets"]:
        assert (rule, count) == (0, "1")
        assert float(low) < float(high)
    for name, value in (("latency_seconds_count", "10"), ("latency_seconds_sum", "55")):
        (series,) = (await client.ask("query", {"query": name, **AT})).data["result"]
        assert series["value"] == [NOW_S, value]


async def test_range(client: Client) -> None:
    reply = await client.ask("query_range", {"query": "increase(http_requests[1m])", **RANGE})
    assert reply.body.startswith(b'{"status":"success","data":{"resultType":"matrix","result":[')
    (series,) = reply.data["result"]
    assert series["values"][-1][0] == NOW_S
    assert sum(float(v) for _, v in series["values"]) == 15
    assert (await client.ask("query_range", {"query": "1", **RANGE})).data["result"][0]["values"][0] == [
        NOW_S - 600,
        "1",
    ]


async def test_notes_explain_and_stats(client: Client) -> None:
    reply = await client.ask("query", {"query": "rate(temp[5m])", **AT})
    assert any("might not be a counter" in text for text in reply.json["infos"])
    reply = await client.ask("query", {"query": "quantile(2, temp)", **AT, "explain": "1", "stats": "all"})
    assert any("between 0 and 1" in text for text in reply.json["warnings"])
    assert reply.json["explain"]["statements"]
    assert set(reply.data["stats"]["timings"]) >= {"execTotalTime", "evalTotalTime", "execQueueTime"}
    assert set(reply.data["stats"]["samples"]) == {"totalQueryableSamples", "peakSamples"}
    plain = (await client.ask("query", {"query": "temp", **AT})).json
    assert set(plain) == {"status", "data"}
    assert set(plain["data"]) == {"resultType", "result"}


@pytest.mark.parametrize(
    ("path", "params", "error"),
    [
        ("query", {"query": "sum by ("}, (400, "bad_data", 'invalid parameter "query": ')),
        ("query", {}, (400, "bad_data", 'invalid parameter "query": ')),
        ("query", {"query": "1", "time": "x"}, (400, "bad_data", 'invalid parameter "time": ')),
        ("query", {"query": "1", "timeout": "x"}, (400, "bad_data", 'invalid parameter "timeout": ')),
        ("query", {"query": "1", "limit": "-1"}, (400, "bad_data", 'invalid parameter "limit": ')),
        ("query", {"query": "1", "lookback_delta": "x"}, (400, "bad_data", "error parsing lookback")),
        ("query", {"query": 'temp{room=~"("}'}, (400, "bad_data", 'invalid parameter "query": ')),
        ("query", {"query": "temp + on() temp", **AT}, (422, "execution", "found duplicate series")),
        ("query", {"query": "temp", "timeout": "0.0000001"}, (503, "timeout", "query timed out in")),
        ("query_range", {"query": "1", **RANGE, "step": "0"}, (400, "bad_data", 'invalid parameter "step"')),
        (
            "query_range",
            {"query": '"x"', **RANGE},
            (400, "bad_data", 'invalid parameter "query": invalid expr'),
        ),
        (
            "query_range",
            {"query": "1", "start": "0", "end": "11001", "step": "1"},
            (400, "bad_data", "exceeded maximum resolution of 11,000 points per timeseries."),
        ),
        ("series", {}, (400, "bad_data", "no match[] parameter provided")),
        ("series", {"match[]": "1"}, (400, "bad_data", 'invalid parameter "match[]": ')),
        ("series", {"match[]": "temp offset 5m"}, (400, "bad_data", 'invalid parameter "match[]": ')),
        ("labels", {"match[]": '{a=~".*"}'}, (400, "bad_data", 'invalid parameter "match[]": ')),
        ("labels", {"start": "x"}, (400, "bad_data", 'invalid parameter "start": ')),
        ("label/room/values", {"limit": "x"}, (400, "bad_data", 'invalid parameter "limit": ')),
        ("metadata", {"limit": "x"}, (400, "bad_data", "limit must be a number")),
        ("format_query", {"query": "("}, (400, "bad_data", 'invalid parameter "query": ')),
        ("parse_query", {}, (400, "bad_data", 'invalid parameter "query": ')),
        ("query_exemplars", {"query": "a", "start": "2", "end": "1"}, (400, "bad_data", "end timestamp")),
        ("rules", {"type": "x"}, (400, "bad_data", 'invalid parameter "type": not supported value "x"')),
        ("targets", {"state": "x"}, (400, "bad_data", 'unknown state "x"')),
    ],
)
async def test_errors(client: Client, path: str, params: dict[str, str], error: tuple[int, str, str]) -> None:
    reply = await client.ask(path, params)
    status, error_type, text = reply.error
    assert (status, error_type) == error[:2]
    assert text.startswith(error[2])
    assert reply.json["status"] == "error"
    assert reply.headers["Content-Type"].startswith("application/json")


async def test_limits(client: Client) -> None:
    truncated = "results truncated due to limit"
    for path, params, whole in (
        ("query", {"query": "temp", **AT}, 3),
        ("query_range", {"query": "temp", **RANGE}, 3),
        ("series", {"match[]": "temp"}, 3),
        ("labels", {}, 5),
        ("label/room/values", {}, 3),
    ):
        for limit, count in (("2", 2), ("0", whole), (str(whole), whole)):
            reply = await client.ask(path, {**params, "limit": limit})
            found = reply.data["result"] if path.startswith("query") else reply.data
            assert len(found) == count, path
            assert (truncated in reply.json.get("warnings", [])) == (count < whole)


async def test_exploring(client: Client) -> None:
    async def ask(path: str, *params: tuple[str, str]) -> Any:
        return (await client.ask(path, params)).data

    assert await ask("labels") == ["__name__", "http_method", "le", "room", "route"]
    assert await ask("labels", ("match[]", "temp"), ("match[]", "users")) == ["__name__", "room"]
    assert await ask("labels", ("start", "1"), ("end", "2")) == []
    assert await ask("labels", ("match[]", "latency_seconds_bucket")) == ["__name__", "le", "route"]
    assert await ask("label/__name__/values") == [
        "http_requests",
        *(f"latency_seconds{suffix}" for suffix in ("", "_bucket", "_count", "_sum")),
        "temp",
        "users",
    ]
    assert await ask("label/room/values") == ["attic", "hall", "kitchen"]
    assert await ask("label/room/values", ("match[]", 'temp{room!="hall"}')) == ["attic", "kitchen"]
    assert await ask("label/http_method/values") == ["GET"]
    assert await ask("label/U__http_2e_method/values") == ["GET"]
    assert await ask("label/no.such/values") == []
    assert await ask("series", ("match[]", 'temp{room="hall"}'), ("match[]", "users")) == [
        {"__name__": "temp", "room": "hall"},
        {"__name__": "users"},
    ]
    assert await ask("series", ("match[]", 'latency_seconds_bucket{le=~"3|[+]Inf"}')) == [
        {"__name__": "latency_seconds_bucket", "le": le, "route": "a"} for le in ("+Inf", "3.0")
    ]
    ladder = await ask("label/le/values", ("match[]", "latency_seconds_bucket"))
    assert {"1.0", "8.0", "+Inf"} <= set(ladder)
    assert await ask("label/le/values") == ladder
    metadata = await ask("metadata")
    assert metadata["latency_seconds"] == [
        {"type": "histogram", "help": "StatsD distribution latency_seconds", "unit": "seconds"}
    ]
    assert metadata["http_requests"][0]["help"] == "StatsD counter http.requests"
    assert {name: entries[0]["type"] for name, entries in metadata.items()} == {
        "http_requests": "counter",
        "latency_seconds": "histogram",
        "temp": "gauge",
        "users": "gauge",
    }
    assert list(await ask("metadata", ("metric", "temp"))) == ["temp"]
    assert list(await ask("metadata", ("metric", "http.requests"))) == ["http_requests"]
    assert list(await ask("metadata", ("limit", "1"))) == ["http_requests"]
    assert await ask("metadata", ("metric", "nosuch")) == {}


async def test_cardinality(client: Client) -> None:
    data = (await client.ask("status/tsdb", {"limit": "2"})).data
    assert data["headStats"]["numSeries"] == 6
    assert data["headStats"]["numLabelPairs"] == 5
    assert data["seriesCountByMetricName"][0] == {"name": "temp", "value": 3}
    assert data["labelValueCountByLabelName"][0] == {"name": "room", "value": 3}
    assert data["memoryInBytesByLabelName"][0] == {"name": "room", "value": len("atticHallKitchen")}
    assert {"name": "room=hall", "value": 1} in (await client.ask("status/tsdb")).data[
        "seriesCountByLabelValuePair"
    ]


async def test_status(client: Client) -> None:
    build = (await client.ask("status/buildinfo")).data
    assert build["version"].startswith("3.")
    assert "features" not in build
    for path, keys in (
        ("rules", {"groups"}),
        ("alerts", {"alerts"}),
        ("alertmanagers", {"activeAlertmanagers", "droppedAlertmanagers"}),
        ("targets", {"activeTargets", "droppedTargets"}),
        ("scrape_pools", {"scrapePools"}),
        ("status/config", {"yaml"}),
        ("status/walreplay", {"min", "max", "current"}),
    ):
        assert set((await client.ask(path)).data) == keys
    for path in ("notifications", "targets/metadata"):
        assert (await client.ask(path)).data == []
    assert (
        await client.ask("query_exemplars", {"query": "temp", "start": "1", "end": "1795297680000"})
    ).data == []
    runtime = (await client.ask("status/runtimeinfo")).data
    assert runtime["CWD"] == ""
    assert runtime["storageRetention"] == "3650d"  # of the database, not of the settings


async def test_what_is_not_there(client: Client) -> None:
    for path in (
        "/nosuch",
        "/api/v1/nosuch",
        "/api/v1/status/flags",
        "/api/v1/rules/x",
        "/config/v1/rules",
    ):
        reply = await client.ask(path)
        assert (reply.status, reply.body) == (404, b"404 page not found\n"), path
        assert reply.headers["Content-Type"].startswith("text/plain")
    for path, method in (("query", "DELETE"), ("label/a/values", "POST"), ("query", "PUT")):
        reply = await client.ask(path, method=method)
        assert reply.status == 405
        assert "GET" in reply.headers["Allow"]
    assert (await client.ask("series", method="DELETE")).error == (500, "internal", "not implemented")


async def test_health(client: Client) -> None:
    for path in ("/-/healthy", "/-/ready", "/metrics"):
        assert (await client.ask(path)).status == 200
        assert (await client.ask(path, method="HEAD")).status == 200
    await client.ask("query", {"query": "sum by ("})
    text = (await client.ask("/metrics")).body.decode()
    assert 'meterhouse_shim_requests_total{endpoint="/api/v1/query",status="400"} 1.0' in text
    assert 'meterhouse_shim_errors_total{error_type="bad_data"} 1.0' in text


async def test_cors(client: Client, loaded: Store) -> None:
    origin = {"Origin": "http://grafana.example"}
    for path, method, status in (("query", "OPTIONS", 204), ("labels", "GET", 200), ("query", "GET", 400)):
        reply = await client.ask(path, method=method, headers=origin)
        assert reply.status == status
        assert reply.headers["Access-Control-Allow-Origin"] == "*"
        assert reply.headers["Access-Control-Allow-Methods"] == "GET, POST, OPTIONS"
        assert reply.headers["Access-Control-Allow-Headers"] == "Accept, Authorization, Content-Type, Origin"
        assert reply.headers["Access-Control-Expose-Headers"] == "Date"
    assert "Access-Control-Allow-Origin" not in (await client.ask("labels")).headers
    async with serving(loaded, cors_origin=r"https://.*\.example") as strict:
        for name, allowed in (("https://a.example", "https://a.example"), ("https://a.example.evil", None)):
            reply = await strict.ask("labels", headers={"Origin": name})
            assert reply.headers.get("Access-Control-Allow-Origin") == allowed


async def test_gzip(client: Client) -> None:
    params = {"query": "temp", **RANGE}
    plain = await client.ask("query_range", params, headers={"Accept-Encoding": "identity"})
    assert "Content-Encoding" not in plain.headers
    zipped = await client.ask("query_range", params, headers={"Accept-Encoding": "gzip, deflate"})
    assert zipped.headers["Content-Encoding"] == "gzip"
    assert gzip.decompress(zipped.body) == plain.body
    assert "Accept-Encoding" in zipped.headers["Vary"]


async def test_format_and_parse(client: Client) -> None:
    query = {"query": "sum by(job)   (rate(a{b='c'}[5m])) / 2"}
    assert (await client.ask("format_query", query)).data == 'sum by (job) (rate(a{b="c"}[5m])) / 2'
    assert (await client.ask("parse_query", query, method="POST")).data["type"] == "binaryExpr"


ALLOW = "escaping=allow-utf-8"
#: As Prometheus 3.x sends it.
UTF8_TEXT = f"text/plain;version=1.0.0;{ALLOW};q=0.6,text/plain;version=0.0.4;q=0.5,*/*;q=0.1"


async def test_federate(store: Store) -> None:
    await asyncio.to_thread(_send_now, store)
    async with serving(store) as client:
        reply = await client.ask("/federate", [("match[]", "live_now"), ("match[]", '{room="now"}')])
        *head, sample = reply.body.decode().splitlines()
        assert head == ["# HELP live_now StatsD gauge live.now", "# TYPE live_now gauge"]
        assert sample.rpartition(" ")[0] == 'live_now{a="quote\\"d",room="now"} 5'
        async with client.session.get(
            f"{client.base}/federate", params={"match[]": "live_now"}, headers={"Accept": UTF8_TEXT}
        ) as response:
            assert response.headers["Content-Type"] == "text/plain; version=1.0.0; charset=utf-8; " + ALLOW
            assert "\nlive_now{" in await response.text()  # the style of names is underscore
        assert (await client.ask("/federate")).error[0] == 400


def _send_now(store: Store) -> None:
    pipeline = Pipeline.open(store, time.time_ns() // 1_000_000)
    pipeline.send(['live.now:5|g|#a:quote"d,room:now'])
    pipeline.close()


async def test_a_form_that_is_not_what_its_encoding_says(
    client: Client, caplog: pytest.LogCaptureFixture
) -> None:
    headers = {"Content-Encoding": "gzip", "Content-Type": "application/x-www-form-urlencoded"}
    async with client.session.post(
        f"{client.base}/api/v1/query", data=b"query=1", headers=headers
    ) as response:
        assert response.status == 400
        assert (await response.json())["errorType"] == "bad_data"
    assert (await client.ask("query", {"query": "1"})).status == 200
    assert not caplog.records


async def test_form_and_url_together_and_a_form_too_large(client: Client, loaded: Store) -> None:
    reply = await client.ask(f"query?query=nosuch&time={NOW_S}", {"query": "1"}, method="POST")
    assert reply.data["resultType"] == "scalar"  # the form goes before the URL, as in Go
    async with serving(loaded, max_form_bytes=1000) as small:
        status, error_type, text = (await small.ask("query", {"query": "1" * 2000}, method="POST")).error
        assert (status, error_type) == (400, "bad_data")
        assert "larger than 1000 bytes" in text


async def test_utf8_in_and_out(client: Client) -> None:
    reply = await client.ask("query", {"query": 'label_replace(vector(1), "l", "ü😀\\n", "", "")', **AT})
    assert reply.data["result"][0]["metric"] == {"l": "ü😀\n"}


# ---- tenants


TENANT_PATHS: Sequence[tuple[str, dict[str, str]]] = (
    ("query", {"query": '{__name__!=""}', **AT}),
    ("query_range", {"query": '{__name__!=""}', **RANGE}),
    ("series", {"match[]": '{__name__!=""}'}),
    ("labels", {}),
    ("label/__name__/values", {}),
    ("label/of/values", {}),
    ("label/room/values", {"match[]": "temp"}),
    ("metadata", {}),
    ("status/tsdb", {}),
    ("/federate", {"match[]": "secret"}),
)


async def test_without_a_tenant_everything_is_refused(client: Client, loaded: Store) -> None:
    others = (
        "rules",
        "alerts",
        "targets",
        "status/config",
        "status/runtimeinfo",
        "format_query",
        "parse_query",
    )
    async with serving(loaded, tenancy=TenancySettings(mode="header")) as strict:
        for path, params in (*TENANT_PATHS, *((p, {"query": "1"}) for p in others)):
            for method in (
                ("GET",)
                if path.startswith(("label/", "/", "status", "meta", *others[:3]))
                else ("GET", "POST")
            ):
                status, error_type, text = (await strict.ask(path, params, method=method)).error
                assert (status, error_type) == (401, "bad_data"), path
                assert text.startswith("no tenant")
        for path in ("/-/ready", "/-/healthy", "/metrics", "/api/v1/status/buildinfo"):
            assert (await strict.ask(path)).status == 200


async def test_nothing_in_a_request_widens_its_tenant(client: Client, loaded: Store) -> None:
    one = [("X-Scope-OrgID", "1:1")]
    tricks = (
        {"query": 'secret or temp{room="vault"} or {project_id="2"} or {of="two"}', **AT},
        {"query": 'secret{project_id="2",org_id="1"}', **AT, "project_id": "2", "X-Scope-OrgID": "1:2"},
        {"query": '{__name__=~"secret|vault.*",project_id=~".*"}', **AT},
        {"query": 'sum by (project_id) ({of=~".+"})', **AT},
    )
    async with serving(loaded, tenancy=TenancySettings(mode="header")) as strict:
        for trick in tricks:
            assert (await strict.ask("query", trick, headers=one)).data["result"] == []
        for path, params in TENANT_PATHS:
            body = (await strict.ask(path, params, headers=one)).body
            for word in (b"secret", b"vault", b"two"):
                assert word not in body, path
        other = [("X-Org-Id", "1"), ("X-Project-Id", "2")]
        names = (await strict.ask("label/__name__/values", headers=other)).data
        assert names == ["secret", "temp"]
        org = (await strict.ask("query", {"query": "temp", **AT}, headers=[("X-Scope-OrgID", "1:*")])).data[
            "result"
        ]
        assert sorted((r["metric"]["project_id"], r["value"][1]) for r in org) == [
            ("1", "20"), ("1", "21"), ("1", "22"), ("2", "99"),
        ]  # fmt: skip
        assert (await strict.ask("labels", headers=[("X-Scope-OrgID", "2:*")])).data == []


async def test_tokens(client: Client, loaded: Store) -> None:
    tenancy = TenancySettings(mode="token", tokens={"a": "1:1", "b": "1:2"})
    async with serving(loaded, tenancy=tenancy) as strict:
        for token, rooms in (("a", ["attic", "hall", "kitchen"]), ("b", ["vault"])):
            reply = await strict.ask("label/room/values", headers={"Authorization": f"Bearer {token}"})
            assert reply.data == rooms
        for headers in ({}, {"Authorization": "Bearer c"}, {"X-Scope-OrgID": "1:1"}):
            assert (await strict.ask("label/room/values", headers=headers)).status == 401


# ---- trouble


async def test_too_many_series(loaded: Store) -> None:
    async with serving(loaded, max_series=2) as small:
        status, error_type, text = (await small.ask("query", {"query": "temp", **AT})).error
        assert (status, error_type) == (422, "execution")
        assert "max_series" in text


@pytest.mark.parametrize(
    "query",
    [
        "temp",
        "max_over_time(temp[10m])",
        "max_over_time(temp[10m:10s])",
        'sum by (room) ({__name__!=""})',
        "histogram_quantile(0.5, rate({__name__=~'.+'}[5m]))",
    ],
)
async def test_too_many_samples(loaded: Store, query: str) -> None:
    async with serving(loaded, max_samples=3) as small:
        status, error_type, text = (await small.ask("query_range", {"query": query, **RANGE})).error
        assert (status, error_type) == (422, "execution")
        assert text.startswith("query processing would load too many samples into memory")


async def test_a_store_that_is_gone(store: Store, caplog: pytest.LogCaptureFixture) -> None:
    async with serving(store) as client:
        store.command("DROP TABLE series")
        with caplog.at_level(logging.ERROR, "shim"):
            status, error_type, text = (await client.ask("query", {"query": "temp", **AT})).error
        assert (status, error_type) == (500, "internal")
        assert text.startswith("the store lacks a table or column (code 60)")
        assert "event=store_error code=60 name=UNKNOWN_TABLE" in caplog.text
        assert "SELECT" not in text + caplog.text  # no client is shown a statement
        store.close()
        assert (await client.ask("/-/ready")).status == 503
        assert (await client.ask("/-/healthy")).status == 200


async def test_more_queries_than_may_wait(loaded: Store) -> None:
    """One runs, one waits, the others are refused at once: all get an answer."""
    slow = {"query": 'count_values("v", {__name__!=""}) or temp', **RANGE, "step": "1"}
    async with serving(loaded, concurrency=1, max_waiting=1) as narrow:
        replies = await asyncio.gather(*(narrow.ask("query_range", slow) for _ in range(12)))
        assert sum(r.status == 200 for r in replies) >= 2
        refused = [r for r in replies if r.status != 200]
        assert refused
        for r in refused:
            status, error_type, text = r.error
            assert (status, error_type) == (503, "timeout")
            assert "max_waiting" in text
            assert r.headers["Retry-After"] == "1"
        metrics = (await narrow.ask("/metrics")).body.decode()
        assert f'meterhouse_shim_refused_total{{reason="too_many_waiting"}} {float(len(refused))}' in metrics
        assert "meterhouse_shim_queries_running 0.0" in metrics
        assert "meterhouse_shim_queries_waiting 0.0" in metrics


async def test_run_until_stopped(loaded: Store) -> None:
    stop = asyncio.Event()
    up: asyncio.Future[str] = asyncio.get_running_loop().create_future()
    settings = ShimSettings(listen="127.0.0.1:0")
    task = asyncio.create_task(
        run(settings, store=loaded, ready=lambda service: up.set_result(service.address), stop=stop)
    )
    address = await asyncio.wait_for(up, 120)
    async with aiohttp.ClientSession() as session, session.get(f"http://{address}/-/ready") as r:
        assert r.status == 200
    frozen = gc.get_freeze_count()
    gc.unfreeze()  # this process goes on
    assert frozen > 10_000, "collecting garbage goes through what queries made, not through all modules"
    stop.set()
    await asyncio.wait_for(task, 120)
    loaded.command("SELECT 1")  # a store that was given is left open


async def test_a_taken_port(loaded: Store) -> None:
    async with serving(loaded) as client:
        with pytest.raises(OSError, match=r"^shim.listen = '127.0.0.1:\d+': Address already in use$"):
            await ShimService(ShimSettings(listen=client.base.removeprefix("http://")), store=loaded).start()


async def test_an_address_that_is_not_ours_is_named(loaded: Store) -> None:
    with pytest.raises(OSError, match=r"^shim.listen = '192.0.2.1:0': Cannot assign requested address$"):
        async with serving(loaded, listen="192.0.2.1:0"):
            pytest.fail("must not listen")


async def test_pages_read_and_do_not_change(client: Client) -> None:
    page = {"Origin": "http://evil.example", "Sec-Fetch-Site": "cross-site"}
    for method in ("GET", "POST"):
        reply = await client.ask("query", {"query": "1"}, method=method, headers=page)
        assert reply.status == 200
        assert reply.headers["Access-Control-Allow-Origin"] == "*"
    assert (await client.ask("series", method="DELETE", headers=page)).error[0] == 403
    assert (await client.ask("series", method="DELETE")).error == (500, "internal", "not implemented")
