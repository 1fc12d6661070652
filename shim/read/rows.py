"""Cells out of single rows: where few are read, they are fetched as they stand and added up here.

Planning is most of what a small statement costs in ClickHouse, so this one is as plain as can be: the rows of
the finest rollup of the reading over its whole time, one SELECT without functions, groups or unions.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from shim.catalog.types import Part
from shim.read.reader import Keys, Reader, each
from shim.read.times import within
from shim.read.windows import Reading, Run
from shim.sql import nodes as sql
from shim.values import Bools, Floats, Ints


def is_small(reader: Reader, part: Part, reading: Reading) -> bool:
    """Whether a reading of windows (not of running totals, which begin in 1970) needs few rows.

    As far as can be told: a bucket of one series may be more rows than one until ClickHouse merges them.
    """
    if reading.width == 0 or not reading.granularities:
        return False
    buckets = (_latest_s(reading) - reading.oldest_s) // reading.granularities[0]
    return len(part.series_ids) * buckets <= min(reader.few_rows, reader.max_rows)


def read_rows(
    reader: Reader, table: str, part: Part, keys: Keys, reading: Reading, columns: tuple[str, ...]
) -> tuple[Mapping[str, Floats], Bools, Bools]:
    """Sums of `columns`, cells with a row that counts, cells with a row that says alive: (keys, cells) each.

    Raises QueryError.
    """
    granularity_s = reading.granularities[0]
    query = sql.Query(
        tuple(sql.Named(sql.col(c), c) for c in ("series_id", "timestamp", *columns)),
        reader.source(table, granularity_s),
        prewhere=(
            *reader.conditions(part),
            *within(granularity_s, reading.oldest_s, _latest_s(reading)),
        ),
        settings=(("optimize_move_to_prewhere", 0),),  # it is there already: one pass less over the plan
    )
    fields = [("series_id", "<u8"), ("timestamp", "<u4"), *((c, "<f8") for c in columns)]
    fetched = reader.fetch(query, fields)
    key, known = each(part).index(part, fetched["series_id"])
    fetched, key = fetched[known], key[known]
    if keys.group is not None:
        key = keys.group[key]
    time_s = fetched["timestamp"].astype(np.int64)
    shape = (len(keys), reading.cells)
    rows, alive = np.zeros(shape, dtype=bool), np.zeros(shape, dtype=bool)
    values = {column: np.zeros(shape) for column in columns}
    for at, cell, counts, lives in _places(reading, time_s):
        rows[key[at[counts]], cell[counts]] = True
        alive[key[at[lives]], cell[lives]] = True
        place = key[at[counts]] * reading.cells + cell[counts]
        for column in columns:
            added = np.bincount(place, fetched[column][at[counts]], minlength=rows.size)
            values[column] += added.reshape(shape)
    return values, rows, alive


def _places(reading: Reading, time_s: Ints) -> list[tuple[Ints, Ints, Bools, Bools]]:
    """Of the run and of each segment: which rows lie in it, their cells, and which count and say alive."""
    out = [] if reading.run is None else [_in_run(reading.run, time_s)]
    for segment in reading.segments:
        at = np.flatnonzero((time_s >= segment.lo_s) & (time_s < segment.hi_s))
        every = np.ones(len(at), dtype=bool)
        out.append((at, np.full(len(at), segment.cell), every, every))
    return out


def _in_run(run: Run, time_s: Ints) -> tuple[Ints, Ints, Bools, Bools]:
    since = time_s - run.origin_s
    at = np.flatnonzero((since >= 0) & (since < run.cells * run.size_s))
    cell, position = np.divmod(since[at], run.size_s)
    value_s, alive_s = run.value_s or run.size_s, run.alive_s or run.size_s
    return at, cell, position >= run.size_s - value_s, position >= run.size_s - alive_s


def _latest_s(reading: Reading) -> int:
    ends = [s.hi_s for s in reading.segments]
    if reading.run is not None:
        ends.append(reading.run.origin_s + reading.run.cells * reading.run.size_s)
    return max(ends)
