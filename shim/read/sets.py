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
from shim.read.reader import Keys, Reader, each
from shim.read.times import within
from shim.read.windows import Reading
from shim.sql import nodes as sql
from shim.values import Floats, Ints, Vector

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
    own = each(part)
    one = "series_id" if own.group is None else "one"  # series that are one have one latest bucket
    per_bucket = sql.Query(
        (sql.Named(own.expr(part), one), *ends.bucket_states),
        reader.source(TABLE, ends.granularity_s),
        where=(*reader.conditions(part),
               *within(ends.granularity_s, ends.first_s - ends.lookback_s, ends.last_s)),
        group_by=(one, ends.bucket_states[0].alias),
    )  # fmt: skip
    per_step = sql.Query(
        (sql.Named(sql.col(one), one), sql.Named(sql.col("c"), "c"),
         sql.Named(sql.call("argMax", "state", "b"), "state_last")),
        per_bucket,
        array_join=(sql.Named(ends.steps_of("b"), "c"),),
        group_by=(one, "c"),
    )  # fmt: skip
    query = sql.Query(
        (sql.Named(keys.over(own, part, one), "k"), sql.Named(sql.call("toUInt32", "c"), "c"),
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
        at = sql.Ints(steps, "UInt32")
        out = sql.call("if", sql.op("=", "c", cell), at, out)
    return out


_NO_STEPS: Final[sql.Expr] = sql.call("emptyArrayUInt32")


def _in_window(reading: Reading, cell: str) -> sql.Expr:
    """Steps `k` of the run with `end[k] - width <= cell < end[k]`, those at the live edge left out."""
    assert reading.run is not None
    steps = np.flatnonzero(reading.special < 0)  # the first ones: the live edge is at the end
    if not len(steps):
        return _NO_STEPS
    found = _steps_after(cell, reading.end[steps], reading.end[steps], reading.width)
    return sql.call("if", sql.op("<", cell, reading.run.cells), found, _NO_STEPS)


def _steps_after(value: str, ends: Ints, asked: Ints, reach: int) -> sql.Expr:
    """The steps `k` with `asked[k] - reach <= value < ends[k]`, as an array.

    Steps whose ends are evenly spaced (and as asked) are a range, found by division; the others are tried
    one by one.
    """
    even = _evenly_spaced(ends, asked)
    found = _NO_STEPS
    if even:
        first, stride = int(ends[0]), int(ends[1] - ends[0]) if even > 1 else 1
        since = sql.op("-", sql.call("toInt64", value), first)
        low = sql.call("greatest", 0, _floor_div(sql.op("+", since, stride), stride))
        last = _floor_div(sql.op("+", since, reach), stride)
        high = sql.call("least", even, sql.call("greatest", 0, sql.op("+", last, 1)))
        narrow = sql.Lambda(("x",), sql.call("toUInt32", "x"))
        found = sql.call("arrayMap", narrow, sql.call("range", low, high))
    if even == len(ends):
        return found
    holds = sql.op("AND", sql.op(">", "e", value), sql.op("<=", "a", sql.op("+", value, reach)))
    rest = (np.arange(even, len(ends)), ends[even:], asked[even:])
    lists = (sql.Ints(numbers, "UInt32") for numbers in rest)
    tried = sql.Func("arrayFilter", (sql.Lambda(("x", "e", "a"), holds), *lists))
    return sql.call("arrayConcat", found, tried) if even else tried


def _evenly_spaced(ends: Ints, asked: Ints) -> int:
    """How many of the first ends are as asked and evenly spaced."""
    on_time = len(ends) if (ends == asked).all() else int(np.argmax(ends != asked))
    gaps = np.diff(ends[:on_time])
    if len(gaps) == 0 or gaps[0] == 0:  # steps finer than a bucket share an end
        return min(on_time, 1)
    uneven = np.flatnonzero(gaps != gaps[0])
    return int(uneven[0]) + 1 if len(uneven) else on_time


def _floor_div(value: sql.Expr, divisor: int) -> sql.Expr:
    return sql.call("toInt64", sql.call("floor", sql.op("/", value, divisor)))


@dataclass(frozen=True, slots=True)
class _BucketEnds:
    """Where instant look-ups of sets end, in whole buckets: as asked, and at the live edge."""

    asked: Ints
    ends: Ints
    granularity_s: int
    lookback_s: int

    @staticmethod
    def of(at: Grid, lookback_ms: int, reader: Reader) -> _BucketEnds:
        g = reader.granularity_s(at, lookback_ms)
        asked = at.times_ms // 1000 // g * g
        ends = asked
        if reader.limits.settled_s is not None:
            ends = np.minimum(ends, reader.limits.settled_s // g * g)
        return _BucketEnds(asked, ends, g, -(-lookback_ms // (1000 * g)) * g)

    @property
    def first_s(self) -> int:
        return int(self.ends[0])

    @property
    def last_s(self) -> int:
        return int(self.ends[-1])

    @property
    def bucket_states(self) -> tuple[sql.Named, ...]:
        """What rows of a series are grouped by, and of each group the bucket `b` and its `state`.

        A group is a bucket; or, where steps are further apart, the buckets between two steps, of which only
        the last can be any step's latest: the others are not united at all.
        """
        even = _evenly_spaced(self.ends, self.asked)
        stride = int(self.ends[1] - self.ends[0]) if even > 1 else 0
        origin = self.first_s - stride * (self.lookback_s // stride + 1) if stride else 0
        # Steps at the live edge all end at the same bucket, behind which nothing is read.
        if stride > self.granularity_s and origin > 0 and (self.ends[even:] == self.last_s).all():
            group = sql.call("intDiv", sql.op("-", sql.call("toUInt32", "timestamp"), origin), stride)
            last = sql.call("uniqCombined64MergeStateArgMax", "members", "timestamp")
            bucket = sql.Named(sql.call("toUInt32", sql.call("max", "timestamp")), "b")
            return sql.Named(group, "g"), bucket, sql.Named(last, "state")
        state = sql.Named(sql.call("uniqCombined64MergeState", "members"), "state")
        return sql.Named(sql.call("toUInt32", "timestamp"), "b"), state

    def steps_of(self, bucket: str) -> sql.Expr:
        """The steps that see a bucket: `asked - lookback <= bucket < end`."""
        return _steps_after(bucket, self.ends, self.asked, self.lookback_s)
