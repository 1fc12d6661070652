"""Assembles the cell cache of one process: chunks, filler, and the feed of writes."""

from __future__ import annotations

from indexer.clickhouse.retention import Retention
from indexer.clickhouse.store import Store
from indexer.write.insert_feed import InsertFeed
from shim.metrics import ShimMetrics
from shim.read.cell_cache.chunk_cache import ChunkCache
from shim.read.cell_cache.filler import Filler
from shim.settings import CacheSettings


class CellCache:
    """The cell cache of one process.

    `insert_feed` announces every INSERT of samples into `store`; no other process may write to it.
    `retention` is that of the writer's tables.
    """

    def __init__(
        self,
        store: Store,
        settings: CacheSettings,
        retention: Retention,
        insert_feed: InsertFeed,
        metrics: ShimMetrics,
    ) -> None:
        self.metrics = metrics
        self.cache = ChunkCache(settings.max_bytes, retention, metrics)
        self.filler = Filler(store, self.cache, insert_feed, settings.fill_after, metrics)
        insert_feed.subscribe(self.cache)

    @property
    def max_series(self) -> int:
        """Series of a metric whose blocks are kept: of more they would take too much of the memory."""
        return self.filler.max_series

    def close(self) -> None:
        """Nothing is read any more when this returns."""
        self.filler.close()
