"""Series that a start finds stored are not written again; all others are, and those that may be gone."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from indexer.clickhouse.retention import Retention
from indexer.clickhouse.schema import migrate
from indexer.clickhouse.schema.database_id import note_id, read_ids
from indexer.clickhouse.schema.series_of_today import StoredSeriesOfDay, read_series
from indexer.clickhouse.store import Store, open_store
from indexer.deletion.deleter import Deleter, DeletionParts
from indexer.deletion.deletion_request import DeletionRequest, MetricSeries
from indexer.intern.cache import open_near_cache
from indexer.intern.catalog_watch import CatalogWatch
from indexer.intern.id_store import ClickHouseIdStore
from indexer.intern.series import Project, SeriesRegistry
from indexer.intern.string_indexer import StringIndexer
from indexer.metrics import Metrics
from indexer.service import IndexerService
from indexer.settings import JournalSettings, Settings
from indexer.write.inserter import Inserter
from tests.integration.test_catalog_restored import names
from tests.integration.test_indexer_exactly_once import sent
from tests.support.frames import FrameRows, counter_frame, make_frame, unit

DAY = int(time.time()) // 86_400
NOW_S = DAY * 86_400 + 7_200


@pytest.fixture(autouse=True)
def patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a busy machine take its time."""
    monkeypatch.setattr("indexer.clickhouse.schema.series_of_today._MAX_S", 600)


@pytest.fixture
def store(chdb_dsn: str) -> Iterator[Store]:
    with closing(open_store(chdb_dsn, pool=2)) as opened:
        migrate(opened)
        yield opened


def insert(store: Store, hosts: str, registry: SeriesRegistry | None = None, **fields: Any) -> None:
    """Store counters of hosts, a letter each, and one without tags."""
    tagged: list[Mapping[str, str]] = [{}, *({"host": host} for host in hosts)]
    inserter = Inserter(store, StringIndexer(ClickHouseIdStore(store)), registry or SeriesRegistry(1_000))
    counters = [("hits" if tags else "bare", tags, NOW_S, 1.0) for tags in tagged]
    frame = make_frame(FrameRows(counters=counters), **fields)
    inserter.insert(frame.identity, [replace(unit(frame), kept=Retention())], first=True)


def found(store: Store, day: int = DAY) -> dict[tuple[int, int], set[int]]:
    read = read_series(store, day)
    assert read is not None
    assert (read.database_id, read.day) == (read_ids(store)[0], day)
    return {(org, project): set(ids.tolist()) for org, project, ids in read.series}


def stored(store: Store) -> set[int]:
    return {series_id for (series_id,) in store.rows("SELECT series_id FROM series WHERE org_id = 1")}


def test_whole_series_of_the_day_are_found_by_project(store: Store) -> None:
    assert found(store) == {}
    insert(store, "ab")
    insert(store, "c", org_id=2, project_id=3)
    here = found(store)
    assert here[1, 1] == stored(store)
    assert {tenant: len(ids) for tenant, ids in here.items()} == {(1, 1): 3, (2, 3): 2}
    assert found(store, DAY - 1) == {}


@pytest.mark.parametrize("table", ["metric_tag_values", "metric_tag_keys"])
def test_a_series_without_the_rows_of_its_tags_is_left_out(store: Store, table: str) -> None:
    """An INSERT ended between the tables that it fills: the next batch has to write all of them again."""
    insert(store, "ab")
    ids = StringIndexer(ClickHouseIdStore(store))
    gone = f"tag_value = {ids.resolve(1, 'a')}" if table == "metric_tag_values" else "1"
    store.command(f"ALTER TABLE {table} DELETE WHERE {gone} SETTINGS mutations_sync = 1")
    left = {"hits", "bare"} if table == "metric_tag_values" else {"bare"}
    listed = ", ".join(str(ids.resolve(1, name)) for name in left)
    a = f"has(tag_values, {ids.resolve(1, 'a')})"
    expected = store.rows(f"SELECT series_id FROM series WHERE metric_id IN ({listed}) AND NOT {a}")
    assert found(store)[1, 1] == {series_id for (series_id,) in expected}
    assert len(expected) == len(left)


def test_no_series_is_found_while_some_are_being_deleted(store: Store) -> None:
    insert(store, "ab")
    failing = "throwIf(series_id > 0)"  # it is tried again and again
    store.command(f"ALTER TABLE series DELETE WHERE {failing} SETTINGS mutations_sync = 0")
    try:
        assert found(store) == {}
    finally:
        store.command("KILL MUTATION WHERE database = currentDatabase() AND table = 'series' SYNC")
    assert found(store)[1, 1] == stored(store)


def test_series_are_learned_if_the_database_has_the_same_id(store: Store) -> None:
    insert(store, "ab")
    read = read_series(store, DAY)
    assert read is not None
    ids = np.array(sorted(stored(store)), np.uint64)

    def unknown(read: StoredSeriesOfDay) -> list[int]:
        registry = SeriesRegistry(1_000)
        watch = CatalogWatch(store, registry, None, lambda _: registry.forget(), Metrics().mistake)
        watch.check()
        watch.learn(read)
        here = registry.unknown(Project(1, 1), DAY, ids).sum()
        assert registry.newest() == ([] if here else [(Project(1, 1), DAY, i) for i in ids.tolist()])
        watch.check()  # rows that are lost later are noticed
        assert watch.resets == 0
        watch.renew()  # ... and a deletion has them forgotten
        return [int(here), int(registry.unknown(Project(1, 1), DAY, ids).sum())]

    assert unknown(read) == [0, 3]
    assert unknown(read) == [3, 3], "the database has another id by now"


def test_a_batch_writes_only_series_that_were_not_learned(store: Store) -> None:
    insert(store, "ab")
    registry = SeriesRegistry(1_000)
    for org_id, project_id, ids in getattr(read_series(store, DAY), "series", ()):
        registry.register(Project(org_id, project_id), DAY, ids, ids[:0])
    tables: list[tuple[str, int]] = []
    store.on_insert = lambda table, columns: tables.append((table, len(columns["org_id"])))
    insert(store, "ab", registry, sequence=1_000_007)
    insert(store, "abc", registry, sequence=1_000_008)
    assert [count for table, count in tables if table == "series"] == [1]
    assert store.rows("SELECT sum(value) FROM counters_1d") == [(10.0,)]


async def test_a_new_process_learns_them_at_its_start(chdb_dsn: str, tmp_path: Path) -> None:
    journal = JournalSettings(path=str(tmp_path / "journal.sqlite"))
    settings = Settings(dsn=chdb_dsn, listen="127.0.0.1:0", journal=journal, up=False)
    now_s = int(time.time()) // 10 * 10
    for life in range(2):
        service = IndexerService(settings)
        await service.start()
        known, day = len(service.registry), int(time.time()) // 86_400
        assert known == 2 * life or day != now_s // 86_400
        assert await sent(service, counter_frame({"a": 1.0, "b": 2.0}, now_s, sequence=life)) == 200
        await service.stop()
    with closing(open_store(chdb_dsn, pool=1)) as store:
        assert names(store) == ["hits"]
        assert store.rows("SELECT sum(value) FROM counters_1d") == [(6.0,)]


def test_strings_that_a_deletion_drops_after_a_frame_was_prepared_are_written_with_its_batch(
    store: Store,
) -> None:
    """The frame waits while the only series that has its strings is deleted, and they with it."""
    insert(store, "ab")
    registry, strings = SeriesRegistry(1_000), StringIndexer(ClickHouseIdStore(store), [open_near_cache(99)])
    inserter = Inserter(store, strings, registry)
    frame = counter_frame({"a": 5.0}, NOW_S, sequence=1_000_009)
    waiting = replace(unit(frame), kept=Retention())
    inserter.prepare([waiting])

    def renew() -> None:
        note_id(store)
        strings.forget([open_near_cache(99)])
        registry.forget()

    parts = DeletionParts(inserter.gate, None, renew, alone=True)
    metrics = [MetricSeries(1, "counters", strings.record(1, name)) for name in ("hits", "bare")]
    assert Deleter(store, Retention(), parts).delete(DeletionRequest(1, metrics)).series == 3
    kept = "SELECT DISTINCT string FROM strings WHERE string IN ('hits', 'a') ORDER BY string"
    assert store.rows(kept) == []
    inserter.insert("t", [waiting], first=True)
    assert names(store) == ["hits"]
    assert store.rows(kept) == [("a",), ("hits",)]
    assert store.rows("SELECT sum(value) FROM counters_1d") == [(5.0,)]
