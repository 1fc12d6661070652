"""Distributions: mergeable histograms and exact moments over windows, summed per key in ClickHouse."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Final

import numpy as np

from shim.catalog.types import Part
from shim.eval.budget import Take
from shim.eval.histogram.arithmetic import multiply
from shim.eval.histogram.bounds import SCHEMA
from shim.eval.histogram.quantile import observations_quantile
from shim.eval.repeat import repeated_histogram
from shim.grid import Grid
from shim.numeric_labels import QUANTILE, number_text, with_label
from shim.read.blocks.read import read_sums
from shim.read.cells import Cells, read_cells
from shim.read.counters import scale
from shim.read.presence import Lookback
from shim.read.reader import Keys, Reader, each
from shim.read.sketches import TABLE, read_sides
from shim.read.windows import Reading
from shim.values import Floats, Histogram, Vector

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

#: Those of them that need no buckets.
PLAIN: Final = frozenset(OBSERVATIONS) - {"quantile_over_time"}


def histograms(
    reader: Reader, part: Part, keys: Keys, function: str, ends: Grid, window_ms: int, lookback_ms: int,
    schema: int = SCHEMA,
) -> Vector:  # fmt: skip
    """`rate` or `increase` of every key as native histograms. Raises QueryError.

    In buckets of another `schema` than 5 they are for `classic` alone.
    """
    found, snapped_s = _read(reader, part, keys, Lookback(ends, window_ms, lookback_ms), schema)
    factor = scale(function, window_ms, snapped_s)
    return _vector(keys, ends, [h if factor == 1 else multiply(h, factor) for h in found])


def totals(reader: Reader, part: Part, at: Grid, lookback_ms: int, schema: int = SCHEMA) -> Vector:
    """The histogram of all observations up to each time, where the series is alive. Raises QueryError."""
    keys = each(part)
    found, _ = _read(reader, part, keys, Lookback(at, None, lookback_ms), schema)
    return _vector(keys, at, found)


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
    if q is not None:
        reader.check_cells(len(keys) * len(q))
    if q is not None and len(q) > ends.steps:  # `@` fixes the window, the quantile differs from step to step
        present = np.repeat(present, len(q), axis=1)
    if function == "quantile_over_time":
        assert q is not None
        found = _assemble(reader, part, keys, reading, cells)
        values = _quantiles(found, reading, cells, q, reader.check_cells)
    else:
        values = _moments(function, reading, cells, count)
    return Vector(present.shape[1], keys.labels, values, present)


def quantiles(reader: Reader, part: Part, at: Grid, lookback_ms: int) -> Vector:
    """The quantiles that `part` names, of the observations in each lookback; absent where there are none.

    Raises QueryError.
    """
    keys = each(part)
    reading = reader.windows(at, lookback_ms, 10_000)
    cells = read_cells(reader, TABLE, part, keys, reading, OBSERVATIONS["quantile_over_time"])
    present = (reading.sums(cells.values["count"]) > 0) & reading.present(cells.rows, cells.alive)
    reader.check_cells(len(keys) * len(part.quantiles) * at.steps)
    found = list(_assemble(reader, part, keys, reading, cells))
    values = [
        _quantiles(found, reading, cells, np.full(at.steps, q), reader.check_cells) for q in part.quantiles
    ]
    texts = map(number_text, part.quantiles)
    labels = [with_label(one, QUANTILE, text) for text in texts for one in keys.labels]
    return Vector(at.steps, labels, np.concatenate(values), np.tile(present, (len(values), 1)))


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


def _quantiles(
    histograms: Iterable[Histogram], reading: Reading, cells: Cells, q: Floats, take: Take
) -> Floats:
    low, high = reading.minima(cells.values["min"]), reading.maxima(cells.values["max"])
    values = np.zeros((len(low), len(q)))
    for k, h in enumerate(histograms):
        take(h.buckets * len(q))
        wide = repeated_histogram(h, len(q))
        values[k] = observations_quantile(
            q, wide, np.broadcast_to(low[k], q.shape), np.broadcast_to(high[k], q.shape)
        )
    return values


# ---------------------------------------------------------------- reading


def _read(
    reader: Reader, part: Part, keys: Keys, lookback: Lookback, schema: int
) -> tuple[list[Histogram], int]:
    """A histogram a key, and the granularity times were snapped to."""
    reading, whole = lookback.reading(reader, part, keys)
    cells = read_sums(reader, TABLE, part, keys, reading, ("count", "sum", "zero"))
    present = reading.present(cells.rows, cells.alive)
    if not whole:
        present = lookback.found(reader, TABLE, "count", part, keys, present)
    found = _assemble(reader, part, keys, reading, cells, schema)
    return [replace(h, present=there) for h, there in zip(found, present, strict=True)], reading.snapped_s


def _assemble(
    reader: Reader, part: Part, keys: Keys, reading: Reading, cells: Cells, schema: int = SCHEMA
) -> Iterator[Histogram]:
    present = reading.present(cells.rows, cells.alive)
    count, total, zero = (reading.sums(cells.values[c]) for c in ("count", "sum", "zero"))
    positive, negative = read_sides(reader, part, keys, reading, schema)
    held = 0

    def take(more: int) -> None:
        nonlocal held
        held += more
        reader.check_cells(held)

    for k in range(len(keys)):
        spans = (side.windows(k, reading, take) for side in (positive, negative))
        yield Histogram(present[k], count[k], total[k], zero[k], *spans)


def _vector(keys: Keys, grid: Grid, found: list[Histogram]) -> Vector:
    empty = Vector.empty(grid.steps)
    kept = [(labels, h) for labels, h in zip(keys.labels, found, strict=True) if h.present.any()]
    return Vector(grid.steps, (), empty.values, empty.present, [k for k, _ in kept], [h for _, h in kept])
