"""What a query takes is bounded by `max_samples` before it is taken: hostile questions about little data."""

from __future__ import annotations

import tracemalloc
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from indexer.schema import Retention, migrate
from indexer.schema.tables import GRANULARITIES
from indexer.store import open_store
from indexer.strings.ids import string_id
from shim.errors import ExecutionError
from shim.grid import Grid
from shim.settings import CacheSettings
from tests.support.pipeline import Pipeline

NOW_S: Final = 20_400 * 86_400
DATABASE: Final = "query_bounds"
KEPT: Final = Retention(days_10s=3650, days_60s=3650, days_1h=3650, days_1d=3650)
MAX_SAMPLES: Final = 400_000
#: Bytes at most for every sample that `max_samples` allows: operands, a result, and what is between them.
FACTOR: Final = 8
#: Beside them: the plan, the catalog's look-ups, labels.
FIXED_BYTES: Final = 6 << 20
MAX_BYTES: Final = FACTOR * 8 * MAX_SAMPLES + FIXED_BYTES
#: The longest that a range query may have.
LONG: Final = Grid((NOW_S - 40_000) * 1000, NOW_S * 1000, 10_000)


def lines() -> Iterator[str]:
    yield f"far:1e-300|d|T{NOW_S - 20_000}"
    yield f"far:1e300|d|T{NOW_S - 10_000}"
    yield f"both:-1e-300:-1e300:0:1e-300:1e300|d|T{NOW_S - 15}"
    yield f"stray:1|d|T{NOW_S - 15}"
    yield f"straying:1|d|T{NOW_S - 15}"


@pytest.fixture(scope="module", params=["cold", "warm"])
def p(request: pytest.FixtureRequest, chdb_path: Path) -> Iterator[Pipeline]:
    store = open_store(f"chdb://{chdb_path}?database={DATABASE}", pool=4)
    migrate(store, KEPT)
    cache = CacheSettings() if request.param == "warm" else CacheSettings(max_bytes=0)
    pipeline = Pipeline.open(store, NOW_S * 1000, retention=KEPT, max_samples=MAX_SAMPLES, cache=cache)
    pipeline.send(lines())
    for name, buckets in (("stray", "0, 1, 2097152, 1"), ("straying", "2147483647, 1, -2147483648, 1")):
        _stored_by_an_old_indexer(pipeline, name, buckets)
    yield pipeline
    pipeline.close()
    store.command(f"DROP DATABASE IF EXISTS {DATABASE} SYNC")
    store.close()


def _stored_by_an_old_indexer(p: Pipeline, name: str, buckets: str) -> None:
    """Buckets that are of no number: before 2026-11-28 any frame could bring them."""
    for granularity in GRANULARITIES:
        table = f"{DATABASE}.distributions_{granularity.name}"
        made = f"* REPLACE (CAST(map({buckets}), 'Map(Int32, Float64)') AS positive)"
        p.store.command(
            f"INSERT INTO {table} SELECT {made} FROM {table} WHERE metric_id = {string_id(1, name)}"
        )


ANSWERED: Final = [
    "far", "rate(far[1m])", "sum(rate(far[1m]))", "histogram_quantile(0.9, rate(far[1m]))",
    "quantile_over_time(0.9, far[1m])", 'far{quantile="0.9"}', "far + far", "far * 2", "far == far",
    "histogram_stddev(far)", "histogram_fraction(0, 1, far)", "avg(far)", "count_values('v', far)",
    "sum_over_time(far[1h:10s])", "max_over_time(histogram_quantile(0.9, far)[1h:10s])", "irate(far[6h])",
    "far_bucket{le='1'}", "changes(far[6h])", "far or both", "label_replace(far, 'x', '$1', 'y', '(.*)')",
    "both", "stray", "straying", "rate(stray[1m])", "histogram_quantile(0.9, straying)",
    "sum({__name__=~'stray.*'})",
]  # fmt: skip


@pytest.mark.parametrize("query", ANSWERED)
def test_few_observations_far_apart_are_answered(p: Pipeline, query: str) -> None:
    for _ in range(2):  # what the first keeps in memory the second has from there
        peak, refusal = _measured(p, query, LONG)
        assert refusal == ""
        assert peak <= MAX_BYTES


def _measured(p: Pipeline, query: str, grid: Grid) -> tuple[int, str]:
    """Bytes at most while a query is answered, and why it is not."""
    refusal = ""
    tracemalloc.start()
    try:
        p.answer(query, grid, instant=False)
    except ExecutionError as e:
        refusal = str(e)
    finally:
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    return peak, refusal
