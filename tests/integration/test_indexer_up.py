"""`up{job, instance}`: for each live instance, under the project it belongs to, unless that has its own."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from agent.wire import heartbeat
from agent.wire.heartbeat import Heartbeat
from indexer.clickhouse.schema import migrate
from indexer.clickhouse.store import Store, open_store
from shim.catalog import Catalog, MetadataQueries
from shim.engine.api import QueryOptions
from shim.engine.engine import QueryEngine
from shim.model.grid import Grid
from shim.model.tenancy import Tenant
from shim.model.values import Vector
from shim.settings import ShimSettings
from tests.integration.test_indexer_http import Indexer
from tests.support.frames import counter_frame

#: Labels of an agent's `up`.
AGENT = {"__name__": "up", "job": "meterhouse-agent"}


@pytest.fixture(params=["migrated_dsn", "migrated_http_dsn"])
def dsn(request: pytest.FixtureRequest) -> str:
    found: str = request.getfixturevalue(request.param)
    return found


@pytest.fixture
async def indexer(dsn: str, tmp_path: Path) -> AsyncIterator[Indexer]:
    """Not started yet: the test says with which settings."""
    it = Indexer(dsn, tmp_path)
    yield it
    await it.stop()


@pytest.fixture
def store(dsn: str) -> Iterator[Store]:
    store = open_store(dsn, pool=4)
    migrate(store)
    yield store
    store.close()


async def ups(store: Store, org_id: int, project_id: int) -> list[dict[str, str]]:
    """Return the labels of `up` now, by an engine that has just begun."""
    settings = ShimSettings()
    engine = QueryEngine(store, Catalog(store, settings), settings)
    try:
        at = Grid.instant(time.time_ns() // 1_000_000)
        answer = await engine.instant(Tenant(org_id, project_id), "up == 1", at.start_ms, QueryOptions(60.0))
    finally:
        await asyncio.to_thread(engine.close)
    assert isinstance(answer.value, Vector)
    return sorted((dict(labels) for labels in answer.value.labels), key=str)


async def until_up(store: Store, org_id: int, project_id: int, expected: list[dict[str, str]]) -> None:
    """Wait for these labels of `up`; its rows are not counted: each bucket adds the indexer's own."""
    end = time.monotonic() + 120
    while (found := await ups(store, org_id, project_id)) != expected:
        assert time.monotonic() < end, f"up of {org_id}:{project_id} is {found}, expected {expected}"
        await asyncio.sleep(0.1)


async def beat(indexer: Indexer, **fields: int | str | bool) -> None:
    body = heartbeat.encode(Heartbeat(**{"epoch": 1, **fields}))  # type: ignore[arg-type]
    assert (await indexer.post(heartbeat.PATH, data=body))[0] == 200


async def test_agents_and_the_indexer_are_up_in_their_own_projects(indexer: Indexer, store: Store) -> None:
    await indexer.start(up=True, org_id=1, project_id=1)
    await beat(indexer, agent="web-1", org_id=2, project_id=3)
    await beat(indexer, agent="web-2", org_id=2, project_id=3)
    await beat(indexer, agent="web-2", org_id=2, project_id=3, epoch=2)  # another run of it
    await until_up(store, 2, 3, [{**AGENT, "instance": "web-1"}, {**AGENT, "instance": "web-2"}])
    own = {"__name__": "up", "job": "meterhouse-indexer", "instance": indexer.service.address}
    await until_up(store, 1, 1, [own])
    assert await ups(store, 2, 4) == []
    explorer = MetadataQueries(Catalog(store, ShimSettings()), ShimSettings())
    now_ms = time.time_ns() // 1_000_000
    assert explorer.label_values(Tenant(2, 3), "job", (), 0, now_ms) == ["meterhouse-agent"]


async def test_an_up_of_ones_own_wins(indexer: Indexer, store: Store) -> None:
    """Also one that was stored before this indexer began; other projects have ours."""
    await indexer.start(up=True)
    past_s = int(time.time()) // 10 * 10 - 30
    assert (await indexer.frame(counter_frame({"a": 1.0}, past_s, name="up", org_id=2)))[0] == 200
    await beat(indexer, agent="web-1", org_id=2)
    await beat(indexer, agent="web-1", org_id=3)
    await until_up(store, 3, 1, [{**AGENT, "instance": "web-1"}])
    await indexer.stop()
    await indexer.start(up=True)
    await beat(indexer, agent="web-9", org_id=2)
    await beat(indexer, agent="web-9", org_id=3)
    await until_up(store, 3, 1, [{**AGENT, "instance": "web-1"}, {**AGENT, "instance": "web-9"}])
    assert [labels["host"] for labels in await ups(store, 2, 1)] == ["a"]


async def test_it_can_be_off(indexer: Indexer, store: Store) -> None:
    await indexer.start(up=False)
    await beat(indexer, agent="web-1")
    assert (await indexer.frame(counter_frame({"a": 1.0}, int(time.time()) // 10 * 10)))[0] == 200
    await indexer.stop()
    await indexer.start(up=False)
    assert await ups(store, 1, 1) == []
