"""Limits of an org, over HTTP: rates are answered 429, new series fold, and other orgs do not notice."""

from __future__ import annotations

import asyncio
import sqlite3
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import msgspec
import pytest

from indexer.access.grants import ID_EXPECTED
from indexer.clickhouse.store import Store, StoreError, open_store
from indexer.settings import Limits
from shim.service import ShimService
from shim.settings import ShimSettings
from tests.integration.test_indexer_days import Indexer
from tests.support.frames import counter_frame

NOW_S = int(time.time()) // 10 * 10


@pytest.fixture
async def indexer(migrated_dsn: str, tmp_path: Path) -> AsyncIterator[Indexer]:
    """Not started yet: the test says with which settings."""
    store = open_store(migrated_dsn, pool=4)
    it = Indexer(store, tmp_path)
    yield it
    await it.stop()
    store.close()


def many(prefix: str, count: int, **fields: Any) -> Any:
    return counter_frame({f"{prefix}{i}": 1.0 for i in range(count)}, NOW_S, **fields)


@pytest.mark.parametrize("rated", ["rows", "strings"])
async def test_what_is_past_a_rate_is_429_for_its_org(indexer: Indexer, rated: str) -> None:
    rates = {"rows_per_s": 0, "strings_per_s": 0} | {f"{rated}_per_s": 1, f"{rated}_burst": 1}
    await indexer.start(limits=msgspec.convert(rates, Limits))
    first = many("a", 100)
    assert (await indexer.frame(first))[0] == 200  # above the burst: owed, for more than a minute
    status, answer = await indexer.frame(first)
    assert (status, f"indexer.limits.{rated}_per_s" in answer["error"]) == (429, True)
    assert (await indexer.frame(many("b", 1, org_id=2)))[0] == 200
    assert indexer.metric("limited_rows_total", reason=rated, org_id="1") == 100
    assert indexer.rows("SELECT sum(value) FROM counters_10s") == [(101.0,)]


async def test_new_series_past_the_limit_fold_and_totals_stay(indexer: Indexer) -> None:
    await indexer.start(limits=Limits(series_per_day=5))
    for sequence in range(3):
        assert (await indexer.frame(many(f"s{sequence}-", 4, sequence=sequence)))[0] == 200
    assert (await indexer.frame(many("other-", 4, org_id=2)))[0] == 200
    known = many("s0-", 4, sequence=99)
    assert await indexer.frame(known) == (200, {"rows": 4})
    total = "SELECT sum(value) FROM counters_10s WHERE org_id = 1"
    assert indexer.rows(total) == [(16.0,)]
    assert indexer.rows("SELECT org_id, uniqExact(series_id) FROM series GROUP BY 1 ORDER BY 1") == [
        (1, 6),
        (2, 4),
    ]
    overflow = (
        f"{total} AND series_id IN (SELECT series_id FROM series INNER JOIN strings ON id = tag_keys[1]"
    )
    assert indexer.rows(f"{overflow} AND string = '__overflow__')") == [(7.0,)]
    assert indexer.metric("limited_rows_total", reason="folded", org_id="1") == 7
    shown = indexer.service.limits(1)
    assert (shown["foldedLimitedRows"], shown["seriesToday"], shown["maxSeriesPerDay"]) == (7, 6, 5)
    assert indexer.service.limits(2)["foldedLimitedRows"] == 0


async def test_the_api_of_the_same_process_shows_an_org_its_limits(indexer: Indexer) -> None:
    await indexer.start(limits=Limits(series_per_day=3))
    assert (await indexer.frame(many("a", 3)))[0] == 200
    settings = ShimSettings(listen="127.0.0.1:0")
    service = ShimService(settings, store=indexer.store, limits=indexer.service.limits)
    await service.start()
    try:
        url = f"http://{service.address}/api/v1/status/tsdb"
        async with aiohttp.ClientSession() as session:
            async with session.get(url) as response:  # nothing was limited: Prometheus' own keys
                assert "limits" not in (await response.json())["data"]
            assert (await indexer.frame(many("b", 2)))[0] == 200
            async with session.get(url) as response:
                shown = (await response.json())["data"]["limits"]
    finally:
        await service.stop()
    assert (shown["maxSeriesPerDay"], shown["seriesToday"], shown["foldedLimitedRows"]) == (3, 4, 2)


async def test_limits_are_of_an_org(indexer: Indexer) -> None:
    await indexer.start()
    url = f"{indexer.service.url}/v1/limits"
    async with aiohttp.ClientSession() as session:
        for org_id in ("", "0", "-1", "x", "\u0663", "4294967295", "4294967296", "9" * 5_000):
            async with session.get(url, params={"org_id": org_id}) as response:
                text = await response.text()
                assert (response.status, ID_EXPECTED in text) == (400, True), org_id[:20]
        async with session.get(url, params={"org_id": "4294967294"}) as response:
            assert (response.status, (await response.json())["seriesToday"]) == (200, 0)


async def test_a_batch_that_is_written_again_folds_the_same(
    indexer: Indexer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first run decides with series that the second does not know of, and with another limit."""
    await indexer.start(limits=Limits(series_per_day=2), drain_s=0.0, acknowledge_s=0.5)
    first = many("a", 2)
    async with asyncio.timeout(120):
        while (await indexer.frame(first))[0] == 503:  # a busy machine: it is stored once
            pass
    real = Store.insert

    def fails(self: Store, table: str, *args: Any, **kwargs: Any) -> None:
        if table == "incoming_counters":
            raise StoreError("no", retryable=True)
        real(self, table, *args, **kwargs)

    monkeypatch.setattr(Store, "insert", fails)
    (journal,) = indexer.directory.glob("*.sqlite")
    db = sqlite3.connect(journal)
    second = many("b", 3)
    async with asyncio.timeout(120):
        while db.execute("SELECT count() FROM batch WHERE state = 0").fetchone() == (0,):
            assert (await indexer.frame(second))[0] == 503  # perhaps before the batch has begun
    await indexer.stop()
    monkeypatch.undo()
    assert db.execute("SELECT count() FROM batch WHERE state = 0").fetchone() == (1,)
    db.close()
    await indexer.start()
    assert indexer.rows("SELECT sum(value), uniqExact(series_id) FROM counters_10s") == [(5.0, 3)]


async def test_frame_mode_never_folds(indexer: Indexer) -> None:
    await indexer.start(batching="frame", limits=Limits(series_per_day=5))
    assert (await indexer.frame(many("a", 4)))[0] == 200
    answers = await asyncio.gather(indexer.frame(many("b", 4)), indexer.frame(many("c", 4, org_id=2)))
    assert [status for status, _ in answers] == [429, 200]
    assert "indexer.limits.series_per_day" in answers[0][1]["error"]
    assert (await indexer.frame(many("a", 4)))[0] == 200
    assert indexer.rows("SELECT uniqExact(series_id) FROM series WHERE org_id = 1") == [(4,)]
    assert indexer.metric("limited_rows_total", reason="series", org_id="1") == 4


@pytest.mark.parametrize("batching", ["journal", "frame"])
async def test_series_of_a_day_count_over_a_restart(indexer: Indexer, batching: Any) -> None:
    limits = Limits(series_per_day=5)
    await indexer.start(batching=batching, limits=limits)
    assert (await indexer.frame(many("a", 4)))[0] == 200
    await indexer.stop()
    await indexer.start(batching=batching, limits=limits)
    assert indexer.service.limits(1)["seriesToday"] == 4
    assert (await indexer.frame(many("a", 4)))[0] == 200
    assert indexer.metric("limited_rows_total", reason="folded", org_id="1") is None  # the same series again
    status, _ = await indexer.frame(many("b", 4))
    assert status == (200 if batching == "journal" else 429)
    reason = "folded" if batching == "journal" else "series"
    assert indexer.metric("limited_rows_total", reason=reason, org_id="1") == (3 if reason == "folded" else 4)
    stored = indexer.rows("SELECT uniqExact(series_id) FROM series WHERE org_id = 1")
    assert stored == [(6,) if batching == "journal" else (4,)]


async def test_indexers_count_each_others_series(
    indexer: Indexer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("indexer.intern.stored_series.REFRESH_S", 0.0)
    limits = Limits(series_per_day=5)
    other = Indexer(indexer.store, tmp_path / "other")
    try:
        for one in (indexer, other):
            await one.start(batching="frame", limits=limits)
        assert (await indexer.frame(many("a", 4)))[0] == 200
        assert (await other.frame(many("a", 4)))[0] == 200
        assert (await other.frame(many("b", 2)))[0] == 429
        assert (await other.frame(many("b", 1)))[0] == 200
        assert (await indexer.frame(many("c", 1)))[0] == 429
    finally:
        await other.stop()
