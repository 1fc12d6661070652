"""Cost of cells in memory to a writer: CPU milliseconds beside one INSERT of 100,000 rows, without it.

python -m tests.bench.block_writes

*Announced* without a listener; *heard* with no block in memory; *added* to the four blocks (one a rollup)
of up to a hundred metrics. The floor is sorting the rows, which the writer does anyway.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

import numpy as np

from indexer.clickhouse.native_format import Block as Rows
from indexer.clickhouse.schema import Retention
from indexer.write.frame_to_columns import kept_columns, sort
from indexer.write.insert_feed import InsertFeed
from shim.metrics import ShimMetrics
from shim.read.cell_cache.chunk import CHUNK_SPAN_S, Chunk, Source, places
from shim.read.cell_cache.chunk_cache import ChunkCache

START_S: Final = 1_762_560_000
KEPT: Final = Retention(3650, 3650, 3650, 3650)


def rows(metrics: int, series: int, buckets: int) -> Rows:
    """Sorted, as they are written; series have ids of their own."""
    count = metrics * series * buckets
    ids = np.repeat(np.arange(metrics * series, dtype=np.uint64) * 7_919, buckets)
    return sort({
        "org_id": np.ones(count, np.uint32), "project_id": np.ones(count, np.uint32),
        "metric_id": np.repeat(np.arange(metrics, dtype=np.uint64), series * buckets), "series_id": ids,
        "bucket": np.tile(START_S + 10 * np.arange(buckets, dtype=np.uint32), metrics * series),
        **kept_columns(count, 65_535, KEPT), "value": np.ones(count),
    })  # fmt: skip


def fill(cache: ChunkCache, batch: Rows, metrics: int, buckets: int) -> None:
    for metric in range(metrics):
        source = Source(1, 1, (metric,), "counters", "value")
        series_ids, metric_ids = (np.asarray(batch[n]) for n in ("series_id", "metric_id"))
        ids = np.unique(series_ids[metric_ids == metric])
        for granularity_s in CHUNK_SPAN_S:
            for place in places(source, granularity_s, START_S, START_S + 10 * buckets):
                shape = (len(ids), place.cells)
                with cache.watch(source, place.start_s, place.end_s) as (watch, _):
                    cache.keep(watch, {place: Chunk(ids, np.zeros(shape), np.zeros(shape, dtype=bool), 3650)})


def cost_ms(work: Callable[[], object], times: int = 7) -> float:
    """Return the least CPU of some runs."""
    found = []
    for _ in range(times):
        before = time.process_time()
        work()
        found.append(time.process_time() - before)
    return min(found) * 1000


def main() -> None:
    print("| metrics | series of each | buckets | floor: sort | announced | heard | blocks | added |")
    print("|---:|---:|---:|---:|---:|---:|---:|---:|")
    for metrics, series, buckets in ((1, 1_000, 100), (100, 1_000, 1), (10_000, 10, 1)):
        batch = rows(metrics, series, buckets)
        insert_feed = InsertFeed()
        cache = ChunkCache(1 << 30, KEPT, ShimMetrics())

        def write(insert_feed: InsertFeed = insert_feed, batch: Rows = batch) -> None:
            with insert_feed.announce("counters", batch, first=True):
                pass

        costs = [cost_ms(lambda batch=batch: sort(batch)), cost_ms(write)]  # type: ignore[misc]  # default
        insert_feed.subscribe(cache)
        costs.append(cost_ms(write))
        fill(cache, batch, min(metrics, 100), buckets)
        added = cost_ms(write)
        shown = " | ".join(f"{c:.2f}" for c in costs)
        print(f"| {metrics} | {series} | {buckets} | {shown} | {len(cache)} | {added:.1f} |", flush=True)


if __name__ == "__main__":
    main()
