"""shim/read: the four forms of one reading give the same cells, on random windows over stored rows."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Final

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from indexer.clickhouse.schema import Retention
from shim.catalog import Catalog
from shim.catalog.types import Part
from shim.eval.budget import free
from shim.eval.histogram.merging import trimmed
from shim.eval.histogram.schema import reduced_spans
from shim.eval.window.stored import FromDeltas
from shim.model.grid import Grid
from shim.model.matchers import Matcher
from shim.model.values import Floats
from shim.read import counters, distributions
from shim.read.cell_statements import (
    _as_blocks,
    _as_plain,
    _read_blocks,
    _read_hashed,
    _read_plain,
    read_cells,
)
from shim.read.histogram_buckets import _dense, _ranges, _sparse
from shim.read.raw_rows import read_rows
from shim.read.reader import FEW_ROWS, Keys, Reader, each
from shim.read.window_plan import Limits, WindowPlan
from shim.settings import ShimSettings
from tests.support.pipeline import Pipeline
from tests.support.worlds import embedded

DATABASE: Final = "reading_forms"
NOW_S: Final = 20_400 * 86_400
KEPT: Final = Retention(days_10s=3650, days_60s=3650, days_1h=3650, days_1d=3650)
SERIES: Final = 12
_OVER: Final[Mapping[str, Callable[[WindowPlan], Callable[[Floats], Floats]]]] = {
    **dict.fromkeys(("value", "count", "sum"), lambda reading: reading.sums),
    "min": lambda reading: reading.minima,
    "max": lambda reading: reading.maxima,
}


@pytest.fixture(scope="module")
def pipeline(chdb_path: Path) -> Iterator[Pipeline]:
    """Twelve counters and timers over two days; some buckets come twice, in parts of their own."""
    with embedded(chdb_path, DATABASE, pool=2) as store:
        made = Pipeline.open(store, NOW_S * 1000, retention=KEPT)
        choose = random.Random(7)
        for ages in (range(0, 7_200, 10), range(3_000, 170_000, 613)):
            lines = []
            for age_s in ages:
                for i in choose.sample(range(SERIES), 3):
                    at = f"|#n:{i},m:{i % 3}|T{NOW_S - age_s - 5}"
                    lines += [f"hits:{choose.randrange(9)}|c{at}", f"lat:{choose.randrange(1, 9)}|d{at}"]
                    size = choose.choice([-1, 1, 1]) * 10 ** choose.uniform(-2, 1)
                    lines.append(f"size:{size:.5f}|d{at}")
            made.send(lines)
        yield made
        made.close()


@st.composite
def readings(draw: st.DrawFn) -> tuple[Grid, int, int, Limits]:
    step_s = draw(st.sampled_from([10, 15, 60, 600, 3_600]))
    steps = draw(st.integers(1, 40))
    end_s = NOW_S - draw(st.sampled_from([0, 10, 60, 1_234, 7_200]))
    window_s = draw(st.sampled_from([10, 60, 300, 3_600, 100_000]))
    lookback_s = draw(st.sampled_from([10, 300, 3_600]))
    settled_s = draw(st.sampled_from([None, NOW_S - 20, NOW_S - 300]))
    grid = Grid((end_s - (steps - 1) * step_s) * 1000, end_s * 1000, step_s * 1000)
    return grid, window_s * 1000, lookback_s * 1000, Limits(settled_s=settled_s)


@given(
    readings(),
    st.sampled_from([("counters", "hits", ("value",)), ("distributions", "lat", ("count", "sum")),
                     ("distributions", "size", ("count", "min", "max")),
                     ("counters", "hits", ())]),
    st.sampled_from(["each", "grouped", "some", "one"]),
)  # fmt: skip
@settings(max_examples=60, deadline=None)
def test_forms_of_a_reading_agree(
    pipeline: Pipeline,
    asked: tuple[Grid, int, int, Limits],
    columns_of: tuple[str, str, tuple[str, ...]],
    how: str,
) -> None:
    grid, window_ms, lookback_ms, limits = asked
    table, name, columns = columns_of
    part, keys = _keys(pipeline, name, how)
    reader = Reader(pipeline.store, pipeline.tenant, limits, 10**6, 10**8, time.monotonic() + 60)
    reading = reader.windows(grid, window_ms, lookback_ms)
    hashed = _read_hashed(reader, table, part, keys, reading, columns)
    values, rows, alive = read_rows(reader, table, part, keys, reading, columns)
    # Cells alone may differ where no step looks: only the values at steps count.
    assert np.array_equal(reading.present(rows, alive), reading.present(hashed.rows, hashed.alive))
    for column in columns:
        over = _OVER[column](reading)
        assert np.allclose(over(values[column]), over(hashed.values[column]), equal_nan=True)
    if reading.run is not None and reading.run.alive_s == 0:
        plain = _read_plain(reader, table, part, keys, reading, columns)
        assert np.array_equal(plain.rows, hashed.rows)
        assert np.array_equal(plain.alive, hashed.alive)
        for column in columns:
            assert np.allclose(plain.values[column], hashed.values[column], equal_nan=True)
    if _as_blocks(each(part), reading):  # groups of few cells would not be, but could
        blocks = _read_blocks(reader, table, part, keys, reading, columns)
        assert np.array_equal(blocks.rows, hashed.rows)
        assert np.array_equal(blocks.alive, hashed.alive)
        for column in columns:
            assert np.allclose(blocks.values[column], hashed.values[column], equal_nan=True)


def _keys(pipeline: Pipeline, name: str, how: str) -> tuple[Part, Keys]:
    matchers = (Matcher("__name__", "=", name),)
    catalog = Catalog(pipeline.store, ShimSettings(settle_s=0.0))
    selection = catalog.select(pipeline.tenant, matchers, (NOW_S - 400_000) * 1000, NOW_S * 1000)
    (part,) = selection.parts
    if how in ("some", "one"):
        some = np.arange(0, len(part.labels), 2 if how == "some" else SERIES)
        labels = [part.labels[i] for i in some.tolist()]
        part = replace(
            part, series_ids=part.series_ids[some], project_ids=part.project_ids[some], labels=labels,
            whole=False,
        )  # fmt: skip
    if how in ("each", "one"):
        return part, each(part)
    groups = sorted({dict(labels)["m"] for labels in part.labels})
    group = np.array([groups.index(dict(labels)["m"]) for labels in part.labels], dtype=np.int64)
    return part, Keys([(("m", g),) for g in groups], group)


def test_groups_of_many_cells_are_one_array_each(pipeline: Pipeline) -> None:
    """Above 16 bits of group and cell, and never more cells than a statement may have."""
    part, _ = _keys(pipeline, "hits", "each")
    reader = Reader(pipeline.store, pipeline.tenant, Limits(), 10**6, 10**8, time.monotonic() + 60)
    day = reader.windows(Grid((NOW_S - 86_400) * 1000, NOW_S * 1000, 60_000), 300_000, 10_000)
    group = np.arange(len(part.labels))
    few = Keys([(("m", str(i)),) for i in range(SERIES)], group)
    many = Keys([(("m", str(i)),) for i in range(50)], group)
    millions = Keys([(("m", str(i)),) for i in range(3_000)], group)
    assert [_as_blocks(keys, day) for keys in (few, many, millions)] == [False, True, False]


def test_rows_are_fetched_as_they_are_where_cells_are_as_many(pipeline: Pipeline) -> None:
    part, _ = _keys(pipeline, "hits", "each")
    reader = Reader(pipeline.store, pipeline.tenant, Limits(), 10**6, 10**8, time.monotonic() + 60)
    end_ms = NOW_S * 1000
    by_minutes = reader.windows(Grid(end_ms - 86_400_000, end_ms, 60_000), 300_000, 10_000)
    run = by_minutes.run
    assert run is not None
    assert run.size_s == run.granularity_s == 60
    ones = Keys([(("m", str(i)),) for i in range(SERIES)], np.arange(SERIES))
    pairs = Keys([(("m", str(i)),) for i in range(SERIES // 2)], np.arange(SERIES) // 2)
    many = Keys([(("m", str(i)),) for i in range(50)], np.arange(SERIES))
    forms = [_as_plain(reader, part, keys, by_minutes) for keys in (each(part), ones, pairs, many)]
    assert forms == [True, True, False, True]
    totals = reader.windows(Grid(end_ms - 86_400_000, end_ms, 60_000), None, 10_000)
    assert not _as_plain(reader, part, each(part), totals)  # its beginning would be rows since 1970
    rows = SERIES * run.cells
    assert _as_plain(replace(reader, max_rows=2 * rows), part, each(part), by_minutes)
    assert not _as_plain(replace(reader, max_rows=2 * rows - 1), part, each(part), by_minutes)
    apart = reader.windows(Grid(end_ms - 86_400_000, end_ms, 600_000), 300_000, 10_000)
    few = reader.windows(Grid(end_ms, end_ms, 1), 300_000, 10_000)
    assert not _as_plain(reader, part, each(part), apart)
    assert not _as_plain(reader, part, each(part), few)


@given(readings(), st.sampled_from(["each", "grouped", "some", "one"]), st.sampled_from([5, 2]))
@settings(max_examples=30, deadline=None)
def test_matrices_of_buckets_are_their_rows(
    pipeline: Pipeline, asked: tuple[Grid, int, int, Limits], how: str, schema: int
) -> None:
    grid, window_ms, lookback_ms, limits = asked
    part, keys = _keys(pipeline, "size", how)
    reader = Reader(pipeline.store, pipeline.tenant, limits, 10**6, 10**8, time.monotonic() + 60)
    reading = reader.windows(grid, window_ms, lookback_ms)
    finest, _ = _ranges(reader, part, keys, reading, 0)
    coarser, _ = _ranges(reader, part, keys, reading, 5 - schema)
    for found, fine in zip(coarser, finest, strict=True):
        if not found.width:
            assert not fine.width
            continue
        dense = _dense(reader, part, keys, reading, found)
        sparse = _sparse(reader, part, keys, reading, found)
        whole = _dense(reader, part, keys, reading, fine)
        for key in range(len(keys)):
            of_dense, of_sparse = (side.windows(key, reading, free) for side in (dense, sparse))
            assert np.array_equal(of_dense.indices, of_sparse.indices)
            assert np.array_equal(of_dense.counts, of_sparse.counts)
            coarse = trimmed(reduced_spans(trimmed(whole.windows(key, reading, free)), schema))
            assert np.array_equal(trimmed(of_dense).counts, coarse.counts)
            assert np.array_equal(trimmed(of_dense).indices, coarse.indices)


@given(readings(), st.sampled_from(["each", "grouped", "some", "one"]), st.sampled_from([0, FEW_ROWS]))
@settings(max_examples=60, deadline=None)
def test_presence_is_that_of_the_whole_lookback(
    pipeline: Pipeline, asked: tuple[Grid, int, int, Limits], how: str, few_rows: int
) -> None:
    """The lookback in a second statement, or in the only one, equals one lookback over all of it."""
    grid, window_ms, lookback_ms, limits = asked
    reader = Reader(pipeline.store, pipeline.tenant, limits, 10**6, 10**8, time.monotonic() + 60, few_rows)
    for name, table, column in (("hits", "counters", "value"), ("lat", "distributions", "count")):
        part, keys = _keys(pipeline, name, how)
        whole = reader.windows(grid, window_ms, lookback_ms)
        cells = read_cells(reader, table, part, keys, whole, (column,))
        want = whole.present(cells.rows, cells.alive)
        asking = (reader, part, keys, FromDeltas(), grid, window_ms, lookback_ms)
        if name == "hits":
            assert np.array_equal(counters.increases(*asking).present, want)
            total = reader.windows(grid, None, lookback_ms)
            cells = read_cells(reader, table, part, each(part), total, (column,))
            found = counters.totals(reader, part, grid, lookback_ms)
            assert np.array_equal(found.present, total.present(cells.rows, cells.alive))
        else:
            found = distributions.histograms(*asking)
            there = zip(found.histogram_labels, found.histograms, strict=True)
            rows = {labels: h.present for labels, h in there}
            got = [rows.get(labels, np.zeros(grid.steps, dtype=bool)) for labels in keys.labels]
            assert np.array_equal(np.array(got), want)
