"""Gauges: float samples at their own times, read from the finest rollup.

A coarser rollup has lost the samples between its buckets' last ones, so it is used only where retention has
dropped the finer, or a request forces it.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import numpy.typing as npt

from shim.catalog.types import Part
from shim.eval.instant import latest
from shim.grid import Grid
from shim.read.reader import Reader, each
from shim.read.times import within
from shim.sql import nodes as sql
from shim.values import Ints, Samples, Vector

_LAST = [("k", "<u8"), ("t", "<i8"), ("v", "<f8")]


def select(reader: Reader, part: Part, at: Grid, lookback_ms: int) -> tuple[Vector, Ints]:
    """The latest sample in `(t - lookback, t]`, and its time in ms. Raises QueryError.

    ClickHouse keeps one sample for each step: the latest at or before it and after the step before.
    """
    step_ms = at.step_ms
    granularity_s = reader.granularity_s(at, lookback_ms)
    since = sql.op("-", _time_ms("last"), at.start_ms)
    step = sql.call("greatest", 0, sql.call("intDiv", sql.op("+", since, step_ms - 1), step_ms))
    source = sql.Query(
        (sql.Named(sql.col("series_id"), "k"), sql.Named(step, "c"),
         sql.Named(sql.call("max", "last"), "l")),
        reader.source("gauges", granularity_s),
        where=(*reader.conditions(part), *_buckets(at.start_ms - lookback_ms, at.end_ms, granularity_s),
               sql.op("<=", _time_ms("last"), at.end_ms)),
        group_by=("k", "c"),
    )  # fmt: skip
    query = sql.Query(
        (
            sql.Named(sql.col("k"), "k"),
            sql.Named(_time_ms("l"), "t"),
            sql.Named(sql.Element(sql.col("l"), 2), "v"),
        ),
        source,
        order_by=("k", "t"),
    )
    rows = reader.fetch(query, _LAST)
    samples = _samples(part, rows)
    reader.check_cells(len(part.labels) * at.steps)
    return latest(samples, at, lookback_ms)


def window_samples(reader: Reader, part: Part, ends: Grid, window_ms: int) -> Samples:
    """All samples in `(first end - window, last end]`, with what their buckets aggregated."""
    granularity_s = reader.granularity_s(ends, window_ms)
    last = sql.call("max", "last")
    columns = [
        sql.Named(sql.col("series_id"), "k"),
        sql.Named(sql.col("timestamp"), "b"),
        sql.Named(last, "l"),
        *(
            sql.Named(sql.call(f, c), f"{c}_out")
            for f, c in (("min", "min"), ("max", "max"), ("sum", "sum"), ("sum", "count"))
        ),
    ]
    # `last` is merged before its time is compared: a bucket counts by its last sample's time.
    source = sql.Query(
        tuple(columns),
        reader.source("gauges", granularity_s),
        where=(
            *reader.conditions(part),
            *_buckets(ends.start_ms - window_ms, ends.end_ms, granularity_s),
        ),
        group_by=("k", "b"),
    )
    query = sql.Query(
        (
            sql.Named(sql.col("k"), "k"),
            sql.Named(_time_ms("l"), "t"),
            sql.Named(sql.Element(sql.col("l"), 2), "v"),
            *(sql.Named(sql.col(f"{c}_out"), f"{c}_out") for c in ("min", "max", "sum", "count")),
        ),
        source,
        where=(
            sql.op(">", _time_ms("l"), ends.start_ms - window_ms),
            sql.op("<=", _time_ms("l"), ends.end_ms),
        ),
        order_by=("k", "t"),
    )
    rows = reader.fetch(query, [*_LAST, ("min", "<f8"), ("max", "<f8"), ("sum", "<f8"), ("count", "<f8")])
    return _samples(part, rows)


def _samples(part: Part, rows: npt.NDArray[np.void]) -> Samples:
    key, known = each(part).index(part, rows["k"])
    key, rows = key[known], rows[known]
    offsets = np.searchsorted(key, np.arange(len(part.labels) + 1)).astype(np.int64)
    samples = Samples(part.labels, offsets, rows["t"].astype(np.int64), rows["v"].astype(np.float64))
    if "min" not in (rows.dtype.names or ()):
        return samples
    return replace(samples, low=rows["min"], high=rows["max"], total=rows["sum"], count=rows["count"])


def _time_ms(name: str) -> sql.Expr:
    return sql.call("toUnixTimestamp64Milli", sql.Element(sql.col(name), 1))


def _buckets(lo_ms: int, hi_ms: int, granularity_s: int) -> list[sql.Expr]:
    """Buckets that can hold a sample in `(lo, hi]`."""
    return within(granularity_s, lo_ms // (granularity_s * 1000) * granularity_s, hi_ms // 1000 + 1)
