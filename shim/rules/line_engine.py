"""PromQL over lines of StatsD, as a server would answer it: for unit tests of rules.

The lines become frames, and the frames rows of a database in a folder of its own (chdb), so that counters,
distributions and sets mean the same as on a server. Results of rules and other input series are in memory.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from agent.cli.line_frames import LineError, line_frames
from agent.wire.frame import Sender
from indexer.clickhouse.retention import Retention
from indexer.clickhouse.schema import migrate
from indexer.clickhouse.store import Store, open_store
from indexer.write.frame_loader import load_frames
from shim.catalog import Catalog
from shim.engine.api import QueryOptions
from shim.engine.engine import QueryEngine
from shim.model.errors import BadData
from shim.model.tenancy import Tenant
from shim.model.values import Samples, Scalar, String, Vector
from shim.promql.ast import Expr
from shim.rules.memory_engine import MemoryEngine
from shim.rules.memory_samples import MemorySamples
from shim.rules.mixed_leaves import MixedLeaves
from shim.rules.unit_test_file import RuleTest
from shim.rules.unit_test_run import OpenEngine
from shim.settings import CacheSettings, ShimSettings

_TENANT: Final = Tenant(1, 1)
_TIMEOUT_S: Final = 60.0
#: Tests begin in 1970, and nothing of theirs may expire.
_DAYS: Final = 40_000
_RETENTION: Final = Retention(days_10s=_DAYS, days_60s=_DAYS, days_1h=_DAYS, days_1d=_DAYS)


class LineEngine(MemoryEngine):
    """Evaluates over a store, with the samples in memory beside it."""

    def __init__(
        self, engine: QueryEngine, samples: MemorySamples, subquery_step_ms: int, pool: ThreadPoolExecutor
    ) -> None:
        super().__init__(samples, subquery_step_ms, pool)
        self._engine = engine
        self._loop = asyncio.new_event_loop()

    def close(self) -> None:
        """Close the engine below."""
        self._engine.close()
        self._loop.close()

    def _value(self, expr: Expr, text: str, at_ms: int) -> Scalar | String | Vector | Samples:
        del expr
        options = QueryOptions(_TIMEOUT_S, over=lambda store: MixedLeaves(store, self.samples))
        return self._loop.run_until_complete(self._engine.instant(_TENANT, text, at_ms, options)).value


@contextmanager
def line_engines(folder: Path) -> Iterator[OpenEngine]:
    """Provide engines of tests, each with a database of its own in the folder. Raises StoreError."""
    numbers, opened, stores = itertools.count(1), list[LineEngine](), list[Store]()
    settings = ShimSettings(settle_s=0.0, retention=_RETENTION, cache=CacheSettings(max_bytes=0))

    def open_engine(
        test: RuleTest, samples: MemorySamples, subquery_step_ms: int, pool: ThreadPoolExecutor
    ) -> LineEngine:
        sender = Sender(agent="test", epoch=1, org_id=_TENANT.org_id, project_id=1)
        try:
            frames = list(line_frames(((line.at_ms, line.text) for line in test.lines), sender))
        except LineError as e:
            raise BadData(str(e)) from None
        store = open_store(f"chdb://{folder / 'data'}?database=test_{next(numbers)}", pool=4)
        stores.append(store)
        migrate(store, _RETENTION)
        load_frames(store, frames, _RETENTION)
        engine = QueryEngine(store, Catalog(store, settings), settings)
        opened.append(LineEngine(engine, samples, subquery_step_ms, pool))
        return opened[-1]

    try:
        yield open_engine
    finally:
        for engine in opened:
            engine.close()
        for store in stores:
            store.close()
