"""A shim of its own keeps the retention that the indexers noted in the database."""

from __future__ import annotations

from pathlib import Path

import aiohttp
import pytest

from indexer.clickhouse.retention import Retention
from indexer.clickhouse.schema import migrate
from indexer.clickhouse.store import open_store
from shim.service import ShimService
from shim.settings import ShimSettings


async def _shown(settings: ShimSettings) -> str:
    service = ShimService(settings)
    await service.start()
    try:
        async with (
            aiohttp.ClientSession() as session,
            session.get(f"{service.url}/api/v1/status/runtimeinfo") as response,
        ):
            return str((await response.json())["data"]["storageRetention"])
    finally:
        await service.stop()


async def test_a_running_shim_takes_a_changed_retention(
    chdb_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Queries read by it, and the pages show it: without a restart."""
    monkeypatch.setattr("shim.engine.retention_eras.REFRESH_S", 0.0)
    dsn = f"chdb://{chdb_path}?database=changed_retention"
    store = open_store(dsn)
    service = ShimService(ShimSettings(listen="127.0.0.1:0", dsn=dsn), store=store)
    try:
        migrate(store, Retention(days_1d=77))
        await service.start()
        migrate(store, Retention(days_1d=99))
        async with aiohttp.ClientSession(f"{service.url}/") as session:
            async with session.get("api/v1/query", params={"query": "sum(increase(hits[1h]))"}) as response:
                assert response.status == 200
            async with session.get("api/v1/status/runtimeinfo") as response:
                assert (await response.json())["data"]["storageRetention"] == "99d"
    finally:
        await service.stop()
        store.command("DROP DATABASE IF EXISTS changed_retention SYNC")
        store.close()


async def test_the_noted_retention_is_the_default(chdb_path: Path) -> None:
    dsn = f"chdb://{chdb_path}?database=stored_retention"
    settings = ShimSettings(listen="127.0.0.1:0", dsn=dsn)
    store = open_store(dsn)
    try:
        migrate(store)
        assert await _shown(settings) == f"{Retention().catalog_days}d"  # no indexer was here yet
        migrate(store, Retention(days_1d=77))
        assert await _shown(settings) == "77d"
        migrate(store, Retention(days_1d=99))
        assert await _shown(settings) == "99d"
        own = ShimSettings(listen="127.0.0.1:0", dsn=dsn, retention=Retention(days_1d=55))
        assert await _shown(own) == "55d"
    finally:
        store.command("DROP DATABASE IF EXISTS stored_retention SYNC")
        store.close()
