"""Reads bucket counts of distributions: per key and cell, on one side of zero.

If the range of bucket indexes is small enough, which a first statement finds out, ClickHouse adds up into one
array per key and cell, and the result is a matrix. Otherwise it returns a row per bucket.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from agent.aggregate.exponential_buckets import MAX_INDEX, MIN_INDEX
from indexer.clickhouse.native_format import varuint_bytes
from shim.catalog.types import Part
from shim.eval.budget import Take
from shim.model.bucket_bounds import SCHEMA, coarser_index
from shim.model.values import Floats, Ints, Spans
from shim.read.bucket_windows import spans_of
from shim.read.cell_cache import histogram_cache as memory
from shim.read.cell_statements import member_rows
from shim.read.reader import Keys, Reader
from shim.read.window_plan import WindowPlan
from shim.sql import nodes as sql

TABLE: Final = "distributions"
#: Counts at most that are held as one matrix of keys x cells x buckets: 128 MiB.
_MOST_DENSE: Final = 1 << 24
#: Matrices up to this many counts may be empty; larger ones need one stored count in this number of cells.
_SMALL: Final = 1 << 20
_MOST_EMPTY: Final = 256
#: Days that nothing is kept for longer.
_ALWAYS: Final = 65_535


class BucketSide(Protocol):
    """The bucket counts of all keys on one side of zero."""

    def windows(self, key: int, reading: WindowPlan, take: Take) -> Spans:
        """Return the buckets of one key over the windows of a plan. Raises QueryError."""


def read_sides(
    reader: Reader, part: Part, keys: Keys, reading: WindowPlan, schema: int = SCHEMA
) -> tuple[BucketSide, BucketSide]:
    """Positive and negative buckets, in those of `schema`. Raises QueryError."""
    shift = SCHEMA - schema

    def ask(some: WindowPlan) -> memory.Fetched | None:
        ranges, kept_days = _ranges(reader, part, keys, some, shift)
        if not all(_is_dense(reader, keys, some, found) for found in ranges):
            return None
        positive, negative = (_dense(reader, part, keys, some, found) for found in ranges)
        return memory.Fetched((positive, negative), kept_days)

    found = memory.lookup(reader, part, keys, reading, shift, ask)
    if found is not None:
        return found
    ranges, _ = _ranges(reader, part, keys, reading, shift)
    positive, negative = (_side(reader, part, keys, reading, one) for one in ranges)
    return positive, negative


class BucketRange(NamedTuple):
    """The bucket indexes `[first, first + width)` of one side, after their lowest bits are taken away.

    `strays`: some stored indexes are of no number. They count as the nearest that is.
    """

    side: str
    first: int
    width: int
    shift: int
    filled: int  # buckets of all rows
    strays: bool = False

    @property
    def counted(self) -> sql.Expr:
        """Return the expression for the bucket that index `i` of schema 5 counts as."""
        index: sql.Expr = sql.col("i")
        if self.strays:
            index = sql.call("least", sql.call("greatest", index, MIN_INDEX), MAX_INDEX)
        if self.shift:
            index = sql.call("bitShiftRight", sql.op("+", index, (1 << self.shift) - 1), self.shift)
        return sql.call("toInt32", index)


def _ranges(
    reader: Reader, part: Part, keys: Keys, reading: WindowPlan, shift: int
) -> tuple[list[BucketRange], int]:
    """Return the ranges of both sides, and the least retention of the rows in days."""
    sides = ("positive", "negative")
    lists = (sql.Named(sql.call("mapKeys", side), f"{side}_list") for side in sides)
    columns = (*lists, sql.Named(sql.col("retention_days"), "retention_days"))
    found = [sql.Named(sql.call("toUInt16", sql.call("min", "retention_days")), "kept_days")]
    fields = [("kept_days", "<u2")]
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
            out.append(BucketRange(side, 0, 0, shift, 0))
            continue
        ends = np.array([row[f"{side}_min"], row[f"{side}_max"]], dtype=np.int64)
        held = np.clip(ends, MIN_INDEX, MAX_INDEX)
        first, last = coarser_index(held, SCHEMA - shift).tolist()
        count = int(row[f"{side}_count"])
        strays = bool((held != ends).any())
        out.append(BucketRange(side, first, last - first + 1, shift, count, strays))
    return out, int(row["kept_days"]) or _ALWAYS


def _is_dense(reader: Reader, keys: Keys, reading: WindowPlan, found: BucketRange) -> bool:
    """Return whether a matrix is small enough, and not nearly all of it empty."""
    size = len(keys) * reading.cells * found.width
    if size > min(_MOST_DENSE, reader.max_cells):
        return False
    return size <= _SMALL or size <= found.filled * _MOST_EMPTY


def _side(reader: Reader, part: Part, keys: Keys, reading: WindowPlan, found: BucketRange) -> BucketSide:
    if _is_dense(reader, keys, reading, found):
        return _dense(reader, part, keys, reading, found)
    return _sparse(reader, part, keys, reading, found)


def _where(reading: WindowPlan) -> tuple[sql.Expr, ...]:
    flagged = reading.run is not None and reading.run.alive_s > 0
    return (sql.op("=", "h", 1),) if flagged else ()


def _joined(
    reader: Reader, part: Part, keys: Keys, reading: WindowPlan, found: BucketRange,
    columns: Sequence[sql.Named], group_by: tuple[str, ...],
) -> sql.Query:  # fmt: skip
    """Select every bucket of every row by itself, `i` and its count `n`, grouped."""
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
class DenseBuckets:
    """`counts[key, cell, j]`: how many observations bucket `first + j` has."""

    first: int
    counts: Floats

    def windows(self, key: int, reading: WindowPlan, take: Take) -> Spans:
        """Return the buckets of one key, as BucketSide."""
        counts = self.counts[key]
        used = np.flatnonzero(counts.any(axis=0))

        def fill(some: slice, cells: Floats) -> None:
            cells[:] = counts[:, used[some]].T

        return spans_of(self.first + used.astype(np.int64), reading, fill, take)


def _dense(reader: Reader, part: Part, keys: Keys, reading: WindowPlan, found: BucketRange) -> DenseBuckets:
    if not found.width:
        return DenseBuckets(0, np.zeros((len(keys), reading.cells, 0)))
    over = (found.first, found.first + found.width, 1)
    summed = sql.Named(sql.Func("sumResample", (sql.col("n"), found.counted), over), "v")
    query = _joined(reader, part, keys, reading, found, (summed,), ("k", "c"))
    size = f"V{varuint_bytes(found.width)}"  # RowBinary: an array begins with its length
    fields: list[Any] = [("k", "<u8"), ("c", "<u4"), ("size", size), ("v", "<f8", (found.width,))]
    rows = reader.fetch(query, fields, lambda fetched: int(np.count_nonzero(fetched["v"])))
    key, known = keys.index(part, rows["k"])
    counts = np.zeros((len(keys), reading.cells, found.width))
    counts[key[known], rows["c"][known]] = rows["v"][known] if not known.all() else rows["v"]
    return DenseBuckets(found.first, counts)


# ---------------------------------------------------------------- one row a bucket


@dataclass(frozen=True, slots=True)
class SparseBuckets:
    """The buckets of all keys and cells that have any, sorted by key and bucket."""

    rows: npt.NDArray[np.void]
    begin: Ints  # where those of each key begin, and the end

    def windows(self, key: int, reading: WindowPlan, take: Take) -> Spans:
        """Return the buckets of one key, as BucketSide."""
        rows = self.rows[self.begin[key] : self.begin[key + 1]]
        starts = np.flatnonzero(np.diff(rows["i"], prepend=rows["i"][:1] - 1))
        ends = np.append(starts[1:], len(rows))

        def fill(some: slice, cells: Floats) -> None:
            here = rows[starts[some.start] : ends[some.stop - 1]]
            bucket = np.repeat(np.arange(len(cells)), (ends - starts)[some])
            cells[bucket, here["c"].astype(np.int64)] = here["n"]

        return spans_of(rows["i"][starts].astype(np.int64), reading, fill, take)


def _sparse(reader: Reader, part: Part, keys: Keys, reading: WindowPlan, found: BucketRange) -> SparseBuckets:
    columns = (
        sql.Named(found.counted, "x"),
        sql.Named(sql.call("toFloat64", sql.call("sum", "n")), "n_out"),
    )
    query = _joined(reader, part, keys, reading, found, columns, ("k", "c", "x"))
    rows = reader.fetch(query, [("k", "<u8"), ("c", "<u4"), ("i", "<i4"), ("n", "<f8")])
    key, known = keys.index(part, rows["k"])
    key, rows = key[known], rows[known]
    order = np.lexsort((rows["i"], key))
    begin = np.searchsorted(key[order], np.arange(len(keys) + 1)).astype(np.int64)
    return SparseBuckets(rows[order], begin)
