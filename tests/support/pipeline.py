"""The whole path in one process, without sockets: lines -> aggregator -> frame bytes -> INSERT -> engine.

For tests of meaning: `|T` places the lines, `settle_s = 0` and a fixed clock leave the live edge out unless a
test wants it.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Coroutine, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

from agent.aggregate.aggregator import Aggregator
from agent.core.frame_builder import build_frames
from agent.settings import AggregateSettings
from agent.wire.frame import Sender, decode, encode
from indexer.clickhouse.store import Store
from indexer.intern.id_store import ClickHouseIdStore
from indexer.intern.series import SeriesRegistry
from indexer.intern.string_indexer import StringIndexer
from indexer.write.accepted_frame import AcceptedFrame
from indexer.write.insert_feed import InsertFeed
from indexer.write.inserter import Inserter
from shim.catalog import Catalog
from shim.engine.api import QueryOptions, QueryResult
from shim.engine.engine import QueryEngine
from shim.metrics import ShimMetrics
from shim.model.grid import Grid
from shim.model.labels import Labels
from shim.model.tenancy import Tenant
from shim.model.values import Samples, Scalar, Vector
from shim.read.cell_cache.setup import CellCache
from shim.read.reader import FEW_ROWS
from shim.read.series_slices import MAX_CELLS
from shim.settings import CacheSettings, ShimSettings
from tests.support.frames import TEN_YEARS

MULTI_YEAR_S = 4_000 * 86_400
#: Lines may have any time of about ten years.
AT_ANY_TIME = AggregateSettings(lateness_s=MULTI_YEAR_S, future_s=MULTI_YEAR_S)

T = TypeVar("T")


def finish(work: Coroutine[Any, Any, T]) -> T:
    """Return its result, from an event loop of its own.

    It has no handler of Ctrl-C, unlike `asyncio.run`, which formats the result of each run to set one.
    """
    loop = asyncio.new_event_loop()
    try:
        return loop.run_until_complete(work)
    finally:
        loop.close()


@dataclass(slots=True)
class Pipeline:
    """Write lines with `send`, ask with `instant` and `range`."""

    store: Store
    inserter: Inserter
    engine: QueryEngine
    now_ms: int
    sequence: itertools.count[int]
    tenant: Tenant = field(default_factory=lambda: Tenant(1, 1))
    max_frame_rows: int = 5_000
    blocks: CellCache | None = None
    sent: set[str] = field(default_factory=set)

    @staticmethod
    def open(
        store: Store,
        now_ms: int,
        *,
        few_rows: int = FEW_ROWS,
        slice_cells: int = MAX_CELLS,
        **settings: object,
    ) -> Pipeline:
        """Open it on a migrated store. `settings` are those of the shim that differ from settle_s = 0.

        No cells are kept in memory unless `cache` says so: most tests want to see statements.

        `few_rows` = 0: ClickHouse adds up even a test's few rows. `slice_cells`: series are read in
        slices of this number of cells.
        """
        off = CacheSettings(max_bytes=0)
        shim = ShimSettings(**{"settle_s": 0.0, "cache": off, **settings})  # type: ignore[arg-type]
        insert_feed = InsertFeed()
        blocks = None
        if shim.cache.max_bytes:
            blocks = CellCache(store, shim.cache, shim.retention, insert_feed, ShimMetrics())
        strings = StringIndexer(ClickHouseIdStore(store))
        registry = SeriesRegistry(1_000_000)
        inserter = Inserter(store, strings, registry, insert_feed=insert_feed, retention=TEN_YEARS)
        engine = QueryEngine(
            store,
            Catalog(store, shim),
            shim,
            now_s=lambda: now_ms / 1000,
            few_rows=few_rows,
            slice_cells=slice_cells,
            blocks=blocks,
        )
        return Pipeline(store, inserter, engine, now_ms, itertools.count(1), blocks=blocks)

    def close(self) -> None:
        self.engine.close()

    def send(
        self,
        lines: Iterable[str],
        *,
        agent: str = "test",
        org_id: int = 1,
        project_id: int = 1,
        aggregator: Aggregator | None = None,
    ) -> list[AcceptedFrame]:
        """Insert the lines; return the frames as sent. `aggregator` has other settings or a mapping."""
        units = self.frames(lines, agent=agent, org_id=org_id, project_id=project_id, aggregator=aggregator)
        self.insert(units)
        return units

    def frames(
        self,
        lines: Iterable[str],
        *,
        agent: str = "test",
        org_id: int = 1,
        project_id: int = 1,
        aggregator: Aggregator | None = None,
    ) -> list[AcceptedFrame]:
        """Aggregate, frame, encode and decode the lines."""
        aggregator = aggregator or Aggregator(AT_ANY_TIME)
        for line in lines:
            aggregator.add(line.encode(), self.now_ms)
        sender = Sender(agent=agent, epoch=1, org_id=org_id, project_id=project_id)
        units = []
        for frame in build_frames(
            aggregator.flush_all(self.now_ms), sender, self.sequence, self.now_ms,
            max_rows=self.max_frame_rows, max_bytes=4 << 20,
        ):  # fmt: skip
            body = encode(frame)
            units.append(AcceptedFrame(frame.identity, body, decode(body)))
        return units

    def insert(self, units: Iterable[AcceptedFrame]) -> None:
        for unit in units:
            first = unit.identity not in self.sent
            self.sent.add(unit.identity)
            self.inserter.insert(unit.identity, [unit], first=first)

    # ------------------------------------------------------------ questions

    def instant(self, query: str, at_s: float, **options: Any) -> dict[Labels, float]:
        """Float values at one time."""
        found = _points(self.answer(query, Grid.instant(round(at_s * 1000)), **options))
        return {labels: v[0] for labels, v in found.items() if v[0] is not None}

    def range(
        self, query: str, start_s: float, end_s: float, step_s: float, **options: Any
    ) -> Mapping[Labels, list[float | None]]:
        """Float values at every step, None where there is none."""
        grid = Grid(round(start_s * 1000), round(end_s * 1000), round(step_s * 1000))
        return _points(self.answer(query, grid, instant=False, **options))

    def answer(self, query: str, grid: Grid, *, instant: bool = True, **options: Any) -> QueryResult:
        chosen = QueryOptions(timeout_s=60.0, **options)
        if instant:
            return finish(self.engine.instant(self.tenant, query, grid.start_ms, chosen))
        return finish(self.engine.range(self.tenant, query, grid, chosen))


def _points(answer: QueryResult) -> dict[Labels, list[float | None]]:
    value = answer.value
    if isinstance(value, Scalar):
        return {(): [float(v) for v in value.values]}
    assert isinstance(value, Vector), type(value)
    assert not isinstance(value, Samples)
    return {
        labels: [float(v) if p else None for v, p in zip(row, present, strict=True)]
        for labels, row, present in zip(value.labels, value.values, value.present, strict=True)
        if present.any()
    }
