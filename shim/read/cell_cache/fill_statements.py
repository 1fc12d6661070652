"""Fills chunks: jobs of neighbouring chunks, their statements, and the matrices made of the results.

Sums come as rows, in columns, and are put into their cells here, at half the cost of arrays made in
ClickHouse (`python -m tests.bench.block_fills`). That needs memory for every row. So for many rows, and for
other columns than sums, ClickHouse makes one array per series.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from indexer.clickhouse.native_format import varuint_bytes
from indexer.clickhouse.store import Store, StoreError
from shim.model.values import Bools
from shim.read.cell_cache.chunk import Chunk, ChunkKey, Ids, Source
from shim.read.key_conditions import within
from shim.read.sent_tables import sent_tables
from shim.sql import nodes as sql
from shim.sql.render import render

#: Buckets that one statement reads at most: a day of 60 s, four hours of 10 s.
MAX_CELLS: Final = 1_440
#: Rows that are fetched as they are, at most: each takes 50 bytes for a moment.
MAX_PLAIN_CELLS: Final = 1 << 21
#: Of a block's cells, from its first bucket with a row to its last, at least this share must have rows.
MIN_DENSITY: Final = 0.1
_STATEMENT_S: Final = 10
_TOO_MANY_ROWS: Final = 158  # ClickHouse's code
_PLAIN: Final = np.dtype([("k", "<u8"), ("c", "<u2"), ("v", "<f8"), ("d", "<u2")])


class TooManySeriesError(Exception):
    """More than asked for at most."""


@dataclass(frozen=True, slots=True)
class FillJob:
    """Neighbouring blocks of one source and granularity."""

    places: tuple[ChunkKey, ...]

    @property
    def lo_s(self) -> int:
        """The start of the first chunk."""
        return self.places[0].start_s

    @property
    def hi_s(self) -> int:
        """The end of the last chunk, exclusive."""
        return self.places[-1].end_s

    @property
    def cells(self) -> int:
        """The number of buckets of all chunks."""
        return (self.hi_s - self.lo_s) // self.places[0].granularity_s


@dataclass(frozen=True, slots=True)
class FilledMatrices:
    """A row a series, by ascending id, and a column a bucket of a job."""

    ids: Ids
    values: npt.NDArray[Any]  # float64; of last values of gauges (t: ms, v) records
    rows: Bools
    kept_days: int


def jobs(due: Sequence[ChunkKey]) -> list[FillJob]:
    """Join neighbours, as far as one statement may reach."""
    out: list[list[ChunkKey]] = []
    latest: dict[tuple[Source, int], list[ChunkKey]] = {}
    for place in sorted(due, key=lambda p: p.start_s):
        last = latest.get(place[:2])
        if last and last[-1].end_s == place.start_s and (len(last) + 1) * place.cells <= MAX_CELLS:
            last.append(place)
        else:
            latest[place[:2]] = one = [place]
            out.append(one)
    return [FillJob(tuple(found)) for found in out]


def fetch(store: Store, job: FillJob, most_series: int, most_plain: int = MAX_PLAIN_CELLS) -> FilledMatrices:
    """Read the matrices of a job; ClickHouse adds up more than `most_plain` rows.

    Raises StoreError, and TooManySeriesError over `most_series`.
    """
    source = job.places[0].source
    if source.merge == "sum" and not source.timed:
        plain = render(plain_statement(store.database, job, most_plain))
        columns = store.columns(plain.text, _PLAIN, sent=sent_tables(plain))
        if len(columns["k"]) <= most_plain:
            return _plain(job, columns, most_series)
        del columns
    try:
        arrays = render(array_statement(store.database, job, most_series))
        fetched = store.fetch(arrays.text, _arrays(job), sent=sent_tables(arrays))
    except StoreError as e:
        if e.code == _TOO_MANY_ROWS:
            raise TooManySeriesError from None
        raise
    fetched = fetched[np.argsort(fetched["k"])]
    ids = np.ascontiguousarray(fetched["k"])
    return FilledMatrices(ids, fetched["v"], fetched["h"], int(fetched["d"].min(initial=65_535)))


# ---------------------------------------------------------------- statements


def plain_statement(database: str, job: FillJob, most_rows: int) -> sql.Query:
    """Select series, cell and value of every row; one row beyond `most_rows` shows that there are more."""
    column = job.places[0].source.column
    columns = (
        sql.Named(sql.col("series_id"), "k"),
        sql.Named(sql.call("toUInt16", _cell(job)), "c"),
        sql.Named(sql.call("toFloat64", column), "v"),
        sql.Named(sql.call("toUInt16", "retention_days"), "d"),
    )
    source = sql.Table(database, job.places[0].table)
    return sql.Query(columns, source, where=_where(job), limit=most_rows + 1, settings=_LIMITS)


def array_statement(database: str, job: FillJob, most_series: int) -> sql.Query:
    """Select one row per series: an array of values over all buckets, and one of which have rows."""
    source = job.places[0].source
    over = (0, job.cells, 1)
    columns = (
        sql.Named(sql.col("series_id"), "k"),
        sql.Named(sql.Func(f"{_merge(source)}Resample", (sql.col(source.column), _cell(job)), over), "v"),
        sql.Named(sql.Func("maxResample", (sql.call("toUInt8", 1), _cell(job)), over), "h"),
        sql.Named(sql.call("toUInt16", sql.call("min", "retention_days")), "d"),
    )
    return sql.Query(
        columns,
        sql.Table(database, job.places[0].table),
        where=_where(job),
        group_by=("k",),
        settings=(*_LIMITS, ("max_rows_to_group_by", most_series)),  # over it the statement fails
    )


_LIMITS: Final = (("max_threads", 1), ("max_execution_time", _STATEMENT_S))  # not at the cost of queries


def _cell(job: FillJob) -> sql.Expr:
    since = sql.op("-", sql.call("toUInt32", "timestamp"), job.lo_s)
    return sql.call("intDiv", since, job.places[0].granularity_s)


def _where(job: FillJob) -> tuple[sql.Expr, ...]:
    source = job.places[0].source
    where: list[sql.Expr] = [sql.op("=", "org_id", source.org_id)]
    if source.project_id is not None:
        where.append(sql.op("=", "project_id", source.project_id))
    where += [
        sql.member("metric_id", np.array(source.metric_ids, np.uint64)),
        *within(job.places[0].granularity_s, job.lo_s, job.hi_s),
    ]
    return tuple(where)


def _merge(source: Source) -> str:
    """Return ClickHouse's function that merges the column: the last gauge is the greatest (time, value)."""
    return "max" if source.timed else source.merge


def _arrays(job: FillJob) -> np.dtype[np.void]:
    """RowBinary: an array begins with its length, a varint."""
    cells = job.cells
    size = f"V{varuint_bytes(cells)}"
    value = [("t", "<i8"), ("v", "<f8")] if job.places[0].source.timed else "<f8"
    fields: list[Any] = [
        ("k", "<u8"), ("n", size), ("v", value, (cells,)), ("m", size), ("h", "?", (cells,)), ("d", "<u2"),
    ]  # fmt: skip
    return np.dtype(fields)


# ---------------------------------------------------------------- putting together


def _plain(job: FillJob, columns: Mapping[str, npt.NDArray[Any]], most_series: int) -> FilledMatrices:
    """Place rows that come in runs of one series."""
    key = columns["k"]
    starts = np.flatnonzero(np.diff(key, prepend=~key[:1]))
    ids, number = np.unique(key[starts], return_inverse=True)
    if len(ids) > most_series:
        raise TooManySeriesError
    place = np.repeat(number * job.cells, np.diff(starts, append=len(key)))
    place += columns["c"]
    shape = (len(ids), job.cells)
    rows = np.zeros(shape, dtype=bool)
    rows.reshape(-1)[place] = True
    values = np.bincount(place, columns["v"], rows.size).reshape(shape)
    return FilledMatrices(ids, values, rows, int(columns["d"].min(initial=65_535)))


def made(job: FillJob, found: FilledMatrices) -> dict[ChunkKey, Chunk] | None:
    """Cut a job's matrices into chunks. Chunks in which every series has rows share the array of ids.

    Return None if a gauge's time lies outside its bucket: no chunk can hold it.
    """
    ids = found.ids
    out = {}
    for number, place in enumerate(job.places):
        cells = slice(number * place.cells, (number + 1) * place.cells)
        values, rows = found.values[:, cells], found.rows[:, cells]
        offset_ms = None
        if place.source.timed:
            starts_ms = (place.start_s + np.arange(place.cells) * place.granularity_s) * 1000
            since_ms = np.where(rows, values["t"] - starts_ms, 0)
            if len(ids) and not 0 <= since_ms.min() <= since_ms.max() < place.granularity_s * 1000:
                return None
            values, offset_ms = values["v"], since_ms.astype(np.uint32)
        there = rows.any(axis=1)
        used = slice(None) if there.all() else there
        out[place] = Chunk(
            ids if there.all() else ids[there], values[used].copy(), rows[used].copy(), found.kept_days,
            None if offset_ms is None else offset_ms[used], place.source.merge,
        )  # fmt: skip
    return out


def is_sparse(block: Chunk) -> bool:
    """Return whether too few cells have rows between the first and the last bucket with any."""
    used = np.flatnonzero(block.rows.any(axis=0))
    if not len(used):
        return False
    cells = len(block.ids) * (used[-1] - used[0] + 1)
    return bool(np.count_nonzero(block.rows) < MIN_DENSITY * cells)
