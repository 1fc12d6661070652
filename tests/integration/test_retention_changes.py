"""A retention that changes while frames are on their way: each counts once in every rollup all the same."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import aiohttp
import msgspec
import pytest

from agent.wire.frame import Frame, encode
from indexer.clickhouse.schema import GRANULARITIES, Retention, migrate
from indexer.clickhouse.schema.eras import NOTICE_MS, read_eras
from indexer.clickhouse.store import Store, StoreError, open_store
from indexer.intern.id_store import ClickHouseIdStore
from indexer.intern.series import SeriesRegistry
from indexer.intern.string_indexer import StringIndexer
from indexer.service import IndexerService
from indexer.settings import JournalSettings as JournalSettings
from indexer.settings import Limits, Settings
from indexer.write.accepted_frame import AcceptedFrame
from indexer.write.inserter import Inserter
from indexer.write.journal import Journal
from tests.integration.test_indexer_exactly_once import ONCE, mixed_frame, totals
from tests.support.frames import counter_frame
from tests.support.legacy_inputs import make_legacy

BEFORE = Retention(days_10s=30, days_60s=60, days_1h=90, days_1d=400)
AFTER = Retention(days_10s=20, days_60s=50, days_1h=80, days_1d=300)
STEPS_AFTER = (2, 40, 500)

MODES = [("chdb_dsn", "journal"), ("chdb_dsn", "frame"), ("http_dsn", "frame")]


class Indexers:
    """One indexer after another on the same store and journal."""

    def __init__(self, dsn: str, batching: str, directory: Path) -> None:
        self.store = open_store(dsn, pool=2)
        self.batching = batching
        self.journal = directory / "journal.sqlite"
        self._tree: dict[str, Any] = {
            "dsn": dsn,
            "batching": batching,
            "listen": "127.0.0.1:0",
            "up": False,
            "drain_s": 0.0,
        }
        self._tree["journal"] = JournalSettings(path=str(self.journal))

    async def post(self, frames: list[Frame], **fields: Any) -> list[int]:
        """Start one with these settings, send the frames, stop it; returns the statuses."""
        service = IndexerService(Settings(**(self._tree | fields)))
        await service.start()
        found = []
        async with aiohttp.ClientSession(f"http://{service.address}") as session:
            for frame in frames:
                async with session.post("/v1/frames", data=encode(frame)) as response:
                    found.append(response.status)
        await service.stop()
        return found

    def kept(self, table: str) -> list[int]:
        return [
            days for (days,) in self.store.rows(f"SELECT DISTINCT retention_days FROM {table} ORDER BY 1")
        ]


@pytest.fixture(params=MODES, ids=lambda mode: f"{mode[0][:4]}-{mode[1]}")
def indexers(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Indexers]:
    it = Indexers(request.getfixturevalue(request.param[0]), request.param[1], tmp_path)
    yield it
    it.store.close()


def now_frame(**fields: Any) -> Frame:
    return msgspec.structs.replace(mixed_frame(), created_ms=time.time_ns() // 1_000_000, **fields)


async def test_a_half_written_frame_sent_again_under_another_retention(
    indexers: Indexers, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its own retention lies between steps, so both its rounding and the rollups' caps change."""
    frame, real = now_frame(retention_days=25), Store.insert

    def fails(self: Store, table: str, *args: Any, **kwargs: Any) -> None:
        if table == "incoming_gauges":
            raise StoreError("no", retryable=True)
        real(self, table, *args, **kwargs)

    with monkeypatch.context() as broken:
        broken.setattr(Store, "insert", fails)
        assert await indexers.post([frame], retention=BEFORE, acknowledge_s=0.3) == [503]
    changed = Limits(retention_steps=STEPS_AFTER)
    assert await indexers.post([frame, frame], retention=AFTER, limits=changed) == [200, 200]
    assert await indexers.post([frame], retention=BEFORE) == [200]
    assert totals(indexers.store) == [ONCE] * 4
    assert indexers.kept("counters_10s") == indexers.kept("sets_60s") == [30]


async def test_indexers_that_are_set_otherwise_take_turns(indexers: Indexers) -> None:
    frame = now_frame()
    views = "SELECT name, create_table_query FROM system.tables WHERE database = currentDatabase()"
    assert await indexers.post([frame], retention=BEFORE) == [200]
    before = indexers.store.rows(f"{views} AND engine = 'MaterializedView' ORDER BY name")
    for retention in (AFTER, BEFORE, AFTER, BEFORE):
        assert await indexers.post([frame], retention=retention) == [200]
    assert totals(indexers.store) == [ONCE] * 4
    assert indexers.store.rows(f"{views} AND engine = 'MaterializedView' ORDER BY name") == before


async def test_a_changed_retention_holds_for_later_frames(indexers: Indexers) -> None:
    assert await indexers.post([now_frame()], retention=BEFORE) == [200]
    later_ms = time.time_ns() // 1_000_000 + NOTICE_MS + 60_000
    later = counter_frame({"a": 1.0}, int(time.time()) // 10 * 10, created_ms=later_ms, org_id=2)
    assert await indexers.post([later], retention=AFTER) == [200]
    for g in GRANULARITIES:
        assert indexers.kept(f"counters_{g.name}") == sorted({BEFORE.days(g.name), AFTER.days(g.name)})
    assert [era.retention for era in read_eras(indexers.store)] == [BEFORE, AFTER]


async def test_a_batch_begun_before_the_migration(indexers: Indexers) -> None:
    """Half of it was written through views that hold a retention; the rest goes there, too."""
    store = indexers.store
    migrate(store, BEFORE)
    make_legacy(store, BEFORE)
    inserter = Inserter(store, StringIndexer(ClickHouseIdStore(store)), SeriesRegistry(1_000), legacy=True)
    frame = now_frame()
    unit = AcceptedFrame(f"1:1/{frame.identity}", encode(frame), frame)
    token = unit.identity
    if indexers.batching == "journal":
        token = "batch"
        journal = Journal(indexers.journal, max_identities=9, max_age_ms=1_000_000, max_aside_bytes=1_000)
        journal.begin(token, [unit], frame.created_ms)
        journal.close()

    class DiedError(Exception):
        pass

    def dies(table: str, _: int) -> None:
        if table == "ingest_gauges":
            raise DiedError

    inserter.on_insert = dies
    with pytest.raises(DiedError):
        inserter.insert(token, [unit], first=True)
    assert await indexers.post([frame], retention=AFTER) == [200]
    assert await indexers.post([frame], retention=BEFORE) == [200]
    assert totals(store) == [ONCE] * 4
    assert indexers.kept("counters_10s") == indexers.kept("sets_10s") == [30]
