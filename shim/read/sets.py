"""Sets: unions of members, merged in ClickHouse; only their cardinalities leave it.

Two statements: one counts the members of the union of each key and step, the other (the cells of any delta
type) says at which steps a series is alive.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from shim.catalog.types import Part
from shim.grid import Grid
from shim.read.cells import member_rows, read_cells
from shim.read.reader import Keys, Reader
from shim.read.windows import Reading
from shim.sql import nodes as sql
from shim.values import Floats, Vector

TABLE: Final = "sets"
UNIONS: Final = frozenset({"sum_over_time", "uniq_over_time"})
_ROW: Final = [("k", "<u8"), ("c", "<u4"), ("n", "<u8")]


def unions(reader: Reader, part: Part, keys: Keys, ends: Grid, window_ms: int, lookback_ms: int) -> Vector:
    """How many members the union of each key's buckets in `[t-w, t)` has. Raises QueryError."""
    reading = reader.windows(ends, window_ms, lookback_ms)
    cells = read_cells(reader, TABLE, part, keys, reading, ())
    values = _union_per_step(reader, part, keys, reading)
    return Vector(ends.steps, keys.labels, values, reading.present(cells.rows, cells.alive))


def latest(reader: Reader, part: Part, keys: Keys, at: Grid, lookback_ms: int) -> Vector:
    """The members of each series' latest bucket within the lookback, united per key. Raises QueryError."""
    reader.check_cells(len(keys) * at.steps)
    ends = _BucketEnds.of(at, lookback_ms, reader)
    per_bucket = sql.Query(
        (sql.Named(sql.col("series_id"), "series_id"), sql.Named(sql.call("toUInt32", "timestamp"), "b"),
         sql.Named(sql.call("uniqCombined64MergeState", "members"), "state")),
        reader.source(TABLE, ends.granularity_s),
        where=(*reader.conditions(part),
               sql.op(">=", "timestamp", sql.call("toDateTime", max(0, ends.first_s - ends.lookback_s))),
               sql.op("<", "timestamp", sql.call("toDateTime", max(0, ends.last_s)))),
        group_by=("series_id", "b"),
    )  # fmt: skip
    per_step = sql.Query(
        (sql.Named(sql.col("series_id"), "series_id"), sql.Named(sql.col("c"), "c"),
         sql.Named(sql.call("argMax", "state", "b"), "state_last")),
        per_bucket,
        array_join=(sql.Named(ends.steps_of("b"), "c"),),
        group_by=("series_id", "c"),
    )  # fmt: skip
    query = sql.Query(
        (sql.Named(keys.expr(part), "k"), sql.Named(sql.call("toUInt32", "c"), "c"),
         sql.Named(sql.call("uniqCombined64Merge", "state_last"), "n")),
        per_step,
        group_by=("k", "c"),
    )  # fmt: skip
    rows = reader.fetch(query, _ROW)
    key, known = keys.index(part, rows["k"])
    values = np.zeros((len(keys), at.steps))
    present = np.zeros(values.shape, dtype=bool)
    place = key[known], rows["c"][known].astype(np.int64)
    values[place] = rows["n"][known]
    present[place] = True
    return Vector(at.steps, keys.labels, values, present)


def _union_per_step(reader: Reader, part: Part, keys: Keys, reading: Reading) -> Floats:
    """Cells are united first, then every cell goes to the steps whose windows hold it."""
    flagged = reading.run is not None and reading.run.alive_s > 0
    per_cell = sql.Query(
        (sql.Named(sql.col("k"), "k"), sql.Named(sql.col("c"), "c"),
         sql.Named(sql.call("uniqCombined64MergeState", "members"), "state")),
        member_rows(reader, TABLE, part, keys, reading, (sql.Named(sql.col("members"), "members"),)),
        where=(sql.op("=", "h", 1),) if flagged else (),
        group_by=("k", "c"),
    )  # fmt: skip
    query = sql.Query(
        (sql.Named(sql.col("k"), "k"), sql.Named(sql.call("toUInt32", "step"), "step"),
         sql.Named(sql.call("uniqCombined64Merge", "state"), "n")),
        per_cell,
        array_join=(sql.Named(_steps_of_cell(reading), "step"),),
        group_by=("k", "step"),
    )  # fmt: skip
    rows = reader.fetch(query, _ROW)
    key, known = keys.index(part, rows["k"])
    values = np.zeros((len(keys), len(reading.end)))
    values[key[known], rows["c"][known].astype(np.int64)] = rows["n"][known]
    return values


def _steps_of_cell(reading: Reading) -> sql.Expr:
    """The steps whose windows hold cell `c`, as an array."""
    special = {
        int(cell): np.flatnonzero(reading.special == cell) for cell in set(reading.special) if cell >= 0
    }
    out = _NO_STEPS
    if reading.run is not None:
        out = _in_window(reading, "c")
    for cell, steps in special.items():
        at = sql.Ints(tuple(steps.tolist()), "UInt32")
        out = sql.call("if", sql.op("=", "c", cell), at, out)
    return out


_NO_STEPS: Final[sql.Expr] = sql.call("emptyArrayUInt32")


def _in_window(reading: Reading, cell: str) -> sql.Expr:
    """Steps `k` of the run with `end[k] - width <= cell < end[k]`, those at the live edge left out."""
    assert reading.run is not None
    steps = np.flatnonzero(reading.special < 0)
    if not len(steps):
        return _NO_STEPS
    ends = reading.end[steps]
    inside = sql.op("<", cell, reading.run.cells)
    stride = int(ends[1] - ends[0]) if len(ends) > 1 else 1
    if (np.diff(ends) == stride).all() and stride > 0:
        # ends are first + k * stride: the steps are a range, found by division
        first = int(ends[0])
        signed = sql.call("toInt64", cell)
        low = _floor_div(sql.op("+", sql.op("-", signed, first), stride), stride)
        high = _floor_div(sql.op("+", sql.op("-", signed, first), reading.width), stride)
        low = sql.call("greatest", 0, low)
        high = sql.call("least", len(ends), sql.call("greatest", 0, sql.op("+", high, 1)))
        found: sql.Expr = sql.call(
            "arrayMap", sql.Lambda(("x",), sql.call("toUInt32", "x")), sql.call("range", low, high)
        )
        return sql.call("if", inside, found, _NO_STEPS)
    listed = sql.Ints(tuple(ends.tolist()), "UInt32")
    holds = sql.op("AND", sql.op(">", "e", cell), sql.op("<=", "e", sql.op("+", cell, reading.width)))
    numbers = sql.Ints(tuple(steps.tolist()), "UInt32")
    picked = sql.Func("arrayFilter", (sql.Lambda(("x", "e"), holds), numbers, listed))
    return sql.call("if", inside, picked, _NO_STEPS)


def _floor_div(value: sql.Expr, divisor: int) -> sql.Expr:
    return sql.call("toInt64", sql.call("floor", sql.op("/", value, divisor)))


@dataclass(frozen=True, slots=True)
class _BucketEnds:
    """Where instant look-ups of sets end, in whole buckets."""

    first_s: int
    last_s: int
    steps: int
    granularity_s: int
    lookback_s: int
    ends: tuple[int, ...]

    @staticmethod
    def of(at: Grid, lookback_ms: int, reader: Reader) -> _BucketEnds:
        g = reader.granularity_s(at, lookback_ms)
        ends = at.times_ms // 1000 // g * g
        if reader.limits.settled_s is not None:
            ends = np.minimum(ends, reader.limits.settled_s // g * g)
        lookback_s = -(-lookback_ms // (1000 * g)) * g
        return _BucketEnds(int(ends[0]), int(ends[-1]), at.steps, g, lookback_s, tuple(ends.tolist()))

    def steps_of(self, bucket: str) -> sql.Expr:
        """The steps that see a bucket: `end - lookback <= bucket < end`."""
        ends = sql.Ints(self.ends, "UInt32")
        seen = sql.op(
            "AND", sql.op(">", "e", bucket), sql.op("<=", "e", sql.op("+", bucket, self.lookback_s))
        )
        numbers = sql.call("range", sql.call("toUInt32", self.steps))
        return sql.Func("arrayFilter", (sql.Lambda(("x", "e"), seen), numbers, ends))
