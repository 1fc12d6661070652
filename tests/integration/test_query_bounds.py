"""A query's memory is bounded by `max_samples` before it is taken: hostile questions about little data."""

from __future__ import annotations

import tracemalloc
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from indexer.clickhouse.granularities import GRANULARITIES
from indexer.clickhouse.schema import Retention
from indexer.intern.ids import string_id
from shim.model.errors import ExecutionError
from shim.model.grid import Grid
from shim.settings import CacheSettings
from tests.support.pipeline import Pipeline
from tests.support.worlds import embedded

NOW_S: Final = 20_400 * 86_400
DATABASE: Final = "query_bounds"
KEPT: Final = Retention(days_10s=3650, days_60s=3650, days_1h=3650, days_1d=3650)
SERIES: Final = 90
MAX_SAMPLES: Final = 400_000
#: Bytes at most for every sample that `max_samples` allows: operands, a result, and intermediate values.
FACTOR: Final = 10
#: Beside them: the plan, the catalog's look-ups, labels.
FIXED_BYTES: Final = 4 << 20
MAX_BYTES: Final = FACTOR * 8 * MAX_SAMPLES + FIXED_BYTES
#: Steps that fill the bound with the series there are, and as many as a range query may have.
LONG: Final = Grid((NOW_S - 40_000) * 1000, NOW_S * 1000, 10_000)
FINE: Final = Grid((NOW_S - 10_999) * 1000, NOW_S * 1000, 1_000)


def lines() -> Iterator[str]:
    yield f"far:1e-300|d|T{NOW_S - 20_000}"
    yield f"far:1e300|d|T{NOW_S - 10_000}"
    yield f"both:-1e-300:-1e300:0:1e-300:1e300|d|T{NOW_S - 15}"
    yield f"stray:1|d|T{NOW_S - 15}"
    yield f"straying:1|d|T{NOW_S - 15}"
    for i in range(SERIES):
        yield f"g:{i}|g|#n:{i},all:1|T{NOW_S - 100 - 10 * i}"
        yield f"c:{i}|c|#n:{i},all:1|T{NOW_S - 100}"
        yield f"d:{1.5**i}|d|#n:{i},all:1|T{NOW_S - 100}"
    for i in range(400):
        yield f"steps:{1.2**i}|d|T{NOW_S - 10 * i - 15}"


@pytest.fixture(scope="module")
def p(request: pytest.FixtureRequest, chdb_path: Path) -> Iterator[Pipeline]:
    with embedded(chdb_path, DATABASE) as store:
        cache = CacheSettings() if request.param == "warm" else CacheSettings(max_bytes=0)
        pipeline = Pipeline.open(store, NOW_S * 1000, retention=KEPT, max_samples=MAX_SAMPLES, cache=cache)
        pipeline.send(lines())
        for name, buckets in (("stray", "0, 1, 2097152, 1"), ("straying", "2147483647, 1, -2147483648, 1")):
            _stored_by_an_old_indexer(pipeline, name, buckets)
        yield pipeline
        pipeline.close()


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


@pytest.mark.parametrize("p", ["cold", "warm"], indirect=True)
@pytest.mark.parametrize("query", ANSWERED)
def test_few_observations_far_apart_are_answered(p: Pipeline, query: str) -> None:
    for _ in range(2):  # the second has the first one's cells from memory
        peak, refusal = _measured(p, query, LONG)
        assert refusal == ""
        assert peak <= MAX_BYTES


HOSTILE: Final = [
    # Windows and `@` repeat few points over many steps.
    "g @ end()", "d @ end()", "max_over_time(g[1h] @ end())", "rate(d[1h] @ end())", "g offset 1s",
    "max_over_time(g[1h:1h])", "last_over_time(g[1h:1h] @ end())", "quantile_over_time(0.5, g[1h:1h])",
    "last_over_time(d[1h:1h])", "g smoothed", "increase(g[1h] smoothed)", "d", "rate(d[1h])", "steps",
    "timestamp(g)", "predict_linear(g[1h], 60)", "quantile_over_time(scalar(g{n='1'}), d[1h])",
    # Operators.
    "g * on(n) group_left(all) c", "g + on(n) group_left() (g @ end())", "g and on() g", "c or g or d",
    "g * on(all) group_left() topk by (all) (1, g)", "c + fill(1) g", "d + d", "d * on(n) c", "-d",
    "(c + (c + (c + (c + (c + (c + (c + (c + c))))))))", "(d + (d + (d + (d + (d + (d + d))))))",
    # Aggregations.
    "count_values('v', g * time())", "count_values('v', d)", "topk(5, g)", "quantile(0.5, g)",
    "sum by (n) (d)", "limitk(3, d)", "limit_ratio(0.5, d)", "stddev(g)", "group(d)",
    "sum by (n) (rate(c[1h]))",
    # Functions.
    "histogram_quantiles(steps, 'q', time() / 1e10, time() / 1e11)", "histogram_quantile(0.5, d)",
    "histogram_quantile(time() / 1e10, sum(d))", "absent(g)", "absent_over_time(g[1h])", "vector(time())",
    "histogram_quantile(0.5, d_bucket)", "d_bucket", "rate(d_bucket[1h])", "sum by (le) (rate(d_bucket[1h]))",
    f"d_bucket{{le=~'{'|'.join(str(i) for i in range(1, 3_000))}'}}",
    f"d{{quantile=~'{'|'.join(f'0.{i}' for i in range(1, 1_000))}'}}",
    "sort_by_label(g, 'n')", "clamp(g, 0, 1)", "info(g)", "scalar(g)", "day_of_month(g)",
    # Subqueries.
    "max_over_time(vector(1)[30d:3s])", "count_over_time(g[1h:1s])",
    "sum_over_time((d @ end())[1h:1s])", "rate(d[1h:1s])", "max_over_time(max_over_time(g[1h:1s])[1h:1s])",
    "stddev_over_time((g @ end())[10m:10s])",
    "double_exponential_smoothing((g @ end())[1h:1m], 0.5, 0.5)", "mad_over_time(g[1h:1s])",
    # Ever so long label values.
    'label_join(label_join(g, "x", "", "n", "n", "n", "n"), "x", "", ' + ", ".join(['"x"'] * 4_000) + ")",
]  # fmt: skip


@pytest.mark.parametrize("p", ["cold"], indirect=True)
@pytest.mark.parametrize("query", HOSTILE, ids=[query[:60] for query in HOSTILE])
@pytest.mark.parametrize("grid", [LONG, FINE], ids=["long", "fine"])
def test_memory_is_that_of_max_samples(p: Pipeline, query: str, grid: Grid) -> None:
    peak, refusal = _measured(p, query, grid)
    assert peak <= MAX_BYTES
    assert not refusal or "too many samples" in refusal or "at most" in refusal, refusal


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
