"""Distributions: mergeable histograms and exact moments over windows, summed per key in ClickHouse."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import numpy as np
import numpy.typing as npt

from shim.catalog.types import Part
from shim.eval.histogram.arithmetic import multiply
from shim.eval.histogram.quantile import observations_quantile
from shim.eval.repeat import repeated_histogram
from shim.grid import Grid
from shim.read.cells import Cells, member_rows, read_cells
from shim.read.counters import scale
from shim.read.reader import Keys, Reader, each
from shim.read.windows import Reading
from shim.sql import nodes as sql
from shim.values import Floats, Histogram, Spans, Vector

TABLE: Final = "distributions"
#: Range functions that give histograms.
HISTOGRAMS: Final = frozenset({"rate", "increase", "delta", "sum_over_time"})
#: Range functions of samples: the running total at the end of each bucket that has data.
SAMPLES: Final = frozenset({
    "changes", "first_over_time", "idelta", "irate", "resets",
    "ts_of_first_over_time", "ts_of_last_over_time",
})  # fmt: skip
#: Range functions of the raw observations, and the columns each needs.
OBSERVATIONS: Final = {
    "avg_over_time": ("count", "sum"),
    "count_over_time": ("count",),
    "min_over_time": ("count", "min"),
    "max_over_time": ("count", "max"),
    "stddev_over_time": ("count", "sum", "sum_squares"),
    "stdvar_over_time": ("count", "sum", "sum_squares"),
    "present_over_time": ("count",),
    "quantile_over_time": ("count", "sum", "zero", "min", "max"),
}


def histograms(
    reader: Reader, part: Part, keys: Keys, function: str, ends: Grid, window_ms: int, lookback_ms: int
) -> Vector:
    """`rate` or `increase` of every key as native histograms. Raises QueryError."""
    reading = reader.windows(ends, window_ms, lookback_ms)
    found = _read(reader, part, keys, reading)
    factor = scale(function, window_ms, reading.snapped_s)
    return _vector(keys, ends, [h if factor == 1 else multiply(h, factor) for h in found])


def totals(reader: Reader, part: Part, at: Grid, lookback_ms: int) -> Vector:
    """The histogram of all observations up to each time, where the series is alive. Raises QueryError."""
    keys = each(part)
    reading = reader.windows(at, None, lookback_ms)
    return _vector(keys, at, _read(reader, part, keys, reading))


def observations(
    reader: Reader, part: Part, keys: Keys, function: str, ends: Grid, window_ms: int, q: Floats | None
) -> Vector:
    """A `*_over_time` function of the raw observations in each window; absent where there are none.

    `q`: the quantile at each step, for `quantile_over_time`. Raises QueryError.
    """
    reading = reader.windows(ends, window_ms, 10_000)
    columns = OBSERVATIONS[function]
    cells = read_cells(reader, TABLE, part, keys, reading, columns)
    count = reading.sums(cells.values["count"])
    present = (count > 0) & reading.present(cells.rows, cells.alive)
    if q is not None and len(q) > ends.steps:  # `@` fixes the window, the quantile differs from step to step
        present = np.repeat(present, len(q), axis=1)
    if function == "quantile_over_time":
        assert q is not None
        values = _quantiles(reader, part, keys, reading, cells, q)
    else:
        values = _moments(function, reading, cells, count)
    return Vector(present.shape[1], keys.labels, values, present)


def _moments(function: str, reading: Reading, cells: Cells, count: Floats) -> Floats:
    match function:
        case "count_over_time":
            return count
        case "present_over_time":
            return np.ones_like(count)
        case "min_over_time":
            return reading.minima(cells.values["min"])
        case "max_over_time":
            return reading.maxima(cells.values["max"])
    with np.errstate(divide="ignore", invalid="ignore"):
        mean = reading.sums(cells.values["sum"]) / count
        if function == "avg_over_time":
            return np.asarray(mean)
        variance = reading.sums(cells.values["sum_squares"]) / count - mean * mean
    variance = np.maximum(variance, 0)  # rounding may leave a little less than nothing
    return np.asarray(np.sqrt(variance) if function == "stddev_over_time" else variance)


def _quantiles(reader: Reader, part: Part, keys: Keys, reading: Reading, cells: Cells, q: Floats) -> Floats:
    low, high = reading.minima(cells.values["min"]), reading.maxima(cells.values["max"])
    values = np.zeros((len(keys), len(q)))
    for k, h in enumerate(_assemble(reader, part, keys, reading, cells)):
        wide = repeated_histogram(h, len(q))
        values[k] = observations_quantile(
            q, wide, np.broadcast_to(low[k], q.shape), np.broadcast_to(high[k], q.shape)
        )
    return values


# ---------------------------------------------------------------- reading


def _read(reader: Reader, part: Part, keys: Keys, reading: Reading) -> list[Histogram]:
    cells = read_cells(reader, TABLE, part, keys, reading, ("count", "sum", "zero"))
    return list(_assemble(reader, part, keys, reading, cells))


def _assemble(reader: Reader, part: Part, keys: Keys, reading: Reading, cells: Cells) -> Iterator[Histogram]:
    present = reading.present(cells.rows, cells.alive)
    count, total, zero = (reading.sums(cells.values[c]) for c in ("count", "sum", "zero"))
    positive = _Buckets.read(reader, part, keys, reading, "positive")
    negative = _Buckets.read(reader, part, keys, reading, "negative")
    held = 0
    for k in range(len(keys)):
        spans = positive.windows(k, reading), negative.windows(k, reading)
        held += sum(s.counts.size for s in spans)
        reader.check_cells(held)
        yield Histogram(present[k], count[k], total[k], zero[k], *spans)


def _vector(keys: Keys, grid: Grid, found: list[Histogram]) -> Vector:
    empty = Vector.empty(grid.steps)
    kept = [(labels, h) for labels, h in zip(keys.labels, found, strict=True) if h.present.any()]
    return Vector(grid.steps, (), empty.values, empty.present, [k for k, _ in kept], [h for _, h in kept])


class _Buckets:
    """The bucket counts of all keys and cells on one side of zero, sorted by key."""

    def __init__(self, rows: npt.NDArray[np.void], begin: npt.NDArray[np.int64]) -> None:
        self._rows = rows
        self._begin = begin

    @staticmethod
    def read(reader: Reader, part: Part, keys: Keys, reading: Reading, side: str) -> _Buckets:
        flagged = reading.run is not None and reading.run.alive_s > 0
        columns = (
            sql.Named(sql.call("mapKeys", side), "index_list"),
            sql.Named(sql.call("mapValues", side), "count_list"),
        )
        source = sql.Query(
            tuple(sql.Named(sql.col(c), c) for c in ("k", "c", "index_list", "count_list")),
            member_rows(reader, TABLE, part, keys, reading, columns),
            where=(sql.op("=", "h", 1),) if flagged else (),
        )
        query = sql.Query(
            (
                sql.Named(sql.col("k"), "k"),
                sql.Named(sql.col("c"), "c"),
                sql.Named(sql.call("toInt32", "i"), "i"),
                sql.Named(sql.call("toFloat64", sql.call("sum", "n")), "n_out"),
            ),
            source,
            array_join=(sql.Named(sql.col("index_list"), "i"), sql.Named(sql.col("count_list"), "n")),
            group_by=("k", "c", "i"),
        )
        rows = reader.fetch(query, [("k", "<u8"), ("c", "<u4"), ("i", "<i4"), ("n", "<f8")])
        key, known = keys.index(part, rows["k"])
        key, rows = key[known], rows[known]
        order = np.argsort(key, kind="stable")
        begin = np.searchsorted(key[order], np.arange(len(keys) + 1))
        return _Buckets(rows[order], begin.astype(np.int64))

    def windows(self, key: int, reading: Reading) -> Spans:
        """The buckets of one key over the windows of a reading."""
        rows = self._rows[self._begin[key] : self._begin[key + 1]]
        if not len(rows):
            return Spans.empty(len(reading.end))
        first = int(rows["i"].min())
        cells = np.zeros((int(rows["i"].max()) - first + 1, reading.cells))
        cells[rows["i"] - first, rows["c"].astype(np.int64)] = rows["n"]
        return Spans(first, np.ascontiguousarray(reading.sums(cells).T))
