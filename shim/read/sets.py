"""Sets: unions of members, merged in ClickHouse; only their cardinalities leave it.

Two statements: one counts the members of the union of each key and step, the other (the cells of any delta
type) says at which steps a series is alive.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import numpy as np

from shim.catalog.types import Part
from shim.model.grid import Grid
from shim.model.values import Floats, Ints, Vector
from shim.read.cell_statements import member_rows, read_cells
from shim.read.key_conditions import within
from shim.read.reader import Keys, Reader, each
from shim.read.series_slices import group_slices, slices
from shim.read.window_plan import WindowPlan
from shim.sql import nodes as sql

TABLE: Final = "sets"
#: Cells that one state counts as: it takes some 500 bytes in ClickHouse, for a group up to 1,400.
_STATE_CELLS: Final = 2
_GROUP_STATE_CELLS: Final = 6
_NEVER: Final = (1 << 32) - 1  # later than every bucket
_ROW: Final = [("k", "<u8"), ("c", "<u4"), ("n", "<u8")]


def unions(reader: Reader, part: Part, keys: Keys, ends: Grid, window_ms: int, lookback_ms: int) -> Vector:
    """Count the members of the union of each key's buckets in `[t-w, t)`. Raises QueryError."""
    reading = reader.windows(ends, window_ms, lookback_ms)
    cells = read_cells(reader, TABLE, part, keys, reading, ())
    values = _in_slices(
        reader, part, keys, reading.cells, lambda some, of: _union_per_step(reader, some, of, reading)
    )
    return Vector(ends.steps, keys.labels, values, reading.present(cells.rows, cells.alive))


def latest(reader: Reader, part: Part, keys: Keys, at: Grid, lookback_ms: int) -> Vector:
    """Unite, per key, the members of each series' latest bucket within the lookback. Raises QueryError.

    A row goes directly to the steps that see its bucket as the latest: those up to the series' next bucket.
    So there is one state per key and step, and none per series and bucket.
    """
    reader.check_cells(len(keys) * at.steps)
    ends = _BucketEnds.of(at, lookback_ms, reader)
    counts = _in_slices(
        reader, part, keys, at.steps, lambda some, of: _latest_per_step(reader, some, of, ends, at.steps)
    )
    return Vector(at.steps, keys.labels, np.maximum(counts, 0), counts >= 0)


def _in_slices(
    reader: Reader, part: Part, keys: Keys, cells: int, read: Callable[[Part, Keys], Floats]
) -> Floats:
    """Call `read` for slices of the keys, because each key has a state for every cell."""
    if keys.everything:
        return read(part, keys)
    if keys.group is None:
        whole = slices(part, cells * _STATE_CELLS, reader.slice_cells)
        found = [read(some, Keys(keys.labels[here])) for here, some in whole]
    else:
        size = max(1, reader.slice_cells // (max(1, cells) * _GROUP_STATE_CELLS))
        found = [
            read(some, Keys(keys.labels[here], group))
            for here, some, group in group_slices(part, len(keys), keys.group, size)
        ]
    return found[0] if len(found) == 1 else np.concatenate(found)


def _latest_per_step(reader: Reader, part: Part, keys: Keys, ends: _BucketEnds, steps: int) -> Floats:
    """Count the members of each key at each step, -1 where it has no bucket."""
    own = each(part)
    one = "series_id" if own.group is None else "one"  # series that are one have one latest bucket
    key_of = sql.Named(keys.over(own, part, one), "k")
    named = sql.Named(own.expr(part), one)
    if steps == 1:
        query = _latest_at_once(reader, part, key_of, named, ends)
    else:
        until = sql.call("if", sql.op("=", "next", 0), _NEVER, "next")
        query = sql.Query(
            (key_of, sql.Named(sql.call("toUInt32", "c"), "c"),
             sql.Named(sql.call("uniqCombined64Merge", "members"), "n")),
            _rows_with_next(reader, part, named, ends),
            array_join=(sql.Named(ends.steps_of("b", until), "c"),),
            group_by=("k", "c"),
        )  # fmt: skip
    rows = reader.fetch(query, _ROW)
    key, known = keys.index(part, rows["k"])
    counts = np.full((len(keys), steps), -1.0)
    counts[key[known], rows["c"][known].astype(np.int64)] = rows["n"][known]
    return counts


def _latest_at_once(
    reader: Reader, part: Part, key: sql.Named, one: sql.Named, ends: _BucketEnds
) -> sql.Query:
    """Unite, for one step, only the rows of each series' last bucket."""
    last = sql.Named(sql.call("uniqCombined64MergeStateArgMax", "members", "timestamp"), "state")
    where = within(ends.granularity_s, int(ends.asked[0]) - ends.lookback_s, ends.last_s)
    table = reader.source(TABLE, ends.granularity_s)
    per_series = sql.Query((one, last), table, (*reader.conditions(part), *where), (one.alias,))
    step = sql.Named(sql.call("toUInt32", 0), "c")
    count = sql.Named(sql.call("uniqCombined64Merge", "state"), "n")
    return sql.Query((key, step, count), per_series, group_by=("k", "c"))


def _rows_with_next(reader: Reader, part: Part, one: sql.Named, ends: _BucketEnds) -> sql.Query:
    """Select every row with its bucket `b`, and the next bucket of its series (`one`), 0 for none."""
    where = (
        *reader.conditions(part),
        *within(ends.granularity_s, ends.first_s - ends.lookback_s, ends.last_s),
    )
    table = reader.source(TABLE, ends.granularity_s)
    members, bucket = sql.Named(sql.col("members"), "members"), sql.call("toUInt32", "timestamp")
    sorted_once = sql.call("arraySort", sql.call("groupUniqArray", bucket))
    rows = sql.Query((one, members, sql.Named(bucket, "b")), table, where)
    buckets = sql.Query((one, sql.Named(sorted_once, "buckets")), table, where, (one.alias,))
    later = sql.Lambda(("x",), sql.op(">", "x", "b"))
    following = sql.Named(sql.Func("arrayFirst", (later, sql.col("buckets"))), "next")
    columns = (*(sql.Named(sql.col(name), name) for name in (one.alias, "members", "b")), following)
    return sql.Query(columns, sql.Join(rows, buckets, one.alias))


def _union_per_step(reader: Reader, part: Part, keys: Keys, reading: WindowPlan) -> Floats:
    """Unite cells first, then pass every cell to the steps whose windows hold it."""
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


def _steps_of_cell(reading: WindowPlan) -> sql.Expr:
    """Return the steps whose windows hold cell `c`, as an array expression."""
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


def _in_window(reading: WindowPlan, cell: str) -> sql.Expr:
    """Return steps `k` of the run with `end[k] - width <= cell < end[k]`, without those at the live edge."""
    assert reading.run is not None
    steps = np.flatnonzero(reading.special < 0)  # the first ones: the live edge is at the end
    if not len(steps):
        return _NO_STEPS
    found = _steps_after(cell, reading.end[steps], reading.end[steps], reading.width)
    return sql.call("if", sql.op("<", cell, reading.run.cells), found, _NO_STEPS)


def _steps_after(value: str, ends: Ints, asked: Ints, reach: int, until: sql.Expr | None = None) -> sql.Expr:
    """Return steps `k` with `asked[k] - reach <= value < ends[k]` (and `ends[k] <= until`), as an array.

    Steps with evenly spaced ends (as asked) are a range, found by division; the others are tried one by one.
    """
    even = _evenly_spaced(ends, asked)
    found = _NO_STEPS
    if even:
        first, stride = int(ends[0]), int(ends[1] - ends[0]) if even > 1 else 1
        since = sql.op("-", sql.call("toInt64", value), first)
        low = sql.call("greatest", 0, _floor_div(sql.op("+", since, stride), stride))
        last = _floor_div(sql.op("+", since, reach), stride)
        if until is not None:
            seen = _floor_div(sql.op("-", sql.call("toInt64", until), first), stride)
            last = sql.call("least", last, seen)
        high = sql.call("least", even, sql.call("greatest", 0, sql.op("+", last, 1)))
        narrow = sql.Lambda(("x",), sql.call("toUInt32", "x"))
        found = sql.call("arrayMap", narrow, sql.call("range", low, high))
    if even == len(ends):
        return found
    conditions = [sql.op(">", "e", value), sql.op("<=", "a", sql.op("+", value, reach))]
    if until is not None:
        conditions.append(sql.op("<=", "e", until))
    holds = sql.op("AND", *conditions)
    rest = (np.arange(even, len(ends)), ends[even:], asked[even:])
    lists = (sql.Ints(numbers, "UInt32") for numbers in rest)
    tried = sql.Func("arrayFilter", (sql.Lambda(("x", "e", "a"), holds), *lists))
    return sql.call("arrayConcat", found, tried) if even else tried


def _evenly_spaced(ends: Ints, asked: Ints) -> int:
    """Return how many of the first ends are as asked and evenly spaced."""
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

    def steps_of(self, bucket: str, until: sql.Expr) -> sql.Expr:
        """Return the steps that see a bucket: `asked - lookback <= bucket < end`, and `end <= until`."""
        return _steps_after(bucket, self.ends, self.asked, self.lookback_s, until)
