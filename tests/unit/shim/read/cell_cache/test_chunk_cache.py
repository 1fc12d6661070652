"""When blocks may be used: bounds, writes that come between, retention, tenants."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from indexer.clickhouse.native_format import Block as Written
from indexer.clickhouse.schema import Retention
from indexer.write.frame_to_columns import sort
from indexer.write.insert_feed import InsertFootprint
from shim.metrics import ShimMetrics
from shim.read.cell_cache.chunk import Chunk, ChunkKey, Sketch, Source
from shim.read.cell_cache.chunk_cache import ChunkCache

HOUR_S = 3_600
START_S = 480_000 * HOUR_S
DAY_S = 86_400


class World:
    """A cache, its clock, and blocks of two series and one row each."""

    def __init__(self, max_bytes: int = 1 << 20) -> None:
        self.metrics = ShimMetrics()
        self.now_s = float(START_S)
        self.cache = ChunkCache(max_bytes, Retention(), self.metrics, lambda: self.now_s)

    def keep(self, place: ChunkKey, kept_days: int = 65_535) -> bool:
        with self.cache.watch(place.source, place.start_s, place.end_s) as (watch, _):
            return self.cache.keep(watch, {place: block(place, kept_days)})

    def held(self, place: ChunkKey) -> Chunk | None:
        with self.cache.watch(place.source, place.start_s, place.end_s, [place]) as (_, found):
            block = found.get(place)
        assert not isinstance(block, Sketch)
        return block

    def dropped(self, reason: str) -> float:
        value = self.metrics.registry.get_sample_value(
            "meterhouse_shim_blocks_dropped_total", {"reason": reason}
        )
        return value or 0.0


def source(**other: Any) -> Source:
    return Source(**{"org_id": 1, "project_id": 1, "metric_ids": (42,), "table": "counters",
                     "column": "value", **other})  # fmt: skip


def place(hour: int = 0, **other: Any) -> ChunkKey:
    return ChunkKey(source(**other), 10, START_S + hour * HOUR_S)


def block(of: ChunkKey, kept_days: int = 65_535) -> Chunk:
    rows = np.zeros((2, of.cells), dtype=bool)
    rows[:, 0] = True
    return Chunk(np.array([3, 5], dtype=np.uint64), rows.astype(float), rows, kept_days)


def written(bucket_s: int = START_S, **other: int) -> Written:
    row = {"org_id": 1, "project_id": 1, "metric_id": 42, "series_id": 5, "bucket": bucket_s,
           "retention_days": 65_535, **other}  # fmt: skip
    types = {"metric_id": np.uint64, "series_id": np.uint64}
    columns: Written = {name: np.array([value], types.get(name, np.uint32)) for name, value in row.items()}
    return sort({**columns, "value": np.array([7.0])})


def touched(rows: Written) -> InsertFootprint:
    return InsertFootprint("counters", rows)


def write(world: World, rows: Written, *, sure: bool = True) -> None:
    one = touched(rows)
    world.cache.insert_started(one)
    world.cache.insert_finished(one, rows if sure else None)


def test_what_was_kept_is_found_by_its_tenant_alone() -> None:
    world = World()
    assert world.keep(place())
    assert world.held(place()) is not None
    for other in (place(org_id=2), place(project_id=2), place(project_id=None), place(metric_ids=(43,)),
                  place(table="distributions", column="count"), place(1)):  # fmt: skip
        assert world.held(other) is None


def test_bytes_are_bounded_and_the_least_recently_used_goes_first() -> None:
    one = block(place()).size_bytes
    world = World(3 * one)
    for hour in range(3):
        world.keep(place(hour))
    world.held(place(0))
    world.keep(place(3))
    assert [world.held(place(hour)) is not None for hour in range(4)] == [True, False, True, True]
    assert world.cache.size_bytes == 3 * one
    assert world.dropped("evicted") == 1
    world.keep(place(2))
    assert len(world.cache) == 3
    assert world.cache.size_bytes == 3 * one


def test_series_that_are_added_count_against_the_bound() -> None:
    one = block(place()).size_bytes
    world = World(2 * one)
    world.keep(place(0))
    world.keep(place(1))
    write(world, written(START_S + HOUR_S, series_id=9))
    assert world.held(place(0)) is None
    assert world.cache.size_bytes == 3 * one // 2


def test_an_insert_that_is_sure_is_added() -> None:
    world = World()
    world.keep(place())
    world.keep(place(project_id=None))
    write(world, written(START_S + 20))
    write(world, written(START_S + 20))
    for project_id in (1, None):
        found = world.held(place(project_id=project_id))
        assert found is not None
        assert found.values[:, :3].tolist() == [[1, 0, 0], [1, 0, 14]]
        assert found.rows[:, :3].tolist() == [[True, False, False], [True, False, True]]


def test_an_insert_that_is_not_sure_drops_what_it_touches() -> None:
    world = World()
    for one in (place(0), place(1), place(2)):
        world.keep(one)
    write(world, written(START_S + HOUR_S), sure=False)
    assert [world.held(place(hour)) is not None for hour in range(3)] == [True, False, True]
    assert world.dropped("written") == 1


@pytest.mark.parametrize(
    "other", [{"org_id": 2}, {"project_id": 2}, {"metric_id": 43}, {"bucket_s": START_S - 10}]
)
def test_other_inserts_touch_nothing(other: dict[str, int]) -> None:
    world = World()
    world.keep(place())
    write(world, written(**other), sure=False)
    assert world.held(place()) is not None


def test_a_block_of_several_metrics_hears_of_each() -> None:
    world = World()
    for metric_id in (42, 44):
        world.keep(place(metric_ids=(42, 44)))
        write(world, written(metric_id=metric_id), sure=False)
        assert world.held(place(metric_ids=(42, 44))) is None
    both = {n: np.concatenate([a, b]) for (n, a), b in zip(
        written(metric_id=42).items(), written(metric_id=44).values(), strict=True)}  # fmt: skip
    world.keep(place(metric_ids=(42, 44)))
    write(world, sort(dict(both)), sure=False)
    assert world.held(place(metric_ids=(42, 44))) is None


def test_what_was_read_while_something_was_written_is_not_kept() -> None:
    world, rows = World(), written()
    one = touched(rows)
    world.cache.insert_started(one)
    assert not world.keep(place()), "an INSERT was under way before"
    assert world.keep(place(1)), "but touched nothing else"
    world.cache.insert_finished(one, rows)
    assert world.keep(place())
    with world.cache.watch(source(), START_S, START_S + HOUR_S) as (watch, _):
        world.cache.insert_started(one)
        assert not world.cache.keep(watch, {place(): block(place())}), "it began meanwhile"
        world.cache.insert_finished(one, rows)
        assert watch.ended


def test_blocks_stay_as_they_were_until_an_insert_has_ended() -> None:
    world, rows = World(), written()
    world.keep(place())
    one = touched(rows)
    world.cache.insert_started(one)
    with world.cache.watch(source(), START_S, START_S + HOUR_S, [place()]) as (watch, found):
        assert watch.begun
        assert not watch.ended
        block_found = found[place()]
        assert isinstance(block_found, Chunk)
        assert block_found.values[1, 0] == 1
        world.cache.insert_finished(one, rows)
        assert watch.ended
    after = world.held(place())
    assert after is not None
    assert after.values[1, 0] == 8


@pytest.mark.parametrize(("kept_days", "days"), [(3, 3), (65_535, 35)])
def test_a_block_is_not_used_once_its_rows_may_be_gone(kept_days: int, days: int) -> None:
    world = World()
    world.keep(place(), kept_days)
    world.now_s = START_S + days * DAY_S - 1
    assert world.held(place()) is not None
    world.now_s += 1
    assert world.held(place()) is None
    assert world.dropped("expired") == 1
    assert world.cache.is_old(place(), block(place(), kept_days)), "and would not be kept"


def test_rows_that_are_added_may_shorten_its_life() -> None:
    world = World()
    world.keep(place())
    write(world, written(retention_days=2))
    world.now_s = START_S + 2 * DAY_S
    assert world.held(place()) is None


def test_a_mistake_while_adding_drops_the_block_and_fails_no_insert() -> None:
    world = World()
    world.keep(place())
    broken = written()
    del broken["value"]
    write(world, broken)
    assert world.held(place()) is None


def test_where_nothing_is_nothing_can_be_gone() -> None:
    world = World()
    empty = Chunk(np.zeros(0, np.uint64), np.zeros((0, 360)), np.zeros((0, 360), dtype=bool), 65_535)
    with world.cache.watch(source(), START_S, START_S + HOUR_S) as (watch, _):
        world.cache.keep(watch, {place(): empty})
    world.now_s = START_S + 4_000 * DAY_S
    assert world.held(place()) is not None
    world.now_s = START_S + 10 * DAY_S
    write(world, written())
    assert world.held(place()) is not None
    world.now_s = START_S + 35 * DAY_S
    assert world.held(place()) is None, "rows of the table's retention came in"


def sketch_place(stretch: int = 0) -> ChunkKey:
    of = source(table="distributions", column="positive", selection=b"all")
    return ChunkKey(of, 60, START_S + stretch * HOUR_S)


def test_sketches_are_dropped_by_what_is_written_to_them() -> None:
    world = World()
    here, later = sketch_place(), sketch_place(1)
    found = Sketch.of(3, np.ones((2, 60, 5)), 30)
    with world.cache.watch(here.source, here.start_s, later.end_s) as (watch, _):
        assert world.cache.keep(watch, {here: found, later: found})
    rows = written(START_S + 30)
    one = InsertFootprint("distributions", rows)
    world.cache.insert_started(one)
    world.cache.insert_finished(one, rows)
    with world.cache.watch(here.source, here.start_s, later.end_s, [here, later]) as (_, held):
        assert list(held) == [later]
    assert world.dropped("written") == 1
    assert world.cache.size_bytes == found.size_bytes


def test_sketches_of_nothing_are_bounded_too() -> None:
    world = World(max_bytes=10_000)
    for stretch in range(50):
        of = sketch_place(stretch)
        with world.cache.watch(of.source, of.start_s, of.end_s) as (watch, _):
            world.cache.keep(watch, {of: Sketch.of(0, np.zeros((1, 60, 0)), 30)})
    assert 0 < len(world.cache) < 10
    assert world.cache.size_bytes <= 10_000


def test_a_gauge_whose_time_is_not_in_its_bucket_is_not_added() -> None:
    world = World()
    of = ChunkKey(source(table="gauges", column="last"), 10, START_S)
    rows = np.zeros((1, of.cells), dtype=bool)
    with world.cache.watch(of.source, of.start_s, of.end_s) as (watch, _):
        held = Chunk(np.array([5], dtype=np.uint64), rows * 0.0, rows, 30, rows.astype(np.uint32))
        assert world.cache.keep(watch, {of: held})
    for last_ms, kept in ((START_S * 1000 + 9_999, True), (START_S * 1000 + 10_000, False)):
        written_rows = sort({**written(), "last_ms": np.array([last_ms]), "last": np.array([7.0])})
        one = InsertFootprint("gauges", written_rows)
        world.cache.insert_started(one)
        world.cache.insert_finished(one, written_rows)
        assert (world.held(of) is not None) is kept
    assert world.cache.size_bytes == 0
