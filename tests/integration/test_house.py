"""The endpoints about the product: metrics and their latest data, lines, the state of the server."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Literal

import aiohttp
import pytest
from aiohttp import web

from agent.protocol.line import Limits
from agent.settings import AgentSettings
from indexer.clickhouse.schema import Retention, migrate
from indexer.clickhouse.store import Store, open_store
from shim.http.house import MAX_TEXT
from shim.http.house_sources import Beside, RemoteAgents
from shim.http.page import Page, add_page
from shim.model.tenancy import TenancySettings, Tenant
from shim.service import ShimService
from shim.settings import IndexersSettings, ShimSettings
from tests.integration.test_http_api import Client, serving
from tests.support.pipeline import Pipeline

#: Noon of yesterday: one day of data, long enough ago to be settled.
NOON_S = int(time.time()) // 86_400 * 86_400 - 43_200
DAY = {"start": str(NOON_S), "end": str(NOON_S)}


@pytest.fixture(params=["chdb_dsn", "http_dsn"])
async def client(request: pytest.FixtureRequest) -> AsyncIterator[tuple[Client, Store]]:
    store = open_store(request.getfixturevalue(request.param), pool=4)
    migrate(store, Retention(days_10s=3650, days_60s=3650, days_1h=3650, days_1d=3650))
    async with serving(store) as client:
        yield client, store
    store.close()


async def test_the_latest_data_of_a_metric_is_its_last_bucket(client: tuple[Client, Store]) -> None:
    """The series table has the day's first sighting alone: `last_seen` there stays."""
    api, store = client
    pipeline = Pipeline.open(store, NOON_S * 1000)
    for at in (NOON_S, NOON_S + 3_605):
        pipeline.now_ms = at * 1000
        pipeline.send([f"shop.cart:1|c|#id:{i}|T{at}" for i in range(3)] + [f"shop.cart:1|g|T{at - 1_000}"])
        pipeline.send([f"secret:1|s|T{at}"], project_id=2)
    pipeline.close()
    ((stored,),) = store.rows("SELECT toUInt32(max(last_seen)) FROM series", {})
    found = (await api.ask("meterhouse/metrics", {"metric": "shop_cart"})).data
    assert found == {"name": "shop_cart", "lastSeen": NOON_S + 3_600}
    assert stored != found["lastSeen"]
    assert (await api.ask("meterhouse/metrics", {"metric": "secret"})).data["lastSeen"] is None
    (shop,) = (await api.ask("meterhouse/metrics", DAY)).data
    assert (shop["name"], shop["types"], shop["series"]) == ("shop_cart", ["counter", "gauge"], 4)
    assert shop["last_day"] == NOON_S // 86_400 * 86_400
    (shop,) = (
        await api.ask("meterhouse/metrics", {"start": str(NOON_S - 864_000), "end": str(NOON_S - 863_000)})
    ).data
    assert shop["series"] == 0


async def test_lines_are_explained_and_bounded(client: tuple[Client, Store]) -> None:
    api, store = client
    text = "a:1|c\r\n\nb:x|c\na:1:2|ms|@0.5"
    found = (await api.ask("meterhouse/lines", {"lines": text}, method="POST")).data
    assert found["ownAgent"] is False
    assert [(one["outcome"], one["reason"]) for one in found["lines"]] == [
        ("taken", ""), ("refused", "bad_value"), ("taken", "")
    ]  # fmt: skip
    assert found["lines"][2]["weight"] == 2
    assert store.rows("SELECT count() FROM series", {}) == [(0,)]
    many = (await api.ask("meterhouse/lines", {"lines": "a:1|c\n" * 10_000}, method="POST")).data
    assert (len(many["lines"]), many["leftOut"], found["leftOut"]) == (50, 9_950, 0)
    packed = "\n".join(["a:" + "1|c:" * 2_000 + "1|c"] * 8)
    many = (await api.ask("meterhouse/lines", {"lines": packed}, method="POST")).data
    assert (len(many["lines"]), many["leftOut"]) == (500, 8)
    status, kind, _ = (
        await api.ask("meterhouse/lines", {"lines": "x" * (MAX_TEXT + 1)}, method="POST")
    ).error
    assert (status, kind) == (400, "bad_data")


async def test_only_the_operator_sees_entries_of_the_mapping(chdb_dsn: str, tmp_path: Path) -> None:
    mapping = tmp_path / "mapping.yaml"
    mapping.write_text("mappings: [{match: secret-customer.*, name: customer, labels: {id: $1}}]")
    beside = Beside(lambda _: ([], []), dict, AgentSettings(mapping=str(mapping)))
    store = open_store(chdb_dsn, pool=4)
    migrate(store, Retention())
    seen = {}
    modes: tuple[Literal["single", "header"], ...] = ("single", "header")
    for mode in modes:
        settings = ShimSettings(listen="127.0.0.1:0", tenancy=TenancySettings(mode=mode))
        async with _beside(store, settings, beside) as api:
            headers = {"X-Scope-OrgID": "2:1"} if mode == "header" else {}
            asked = {"lines": "secret-customer.a:1|c"}
            (seen[mode],) = (await api.ask("meterhouse/lines", asked, headers=headers)).data["lines"]
    store.close()
    assert [seen[mode]["name"] for mode in modes] == ["customer", "customer"]
    assert seen["single"]["mapping"]["match"] == "secret-customer.*"
    assert seen["header"]["mapping"] is None


async def test_many_tenants_see_no_numbers_of_the_whole_server(chdb_dsn: str) -> None:
    def agents(tenant: Tenant) -> tuple[list[Mapping[str, Any]], list[str]]:
        return [{"agent": f"of {tenant.org_id}"}], ["indexer-1.internal: timed out"]

    lines = Limits(max_name_bytes=4)
    beside = Beside(agents, lambda: {"numbers": {"lines": 1}}, AgentSettings(lines=lines))
    store = open_store(chdb_dsn, pool=4)
    migrate(store, Retention())
    seen = {}
    modes: tuple[Literal["single", "header"], ...] = ("single", "header")
    for mode in modes:
        settings = ShimSettings(listen="127.0.0.1:0", tenancy=TenancySettings(mode=mode))
        async with _beside(store, settings, beside) as api:
            headers = {"X-Scope-OrgID": "2:1"} if mode == "header" else {}
            seen[mode] = (await api.ask("meterhouse/status", headers=headers)).data
            found = (await api.ask("meterhouse/lines", {"lines": "longer:1|c"}, headers=headers)).data
            assert found["ownAgent"]
            assert found["lines"][0]["reason"] == "name_too_long"
            if mode == "header":
                assert (await api.ask("meterhouse/status")).status == 401
    store.close()
    assert seen["header"]["agents"] == [{"agent": "of 2"}]
    assert not {"agent", "store", "orgs"} & set(seen["header"])
    assert seen["header"]["indexersNotReached"] == ["only the operator sees why"]
    assert seen["single"]["indexersNotReached"] == ["indexer-1.internal: timed out"]
    assert seen["single"]["agent"] == {"numbers": {"lines": 1}}
    assert any(one["table"] == "schema_migrations" and one["rows"] for one in seen["single"]["store"])


@asynccontextmanager
async def _beside(store: Store, settings: ShimSettings, beside: Beside) -> AsyncIterator[Client]:
    service = ShimService(settings, store=store, beside=beside)
    await service.start()
    try:
        async with aiohttp.ClientSession() as session:
            yield Client(session, f"http://{service.address}")
    finally:
        await service.stop()


@pytest.fixture
def _patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let indexers answer as late as they do on a busy machine."""
    monkeypatch.setattr("shim.http.house_sources._TIMEOUT_S", 120.0)
    monkeypatch.setattr("shim.http.house_sources._DEADLINE_S", 120.0)


@pytest.mark.usefixtures("_patient")
async def test_indexers_that_do_not_answer_are_named(aiohttp_server: Any) -> None:
    async def status(_: web.Request) -> web.Response:
        one = {"org_id": 1, "project_id": 1, "agent": "a", "epoch": 1, "heard_s_ago": 1.0}
        others = [{**one, "org_id": 2, "agent": f"other {i}"} for i in range(2_000)]
        return web.json_response({"agents": [one, *others]})

    app = web.Application()
    app.router.add_get("/status", status)
    server = await aiohttp_server(app)
    urls = [f"http://127.0.0.1:{server.port}", f"http://127.0.0.1:{server.port}/gone"]
    ask = RemoteAgents(IndexersSettings(urls=urls))
    agents, silent = await asyncio.to_thread(ask, Tenant(1, None))
    assert [one["agent"] for one in agents] == ["a"]
    assert len(silent) == 1
    assert "404" in silent[0]


@pytest.mark.usefixtures("_patient")
async def test_indexers_are_asked_side_by_side(aiohttp_server: Any) -> None:
    """Each answers when all have been asked, so one after another none ever answers."""
    waiting, all_asked = 0, asyncio.Event()

    async def status(_: web.Request) -> web.Response:
        nonlocal waiting
        waiting += 1
        if waiting == 4:
            all_asked.set()
        await all_asked.wait()
        return web.json_response({"agents": []})

    app = web.Application()
    app.router.add_get("/{i}/status", status)
    server = await aiohttp_server(app)
    ask = RemoteAgents(IndexersSettings(urls=[f"http://127.0.0.1:{server.port}/{i}" for i in range(4)]))
    assert await asyncio.to_thread(ask, Tenant(1, None)) == ([], [])


async def test_without_a_built_page_there_are_links(aiohttp_client: Any, tmp_path: Path) -> None:
    assert Page.load(tmp_path) is None
    assert Page.load(tmp_path / "gone") is None
    (tmp_path / "index.html").write_text("<!doctype html>")
    (tmp_path / "main-1.js").write_text("1")
    for page, home, script in ((None, "Meterhouse", 404), (Page.load(tmp_path), "<!doctype html>", 200)):
        app = web.Application()
        add_page(app.router, page)
        client = await aiohttp_client(app)
        assert home in await (await client.get("/")).text()
        assert "/api/v1/labels" in await (await client.get("/ui/links")).text()
        assert (await client.get("/ui/main-1.js")).status == script
        assert (await client.get("/ui/index.html")).status == 404  # one address for one page
        assert (await client.get("/ui/..%2Fpage.py")).status == 404
