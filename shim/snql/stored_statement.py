"""The one statement of a leaf and type: aggregates of stored buckets by group and cell.

Quantiles are chosen in ClickHouse: it merges the sketches of a group and cell, and hands out the buckets of
the two observations beside each rank. The value between them is interpolated here, as `quantile_over_time` of
PromQL does (shim/eval/histogram/quantile.py): at most half a bucket (1.1 %) off.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, Final

import numpy as np

from agent.wire.frame import ENDED
from shim.catalog.types import Kind
from shim.model.bucket_bounds import upper_bounds
from shim.model.values import Floats, Ints
from shim.read.key_conditions import within
from shim.read.reader import Reader
from shim.snql.aggregates import Measure
from shim.snql.processors.storage_selector import BucketSpan
from shim.snql.series import Grouped
from shim.sql import nodes as sql

TABLES: Final[Mapping[Kind, str]] = {
    "counter": "counters", "gauge": "gauges", "histogram": "distributions", "set": "sets",
}  # fmt: skip
#: Above the index of every bucket of a sketch: a code of one is `OFFSET + index` above zero, the negative of
#: that below, 0 for the zero bucket. Codes sort as values do.
_OFFSET: Final = 1 << 20
_MAX_INDEX: Final = 1 << 16
#: Ranks are fractions of so much at most.
_DENOMINATOR: Final = 10**12
_ENDED_BITS: Final = struct.unpack("<Q", struct.pack("<d", ENDED))[0]


@dataclass(frozen=True, slots=True)
class Measured:
    """The rows of a statement: group and cell of each row, and a column for each measure.

    A column has one array, or one for each of its quantiles.
    """

    groups: Ints
    cells: Ints
    columns: Sequence[Sequence[Floats]]


def measure(reader: Reader, found: Grouped, measures: Sequence[Measure], span: BucketSpan) -> Measured:
    """Run the statement. Raises QueryError."""
    reader.check_cells(len(found.keys) * span.cells * max(1, len(measures)))
    columns = _columns_of(found.kind, measures)
    levels = sorted({q for m in measures for q in m.levels})
    query, fields = _statement(reader, found, columns, levels, span)
    rows = reader.fetch(query, fields)
    key, known = found.keys.index(found.part, rows["k"])
    rows, key = rows[known], key[known]
    quantiles = {q: _quantile(rows, i, q) for i, q in enumerate(levels)}
    out = [_values(m, rows, quantiles) for m in measures]
    return Measured(found.numbers[key], rows["c"].astype(np.int64), out)


def statement_text(
    reader: Reader, found: Grouped, measures: Sequence[Measure], span: BucketSpan
) -> sql.Query:
    """Return the statement without running it."""
    levels = sorted({q for m in measures for q in m.levels})
    return _statement(reader, found, _columns_of(found.kind, measures), levels, span)[0]


def _columns_of(kind: Kind, measures: Sequence[Measure]) -> list[str]:
    """Return the stored columns that measures need, each once."""
    needed: dict[str, None] = {}
    for one in measures:
        match one.function:
            case "avg":
                needed |= {"sum": None, "count": None}
            case "quantile" | "quantiles":
                needed |= {"count": None, "min": None, "max": None}
            case "uniq":
                needed["members"] = None
            case "sum" if kind == "counter":
                needed["value"] = None
            case name:
                needed[name] = None
    return list(needed)


def _merged(column: str) -> sql.Expr:
    match column:
        case "min" | "max":
            return sql.call("toFloat64", sql.call(column, column))
        case "last":
            lasting = sql.call("notEquals", _bits_of_last(), _ENDED_BITS)
            return sql.call("toFloat64", sql.Element(sql.Func("maxIf", (sql.col("last"), lasting)), 2))
        case "members":
            return sql.call("toFloat64", sql.call("uniqCombined64Merge", "members"))
    return sql.call("toFloat64", sql.call("sum", column))


def _bits_of_last() -> sql.Expr:
    return sql.call("reinterpretAsUInt64", sql.Element(sql.col("last"), 2))


def _with_values(kind: Kind) -> tuple[sql.Expr, ...]:
    """Leave out buckets of gauges that hold the end of a series alone."""
    if kind != "gauge":
        return ()
    return (sql.op("OR", sql.op(">", "count", 0), sql.call("notEquals", _bits_of_last(), _ENDED_BITS)),)


def _statement(
    reader: Reader, found: Grouped, columns: Sequence[str], levels: Sequence[float], span: BucketSpan
) -> tuple[sql.Query, list[Any]]:
    since = sql.op("-", sql.call("toUInt32", "timestamp"), span.origin_s)
    cell = sql.call("intDiv", since, span.bucket_s) if span.bucket_s else sql.Int(0)
    key = sql.Named(found.keys.expr(found.part), "k")
    merged = [sql.Named(_merged(column), f"{column}_out") for column in columns]
    sketch = [sql.Named(_merged_sketch(), "sketch")] if levels else []
    query = sql.Query(
        (key, sql.Named(sql.call("toUInt32", cell), "c"), *merged, *sketch),
        reader.source(TABLES[found.kind], span.read_s),
        where=(
            *reader.conditions(found.part),
            *within(span.read_s, span.lo_s, span.hi_s),
            *_with_values(found.kind),
        ),
        group_by=("k", "c"),
    )
    fields: list[Any] = [("k", "<u8"), ("c", "<u4"), *((column, "<f8") for column in columns)]
    if levels:
        query = _with_ranks(query, levels)
        for i in range(len(levels)):
            fields += [(f"rank{i}", "<f8"), (f"low{i}", "<i4"), (f"high{i}", "<i4")]
    return query, fields


# ---------------------------------------------------------------- quantiles


def _merged_sketch() -> sql.Expr:
    """Select codes and counts of all buckets of the rows of a group, ascending."""
    index = sql.Lambda(("i",), sql.call("toInt32", sql.op("+", "i", _OFFSET)))
    below = sql.Lambda(("i",), sql.call("toInt32", sql.op("-", -_OFFSET, "i")))
    codes = sql.call(
        "arrayConcat",
        sql.Func("arrayMap", (index, sql.call("mapKeys", "positive"))),
        sql.call("array", sql.call("toInt32", 0)),
        sql.Func("arrayMap", (below, sql.call("mapKeys", "negative"))),
    )
    zero = sql.call("array", "zero")
    counts = sql.call(
        "arrayConcat", sql.call("mapValues", "positive"), zero, sql.call("mapValues", "negative")
    )
    return sql.call("sumMap", codes, counts)


def _with_ranks(query: sql.Query, levels: Sequence[float]) -> sql.Query:
    """Return the rows of a query with, for each level, its rank and the codes of the observations there."""
    passed = [sql.Named(sql.col(c.alias), c.alias) for c in query.columns if c.alias != "sketch"]
    codes = sql.Named(sql.Element(sql.col("sketch"), 1), "codes")
    seen = sql.Named(sql.call("arrayCumSum", sql.Element(sql.col("sketch"), 2)), "seen")
    unfolded = sql.Query((*passed, codes, seen), query)
    columns = list(passed)
    last = sql.call("greatest", sql.op("-", "count_out", 1), 0)
    for i, q in enumerate(levels):
        part = Fraction(q).limit_denominator(_DENOMINATOR)
        rank = sql.op("/", sql.op("*", last, part.numerator), part.denominator)
        low = sql.call("floor", rank)
        high = sql.call("least", sql.op("+", low, 1), last)
        columns.append(sql.Named(sql.call("toFloat64", rank), f"rank{i}"))
        columns += [sql.Named(_code_at(at), f"{name}{i}") for name, at in (("low", low), ("high", high))]
    return sql.Query(tuple(columns), unfolded)


def _code_at(rank: sql.Expr) -> sql.Expr:
    """Return the code of the observation of a rank."""
    after = sql.Lambda(("x",), sql.op(">", "x", rank))
    index = sql.Func("arrayFirstIndex", (after, sql.col("seen")))
    found = sql.call("if", sql.op("=", index, 0), sql.call("length", "codes"), index)
    return sql.call("toInt32", sql.call("arrayElement", "codes", found))


def _quantile(rows: np.ndarray[Any, Any], number: int, q: float) -> Floats:
    rank, low, high = rows[f"rank{number}"], rows[f"low{number}"], rows[f"high{number}"]
    weight = rank - np.floor(rank)
    with np.errstate(all="ignore"):
        found = _center(low) * (1 - weight) + _center(high) * weight
        found = np.clip(found, rows["min"], rows["max"])
    found = np.where(q == 0, rows["min"], np.where(q == 1, rows["max"], found))
    return np.asarray(np.where(rows["count"] > 0, found, np.nan))


def _center(codes: np.ndarray[Any, Any]) -> Floats:
    """Return the geometric mean of a bucket's bounds."""
    index = np.clip(np.abs(codes.astype(np.int64)) - _OFFSET, -_MAX_INDEX, _MAX_INDEX)
    center = np.sqrt(upper_bounds(index - 1)) * np.sqrt(upper_bounds(index))
    return np.asarray(np.sign(codes) * np.where(codes == 0, 0.0, center))


def _values(of: Measure, rows: np.ndarray[Any, Any], quantiles: Mapping[float, Floats]) -> list[Floats]:
    match of.function:
        case "avg":
            with np.errstate(all="ignore"):
                return [rows["sum"] / rows["count"]]
        case "quantile" | "quantiles":
            return [quantiles[q] for q in of.levels]
        case "uniq":
            return [rows["members"].copy()]
        case "sum" if "value" in (rows.dtype.names or ()):
            return [rows["value"].copy()]
        case name:
            return [rows[name].copy()]
