"""The parts that answer queries: catalog, cells in memory, live edge, engine and languages."""

from __future__ import annotations

import asyncio
from concurrent.futures import Executor
from contextlib import AsyncExitStack
from dataclasses import dataclass
from functools import partial

import msgspec

from indexer.clickhouse.schema.eras import eras_for_reading
from indexer.clickhouse.store import Store
from shim.catalog import Catalog
from shim.engine.engine import QueryEngine
from shim.engine.live_edge import LiveEdge, TableAgents
from shim.engine.retention_eras import RetentionEras
from shim.indexers.indexer_client import IndexerClient
from shim.indexers.indexer_clock import IndexerClock
from shim.metrics import ShimMetrics
from shim.parts.local_indexer import LocalIndexer
from shim.read.cell_cache.setup import CellCache
from shim.settings import ShimSettings
from shim.snql.service import Languages


@dataclass(frozen=True, slots=True, kw_only=True)
class QueryParts:
    """The parts over one store. `settings` have the retention that its rows have, `clock` the present."""

    settings: ShimSettings
    store: Store
    eras: RetentionEras
    catalog: Catalog
    cells: CellCache | None
    edge: LiveEdge
    engine: QueryEngine
    languages: Languages
    clock: IndexerClock


async def open_query_parts(
    store: Store,
    settings: ShimSettings,
    indexer: LocalIndexer,
    metrics: ShimMetrics,
    pool: Executor,
    ends: AsyncExitStack,
) -> QueryParts:
    """Open the parts; `ends` closes them. Raises StoreError."""
    read_eras = partial(RetentionEras, partial(eras_for_reading, store, settings.retention))
    eras = await asyncio.get_running_loop().run_in_executor(pool, read_eras)
    settings = msgspec.structs.replace(settings, retention=eras.retention())
    catalog = Catalog(store, settings, indexer.version, metrics, changes=indexer.changes)
    cells = _cells(store, settings, indexer, metrics)
    alone = indexer.subscribe is not None or not settings.indexers.urls
    clock = IndexerClock(None if alone else IndexerClient(settings.indexers), metrics)
    ends.push_async_callback(asyncio.to_thread, clock.close)
    clock.start()
    agents = indexer.agents
    if agents is None and not store.embedded:
        agents = table = TableAgents(store, clock.now_s)
        ends.push_async_callback(asyncio.to_thread, table.close)
    edge = LiveEdge(settings.settle_s, agents)
    engine = QueryEngine(
        store, catalog, settings, blocks=cells, edge=edge, eras=eras.present, now_s=clock.now_s
    )
    ends.push_async_callback(asyncio.to_thread, engine.close)
    return QueryParts(
        settings=settings,
        store=store,
        eras=eras,
        catalog=catalog,
        cells=cells,
        edge=edge,
        engine=engine,
        languages=Languages(engine, catalog, settings),
        clock=clock,
    )


def _cells(
    store: Store, settings: ShimSettings, indexer: LocalIndexer, metrics: ShimMetrics
) -> CellCache | None:
    """Return the cells in memory; None where they are off, or where others may write to the store."""
    if indexer.insert_feed is None or not settings.cache.max_bytes or not store.embedded:
        return None
    return CellCache(store, settings.cache, settings.retention, indexer.insert_feed, metrics)
