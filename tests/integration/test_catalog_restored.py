"""Catalog and caches after rows are lost: a restore, an emptied table, another database on the same Redis."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from agent.wire.frame import Frame
from indexer.clickhouse.schema import migrate
from indexer.clickhouse.schema.database_id import read_ids
from indexer.clickhouse.sql_quoting import quote_name
from indexer.clickhouse.store import Store, open_store
from indexer.intern.catalog_watch import CatalogWatch
from indexer.intern.series import SeriesRegistry
from indexer.metrics import Metrics
from indexer.service import IndexerService
from indexer.settings import JournalSettings, Settings
from tests.integration.test_indexer_exactly_once import sent
from tests.support.clickhouse_http import FaultRule, FaultRules
from tests.support.frames import counter_frame
from tests.support.redis_server import RedisServer

NOW_S = int(time.time()) // 10 * 10
CATALOG = ("series", "strings", "metric_tag_keys", "metric_tag_values")


class Indexers:
    """Indexers that are stopped after the test."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._running: list[IndexerService] = []

    async def start(self, dsn: str, name: str = "one", **fields: Any) -> IndexerService:
        journal = JournalSettings(path=str(self._folder / f"{name}.sqlite"))
        tree = {"dsn": dsn, "listen": "127.0.0.1:0", "journal": journal, "up": False}
        service = IndexerService(Settings(**(tree | fields)))  # type: ignore[arg-type]
        await service.start()
        self._running.append(service)
        return service

    async def stop(self) -> None:
        while self._running:
            await self._running.pop().stop()


@pytest.fixture
async def indexers(tmp_path: Path) -> AsyncIterator[Indexers]:
    it = Indexers(tmp_path)
    yield it
    await it.stop()


def names(store: Store) -> list[str]:
    """Return the names of stored series by the table `strings`."""
    return [
        str(name)
        for (name,) in store.rows(
            "SELECT DISTINCT string FROM series INNER JOIN strings"
            " ON series.org_id = strings.org_id AND series.metric_id = strings.id ORDER BY string"
        )
    ]


async def until(there: Any) -> None:
    deadline = time.monotonic() + 120
    while not there():
        assert time.monotonic() < deadline
        await asyncio.sleep(0.05)


async def until_stored(service: IndexerService, frame: Frame) -> None:
    """Send until the answer is 200: a busy machine may take longer than `acknowledge_s`."""
    deadline = time.monotonic() + 120
    while (status := await sent(service, frame)) != 200:
        assert status == 503
        assert time.monotonic() < deadline


async def test_an_emptied_catalog_is_written_again_by_the_next_frames(
    indexers: Indexers, chdb_dsn: str
) -> None:
    service = await indexers.start(chdb_dsn)
    assert await sent(service, counter_frame({"a": 1.0}, NOW_S, sequence=1)) == 200
    store = open_store(chdb_dsn, pool=1)
    (before,) = read_ids(store)
    assert names(store) == ["hits"]
    for table in CATALOG:
        store.command(f"TRUNCATE TABLE {table}")
    assert await sent(service, counter_frame({"a": 1.0}, NOW_S, sequence=2)) == 200
    assert names(store) == [], "until it is noticed"
    assert service._watch is not None
    await asyncio.to_thread(service._watch.check)
    assert read_ids(store)[0] != before
    assert await sent(service, counter_frame({"a": 1.0}, NOW_S, sequence=3)) == 200
    assert names(store) == ["hits"]
    assert store.rows("SELECT count() FROM strings WHERE string IN ('hits', 'host', 'a')") == [(3,)]
    assert store.rows("SELECT count() FROM metric_tag_values") == [(1,)]
    await asyncio.to_thread(service._watch.check)
    assert service._watch.resets == 1
    store.close()


async def test_another_indexer_sees_that_the_data_went_back(indexers: Indexers, http_dsn: str) -> None:
    first = await indexers.start(http_dsn, batching="frame")
    second = await indexers.start(http_dsn, batching="frame")
    assert first._watch is not None
    assert second._watch is not None
    assert await sent(first, counter_frame({"a": 1.0}, NOW_S, sequence=1)) == 200
    assert await sent(second, counter_frame({"a": 1.0}, NOW_S, sequence=2)) == 200
    store = open_store(http_dsn, pool=1)
    store.command("TRUNCATE TABLE strings")
    await asyncio.to_thread(first._watch.check)
    await asyncio.to_thread(second._watch.check)
    assert first._watch.database_id == second._watch.database_id == read_ids(store)[0]
    assert (first._watch.resets, second._watch.resets) == (1, 0)
    assert await sent(second, counter_frame({"a": 1.0}, NOW_S, sequence=3)) == 200
    assert names(store) == ["hits"]
    store.close()


async def test_two_databases_on_one_redis(
    indexers: Indexers, chdb_dsn: str, http_dsn: str, redis_server: RedisServer
) -> None:
    """The second one's strings were hits of the first one's, and never written."""
    for number, dsn in enumerate((chdb_dsn, http_dsn)):
        service = await indexers.start(dsn, f"db{number}", redis_url=redis_server.url)
        assert await sent(service, counter_frame({"a": 1.0}, NOW_S, sequence=number)) == 200
        store = open_store(dsn, pool=1)
        assert names(store) == ["hits"]
        store.close()


async def test_a_database_that_is_dropped_and_made_again_beside_a_redis_that_is_not(
    indexers: Indexers, chdb_dsn: str, redis_server: RedisServer
) -> None:
    store = open_store(chdb_dsn, pool=1)
    for number in range(2):
        service = await indexers.start(chdb_dsn, f"life{number}", redis_url=redis_server.url)
        assert await sent(service, counter_frame({"a": 1.0}, NOW_S, sequence=number)) == 200
        assert names(store) == ["hits"]
        await indexers.stop()
        store.command(f"DROP DATABASE {quote_name(store.database)} SYNC")
        store.create_database()
    store.close()


async def test_a_restore_before_the_start_is_noticed_by_what_redis_remembers(
    indexers: Indexers, chdb_dsn: str, redis_server: RedisServer
) -> None:
    """The database has its id again, and lacks the strings that were written after the backup."""
    store = open_store(chdb_dsn, pool=1)
    service = await indexers.start(chdb_dsn, "before", redis_url=redis_server.url)
    assert await sent(service, counter_frame({"a": 1.0}, NOW_S, sequence=1)) == 200
    await indexers.stop()
    for table in CATALOG:
        store.command(f"TRUNCATE TABLE {table}")
    service = await indexers.start(chdb_dsn, "after", redis_url=redis_server.url)
    assert await sent(service, counter_frame({"a": 1.0}, NOW_S, sequence=2)) == 200
    assert names(store) == ["hits"]
    store.close()


async def test_a_store_that_comes_back_is_checked_at_once(
    indexers: Indexers, http_dsn: str, clickhouse_port: int
) -> None:
    service = await indexers.start(http_dsn, batching="journal", acknowledge_s=2.0)
    await until_stored(service, counter_frame({"a": 1.0}, NOW_S, sequence=1))
    store = open_store(http_dsn, pool=1)
    faults = FaultRules(clickhouse_port)
    faults.set(FaultRule(b"incoming_counters".hex(), 242))
    assert await sent(service, counter_frame({"a": 1.0}, NOW_S, sequence=2)) == 503
    await until(service.health.problems)  # the answer may come before the INSERT fails
    for table in CATALOG:
        store.command(f"TRUNCATE TABLE {table}")
    faults.set()
    watch = service._watch
    assert watch is not None
    await until(lambda: watch.resets == 1)
    await until_stored(service, counter_frame({"a": 1.0}, NOW_S, sequence=3))
    assert names(store) == ["hits"]
    store.close()


def test_caches_are_made_new_each_week(chdb_dsn: str) -> None:
    store = open_store(chdb_dsn, pool=1)
    migrate(store)
    made: list[str] = []
    now_s = [0.0]
    watch = CatalogWatch(store, SeriesRegistry(100), None, made.append, Metrics().mistake, lambda: now_s[0])
    for at_s in (0, 6 * 86_400, 7 * 86_400, 8 * 86_400, 14 * 86_400):
        now_s[0] = at_s
        watch.check()
    assert made == read_ids(store) * 3
    assert watch.resets == 0
    store.close()
