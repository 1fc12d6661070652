"""Cells in memory over the whole path: who may use them, how they fill, their bounds, and restarts."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import numpy as np
import pytest

from indexer.clickhouse.native_format import Block
from indexer.clickhouse.schema import Retention
from indexer.clickhouse.store import Store, StoreError, open_store
from indexer.write.accepted_frame import AcceptedFrame
from indexer.write.insert_feed import InsertFeed
from shim.metrics import ShimMetrics
from shim.model.errors import ExecutionError
from shim.model.grid import Grid
from shim.model.tenancy import Tenant
from shim.model.values import Vector
from shim.read.cell_cache.chunk import CELL_BYTES, CHUNK_SPAN_S, ChunkKey, Source, places
from shim.read.cell_cache.chunk_cache import ChunkCache
from shim.read.cell_cache.fill_statements import MAX_CELLS, FillJob, jobs
from shim.read.cell_cache.filler import Filler
from shim.read.cell_cache.setup import CellCache
from shim.settings import CacheSettings
from tests.support.pipeline import Pipeline
from tests.support.worlds import embedded

NOW_S: Final = 20_400 * 86_400
HOUR_S: Final = 3_600
KEPT: Final = Retention(days_10s=3650, days_60s=3650, days_1h=3650, days_1d=3650)
SERIES: Final = 4
#: Bytes of the cells of one series in a block of the finest rollup, and with the series' id.
SERIES_CELL_BYTES: Final = CHUNK_SPAN_S[10] // 10 * CELL_BYTES
SERIES_BYTES: Final = SERIES_CELL_BYTES + np.dtype(np.uint64).itemsize
_ORGS: Final = itertools.count(1)


@pytest.fixture(scope="module")
def store(chdb_path: Path) -> Iterator[Store]:
    """Provide a store of its own with clients enough for a filler beside queries."""
    with embedded(chdb_path, "cells_in_memory", pool=6) as opened:
        yield opened


def opened(
    store: Store, tenant: Tenant, *, max_bytes: int = 64 << 20, fill_after: int = 1, **settings: Any
) -> Pipeline:
    cache = CacheSettings(max_bytes=max_bytes, fill_after=fill_after)
    # A short lookback of counters: most tests count the cells read for the windows alone.
    chosen = {"counter_lookback_s": 300.0, **settings}
    made = Pipeline.open(store, NOW_S * 1000, retention=KEPT, cache=cache, **chosen)
    return replace(made, tenant=tenant)


@pytest.fixture
def tenant() -> Tenant:
    """One for each test: they share a store."""
    return Tenant(next(_ORGS), 1)


@pytest.fixture
def p(store: Store, tenant: Tenant) -> Iterator[Pipeline]:
    made = opened(store, tenant)
    send(made, lines(range(0, 3 * HOUR_S, 10)))
    yield made
    made.close()


def send(
    p: Pipeline, sent: list[str], *, org_id: int | None = None, project_id: int = 1
) -> list[AcceptedFrame]:
    """Return an agent of the tenant's own: a frame is known by its agent and number."""
    org = p.tenant.org_id
    return p.send(sent, agent=f"of-{org}", org_id=org_id or org, project_id=project_id)


def lines(ages_s: Sequence[int], name: str = "hits", value: int = 1) -> list[str]:
    """Return a line of each series in each bucket."""
    return [f"{name}:{value}|c|#n:{i}|T{NOW_S - age_s - 10}" for age_s in ages_s for i in range(SERIES)]


def hours(back_from: float, back_to: float, step_s: int = 10) -> Grid:
    """Return the steps of some hours before now."""
    start_s, end_s = NOW_S - round(back_from * HOUR_S), NOW_S - round(back_to * HOUR_S)
    return Grid(start_s * 1000, end_s * 1000, step_s * 1000)


def asked(
    p: Pipeline, query: str, grid: Grid, *, instant: bool = False, nocache: bool = False
) -> tuple[Any, Any]:
    """Return the rows of an answer, and the parts that `explain` says were read where."""
    answer = p.answer(query, grid, instant=instant, explain=True, nocache=nocache)
    assert answer.explain is not None
    assert isinstance(answer.value, Vector)
    return answer.value, answer.explain


def same(one: Vector, other: Vector) -> bool:
    return (
        one.labels == other.labels
        and np.array_equal(one.values, other.values)
        and np.array_equal(one.present, other.present)
    )


def memory(p: Pipeline) -> CellCache:
    assert p.blocks is not None
    return p.blocks


def counted(metrics: ShimMetrics, name: str, **labels: str) -> float:
    return metrics.registry.get_sample_value(f"meterhouse_shim_{name}_total", labels) or 0.0


# ---------------------------------------------------------------- use


@pytest.mark.parametrize(
    "query", ["rate(hits[1m])", "sum by (n) (increase(hits[1m]))", 'rate(hits{n="2"}[1m])']
)
def test_the_second_time_there_is_no_statement(p: Pipeline, query: str) -> None:
    grid = hours(2, 1)
    first, explained = asked(p, query, grid)
    assert explained["statements"]
    assert explained["from_memory"] == []
    asked(p, query, grid), asked(p, query, grid), asked(p, query, grid)  # one series counts a quarter
    memory(p).filler.wait()
    second, explained = asked(p, query, grid)
    assert explained["statements"] == []
    [recalled] = explained["from_memory"]
    assert recalled["blocks"] == {"counters_10s": 2}
    assert recalled["rows"] == (1 if "{" in query else SERIES) * (360 + 30)  # with the lookback before
    assert same(first, second)
    third, explained = asked(p, query, grid, nocache=True)
    assert len(explained["statements"]) == 1
    assert explained["from_memory"] == []
    assert same(first, third)


def test_functions_of_samples_read_no_statement_either(p: Pipeline) -> None:
    send(p, [f"hits:{i}|c|#n:0|T{NOW_S - 100 * i}" for i in range(1, 30)])
    query, grid = "irate(hits[5m])", hours(1, 0.1)
    first = asked(p, query, grid)[0]
    memory(p).filler.wait()
    second, explained = asked(p, query, grid)
    assert explained["statements"] == []
    assert len(explained["from_memory"]) == 2, "what was counted before, and the buckets"
    assert same(first, second)


@pytest.mark.parametrize(
    ("query", "blocks"),
    [("load", {"gauges_10s": 2}), ("sum(max_over_time(load[1m]))", {"gauges_10s": 4}),
     ('avg_over_time(load{n="1"}[90s])', {"gauges_10s": 6})],
)  # fmt: skip
def test_gauges_are_read_from_memory_and_written_to_it(
    p: Pipeline, query: str, blocks: dict[str, int]
) -> None:
    send(p, [f"load:{i % 7}|g|#n:{i % SERIES}|T{NOW_S - i}" for i in range(3 * HOUR_S)])
    grid = hours(1.9, 0.9)
    first = asked(p, query, grid)[0]
    for _ in range(3):  # one series counts a quarter
        asked(p, query, grid)
    memory(p).filler.wait()
    second, explained = asked(p, query, grid)
    assert explained["statements"] == []
    assert [r["blocks"] for r in explained["from_memory"]] == [blocks]
    assert same(first, second)
    send(p, [f"load:{50 + i}|g|#n:1|T{NOW_S - 4_991 - 10 * i}" for i in range(20)])
    third, explained = asked(p, query, grid)
    assert explained["statements"] == []
    assert not same(first, third)
    assert same(third, asked(p, query, grid, nocache=True)[0])


def test_sketches_are_kept_as_they_were_read_until_they_are_written_to(p: Pipeline) -> None:
    send(p, [f"lat:{1 + i % 90}|d|#n:{i % SERIES}|T{NOW_S - i}" for i in range(3 * HOUR_S)])
    query, grid = "histogram_quantile(0.9, sum by (n) (rate(lat[5m])))", hours(2.5, 0.2, 60)
    first = asked(p, query, grid)[0]
    memory(p).filler.wait()
    second, explained = asked(p, query, grid)
    assert explained["statements"] == []
    assert explained["from_memory"][-1]["blocks"] == {"distributions_60s": 6}
    assert same(first, second)
    send(p, [f"lat:400|d|#n:1|T{NOW_S - HOUR_S - 600 - i}" for i in range(60)])
    third, explained = asked(p, query, grid)
    assert len(explained["statements"]) == 2, "of one stretch: the range of its buckets, and they"
    assert explained["from_memory"][-1]["blocks"] == {"distributions_60s": 4}
    assert not same(first, third)
    assert same(third, asked(p, query, grid, nocache=True)[0])
    assert asked(p, query, grid)[1]["statements"] == []


def test_one_query_does_not_keep_sketches_beyond_its_share(store: Store, tenant: Tenant) -> None:
    p = opened(store, tenant, max_bytes=200_000)
    send(p, [f"lat:{1 + i % 90}|d|#n:{i % SERIES}|T{NOW_S - i}" for i in range(3 * HOUR_S)])
    query, grid = "histogram_quantile(0.9, rate(lat[5m]))", hours(2.5, 0.2, 60)
    for _ in range(2):
        assert len(asked(p, query, grid)[1]["statements"]) >= 2
    assert memory(p).cache.size_bytes <= 200_000
    p.close()


def test_one_query_asks_once(store: Store, tenant: Tenant) -> None:
    p = opened(store, tenant, fill_after=2)
    send(p, lines(range(0, HOUR_S, 10)))
    kept = []
    for _ in range(2):
        asked(p, "sum(rate(hits[1m]))", hours(0.5, 0))
        memory(p).filler.wait()
        kept.append(len(memory(p).cache))
    assert kept == [0, 1]
    p.close()


def test_what_is_missing_is_read_beside_what_is_there(p: Pipeline) -> None:
    plain = asked(p, "sum(rate(hits[1m]))", hours(2.9, 0))[0]
    with_hole = opened(p.store, p.tenant, fill_after=2)
    for _ in range(2):
        asked(with_hole, "sum(rate(hits[1m]))", hours(2.9, 1.1))
    memory(with_hole).filler.wait()
    value, explained = asked(with_hole, "sum(rate(hits[1m]))", hours(2.9, 0))
    assert same(value, plain)
    [recalled], [statement] = explained["from_memory"], explained["statements"]
    assert recalled["blocks"] == {"counters_10s": 2}
    assert statement["rows"] == SERIES * 360
    assert recalled["rows"] == 2 * 360 - 6
    with_hole.close()


def test_what_is_written_shows_at_once_without_a_statement(p: Pipeline) -> None:
    query, grid = "sum(increase(hits[1m]))", hours(1, 0)
    asked(p, query, grid)
    memory(p).filler.wait()
    for sent, total in (
        (lines([0]), 28.0),
        (lines([1_000]), 28.0),
        ([f"hits:3|c|#n:new|T{NOW_S - 10}"], 31.0),
    ):
        send(p, sent)
        value, explained = asked(p, query, grid)
        assert explained["statements"] == []
        assert value.values[0, -1] == total
    assert value.values[0].max() == 31.0


def test_a_frame_that_comes_again_drops_blocks_and_changes_nothing(p: Pipeline) -> None:
    query, grid = "sum(increase(hits[1m]))", hours(1, 0)
    frames = send(p, lines([0]))
    asked(p, query, grid)
    memory(p).filler.wait()
    before, explained = asked(p, query, grid)
    assert explained["statements"] == []
    p.insert(frames)
    after, explained = asked(p, query, grid)
    assert explained["statements"]
    assert same(before, after)


def test_an_insert_that_fails_half_way_drops_blocks_and_may_come_again(p: Pipeline) -> None:
    query, grid = "sum(increase(hits[1m]))", hours(1, 0)
    units = p.frames(lines([0], value=5), agent="unlucky", org_id=p.tenant.org_id)
    _asked_until_in_memory(p, query, grid)
    p.store.command("RENAME TABLE counters_1d TO elsewhere")
    with pytest.raises(StoreError):
        p.insert(units)
    half_way = asked(p, query, grid)
    assert half_way[1]["statements"]
    assert same(half_way[0], asked(p, query, grid, nocache=True)[0])
    p.store.command("RENAME TABLE elsewhere TO counters_1d")
    _asked_until_in_memory(p, query, grid)
    p.insert(units)
    whole, explained = asked(p, query, grid)
    assert explained["statements"]
    assert same(whole, asked(p, query, grid, nocache=True)[0])
    assert whole.values[0, -1] == 24.0 + 5 * SERIES


def _asked_until_in_memory(p: Pipeline, query: str, grid: Grid) -> None:
    asked(p, query, grid)
    memory(p).filler.wait()
    assert asked(p, query, grid)[1]["statements"] == []


def test_running_totals_are_summed_from_blocks_of_all_rollups(p: Pipeline) -> None:
    query, grid = "sum(hits)", Grid.instant(NOW_S * 1000)
    first = asked(p, query, grid, instant=True)[0]
    memory(p).filler.wait()
    second, explained = asked(p, query, grid, instant=True)
    assert explained["statements"] == []
    assert same(first, second)
    fills = memory(p).filler
    asked(p, query, grid, instant=True)
    fills.wait()
    kept = len(memory(p).cache)
    asked(p, query, grid, instant=True)
    fills.wait()
    assert len(memory(p).cache) == kept, "nothing is read again and again"


# ---------------------------------------------------------------- tenants and limits


def test_nobody_sees_another_tenants_blocks(p: Pipeline) -> None:
    send(p, lines(range(0, HOUR_S, 10), value=100), project_id=2)
    other = next(_ORGS)
    send(p, lines(range(0, HOUR_S, 10), value=1_000), org_id=other)
    org = p.tenant.org_id
    sums = {Tenant(org, 1): 24.0, Tenant(org, 2): 2_400.0, Tenant(other, 1): 24_000.0,
            Tenant(org, None): 2_424.0}  # fmt: skip
    for _ in range(2):
        for tenant, total in sums.items():
            value, explained = asked(replace(p, tenant=tenant), "sum(increase(hits[1m]))", hours(0.5, 0))
            assert value.values[0, -1] == total
            memory(p).filler.wait()
    assert explained["statements"] == []


def test_limits_are_the_same_with_and_without(p: Pipeline) -> None:
    small = opened(p.store, p.tenant, max_samples=1_000)
    few = "rate(hits[1m])"
    asked(small, few, hours(0.5, 0))
    memory(small).filler.wait()
    assert asked(small, few, hours(0.5, 0))[1]["statements"] == []
    texts = []
    for pipeline in (small, opened(p.store, p.tenant, max_bytes=0, max_samples=1_000)):
        with pytest.raises(ExecutionError, match="would load too many samples") as error:
            pipeline.answer(few, hours(0.9, 0), instant=False)
        texts.append(str(error.value))
        pipeline.close()
    assert texts[0] == texts[1]


def test_memory_is_bounded(store: Store, tenant: Tenant) -> None:
    one_block = SERIES_BYTES * SERIES
    p = opened(store, tenant, max_bytes=5 * one_block)
    send(p, lines(range(0, 10 * HOUR_S, 10)))
    plain = opened(store, tenant, max_bytes=0)
    for back in range(1, 10):
        for _ in range(2):
            value, _ = asked(p, "sum(rate(hits[1m]))", hours(back, back - 1))
            memory(p).filler.wait()
            assert same(value, asked(plain, "sum(rate(hits[1m]))", hours(back, back - 1))[0])
            assert memory(p).cache.size_bytes <= 5 * one_block
    assert len(memory(p).cache) == 5
    plain.close()
    p.close()


def test_no_blocks_where_they_are_turned_off(store: Store, tenant: Tenant) -> None:
    p = opened(store, tenant, max_bytes=0)
    assert p.blocks is None
    send(p, lines(range(0, HOUR_S, 10)))
    for _ in range(3):
        assert asked(p, "rate(hits[1m])", hours(0.5, 0))[1]["from_memory"] == []
    p.close()


# ---------------------------------------------------------------- filling


class Filled:
    """A filler over the store's data, and the places of some hours of its one metric."""

    def __init__(self, p: Pipeline, *, max_bytes: int = 64 << 20, fill_after: int = 1) -> None:
        self.metrics, self.insert_feed = ShimMetrics(), InsertFeed()
        self.cache = ChunkCache(max_bytes, KEPT, self.metrics)
        self.filler = Filler(p.store, self.cache, self.insert_feed, fill_after, self.metrics)
        self.insert_feed.subscribe(self.cache)
        org_id = p.tenant.org_id
        ((metric_id,),) = p.store.rows(
            "SELECT DISTINCT metric_id FROM counters_1d WHERE org_id = {o:UInt32}", {"o": org_id}
        )
        self.source = Source(org_id, 1, (metric_id,), "counters", "value")

    def places(self, back_from: int, back_to: int) -> list[ChunkKey]:
        return places(self.source, 10, NOW_S - back_from * HOUR_S, NOW_S - back_to * HOUR_S)

    def ask(self, *wanted: ChunkKey, whole: bool = True) -> None:
        self.filler.ask(wanted, whole=whole)
        self.filler.wait()

    def row(self) -> Block:
        """One that touches the latest hour."""
        values = {"org_id": self.source.org_id, "project_id": 1, "bucket": NOW_S - 10}
        row = {name: np.array([value], np.uint32) for name, value in values.items()}
        return {**row, "metric_id": np.array(self.source.metric_ids, np.uint64)}

    def outcomes(self, outcome: str) -> float:
        return counted(self.metrics, "block_fills", outcome=outcome)


def test_blocks_are_filled_after_some_readings(p: Pipeline) -> None:
    one = Filled(p, fill_after=2)
    whole, some = one.places(3, 1)
    one.ask(whole)
    assert len(one.cache) == 0
    one.ask(whole)
    assert len(one.cache) == 1
    for asked_before in range(8):
        assert len(one.cache) == 1, asked_before
        one.ask(some, whole=False)
    assert len(one.cache) == 2
    assert one.outcomes("kept") == 2
    one.filler.close()


def test_what_is_too_large_or_too_sparse_is_declined(p: Pipeline) -> None:
    small = Filled(p, max_bytes=4 * SERIES_CELL_BYTES * (SERIES - 1))
    small.ask(*small.places(2, 0))
    assert small.outcomes("large") == 2
    small.ask(*small.places(2, 0))
    assert small.outcomes("large") == 2, "not tried again"
    assert len(small.cache) == 0
    send(p, lines([5 * HOUR_S, 6 * HOUR_S - 10]))
    sparse = Filled(p)
    sparse.ask(*sparse.places(6, 5), *sparse.places(8, 7))
    assert sparse.outcomes("sparse") == 1
    assert sparse.outcomes("kept") == 1, "nothing at all is soon said"
    for one in (small, sparse):
        one.filler.close()


def test_a_large_job_is_tried_block_by_block(p: Pipeline) -> None:
    one = Filled(p, max_bytes=4 * SERIES_CELL_BYTES * SERIES)
    one.ask(*one.places(2, 0))
    assert one.outcomes("kept") == 2
    one.filler.close()


def test_a_stretch_that_is_written_to_all_the_time_is_filled_in_a_pause(
    p: Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shim.read.cell_cache.filler._PAUSE_S", 120.0)  # the writer may end late
    one = Filled(p)
    [place] = one.places(1, 0)
    begun, may_end = threading.Event(), threading.Event()

    def insert() -> None:
        with one.insert_feed.announce("counters", one.row(), first=False):
            begun.set()
            may_end.wait(120)

    writer = threading.Thread(target=insert)
    writer.start()
    assert begun.wait(120)
    one.filler.ask([place], whole=True)
    may_end.set()
    one.filler.wait()
    writer.join()
    assert one.outcomes("kept") == 1
    one.filler.close()


def test_a_pause_that_takes_too_long_is_given_up(p: Pipeline, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shim.read.cell_cache.filler._PAUSE_S", 0.01)
    one = Filled(p)
    [place] = one.places(1, 0)
    with one.insert_feed.announce("counters", one.row(), first=False):
        one.ask(place)
    assert one.outcomes("written") == 1
    assert len(one.cache) == 0
    one.filler.close()


def test_a_store_that_fails_declines(p: Pipeline, chdb_path: Path) -> None:
    one = Filled(p)
    gone = open_store(f"chdb://{chdb_path}?database=not_there", pool=1)
    filler = Filler(gone, one.cache, one.insert_feed, 1, one.metrics)
    filler.ask(one.places(1, 0), whole=True)
    filler.wait()
    assert one.outcomes("failed") == 1
    filler.close()
    filler.ask(one.places(3, 2), whole=True)
    filler.wait()
    gone.close()


def test_jobs_are_neighbours_within_a_bound() -> None:
    source = Source(1, 1, (7,), "counters", "value")
    day = places(source, 10, 0, 86_400)
    found = jobs([*day[:9], day[12], *places(source, 60, 0, 86_400)])
    assert [len(j.places) for j in found if j.places[0].granularity_s == 10] == [4, 4, 1, 1]
    assert [len(j.places) for j in found if j.places[0].granularity_s == 60] == [4]
    assert all(sum(p.cells for p in j.places) <= MAX_CELLS for j in found)
    assert isinstance(found[0], FillJob)


# ---------------------------------------------------------------- at the same time


def test_an_insert_is_seen_whole_or_not_at_all_and_never_unseen(store: Store, tenant: Tenant) -> None:
    """Each INSERT adds 1 to every minute of two hours: every step of a query shows the same number."""
    p = opened(store, tenant)
    ages = range(0, 2 * HOUR_S, 60)
    send(p, lines(ages))
    query, grid = "sum(increase(hits[1m]))", hours(1.9, 0, 60)
    asked(p, query, grid)
    memory(p).filler.wait()
    inserts, ended = 10, threading.Event()
    failures: list[object] = []

    def read() -> None:
        last = 0.0
        while True:
            stop = ended.is_set()
            value, _ = asked(p, query, grid)
            seen = set((value.values[0] / SERIES).tolist())
            if len(seen) != 1 or min(seen) < last:
                failures.append((seen, last))
            last = max(seen)
            if stop:
                if last != inserts + 1:
                    failures.append(("at the end", last))
                return

    readers = [threading.Thread(target=read) for _ in range(2)]
    for reader in readers:
        reader.start()
    for _ in range(inserts):
        send(p, lines(ages))
    ended.set()
    for reader in readers:
        reader.join()
    assert failures == []
    assert counted(memory(p).metrics, "block_lookups", result="hit") > inserts
    p.close()
