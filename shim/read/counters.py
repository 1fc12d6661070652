"""Counters (and the `_count` and `_sum` of distributions): exact sums of deltas.

Source of behaviour: semantics.md. `rate` and `increase` neither extrapolate nor know resets.
"""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import numpy as np

from shim.catalog.types import Part
from shim.eval.window.stored import FromDeltas
from shim.model.grid import Grid
from shim.model.values import Bools, Floats, Ints, Samples, Vector
from shim.read.cell_cache.lookup import lookup, read_cells
from shim.read.key_conditions import within
from shim.read.presence import Lookback
from shim.read.reader import Keys, Reader, each
from shim.read.saturation import held
from shim.read.window_plan import plan_buckets, plan_windows
from shim.sql import nodes as sql


def column_of(part: Part) -> tuple[str, str]:
    """Return (table, column) of the deltas."""
    if part.view in ("count", "sum"):
        return "distributions", part.view
    return "counters", "value"


def increases(
    reader: Reader, part: Part, keys: Keys, deltas: FromDeltas, ends: Grid, window_ms: int, lookback_ms: int
) -> Vector:
    """Sum the deltas of every key in the window before every end. Raises QueryError."""
    lookback = Lookback(ends, window_ms, lookback_ms)
    values, present, snapped_s = _read(reader, part, keys, lookback)
    values *= scale(deltas, window_ms, snapped_s)
    return Vector(ends.steps, keys.labels, values, present)


def _read(reader: Reader, part: Part, keys: Keys, lookback: Lookback) -> tuple[Floats, Bools, int]:
    """Return sums per key and step, their presence, and the granularity that times were snapped to."""
    table, column = column_of(part)
    reading, whole = lookback.reading(reader, part, keys)
    cells = read_cells(reader, table, part, keys, reading, column)
    values, present = reading.sums(cells.values[column]), reading.present(cells.rows, cells.alive)
    if not whole:
        present = lookback.found(reader, table, column, part, keys, present)
    return values, present, reading.snapped_s


def scale(deltas: FromDeltas, window_ms: int, snapped_s: int) -> float:
    """Return the factor for a window's sum, which counts `window_ms` rounded up to the granularity."""
    counted_ms = -(-window_ms // (snapped_s * 1000)) * snapped_s * 1000
    if deltas.per_second:
        return 1000 / counted_ms
    return window_ms / counted_ms


def totals(reader: Reader, part: Part, at: Grid, lookback_ms: int) -> Vector:
    """Return running totals of the stored deltas up to each time the series is alive. Raises QueryError."""
    keys = each(part)
    values, present, _ = _read(reader, part, keys, Lookback(at, None, lookback_ms))
    return Vector(at.steps, keys.labels, values, present)


def samples(reader: Reader, part: Part, ends: Grid, window_ms: int) -> Samples:
    """Return the running total as samples, one at the end of each bucket of the finest rollup with data.

    For the functions that only know samples (`irate`, `changes`, `quantile_over_time`, ...). A window
    `(t-w, t]` of these samples holds the buckets in `[t-w, t)`.
    """
    g = reader.granularity_s(ends, window_ms)
    lo = (ends.start_ms - window_ms) // (1000 * g) * g
    hi = ends.end_ms // (1000 * g) * g
    if reader.limits.settled_s is not None:
        hi = min(hi, reader.limits.settled_s // g * g)
    before = _totals_at(reader, part, lo)
    key, time_s, deltas = _deltas(reader, part, g, lo, hi)
    offsets = np.searchsorted(key, np.arange(len(part.labels) + 1)).astype(np.int64)
    with np.errstate(over="ignore", invalid="ignore"):
        running = held(_running(deltas, offsets) + before[key])
    return Samples(part.labels, offsets, (time_s + g) * 1000, running)


def _deltas(reader: Reader, part: Part, g: int, lo: int, hi: int) -> tuple[Ints, Ints, Floats]:
    """Read series, start and sum of every bucket with a row in `[lo, hi)`, by series and time."""
    table, column = column_of(part)
    keys = each(part)
    if lo < hi and len(part.labels) * ((hi - lo) // g) <= reader.max_cells:
        cells = lookup(reader, table, part, keys, plan_buckets(g, lo, hi), column)
        if cells is not None:
            key, cell = np.nonzero(cells.rows)
            return key, lo + cell * g, cells.values[column][key, cell]
    value = sql.call("toFloat64", sql.call("sum", column))
    query = sql.Query(
        (sql.Named(keys.expr(part), "k"), sql.Named(sql.call("toUInt32", "timestamp"), "t"),
         sql.Named(value, "v")),
        reader.source(table, g),
        where=(*reader.conditions(part), *within(g, lo, hi)),
        group_by=("k", "t"),
        order_by=("k", "t"),
    )  # fmt: skip
    rows = reader.fetch(query, [("k", "<u8"), ("t", "<u4"), ("v", "<f8")])
    key, known = keys.index(part, rows["k"])
    key, rows = key[known], rows[known]
    return key, rows["t"].astype(np.int64), rows["v"].copy()


def _running(deltas: Floats, offsets: Ints) -> Floats:
    """Cumulative sums within each series."""
    for begin, end in pairwise(offsets.tolist()):
        np.cumsum(deltas[begin:end], out=deltas[begin:end])
    return deltas


def _totals_at(reader: Reader, part: Part, at_s: int) -> Floats:
    """Return the totals before `at_s`, (series,)."""
    table, column = column_of(part)
    limits = replace(reader.limits, settled_s=None)
    reading = plan_windows(Grid.instant(at_s * 1000), None, 10_000, limits)
    cells = read_cells(reader, table, part, each(part), reading, column)
    return reading.sums(cells.values[column])[:, 0]
