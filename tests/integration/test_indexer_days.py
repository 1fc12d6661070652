"""Rows of many days: expired ones go, the rest is stored once, and others' writes go on meanwhile."""

from __future__ import annotations

import asyncio
import sqlite3
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from agent.wire.frame import Frame, encode
from indexer.clickhouse.retention import Retention
from indexer.clickhouse.store import Store, open_store
from indexer.service import IndexerService
from indexer.settings import JournalSettings, Limits, Settings
from indexer.write.frame_to_columns import DAY_S
from tests.support.frames import FrameRows, counter_frame, make_frame

NOW_S = int(time.time()) // 10 * 10
TODAY = NOW_S // DAY_S


class Indexer:
    """A running one, a client of it, and its store."""

    def __init__(self, store: Store, directory: Path) -> None:
        self.store = store
        self.directory = directory

    async def start(self, **fields: Any) -> None:
        journal = JournalSettings(path=str(self.directory / "journal.sqlite"))
        tree = {"dsn": "chdb:///unused", "listen": "127.0.0.1:0", "journal": journal, "up": False}
        self.service = IndexerService(Settings(**(tree | fields)), self.store)  # type: ignore[arg-type]
        await self.service.start()
        self._session = aiohttp.ClientSession(f"http://{self.service.address}")

    async def stop(self) -> None:
        await self._session.close()
        await self.service.stop()

    async def post(self, path: str, **kwargs: Any) -> tuple[int, Any]:
        async with self._session.post(path, **kwargs) as response:
            return response.status, await response.json()

    async def frame(self, frame: Frame) -> tuple[int, Any]:
        return await self.post("/v1/frames", data=encode(frame))

    def metric(self, name: str, **labels: str) -> float | None:
        return self.service.metrics.registry.get_sample_value(f"meterhouse_indexer_{name}", labels)

    def rows(self, sql: str) -> list[tuple[Any, ...]]:
        return self.store.rows(sql)


@pytest.fixture
async def indexer(chdb_dsn: str, tmp_path: Path) -> AsyncIterator[Indexer]:
    """Not started yet: the test says with which settings."""
    store = open_store(chdb_dsn, pool=4)
    it = Indexer(store, tmp_path)
    yield it
    await it.stop()
    store.close()


def message(day: int, **fields: Any) -> dict[str, Any]:
    return {
        "org_id": 1, "project_id": 1, "name": "hits", "timestamp": day * DAY_S, "type": "c", "value": 1,
    } | fields  # fmt: skip


def of_days(days: range, **fields: Any) -> Frame:
    return make_frame(FrameRows(counters=[("hits", {}, day * DAY_S, 1.0) for day in days]), **fields)


@pytest.mark.parametrize("batching", ["journal", "frame"])
async def test_many_days_are_stored_once_while_another_org_goes_on(indexer: Indexer, batching: str) -> None:
    kept = Retention(days_10s=3650, days_60s=3650, days_1h=3650, days_1d=3650)
    await indexer.start(batching=batching, acknowledge_s=60.0, retention=kept)
    days = range(TODAY - 130, TODAY)
    headers = {"Idempotency-Key": "backfill"}
    body = [message(day) for day in days]
    backfill = asyncio.create_task(indexer.post("/v1/messages", json=body, headers=headers))
    between = 0
    while not backfill.done():
        assert (await indexer.frame(counter_frame({"b": 1.0}, NOW_S, org_id=2)))[0] == 200
        between += not backfill.done()
    assert between >= 3  # of five groups of days
    assert await backfill == (200, {"accepted": 130, "rejected": []})
    assert (await indexer.post("/v1/messages", json=body, headers=headers))[0] == 200
    for granularity in ("10s", "60s", "1h", "1d"):
        assert indexer.rows(f"SELECT sum(value) FROM counters_{granularity} WHERE org_id = 1") == [(130.0,)]
    parts = "SELECT count() FROM system.parts WHERE active AND database = currentDatabase() AND table = "
    ((count,),) = indexer.rows(f"{parts} 'counters_10s'")
    assert count < 2 * len(days)


async def test_any_retention_is_taken_and_few_are_stored(indexer: Indexer) -> None:
    await indexer.start()
    steps = Limits().retention_steps
    status, answer = await indexer.post(
        "/v1/messages", json=[message(TODAY, retention_days=days) for days in range(1, 301)]
    )
    assert (status, answer["accepted"]) == (200, 300)
    assert (await indexer.frame(counter_frame({"a": 1.0}, NOW_S, retention_days=45)))[0] == 200
    ((total, partitions),) = indexer.rows("SELECT sum(value), uniqExact(_partition_id) FROM counters_1h")
    assert total == 301
    assert partitions <= len(steps) + 1
    stored = {days for (days,) in indexer.rows("SELECT DISTINCT retention_days FROM counters_1d")}
    assert stored == {step for step in steps if step <= 365}


async def test_what_is_older_than_its_retention_is_dropped_and_counted(indexer: Indexer) -> None:
    await indexer.start(retention=Retention(days_1d=400))
    status, answer = await indexer.post(
        "/v1/messages",
        json=[
            message(TODAY - 401),
            message(TODAY - 399),
            message(TODAY - 20, retention_days=13),
            message(TODAY - 12, retention_days=13),
        ],
    )
    assert (status, answer["accepted"]) == (200, 2)
    assert [r["position"] for r in answer["rejected"]] == [0, 2]
    assert "older than its retention" in answer["rejected"][0]["reason"]
    assert indexer.metric("dropped_rows_total", reason="expired") == 2
    frame = of_days(range(TODAY - 500, TODAY - 390), org_id=2, created_ms=NOW_S * 1000)
    assert await indexer.frame(frame) == (200, {"rows": 10, "expired": 100})
    assert indexer.metric("dropped_rows_total", reason="expired") == 102
    assert indexer.rows("SELECT count() FROM counters_1d WHERE org_id = 2") == [(10,)]
    only_old = of_days(range(1250), org_id=3)
    assert await indexer.frame(only_old) == (200, {"rows": 0, "expired": 1250})


async def test_one_org_writes_many_days_in_one_request_only(indexer: Indexer) -> None:
    await indexer.start()
    frames = [of_days(range(TODAY - 300, TODAY)) for _ in range(2)]
    answers = await asyncio.gather(*map(indexer.frame, frames))
    assert sorted(status for status, _ in answers) == [200, 503]
    assert indexer.metric("refused_total", reason="many_days") == 1
    for frame in frames:
        assert (await indexer.frame(frame))[0] == 200
    assert indexer.rows("SELECT sum(value) FROM counters_1d") == [(600.0,)]


async def test_a_frame_that_was_stored_whole_is_not_stored_again_in_parts(indexer: Indexer) -> None:
    """An indexer before frames were cut stored it under its identity; its answer was lost."""
    await indexer.start()
    frame = of_days(range(TODAY - 100, TODAY))
    assert (await indexer.frame(frame))[0] == 200
    identities = {f"1:1/{frame.identity}"} | {
        f"1:1/{frame.identity}/days-{group}" for group in range((TODAY - 100) // 32, (TODAY - 1) // 32)
    }
    await indexer.stop()
    (journal,) = indexer.directory.glob("*.sqlite")
    with sqlite3.connect(journal) as db:
        assert {i for (i,) in db.execute("SELECT identity FROM frame")} == identities
        db.execute("DELETE FROM frame WHERE identity LIKE '%/days-%'")
    await indexer.start()
    assert (await indexer.frame(frame))[0] == 200
    assert indexer.rows("SELECT sum(value) FROM counters_1d") == [(100.0,)]
