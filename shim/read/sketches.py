"""Bucket counts of distributions: per key and cell, on one side of zero.

ClickHouse adds up into one array a key and cell where the range of bucket indexes is small enough, which a
statement finds out first; then what comes is a matrix already. Else it hands out a row a bucket.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from shim.catalog.types import Part
from shim.eval.histogram.bounds import SCHEMA, coarser_index
from shim.read.cells import member_rows
from shim.read.reader import Keys, Reader
from shim.read.windows import Reading
from shim.sql import nodes as sql
from shim.values import Floats, Ints, Spans

TABLE: Final = "distributions"
#: Counts at most that are held as one matrix of keys x cells x buckets: 128 MiB.
_MOST_DENSE: Final = 1 << 24


class Side(Protocol):
    def windows(self, key: int, reading: Reading) -> Spans:
        """The buckets of one key over the windows of a reading."""


def read_sides(
    reader: Reader, part: Part, keys: Keys, reading: Reading, schema: int = SCHEMA
) -> tuple[Side, Side]:
    """Positive and negative buckets, in those of `schema`. Raises QueryError."""
    positive, negative = (
        _side(reader, part, keys, reading, found)
        for found in _ranges(reader, part, keys, reading, SCHEMA - schema)
    )
    return positive, negative


class Range(NamedTuple):
    """The bucket indexes `[first, first + width)` of one side, after their lowest bits are taken away."""

    side: str
    first: int
    width: int
    shift: int

    @property
    def counted(self) -> sql.Expr:
        """What `i` of schema 5 is counted as."""
        index: sql.Expr = sql.col("i")
        if self.shift:
            index = sql.call("bitShiftRight", sql.op("+", index, (1 << self.shift) - 1), self.shift)
        return sql.call("toInt32", index)


def _ranges(reader: Reader, part: Part, keys: Keys, reading: Reading, shift: int) -> list[Range]:
    sides = ("positive", "negative")
    columns = tuple(sql.Named(sql.call("mapKeys", side), f"{side}_list") for side in sides)
    found: list[sql.Named] = []
    fields: list[tuple[str, str]] = []
    for side in sides:
        indexes = f"{side}_list"
        found += [
            sql.Named(sql.call("toInt32", sql.call("minArray", indexes)), f"{side}_min"),
            sql.Named(sql.call("toInt32", sql.call("maxArray", indexes)), f"{side}_max"),
            sql.Named(sql.call("toUInt64", sql.call("sum", sql.call("length", indexes))), f"{side}_count"),
        ]
        fields += [(f"{side}_min", "<i4"), (f"{side}_max", "<i4"), (f"{side}_count", "<u8")]
    source = sql.Query(
        tuple(sql.Named(sql.col(c.alias), c.alias) for c in columns),
        member_rows(reader, TABLE, part, keys, reading, columns),
        where=_where(reading),
    )
    (row,) = reader.fetch(sql.Query(tuple(found), source), fields, lambda _: 0)
    out = []
    for side in sides:
        if not row[f"{side}_count"]:
            out.append(Range(side, 0, 0, shift))
            continue
        ends = np.array([row[f"{side}_min"], row[f"{side}_max"]], dtype=np.int64)
        first, last = coarser_index(ends, SCHEMA - shift).tolist()
        out.append(Range(side, first, last - first + 1, shift))
    return out


def _side(reader: Reader, part: Part, keys: Keys, reading: Reading, found: Range) -> Side:
    if not found.width:
        return Dense(0, np.zeros((len(keys), reading.cells, 0)))
    if len(keys) * reading.cells * found.width <= min(_MOST_DENSE, reader.max_cells):
        return _dense(reader, part, keys, reading, found)
    return _sparse(reader, part, keys, reading, found)


def _where(reading: Reading) -> tuple[sql.Expr, ...]:
    flagged = reading.run is not None and reading.run.alive_s > 0
    return (sql.op("=", "h", 1),) if flagged else ()


def _joined(
    reader: Reader, part: Part, keys: Keys, reading: Reading, found: Range,
    columns: Sequence[sql.Named], group_by: tuple[str, ...],
) -> sql.Query:  # fmt: skip
    """Every bucket of every row by itself, `i` and its count `n`, grouped."""
    lists = (
        sql.Named(sql.call("mapKeys", found.side), "index_list"),
        sql.Named(sql.call("mapValues", found.side), "count_list"),
    )
    source = sql.Query(
        tuple(sql.Named(sql.col(c), c) for c in ("k", "c", "index_list", "count_list")),
        member_rows(reader, TABLE, part, keys, reading, lists),
        where=_where(reading),
    )
    return sql.Query(
        (sql.Named(sql.col("k"), "k"), sql.Named(sql.col("c"), "c"), *columns),
        source,
        array_join=(sql.Named(sql.col("index_list"), "i"), sql.Named(sql.col("count_list"), "n")),
        group_by=group_by,
    )


# ---------------------------------------------------------------- one array a key and cell


@dataclass(frozen=True, slots=True)
class Dense:
    """`counts[key, cell, j]`: how many observations bucket `first + j` has."""

    first: int
    counts: Floats

    def windows(self, key: int, reading: Reading) -> Spans:
        counts = self.counts[key]
        used = np.flatnonzero(counts.any(axis=0))
        if not len(used):
            return Spans.empty(len(reading.end))
        some = counts[:, used[0] : used[-1] + 1]
        return Spans(self.first + int(used[0]), np.ascontiguousarray(reading.sums(some.T).T))


def _dense(reader: Reader, part: Part, keys: Keys, reading: Reading, found: Range) -> Dense:
    over = (found.first, found.first + found.width, 1)
    summed = sql.Named(sql.Func("sumResample", (sql.col("n"), found.counted), over), "v")
    query = _joined(reader, part, keys, reading, found, (summed,), ("k", "c"))
    size = f"V{max(1, -(-found.width.bit_length() // 7))}"  # RowBinary: an array begins with its length
    fields: list[Any] = [("k", "<u8"), ("c", "<u4"), ("size", size), ("v", "<f8", (found.width,))]
    rows = reader.fetch(query, fields, lambda fetched: int(np.count_nonzero(fetched["v"])))
    key, known = keys.index(part, rows["k"])
    counts = np.zeros((len(keys), reading.cells, found.width))
    counts[key[known], rows["c"][known]] = rows["v"][known] if not known.all() else rows["v"]
    return Dense(found.first, counts)


# ---------------------------------------------------------------- one row a bucket


@dataclass(frozen=True, slots=True)
class Sparse:
    """The buckets of all keys and cells that have any, sorted by key."""

    rows: npt.NDArray[np.void]
    begin: Ints  # where those of each key begin, and the end

    def windows(self, key: int, reading: Reading) -> Spans:
        rows = self.rows[self.begin[key] : self.begin[key + 1]]
        if not len(rows):
            return Spans.empty(len(reading.end))
        first = int(rows["i"].min())
        cells = np.zeros((int(rows["i"].max()) - first + 1, reading.cells))
        cells[rows["i"] - first, rows["c"].astype(np.int64)] = rows["n"]
        return Spans(first, np.ascontiguousarray(reading.sums(cells).T))


def _sparse(reader: Reader, part: Part, keys: Keys, reading: Reading, found: Range) -> Sparse:
    columns = (
        sql.Named(found.counted, "x"),
        sql.Named(sql.call("toFloat64", sql.call("sum", "n")), "n_out"),
    )
    query = _joined(reader, part, keys, reading, found, columns, ("k", "c", "x"))
    rows = reader.fetch(query, [("k", "<u8"), ("c", "<u4"), ("i", "<i4"), ("n", "<f8")])
    key, known = keys.index(part, rows["k"])
    key, rows = key[known], rows[known]
    order = np.argsort(key, kind="stable")
    begin = np.searchsorted(key[order], np.arange(len(keys) + 1)).astype(np.int64)
    return Sparse(rows[order], begin)
