"""Cells out of a rollup table: one statement for all cells of a Reading, summed per key in ClickHouse."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from shim.catalog.types import Part
from shim.read.reader import Keys, Reader
from shim.read.windows import Reading, Run, Segment
from shim.sql import nodes as sql
from shim.values import Bools, Floats, Ints

#: How a stored state merges, by column.
MERGES: Final[Mapping[str, str]] = {
    "value": "sum",
    "count": "sum",
    "sum": "sum",
    "sum_squares": "sum",
    "zero": "sum",
    "min": "min",
    "max": "max",
}


@dataclass(frozen=True, slots=True)
class Cells:
    """Stored state per key and cell; `values[column]` is (keys, cells), 0 (min and max: NaN) where empty."""

    values: Mapping[str, Floats]
    rows: Bools  # (keys, cells): a row counts for the value
    alive: Bools  # (keys, cells): a row says that the series is alive


def read_cells(
    reader: Reader, table: str, part: Part, keys: Keys, reading: Reading, columns: tuple[str, ...]
) -> Cells:
    """The cells of a reading, in one statement. Raises QueryError."""
    reader.check_cells(len(keys) * reading.cells * max(1, len(columns)))
    flagged = _flagged(reading)
    fetched = reader.fetch(
        _query(reader, table, part, keys, reading, columns), _dtype(keys, columns, flagged)
    )
    at, known = _places(part, keys, reading, fetched)
    fetched = fetched[known]
    shape = (len(keys), reading.cells)
    rows, alive = np.zeros(shape, dtype=bool), np.zeros(shape, dtype=bool)
    rows[at] = fetched["h"] if flagged else True
    alive[at] = fetched["a"] if flagged else True
    values = {}
    for column in columns:
        empty = 0.0 if MERGES[column] == "sum" else np.nan
        values[column] = np.full(shape, empty)
        values[column][at] = fetched[column]
    return Cells(values, rows, alive)


def _places(
    part: Part, keys: Keys, reading: Reading, fetched: npt.NDArray[np.void]
) -> tuple[tuple[Ints, Ints], Bools]:
    """(key, cell) of each row that belongs to a known key, and which rows those are."""
    if keys.group is not None:
        bits = _cell_bits(reading)
        known = fetched["x"] < len(keys) << bits
        packed = fetched["x"][known].astype(np.int64)
        return (packed >> bits, packed & ((1 << bits) - 1)), known
    key, known = keys.index(part, fetched["k"])
    return (key[known], fetched["c"][known].astype(np.int64)), known


def member_rows(
    reader: Reader,
    table: str,
    part: Part,
    keys: Keys,
    reading: Reading,
    columns: tuple[sql.Named, ...],
    *,
    packed: bool = False,
) -> sql.Union | sql.Query:
    """Rows with their key `k`, cell `c`, flags `h` and `a` where the reading needs them, and `columns`.

    `packed`: the keys of groups leave their low bits for the cell.
    """
    key = sql.Named(keys.high_bits(part, _cell_bits(reading)) if packed else keys.expr(part), "k")
    flagged = _flagged(reading)
    members = [
        sql.Query(
            (key, sql.Named(sql.call("toUInt32", cell), "c"), *(flags if flagged else ()), *columns),
            reader.source(table, granularity_s),
            where=(*reader.conditions(part), *where),
        )
        for granularity_s, cell, flags, where in _members(reading)
    ]
    return members[0] if len(members) == 1 else sql.Union(tuple(members))


def _query(
    reader: Reader, table: str, part: Part, keys: Keys, reading: Reading, columns: tuple[str, ...]
) -> sql.Query:
    flagged = _flagged(reading)
    raw = tuple(sql.Named(sql.col(c), c) for c in columns)
    # Groups: one small number says key and cell, which makes for a smaller and faster hash table.
    packed = keys.group is not None
    place = sql.call("bitOr", "k", "c") if packed else sql.col("k")
    out = [sql.Named(place, "x")] if packed else [sql.Named(place, "k"), sql.Named(sql.col("c"), "c")]
    if flagged:
        out += [sql.Named(sql.call("max", f), f"{f}_max") for f in ("h", "a")]
    for column in columns:
        merge = sql.call(MERGES[column], column)
        if flagged:
            merge = sql.call(MERGES[column] + "If", column, "h")
        out.append(sql.Named(sql.call("toFloat64", merge), f"{column}_out"))
    source = member_rows(reader, table, part, keys, reading, raw, packed=packed)
    query = sql.Query(tuple(out), source, group_by=("x",) if packed else ("k", "c"))
    return _flat(query) if isinstance(source, sql.Query) and not flagged else query


def _flat(query: sql.Query) -> sql.Query:
    """The query without its inner SELECT: one level less to plan, which is a good part of a small query."""
    inner = query.source
    assert isinstance(inner, sql.Query)
    exprs = {column.alias: column.expr for column in inner.columns}
    columns = []
    for column in query.columns:
        at = column.expr
        if isinstance(at, sql.Column):
            at = exprs[at.name]
        elif isinstance(at, sql.Func) and at.name == "bitOr":
            at = sql.Func(at.name, tuple(exprs[a.name] for a in at.args if isinstance(a, sql.Column)))
        columns.append(sql.Named(at, column.alias))
    return sql.Query(tuple(columns), inner.source, inner.where, query.group_by)


def _dtype(keys: Keys, columns: tuple[str, ...], flagged: bool) -> np.dtype[np.void]:
    place = [("k", "<u8"), ("c", "<u4")] if keys.group is None else [("x", "<u4")]
    flags = [("h", "u1"), ("a", "u1")] if flagged else []
    return np.dtype([*place, *flags, *((c, "<f8") for c in columns)])


def _cell_bits(reading: Reading) -> int:
    """Bits that hold the number of a cell."""
    return max(1, (reading.cells - 1).bit_length())


def _flagged(reading: Reading) -> bool:
    return reading.run is not None and reading.run.alive_s > 0


_Member = tuple[int, sql.Expr, tuple[sql.Named, ...], tuple[sql.Expr, ...]]


def _members(reading: Reading) -> list[_Member]:
    """(granularity, cell, flags, conditions) of every SELECT that together read the cells."""
    run = [] if reading.run is None else [_of_run(reading.run)]
    return [*run, *(_of_segment(s) for s in reading.segments)] or [_nothing()]


def _of_run(run: Run) -> _Member:
    since = sql.op("-", sql.call("toUInt32", "timestamp"), run.origin_s)
    cell: sql.Expr = sql.call("intDiv", since, run.size_s)
    where = list(_between(run.origin_s, run.origin_s + run.cells * run.size_s))
    if run.alive_s == 0:
        return run.granularity_s, cell, (), tuple(where)
    position = sql.op("%", since, run.size_s)
    if run.keep_s:
        where.append(sql.op(">=", position, run.size_s - run.keep_s))
    flags = tuple(
        sql.Named(sql.call("toUInt8", sql.op(">=", position, run.size_s - seconds)), name)
        for name, seconds in (("h", run.value_s or run.size_s), ("a", run.alive_s))
    )
    return run.granularity_s, cell, flags, tuple(where)


def _of_segment(segment: Segment) -> _Member:
    one = sql.call("toUInt8", 1)
    flags = (sql.Named(one, "h"), sql.Named(one, "a"))
    where = tuple(_between(segment.lo_s, segment.hi_s))
    return segment.granularity_s, sql.Int(segment.cell), flags, where


def _nothing() -> _Member:
    """A reading of no time at all (a running total before 1970)."""
    return _of_segment(Segment(86_400, 1, 0, 0))


def _between(lo_s: int, hi_s: int) -> list[sql.Expr]:
    out: list[sql.Expr] = [sql.op("<", "timestamp", sql.call("toDateTime", max(0, hi_s)))]
    if lo_s > 0:
        out.append(sql.op(">=", "timestamp", sql.call("toDateTime", lo_s)))
    return out
