"""Gauges: buckets as matrices and rows merged by ClickHouse give the same samples, merged there or not."""

from __future__ import annotations

import json
import random
import time
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Final

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.wire.frame import ENDED
from indexer.clickhouse.schema import Retention
from indexer.receive.messages import parse
from indexer.write.accepted_frame import AcceptedFrame
from shim.catalog import Catalog
from shim.catalog.types import Part
from shim.eval.instant import latest
from shim.eval.sample_windows import slices
from shim.eval.window.registry import RANGE_FUNCTIONS
from shim.eval.window.stored import GaugeColumn
from shim.model.grid import Grid
from shim.model.matchers import Matcher
from shim.model.values import Samples
from shim.read.gauge_cells import GaugeCells
from shim.read.gauges import _by_rows, _fetched, _Span, without_ends
from shim.read.reader import Reader
from shim.read.window_plan import Limits
from shim.settings import ShimSettings
from tests.support.pipeline import Pipeline
from tests.support.worlds import embedded

DATABASE: Final = "gauge_forms"
NOW_S: Final = 20_400 * 86_400
KEPT: Final = Retention(days_10s=3650, days_60s=3650, days_1h=3650, days_1d=3650)
SERIES: Final = 6


@pytest.fixture(scope="module")
def pipeline(chdb_path: Path) -> Iterator[Pipeline]:
    """Six gauges; many buckets have several values, some in rows that are not merged; some start on time."""
    with embedded(chdb_path, DATABASE, pool=2) as store:
        store.command(f"SYSTEM STOP MERGES {DATABASE}.gauges_10s")
        made = Pipeline.open(store, NOW_S * 1000, retention=KEPT)
        choose = random.Random(11)
        for ages in (range(0, 3_000, 3), range(0, 3_000, 7), range(0, 20_000, 97)):
            lines = [
                f"load:{choose.randrange(-50, 50)}|g|#n:{i}|T{NOW_S - age_s}"
                for age_s in ages
                for i in choose.sample(range(SERIES), 2)
            ]
            made.send(lines)
        made.insert(_ends(choose.sample(range(3_000), 120)))
        yield made
        made.close()


def _ends(ages_s: list[int]) -> Iterable[AcceptedFrame]:
    """Return frames of ends of series 0 and 1, some in buckets that have values."""
    body = json.dumps([
        {"org_id": 1, "project_id": 1, "type": "g", "name": "load", "tags": {"n": str(age_s % 2)},
         "timestamp": NOW_S - age_s - 0.5, "value": "stale"}
        for age_s in ages_s
    ]).encode()  # fmt: skip
    return parse(body, key="ends", created_ms=NOW_S * 1000, latest_s=NOW_S, max_messages=1_000).units


@pytest.fixture(scope="module")
def part(pipeline: Pipeline) -> Part:
    catalog = Catalog(pipeline.store, ShimSettings(settle_s=0.0))
    matchers = (Matcher("__name__", "=", "load"),)
    (found,) = catalog.select(pipeline.tenant, matchers, (NOW_S - 90_000) * 1000, NOW_S * 1000).parts
    return found


@given(
    st.sampled_from([1, 7, 10, 60, 3_600]),
    st.integers(1, 50),
    st.sampled_from([0, 1, 5_000, 60_000, 1_234_567]),
    st.sampled_from([1, 3, 10, 60, 300, 10_000]),
    st.sampled_from([10, 60, 3_600]),
    st.sampled_from([f.gauge for f in RANGE_FUNCTIONS.values() if f.gauge]),
    st.booleans(),
)
@settings(max_examples=60, deadline=None)
def test_matrices_and_rows_are_the_same_samples(  # noqa: PLR0913 - two fixtures and seven drawn values
    pipeline: Pipeline,
    part: Part,
    step_s: int,
    steps: int,
    back_ms: int,
    window_s: int,
    granularity_s: int,
    aggregated: tuple[GaugeColumn, ...],
    some: bool,
) -> None:
    if some:
        one = slice(1, 4)
        part = replace(
            part, series_ids=part.series_ids[one], project_ids=part.project_ids[one],
            labels=list(part.labels)[one], whole=False,
        )  # fmt: skip
    end_ms = NOW_S * 1000 - back_ms
    grid = Grid(end_ms - (steps - 1) * step_s * 1000, end_ms, step_s * 1000)
    reader = Reader(pipeline.store, pipeline.tenant, Limits(), 10**6, 10**8, time.monotonic() + 60)
    span = _Span.of(grid.start_ms - window_s * 1000, grid.end_ms, granularity_s)
    columns = ("last", *aggregated)
    cells = _fetched(reader, part, granularity_s, span.lo_s, span.hi_s, columns)
    assert cells is not None
    rows = _by_rows(reader, part, span, columns)
    assert_latest(cells, rows, grid, window_s * 1000)
    rows = without_ends(rows)
    samples = cells.samples(part.labels, span.after_ms, span.upto_ms)
    assert_same(samples, rows)
    assert_found(samples, grid, window_s * 1000)


def assert_latest(cells: GaugeCells, rows: Samples, grid: Grid, lookback_ms: int) -> None:
    found, found_ms = cells.latest(rows.labels, grid, lookback_ms)
    wanted, wanted_ms = latest(rows, grid, lookback_ms)
    wanted = replace(wanted, present=wanted.present & (wanted.values != ENDED))
    assert np.array_equal(found.present, wanted.present)
    assert np.array_equal(found.values[found.present], wanted.values[wanted.present])
    assert np.array_equal(found_ms[found.present], wanted_ms[wanted.present])


def assert_same(found: Samples, wanted: Samples) -> None:
    assert found.labels == wanted.labels
    for name in ("offsets", "times_ms", "values", "low", "high", "total", "count"):
        a, b = getattr(found, name), getattr(wanted, name)
        assert (a is None) == (b is None), name
        assert a is None or np.array_equal(a, b), name


def assert_found(samples: Samples, grid: Grid, window_ms: int) -> None:
    """Places that are known are those that a search finds."""
    known, searched = (
        slices(one, grid.times_ms, window_ms) for one in (samples, replace(samples, upto=None))
    )
    assert np.array_equal(known.begin, searched.begin)
    assert np.array_equal(known.end, searched.end)


@given(
    st.integers(1, 40), st.lists(st.integers(0, 9_999), min_size=1, max_size=6), st.integers(1, 40_000),
    st.integers(-30_000, 60_000), st.integers(1, 30_000),
)  # fmt: skip
def test_places_in_full_buckets_need_no_search(
    buckets: int, offsets_ms: list[int], step_ms: int, after_ms: int, window_ms: int
) -> None:
    cells = GaugeCells.empty(len(offsets_ms), 0, buckets * 10, 10, ("last",))
    series = np.repeat(np.arange(len(offsets_ms)), buckets)
    bucket = np.tile(np.arange(buckets), len(offsets_ms))
    times_ms = bucket * 10_000 + (np.array(offsets_ms)[series] + 3_333 * bucket) % 10_000
    assert cells.put(series, bucket, times_ms, {"last": times_ms.astype(float)})
    labels = [(("n", str(i)),) for i in range(len(offsets_ms))]
    samples = cells.samples(labels, -1, buckets * 10_000)
    assert samples.upto is not None
    assert_found(samples, Grid(after_ms, after_ms + 20 * step_ms, step_ms), window_ms)


def test_an_answer_does_not_depend_on_merges(pipeline: Pipeline) -> None:
    """A bucket's sample is its last value, also while ClickHouse has it in two rows."""
    at_s = NOW_S - 50_000
    for after_s, value in ((3, 1), (7, 2)):
        pipeline.send([f"apart:{value}|g|T{at_s + after_s}"])
    before = [pipeline.instant("apart", at_s + s) for s in (5, 8)]
    pipeline.store.command(f"SYSTEM START MERGES {DATABASE}.gauges_10s")
    pipeline.store.command(f"OPTIMIZE TABLE {DATABASE}.gauges_10s FINAL")
    assert before == [pipeline.instant("apart", at_s + s) for s in (5, 8)]
    assert [list(found.values()) for found in before] == [[], [2.0]]
