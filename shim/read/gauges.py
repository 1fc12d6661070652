"""Gauges: float samples at their own times, read from the finest rollup.

A coarser rollup has lost the samples between its buckets' last ones, so it is used only where retention has
dropped the finer, or a request forces it.

Rows of one bucket that ClickHouse has not merged yet are merged before their times are compared, so an answer
does not depend on when it merges.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt

from agent.wire.frame import ENDED
from indexer.clickhouse.schema.metric_types import FLOAT_MERGES
from shim.catalog.types import Part
from shim.eval.instant import latest
from shim.eval.window.stored import GaugeColumn
from shim.model.grid import Grid
from shim.model.values import Ints, Samples, Vector
from shim.read.cell_cache import gauge_lookup as memory
from shim.read.gauge_cells import GaugeCells
from shim.read.key_conditions import within
from shim.read.raw_rows import count_within, whole_hours
from shim.read.reader import Reader, each, singly
from shim.read.saturation import held
from shim.read.series_slices import slices
from shim.sql import nodes as sql

#: Buckets of all series together that are held as matrices; more are fetched as the rows there are.
_MOST_CELLS: Final = 1 << 23


def select(reader: Reader, part: Part, at: Grid, lookback_ms: int) -> tuple[Vector, Ints]:
    """Return the latest sample in `(t - lookback, t]`, and its time in ms. Raises QueryError."""
    reader.check_cells(len(part.labels) * at.steps)
    granularity_s = reader.granularity_s(at, lookback_ms)
    span = _Span.of(at.start_ms - lookback_ms, at.end_ms, granularity_s)
    found = [_select(reader, some, span, at, lookback_ms) for some in _slices(reader, part, span)]
    if len(found) == 1:
        return found[0]
    values = np.concatenate([vector.values for vector, _ in found])
    present = np.concatenate([vector.present for vector, _ in found])
    return Vector(at.steps, part.labels, values, present), np.concatenate([times for _, times in found])


def _select(reader: Reader, part: Part, span: _Span, at: Grid, lookback_ms: int) -> tuple[Vector, Ints]:
    cells = _cells(reader, part, span, ("last",))
    if cells is not None:
        return cells.latest(part.labels, at, lookback_ms)
    vector, times_ms = latest(_by_rows(reader, part, span, ("last",)), at, lookback_ms)
    return replace(vector, present=vector.present & (vector.values != ENDED)), times_ms


def window_samples(
    reader: Reader, part: Part, ends: Grid, window_ms: int, aggregated: Sequence[GaugeColumn] = ()
) -> Samples:
    """Read all samples in `(first end - window, last end]`, with columns that their buckets aggregated."""
    granularity_s = reader.granularity_s(ends, window_ms)
    span = _Span.of(ends.start_ms - window_ms, ends.end_ms, granularity_s)
    columns = ("last", *aggregated)
    found: list[Samples] = []
    for some in _slices(reader, part, span):
        found.append(_samples(reader, some, span, columns))
        reader.check_cells(sum(len(one.values) for one in found))
    samples = found[0] if len(found) == 1 else _stacked(part, found)
    if samples.total is None:
        return samples
    return replace(samples, total=held(samples.total))


def _samples(reader: Reader, part: Part, span: _Span, columns: Sequence[str]) -> Samples:
    cells = _cells(reader, part, span, columns)
    if cells is not None:
        return cells.samples(part.labels, span.after_ms, span.upto_ms)
    return without_ends(_by_rows(reader, part, span, columns))


def without_ends(samples: Samples) -> Samples:
    """Return the samples without those that end their series."""
    kept = samples.values != ENDED
    if kept.all():
        return samples
    offsets = np.concatenate([[0], np.cumsum(kept)])[samples.offsets].astype(np.int64)
    low, high, total, count = (
        None if column is None else column[kept]
        for column in (samples.low, samples.high, samples.total, samples.count)
    )
    return replace(
        samples, offsets=offsets, times_ms=samples.times_ms[kept], values=samples.values[kept],
        low=low, high=high, total=total, count=count, upto=None,
    )  # fmt: skip


def _slices(reader: Reader, part: Part, span: _Span) -> list[Part]:
    """Return the part, or slices of it if its matrices would be large."""
    buckets = (span.hi_s - span.lo_s) // span.granularity_s
    if len(part.series_ids) * buckets <= min(_MOST_CELLS, 8 * reader.slice_cells):
        return [part]
    # A statement costs as much for 3,000 series as for 10,000: most of their buckets are empty.
    return [some for _, some in slices(part, buckets, 4 * reader.slice_cells)]


def _stacked(part: Part, found: Sequence[Samples]) -> Samples:
    """Join the samples of slices of the series."""
    starts = np.cumsum([0, *(len(one.values) for one in found)])
    offsets = [one.offsets[:-1] + start for one, start in zip(found, starts[:-1], strict=True)]
    low, high, total, count = (
        None if getattr(found[0], name) is None else np.concatenate([getattr(one, name) for one in found])
        for name in ("low", "high", "total", "count")
    )
    return Samples(
        part.labels,
        np.concatenate([*offsets, starts[-1:]]).astype(np.int64),
        np.concatenate([one.times_ms for one in found]),
        np.concatenate([one.values for one in found]),
        low=low, high=high, total=total, count=count,
    )  # fmt: skip


class _Span(NamedTuple):
    """Samples in `(after, upto]`, and the buckets `[lo_s, hi_s)` that can hold them."""

    after_ms: int
    upto_ms: int
    lo_s: int
    hi_s: int
    granularity_s: int

    @staticmethod
    def of(after_ms: int, upto_ms: int, granularity_s: int) -> _Span:
        lo_s = after_ms // (granularity_s * 1000) * granularity_s
        hi_s = upto_ms // (granularity_s * 1000) * granularity_s + granularity_s
        return _Span(after_ms, upto_ms, lo_s, hi_s, granularity_s)


def _cells(reader: Reader, part: Part, span: _Span, columns: Sequence[str]) -> GaugeCells | None:
    """From memory or by statement; None where matrices would be too large, or a time is not in its bucket."""
    buckets = (span.hi_s - span.lo_s) // span.granularity_s
    if len(part.series_ids) * buckets > min(_MOST_CELLS, reader.max_cells):
        return None

    def ask(lo_s: int, hi_s: int) -> GaugeCells | None:
        return _fetched(reader, part, span.granularity_s, lo_s, hi_s, columns)

    if reader.blocks is not None:
        found = memory.lookup(reader, part, span.granularity_s, span.lo_s, span.hi_s, columns, ask)
        if found is not None:
            return found
    return ask(span.lo_s, span.hi_s)


def _fetched(
    reader: Reader, part: Part, granularity_s: int, lo_s: int, hi_s: int, columns: Sequence[str]
) -> GaugeCells | None:
    """Fetch rows in columns, and place and merge them here: no GROUP BY and no sorting."""
    buckets = (hi_s - lo_s) // granularity_s
    few = len(part.series_ids) * buckets <= min(reader.few_rows, reader.max_rows)
    query = sql.Query(
        (
            sql.Named(sql.col("series_id"), "k"),
            sql.Named(sql.call("toUInt32", "timestamp"), "b"),
            sql.Named(_time_ms("last"), "t"),
            *(sql.Named(_column(c), f"{c}_out") for c in columns),
        ),
        reader.source("gauges", granularity_s),
        prewhere=(
            (whole_hours(reader, part, granularity_s, lo_s, hi_s) if few else ())
            or (*reader.conditions(part), *within(granularity_s, lo_s, hi_s))
        ),
        settings=(("optimize_move_to_prewhere", 0),),  # it is there already: one pass less over the plan
    )
    names = [("k", "<u8"), ("b", "<u4"), ("t", "<i8"), *((f"{c}_out", "<f8") for c in columns)]
    fetched = reader.columns(query, names, lambda found: count_within(found["b"], lo_s, hi_s))
    series, kept = _series(part, fetched["k"])
    bucket = (fetched["b"].astype(np.int64) - lo_s) // granularity_s
    kept &= (bucket >= 0) & (bucket < buckets)
    if not kept.all():
        series, bucket = series[kept], bucket[kept]
        fetched = {name: column[kept] for name, column in fetched.items()}
    cells = GaugeCells.empty(len(part.labels), lo_s, hi_s, granularity_s, columns)
    values = {column: fetched[f"{column}_out"] for column in columns}
    return cells if cells.put(series, bucket, fetched["t"], values) else None


def _series(part: Part, ids: npt.NDArray[np.uint64]) -> tuple[Ints, npt.NDArray[np.bool_]]:
    """Return the series of each row (rows come in runs of one series), and which are known."""
    starts = np.flatnonzero(np.diff(ids, prepend=~ids[:1]))
    lengths = np.diff(starts, append=len(ids))
    key, known = singly(part).index(part, ids[starts])
    if part.group is not None:
        key = part.group[key]
    return np.repeat(key, lengths), np.repeat(known, lengths)


def _column(name: str) -> sql.Expr:
    return sql.Element(sql.col("last"), 2) if name == "last" else sql.col(name)


# ---------------------------------------------------------------- too many for matrices


def _by_rows(reader: Reader, part: Part, span: _Span, columns: Sequence[str]) -> Samples:
    """Read the samples merged and sorted by ClickHouse."""
    keys = each(part)
    aggregated = [c for c in columns if c != "last"]
    merged = [sql.Named(sql.call(FLOAT_MERGES[c], c), f"{c}_out") for c in aggregated]
    # `last` is merged before its time is compared: a bucket counts by its last sample's time.
    source = sql.Query(
        (
            sql.Named(keys.expr(part), "k"),
            sql.Named(sql.col("timestamp"), "b"),
            sql.Named(sql.call("max", "last"), "l"),
            *merged,
        ),
        reader.source("gauges", span.granularity_s),
        where=(*reader.conditions(part), *within(span.granularity_s, span.lo_s, span.hi_s)),
        group_by=("k", "b"),
    )
    query = sql.Query(
        (
            sql.Named(sql.col("k"), "k"),
            sql.Named(_time_ms("l"), "t"),
            sql.Named(sql.Element(sql.col("l"), 2), "v"),
            *(sql.Named(sql.col(f"{c}_out"), f"{c}_out") for c in aggregated),
        ),
        source,
        where=(sql.op(">", _time_ms("l"), span.after_ms), sql.op("<=", _time_ms("l"), span.upto_ms)),
        order_by=("k", "t"),
    )
    fields: list[Any] = [("k", "<u8"), ("t", "<i8"), ("v", "<f8"), *((c, "<f8") for c in aggregated)]
    rows = reader.fetch(query, fields)
    key, known = keys.index(part, rows["k"])
    key, rows = key[known], rows[known]
    offsets = np.searchsorted(key, np.arange(len(part.labels) + 1)).astype(np.int64)
    shown = {c: rows[c].astype(np.float64) for c in aggregated}
    return Samples(
        part.labels, offsets, rows["t"].astype(np.int64), rows["v"].astype(np.float64),
        low=shown.get("min"), high=shown.get("max"), total=shown.get("sum"), count=shown.get("count"),
    )  # fmt: skip


def _time_ms(name: str) -> sql.Expr:
    return sql.call("toUnixTimestamp64Milli", sql.Element(sql.col(name), 1))
