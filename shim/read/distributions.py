"""Distributions: mergeable histograms and exact moments over windows, summed per key in ClickHouse."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Final

import numpy as np

from shim.catalog.types import Part
from shim.eval.budget import Take
from shim.eval.histogram.arithmetic import multiply
from shim.eval.range.quantiles import COLUMNS as QUANTILE_COLUMNS
from shim.eval.range.quantiles import quantile_of_observations
from shim.eval.window.stored import DistributionColumn, FromDeltas, FromObservations
from shim.model.bucket_bounds import SCHEMA
from shim.model.grid import Grid
from shim.model.numeric_labels import QUANTILE, number_text, with_label
from shim.model.values import Floats, Histogram, Vector
from shim.read.cell_cache.lookup import read_columns
from shim.read.cell_statements import KeyedCells, read_cells
from shim.read.counters import scale
from shim.read.histogram_buckets import TABLE, read_sides
from shim.read.presence import Lookback
from shim.read.reader import Keys, Reader, each
from shim.read.window_plan import WindowPlan

#: Columns of a histogram besides its buckets.
_COLUMNS: Final[tuple[DistributionColumn, ...]] = ("count", "sum", "zero")


def histograms(
    reader: Reader, part: Part, keys: Keys, deltas: FromDeltas, ends: Grid, window_ms: int, lookback_ms: int,
    schema: int = SCHEMA,
) -> Vector:  # fmt: skip
    """Sum the observations of every key in each window to native histograms. Raises QueryError.

    In buckets of another `schema` than 5 they are for `classic` alone.
    """
    found, snapped_s = _read(reader, part, keys, Lookback(ends, window_ms, lookback_ms), schema)
    factor = scale(deltas, window_ms, snapped_s)
    return _vector(keys, ends, [h if factor == 1 else multiply(h, factor) for h in found])


def observed(reader: Reader, part: Part, keys: Keys, ends: Grid, window_ms: int, lookback_ms: int) -> Vector:
    """Return the histograms of the observations in each window, with their extremes. Raises QueryError."""
    found, _ = _read(reader, part, keys, Lookback(ends, window_ms, lookback_ms), SCHEMA, with_extremes=True)
    return _vector(keys, ends, found)


def totals(
    reader: Reader, part: Part, at: Grid, lookback_ms: int, schema: int = SCHEMA, *, observed: bool = False
) -> Vector:
    """Return histograms of all observations up to each time the series is alive. Raises QueryError.

    `observed`: with the extremes of the observations.
    """
    keys = each(part)
    found, _ = _read(reader, part, keys, Lookback(at, None, lookback_ms), schema, with_extremes=observed)
    return _vector(keys, at, found)


@dataclass(frozen=True, slots=True)
class _Observations:
    """The observations of the windows of one part, for a range function's record (shim/eval/window)."""

    reading: WindowPlan
    cells: KeyedCells
    count: Floats
    parameters: Sequence[Floats]
    take: Take
    histograms: Callable[[], Iterable[Histogram]]

    def sums(self, column: DistributionColumn) -> Floats:
        return self.reading.sums(self.cells.values[column])

    def minima(self, column: DistributionColumn) -> Floats:
        return self.reading.minima(self.cells.values[column])

    def maxima(self, column: DistributionColumn) -> Floats:
        return self.reading.maxima(self.cells.values[column])


def observations(
    reader: Reader,
    part: Part,
    keys: Keys,
    how: FromObservations,
    ends: Grid,
    window_ms: int,
    parameters: Sequence[Floats],
) -> Vector:
    """Evaluate a function of the raw observations in each window; absent where there are none.

    `parameters`: its scalar arguments, one value per step. Raises QueryError.
    """
    reading = reader.windows(ends, window_ms, 10_000)
    cells = read_cells(reader, TABLE, part, keys, reading, how.columns)
    count = reading.sums(cells.values["count"])
    present = (count > 0) & reading.present(cells.rows, cells.alive)
    for values in parameters:
        reader.check_cells(len(keys) * len(values))
    steps = max((len(values) for values in parameters), default=ends.steps)
    if steps > ends.steps:  # `@` fixes the window, arguments differ from step to step
        present = np.repeat(present, steps, axis=1)
    found = partial(_assemble, reader, part, keys, reading, cells)
    windows = _Observations(reading, cells, count, parameters, reader.check_cells, found)
    return Vector(present.shape[1], keys.labels, how.compute(windows), present)


def quantiles(reader: Reader, part: Part, at: Grid, lookback_ms: int) -> Vector:
    """Read the quantiles that `part` names, of the observations in each lookback; absent without any.

    Raises QueryError.
    """
    keys = each(part)
    reading = reader.windows(at, lookback_ms, 10_000)
    cells = read_cells(reader, TABLE, part, keys, reading, QUANTILE_COLUMNS)
    count = reading.sums(cells.values["count"])
    present = (count > 0) & reading.present(cells.rows, cells.alive)
    reader.check_cells(len(keys) * len(part.quantiles) * at.steps)
    found = list(_assemble(reader, part, keys, reading, cells))
    windows = _Observations(reading, cells, count, (), reader.check_cells, lambda: found)
    values = [quantile_of_observations(windows, np.full(at.steps, q)) for q in part.quantiles]
    texts = map(number_text, part.quantiles)
    labels = [with_label(one, QUANTILE, text) for text in texts for one in keys.labels]
    return Vector(at.steps, labels, np.concatenate(values), np.tile(present, (len(values), 1)))


# ---------------------------------------------------------------- reading


def _read(
    reader: Reader, part: Part, keys: Keys, lookback: Lookback, schema: int, *, with_extremes: bool = False
) -> tuple[list[Histogram], int]:
    """Return a histogram per key, and the granularity that times were snapped to."""
    reading, whole = lookback.reading(reader, part, keys)
    columns = QUANTILE_COLUMNS if with_extremes else _COLUMNS
    cells = read_columns(reader, TABLE, part, keys, reading, columns)
    present = reading.present(cells.rows, cells.alive)
    if not whole:
        present = lookback.found(reader, TABLE, "count", part, keys, present)
    found = list(_assemble(reader, part, keys, reading, cells, schema))
    if with_extremes:
        low, high = reading.minima(cells.values["min"]), reading.maxima(cells.values["max"])
        found = [replace(h, low=low[k], high=high[k]) for k, h in enumerate(found)]
    return [replace(h, present=there) for h, there in zip(found, present, strict=True)], reading.snapped_s


def _assemble(
    reader: Reader, part: Part, keys: Keys, reading: WindowPlan, cells: KeyedCells, schema: int = SCHEMA
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
        above, below = (side.windows(k, reading, take) for side in (positive, negative))
        yield Histogram(present[k], count[k], total[k], zero[k], above, below)


def _vector(keys: Keys, grid: Grid, found: list[Histogram]) -> Vector:
    empty = Vector.empty(grid.steps)
    kept = [(labels, h) for labels, h in zip(keys.labels, found, strict=True) if h.present.any()]
    return Vector(grid.steps, (), empty.values, empty.present, [k for k, _ in kept], [h for _, h in kept])
