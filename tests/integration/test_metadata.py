"""Help, unit and boundaries of metrics: from a row of the table to those who ask, in both kinds of store."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import aiohttp
import msgspec
import numpy as np
import pytest

from agent.wire import frame as frames
from agent.wire.metadata import MetricDescription as AgentDescribed
from agent.wire.metadata import encode
from indexer.clickhouse.native_format import Ragged
from indexer.clickhouse.schema import Retention, migrate
from indexer.clickhouse.store import Store, open_store
from indexer.service import IndexerService
from indexer.settings import JournalSettings, Settings
from shim.catalog import Catalog, MetadataQueries
from shim.catalog.metric_descriptions import MAX_AGE_S, Described, MetricDescriptions
from shim.model.tenancy import Tenant
from shim.settings import ShimSettings
from tests.support.frames import counter_frame

T = Tenant(1, 1)


@pytest.fixture(params=["chdb_dsn", "http_dsn"])
def opened(request: pytest.FixtureRequest) -> Iterator[Store]:
    store = open_store(request.getfixturevalue(request.param), pool=2)
    yield store
    store.close()


def put(store: Store, tenant: Tenant, name: str, said: Described, updated_ms: int = 1) -> None:
    store.insert(
        "metric_metadata",
        {
            "org_id": np.array([tenant.org_id], np.uint32),
            "project_id": np.array([tenant.project_id], np.uint32),
            "name": [name],
            "help": [said.help],
            "unit": [said.unit],
            "buckets": Ragged(np.array([len(said.buckets)]), np.array(said.buckets, np.float64)),
            "updated_ms": np.array([updated_ms], np.uint64),
        },
    )


def test_the_latest_row_of_a_name_wins_and_no_other_tenant_sees_it(opened: Store) -> None:
    opened.create_database()
    assert MetricDescriptions(opened).of(T, "x") == Described()  # an indexer of today was never started here
    migrate(opened, Retention())
    seconds = Described('Time to "pay",\n all of it', "seconds", (0.1, 0.25, 0.5, 1.0))
    now_ms = 1_800_000_000_000
    put(opened, T, "pay.time", seconds, now_ms + 2)
    put(opened, T, "pay.time", Described("older", "ms", (5.0,)), now_ms + 1)
    put(opened, Tenant(1, 2), "pay.time", Described("of another project", "", (0.3,)), now_ms)
    put(opened, Tenant(2, 1), "pay.time", Described("of another org"), now_ms + 9)
    clock = [0.0]
    metadata = MetricDescriptions(opened, lambda: clock[0])
    assert metadata.of(T, "pay.time") == metadata.of(T, "pay_time") == seconds
    assert metadata.of(T, "pay") == Described()
    assert metadata.of(Tenant(2, 1), "pay.time") == Described("of another org")
    assert metadata.of(Tenant(2, 2), "pay.time") == Described()
    whole_org = Described(seconds.help, "seconds", (0.1, 0.25, 0.3, 0.5, 1.0))
    assert metadata.of(Tenant(1, None), "pay.time") == whole_org
    put(opened, T, "pay.time", Described("new"), now_ms + 3)
    assert metadata.of(T, "pay.time") == seconds
    clock[0] += MAX_AGE_S
    assert metadata.of(T, "pay.time") == Described("new")
    settings = ShimSettings()
    assert Catalog(opened, settings).buckets_of(Tenant(1, 2), "pay.time") == (0.3,)


def test_a_store_of_the_first_version_gets_the_table(opened: Store) -> None:
    migrate(opened, Retention())
    opened.command("DROP TABLE metric_metadata SYNC")
    opened.command("ALTER TABLE schema_migrations DELETE WHERE version = 2 SETTINGS mutations_sync = 2")
    migrate(opened, Retention(days_1d=30))
    put(opened, T, "x", Described("help"), 1_800_000_000_000)
    assert MetricDescriptions(opened).of(T, "x").help == "help"
    (ttl,) = opened.rows("SELECT engine_full FROM system.tables WHERE database = currentDatabase()"
                         " AND name = 'metric_metadata'")  # fmt: skip
    assert "toIntervalDay(30)" in ttl[0]


async def post(url: str, body: bytes, token: str = "") -> tuple[int, str, str]:
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    async with aiohttp.ClientSession() as session, session.post(url, data=body, headers=headers) as answer:
        return answer.status, await answer.text(), answer.headers.get("Retry-After", "")


@pytest.mark.parametrize("dsn", ["chdb_dsn", "http_dsn"])
async def test_from_a_request_to_the_explorer(
    dsn: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    """Any number of times, with a token, and for the tenant of the request alone."""
    where = request.getfixturevalue(dsn)
    settings = Settings(
        dsn=where,
        listen="127.0.0.1:0",
        up=False,
        tokens={"t": "*:*"},
        journal=JournalSettings(path=str(tmp_path / "journal.sqlite")),
    )
    service = IndexerService(settings)
    await service.start()
    try:
        url = f"http://{service.address}/v1/metadata"
        said = {"hits": AgentDescribed("Of hits.", "seconds", (0.1, 0.5)), "x": AgentDescribed("Of x.")}
        for _ in range(2):
            assert await post(url, encode(1, 1, said), "t") == (200, '{"metrics":2}', "")
        assert (await post(url, encode(1, 1, said)))[0] == 401
        assert (await post(url, b"{}", "t"))[0] == 400
        assert service.metrics.registry.get_sample_value("meterhouse_indexer_metadata_total") == 4
        frame = counter_frame({"a": 1.0}, int(time.time()) // 10 * 10)
        for org_id in (1, 2):
            theirs = msgspec.structs.replace(frame, org_id=org_id, sequence=org_id)
            body = frames.encode(theirs)
            assert (await post(f"http://{service.address}/v1/frames", body, "t"))[0] == 200
    finally:
        await service.stop()
    store = open_store(where, pool=1)
    explorer = MetadataQueries(Catalog(store, ShimSettings()), ShimSettings())
    window = (0, 2**42)
    assert explorer.metadata(T, None, *window) == {
        "hits": [{"type": "counter", "help": "Of hits.", "unit": "seconds"}]
    }
    assert explorer.metadata(Tenant(2, 1), None, *window) == {
        "hits": [{"type": "counter", "help": "StatsD counter hits", "unit": ""}]
    }
    assert Catalog(store, ShimSettings()).buckets_of(T, "hits") == (0.1, 0.5)
    store.close()


async def test_a_store_that_is_away_is_asked_later(chdb_dsn: str, tmp_path: Path) -> None:
    settings = Settings(
        dsn=chdb_dsn, listen="127.0.0.1:0", journal=JournalSettings(path=str(tmp_path / "journal.sqlite"))
    )
    service = IndexerService(settings)
    await service.start()
    try:
        store = open_store(chdb_dsn, pool=1)
        store.command("DROP TABLE metric_metadata SYNC")
        store.close()
        status, text, retry_after = await post(
            f"http://{service.address}/v1/metadata", encode(1, 1, {"x": AgentDescribed("Of x.")})
        )
        assert (status, retry_after) == (503, "5")
        assert "metadata: ClickHouse lacks a table" in text
    finally:
        await service.stop()
