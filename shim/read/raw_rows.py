"""Makes cells from single rows: few rows are fetched unaggregated and added up here.

Planning is most of the cost of a small statement in ClickHouse, so this one is as plain as possible: the rows
of the finest rollup of the plan over its whole time, in one SELECT without groups or unions.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import numpy as np
import numpy.typing as npt

from shim.catalog.types import Part
from shim.model.values import Bools, Floats, Ints
from shim.read.column_merges import merge_of, merged
from shim.read.key_conditions import KEY_TERMS, clusters, within
from shim.read.reader import Keys, Reader, singly
from shim.read.window_plan import UniformCells, WindowPlan
from shim.sql import nodes as sql

#: Keys at most that a statement names one by one: each is one more to look up for every row that is read.
_MOST_KEYS: Final = 16


def is_small(reader: Reader, part: Part, reading: WindowPlan) -> bool:
    """Return whether reading windows (not running totals, which begin in 1970) takes few rows.

    As far as can be told: a bucket of one series may be more rows than one until ClickHouse merges them.
    """
    if reading.width == 0 or not reading.granularities:
        return False
    buckets = (_latest_s(reading) - reading.oldest_s) // reading.granularities[0]
    return len(part.series_ids) * buckets <= min(reader.few_rows, reader.max_rows)


def read_rows(
    reader: Reader, table: str, part: Part, keys: Keys, reading: WindowPlan, columns: tuple[str, ...]
) -> tuple[Mapping[str, Floats], Bools, Bools]:
    """Return `columns` merged, cells with a counted row, cells with a living row: (keys, cells) each.

    Raises QueryError.
    """
    granularity_s = reading.granularities[0]
    lo_s, hi_s = reading.oldest_s, _latest_s(reading)
    query = sql.Query(
        tuple(sql.Named(sql.col(c), c) for c in ("series_id", "timestamp", *columns)),
        reader.source(table, granularity_s),
        prewhere=(
            whole_hours(reader, part, granularity_s, lo_s, hi_s)
            or (*reader.conditions(part), *within(granularity_s, lo_s, hi_s))
        ),
        settings=(("optimize_move_to_prewhere", 0),),  # it is there already: one pass less over the plan
    )
    fields = [("series_id", "<u8"), ("timestamp", "<u4"), *((c, "<f8") for c in columns)]
    fetched = reader.fetch(query, fields, lambda rows: count_within(rows["timestamp"], lo_s, hi_s))
    key, known = singly(part).index(part, fetched["series_id"])
    fetched, key = fetched[known], key[known]
    if keys.group is not None:
        key = keys.group[key]
    time_s = fetched["timestamp"].astype(np.int64)
    shape = (len(keys), reading.cells)
    rows, alive = np.zeros(shape, dtype=bool), np.zeros(shape, dtype=bool)
    values = {column: merge_of(column).cells(shape) for column in columns}
    for at, cell, counts, lives in _places(reading, time_s):
        rows[key[at[counts]], cell[counts]] = True
        alive[key[at[lives]], cell[lives]] = True
        place = key[at[counts]] * reading.cells + cell[counts]
        for column in columns:
            merge = merge_of(column)
            added = merged(shape, place, fetched[column][at[counts]], merge)
            merge.ufunc(values[column], added, out=values[column])
    return values, rows, alive


def whole_hours(reader: Reader, part: Part, granularity_s: int, lo_s: int, hi_s: int) -> tuple[sql.Expr, ...]:
    """Return whole hours of a few series as prefixes of the primary key; () if there are many.

    One condition instead of eight saves a fifth of a statement for one series: each is analysed, matched with
    three keys (of partitions, their bounds, the table) and executed. The extra rows outside `[lo_s, hi_s)`
    cost less; whole days of the coarser rollup would cost more.
    """
    project_id = reader.tenant.project_id
    if granularity_s != 10 or lo_s <= 0 or project_id is None or len(part.metric_ids) != 1:
        return ()
    hours = clusters(granularity_s, lo_s, hi_s)
    keys = len(part.series_ids) * len(hours)
    if keys > _MOST_KEYS or keys * 3_600 // granularity_s > min(reader.few_rows, reader.max_rows):
        return ()
    hour = sql.call(KEY_TERMS[granularity_s].function, "timestamp")
    names = sql.Tuple((*map(sql.col, ("org_id", "project_id", "metric_id")), hour, sql.col("series_id")))
    tenant = (reader.tenant.org_id, project_id, part.metric_ids[0])
    series_ids = part.series_ids.tolist()
    return (sql.op("IN", names, sql.Tuples(tuple((*tenant, h, s) for h in hours for s in series_ids))),)


def count_within(times_s: npt.NDArray[np.uint32], lo_s: int, hi_s: int) -> int:
    """Return how many times lie in `[lo_s, hi_s)`."""
    return int(np.count_nonzero((times_s >= lo_s) & (times_s < hi_s)))


def _places(reading: WindowPlan, time_s: Ints) -> list[tuple[Ints, Ints, Bools, Bools]]:
    """Return, for each run and segment, its rows, their cells, and which count and show life."""
    out = [] if reading.run is None else [_in_run(reading.run, time_s)]
    for segment in reading.segments:
        at = np.flatnonzero((time_s >= segment.lo_s) & (time_s < segment.hi_s))
        every = np.ones(len(at), dtype=bool)
        out.append((at, np.full(len(at), segment.cell), every, every))
    return out


def _in_run(run: UniformCells, time_s: Ints) -> tuple[Ints, Ints, Bools, Bools]:
    since = time_s - run.origin_s
    at = np.flatnonzero((since >= 0) & (since < run.cells * run.size_s))
    cell, position = np.divmod(since[at], run.size_s)
    value_s, alive_s = run.value_s or run.size_s, run.alive_s or run.size_s
    return at, cell, position >= run.size_s - value_s, position >= run.size_s - alive_s


def _latest_s(reading: WindowPlan) -> int:
    ends = [s.hi_s for s in reading.segments]
    if reading.run is not None:
        ends.append(reading.run.origin_s + reading.run.cells * reading.run.size_s)
    return max(ends)
