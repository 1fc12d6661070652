"""Turns a frame into the columns of the INSERTs, in NumPy: no Python object per row.

Two steps, since a frame is checked when it is received and resolved when it is written. `check` refuses rows
that would fail or spoil sums; `to_rows` then cannot fail. The same frame and the same string ids always give
the same rows in the same order, as exactly-once requires. Pure.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from agent.aggregate.exponential_buckets import MAX_INDEX, MIN_INDEX
from agent.wire.frame import BUCKET_SECONDS, Distributions, Frame, FrameError, Sets
from indexer.access.grants import ID_EXPECTED, MAX_ID, MAX_ORG_ID
from indexer.clickhouse.granularities import GRANULARITIES
from indexer.clickhouse.native_format import AnyArray, Block, ColumnData, Ragged
from indexer.clickhouse.retention import Retention
from indexer.clickhouse.schema.metric_types import KINDS, METRIC_TYPES, Kind
from indexer.intern.series import TYPES, U64s, series_ids, tag_sums_of
from indexer.intern.sorted_ids import distinct

DAY_S: Final = 86_400
#: Characters of an agent's name, and of a name, tag key or value; no line of an agent has longer ones.
MAX_AGENT_CHARS: Final = 1_024
MAX_STRING_CHARS: Final = 65_536
#: Rows of sets with more members are searched for equal ones.
_MANY_MEMBERS: Final = 10_000
#: `retention_days` of rows that are kept as long as their granularity.
KEEP: Final = 65_535

#: Columns of each kind besides series and bucket: name in the frame -> dtype; ragged ones with their length.
VALUES: Final[Mapping[Kind, Mapping[str, str]]] = {
    t.kind: {c.name: c.dtype for c in t.input if not c.length} for t in METRIC_TYPES
}
RAGGED: Final[Mapping[Kind, Mapping[str, tuple[str, str]]]] = {
    t.kind: {c.name: (c.length, c.dtype) for c in t.input if c.length} for t in METRIC_TYPES
}

#: Columns that are sums.
_SUMS: Final[Mapping[Kind, Sequence[str]]] = {
    "counters": ("value",),
    "gauges": ("sum",),
    "distributions": ("count", "sum", "sum_squares"),
    "sets": (),
}
MAX_FLOAT: Final = sys.float_info.max

#: Sort keys, most significant first.
_KEYS: Final = (
    ("org_id", "<u4"), ("project_id", "<u4"), ("metric_id", "<u8"), ("series_id", "<u8"), ("bucket", "<u4"),
)  # fmt: skip

#: One row in this many may be left for ClickHouse's merges.
_FEW: Final = 16


def order_in_numpy(
    org_id: AnyArray, project_id: AnyArray, metric_id: AnyArray, series_id: AnyArray, bucket: AnyArray
) -> AnyArray:
    """Return the order of rows by their keys, the first key first; equal rows keep their order."""
    return np.lexsort((bucket, series_id, metric_id, project_id, org_id))


try:
    from indexer._native.order import order
except ImportError:  # not compiled
    order = order_in_numpy


@dataclass(frozen=True, slots=True)
class SeriesColumns:
    """The series of one frame: tags as in the frame, with the ids of its strings."""

    org_id: int
    project_id: int
    ids: U64s
    metric_id: U64s
    tag_count: AnyArray
    tag_key: AnyArray  # index into ids
    tag_value: AnyArray  # index into ids


@dataclass(frozen=True, slots=True)
class SeriesOnDay:
    """The series of one kind that have rows on one day."""

    kind: Kind
    day: int  # days since 1970
    index: AnyArray  # which of the frame's series
    series_id: U64s
    seen_s: AnyArray  # a bucket's start, u32


@dataclass(frozen=True, slots=True)
class FrameRows:
    """The rows of one frame; kinds without rows are left out."""

    blocks: dict[Kind, Block]  # columns of the input table of each
    series: SeriesColumns
    series_id: dict[Kind, U64s]  # of each of the frame's series
    index: dict[Kind, AnyArray]  # of each row: which of the frame's series

    def sightings(self, kind: Kind) -> list[SeriesOnDay]:
        """Return the series of a kind, by the days of their rows."""
        if kind not in self.blocks:
            return []
        bucket, index, series_id = self.blocks[kind]["bucket"], self.index[kind], self.series_id[kind]
        assert isinstance(bucket, np.ndarray)
        out = []
        for day, at_day in group_by_day(bucket):
            seen = np.zeros(len(series_id), np.uint32)
            seen[index[at_day]] = bucket[at_day]
            used = np.zeros(len(series_id), bool)
            used[index[at_day]] = True
            there = np.flatnonzero(used)
            out.append(SeriesOnDay(kind, day, there, series_id[there], seen[there]))
        return out


def check(frame: Frame, *, latest_s: int) -> None:
    """Refuse a frame that is not storable: indexes out of range, wrong times, non-finite values.

    `latest_s`: the latest start of a bucket. Raises FrameError.
    """
    ids = (("org_id", frame.org_id, MAX_ORG_ID), ("project_id", frame.project_id, MAX_ID))
    for name, value, last in ids:
        if not 1 <= value <= last:
            raise FrameError(f"{name}: {value}: {ID_EXPECTED}")
    if not 0 <= frame.retention_days <= KEEP:
        raise FrameError(f"retention_days: {frame.retention_days}: expected 0 to {KEEP}")
    _check_texts(frame)
    count = len(frame.series.name) // 4
    for name in ("name", "tag_key", "tag_value"):
        _check_index(f"Series.{name}", _u32(getattr(frame.series, name)), len(frame.strings))
    for kind in KINDS:
        columns = getattr(frame, kind)
        where = type(columns).__name__
        _check_index(f"{where}.series", _u32(columns.series), count)
        _check_buckets(f"{where}.bucket", _u32(columns.bucket), latest_s)
        names = [n for n, dtype in VALUES[kind].items() if dtype == "<f8"]
        names += [n for n, (_, dtype) in RAGGED[kind].items() if dtype == "<f8"]
        for name in names:
            if not np.isfinite(np.frombuffer(getattr(columns, name), "<f8")).all():
                raise FrameError(f"{where}.{name}: not a finite number")
    _check_sketches(frame.distributions)
    _check_members(frame.sets)


def count_clamped(frame: Frame) -> int:
    """Return how many sums overflowed and are held at the largest number."""
    held = 0
    for kind in KINDS:
        columns = getattr(frame, kind)
        for name in _SUMS[kind]:
            sums = np.frombuffer(getattr(columns, name), "<f8")
            if len(sums) and max(sums.max(), -sums.min()) >= MAX_FLOAT:
                held += int(np.count_nonzero(np.abs(sums) >= MAX_FLOAT))
    return held


def _check_texts(frame: Frame) -> None:
    """Refuse names and tag values that are longer than any line."""
    if len(frame.agent) > MAX_AGENT_CHARS:
        raise FrameError(f"agent: {len(frame.agent)} characters: expected at most {MAX_AGENT_CHARS}")
    longest = max(map(len, frame.strings), default=0)
    if longest > MAX_STRING_CHARS:
        raise FrameError(f"strings: one of {longest} characters: expected at most {MAX_STRING_CHARS}")


def _check_sketches(columns: Distributions) -> None:
    """Refuse bucket indexes of no number, and negative counts."""
    for side in ("positive", "negative"):
        index = np.frombuffer(getattr(columns, f"{side}_index"), "<i4")
        if len(index) and not MIN_INDEX <= index.min() <= index.max() <= MAX_INDEX:
            raise FrameError(
                f"Distributions.{side}_index: {index.min()} .. {index.max()}:"
                f" expected {MIN_INDEX} .. {MAX_INDEX}"
            )
    for name in ("count", "zero", "positive_count", "negative_count"):
        counts = np.frombuffer(getattr(columns, name), "<f8")
        if len(counts) and counts.min() < 0:
            raise FrameError(f"Distributions.{name}: {counts.min()} is negative: expected 0 or more")


def _check_members(columns: Sets) -> None:
    """Refuse equal members in a large row: agents send each once, and equal ones compress to nothing."""
    lengths = np.frombuffer(columns.length, "<u4")
    if not len(lengths) or lengths.max() <= _MANY_MEMBERS:
        return
    members, ends = np.frombuffer(columns.member, "<u8"), np.cumsum(lengths, dtype=np.int64)
    for row in np.flatnonzero(lengths > _MANY_MEMBERS).tolist():
        of_row = np.sort(members[ends[row] - lengths[row] : ends[row]])
        if (of_row[1:] == of_row[:-1]).any():
            raise FrameError(f"Sets.member: equal members in row {row}: expected each once")


def _check_index(where: str, index: AnyArray, size: int) -> None:
    if len(index) and index.max() >= size:
        raise FrameError(f"{where}: index {index.max()}: expected less than {size}")


def _check_buckets(where: str, buckets: AnyArray, latest_s: int) -> None:
    if not len(buckets):
        return
    if (buckets % BUCKET_SECONDS).any():
        raise FrameError(f"{where}: expected multiples of {BUCKET_SECONDS} s")
    if buckets.max() > latest_s:
        raise FrameError(f"{where}: {buckets.max()} is in the future")


def to_rows(frame: Frame, ids: U64s, kept: Retention | None = None) -> FrameRows:
    """Return the rows of a checked frame; `ids` holds the id of each of its strings.

    `kept`: the retention of each granularity. None: the input tables of before migration 5 have it.
    """
    source = frame.series
    series = SeriesColumns(
        org_id=frame.org_id,
        project_id=frame.project_id,
        ids=ids,
        metric_id=ids[_u32(source.name)],
        tag_count=np.frombuffer(source.tag_count, "<u2"),
        tag_key=_u32(source.tag_key),
        tag_value=_u32(source.tag_value),
    )
    sums = tag_sums_of(ids, series.tag_count, series.tag_key, series.tag_value)
    rows = FrameRows({}, series, {}, {})
    for kind in KINDS:
        columns = getattr(frame, kind)
        if columns.series:
            by_series = series_ids(frame.org_id, frame.project_id, TYPES[kind], series.metric_id, sums)
            index, bucket = _u32(columns.series), _u32(columns.bucket)
            rows.blocks[kind] = _key_columns(frame, series.metric_id, by_series, index, bucket)
            rows.blocks[kind] |= kept_columns(len(index), frame.retention_days or KEEP, kept)
            rows.blocks[kind] |= _value_columns(kind, columns)
            rows.series_id[kind], rows.index[kind] = by_series, index
    return rows


def _key_columns(
    frame: Frame, metric_id: U64s, by_series: U64s, index: AnyArray, bucket: AnyArray
) -> dict[str, ColumnData]:
    rows = len(index)
    return {
        "org_id": np.full(rows, frame.org_id, np.uint32),
        "project_id": np.full(rows, frame.project_id, np.uint32),
        "metric_id": metric_id[index],
        "series_id": by_series[index],
        "bucket": bucket,
    }


def kept_columns(rows: int, retention_days: int, kept: Retention | None) -> dict[str, ColumnData]:
    """Return the columns of the days that rows are kept, the shorter of frame and granularity."""
    if kept is None:
        return {"retention_days": np.full(rows, retention_days, np.uint16)}
    return {
        f"days_{g.name}": np.full(rows, min(retention_days, kept.days(g.name)), np.uint16)
        for g in GRANULARITIES
    }


def _value_columns(kind: Kind, columns: Any) -> dict[str, ColumnData]:
    out: dict[str, ColumnData] = {
        name: np.frombuffer(getattr(columns, name), dtype) for name, dtype in VALUES[kind].items()
    }
    for name, (length, dtype) in RAGGED[kind].items():
        out[name] = Ragged(_u32(getattr(columns, length)), np.frombuffer(getattr(columns, name), dtype))
    return out


def group_by_day(bucket: AnyArray) -> list[tuple[int, slice | AnyArray]]:
    """Return the days (since 1970) of rows, each with its rows. Usually it is one."""
    first, last = int(bucket.min()) // DAY_S, int(bucket.max()) // DAY_S
    if first == last:
        return [(first, slice(None))]
    return [(day, bucket // DAY_S == day) for day in distinct(bucket // DAY_S).tolist()]


def series_rows(series: SeriesColumns, sighting: SeriesOnDay, wanted: npt.NDArray[np.bool_]) -> Block:
    """Return columns of the table `series` for the `wanted` series of a day."""
    index = sighting.index[wanted]
    lengths = series.tag_count[index].astype(np.int64)
    ends = np.cumsum(series.tag_count, dtype=np.int64)
    tags = ranges((ends - series.tag_count)[index], lengths)
    seen_s = sighting.seen_s[wanted]
    rows = len(index)
    return {
        "org_id": np.full(rows, series.org_id, np.uint32),
        "project_id": np.full(rows, series.project_id, np.uint32),
        "metric_id": series.metric_id[index],
        "series_id": sighting.series_id[wanted],
        "type": np.full(rows, TYPES[sighting.kind], np.int8),
        "tag_keys": Ragged(lengths, series.ids[series.tag_key[tags]]),
        "tag_values": Ragged(lengths, series.ids[series.tag_value[tags]]),
        "day": np.full(rows, sighting.day, np.uint16),
        "first_seen": seen_s,
        "last_seen": seen_s,
    }


def ranges(starts: AnyArray, lengths: AnyArray) -> AnyArray:
    """Return `start, start+1, ...` of each range, one range after the other."""
    ends = np.cumsum(lengths)
    total = int(ends[-1]) if len(ends) else 0
    positions: AnyArray = np.repeat(starts - (ends - lengths), lengths) + np.arange(total)
    return positions


def concat(blocks: Sequence[Block]) -> Block:
    """Return the rows of several blocks of the same columns, in order."""
    if len(blocks) == 1:
        return blocks[0]
    return {name: _join([b[name] for b in blocks]) for name in blocks[0]}


def _join(columns: Sequence[ColumnData]) -> ColumnData:
    ragged = [c for c in columns if isinstance(c, Ragged)]
    if ragged:
        return Ragged(np.concatenate([c.lengths for c in ragged]), np.concatenate([c.values for c in ragged]))
    return np.concatenate([c for c in columns if isinstance(c, np.ndarray)])


def sort(block: Block) -> Block:
    """Return the rows of a block in the order of the tables' keys.

    ClickHouse would sort the block for each of its rollups; it skips that if the rows are in order, and one
    sort here costs less.
    """
    keys = [np.ascontiguousarray(block[name], dtype) for name, dtype in _KEYS]
    positions = order(*keys)
    if positions is None:
        positions = order_in_numpy(*keys)
    return {name: _take(column, positions) for name, column in block.items()}


def has_mergeable_rows(block: Block) -> bool:
    """Return whether enough rows of a sorted block merge in some rollup for ClickHouse to merge them.

    Merging costs a fifth of the INSERT, and an agent's rows of one bucket, one per series, have none to
    merge. A few are left to later merges: readers aggregate anyway.
    """
    series = block["series_id"]
    assert isinstance(series, np.ndarray)
    return int(np.count_nonzero(series[1:] == series[:-1])) * _FEW > len(series)


def _take(column: ColumnData, order: AnyArray) -> ColumnData:
    if isinstance(column, Ragged):
        lengths = column.lengths.astype(np.int64)
        starts = np.cumsum(lengths) - lengths
        return Ragged(lengths[order], column.values[ranges(starts[order], lengths[order])])
    assert isinstance(column, np.ndarray)  # ingest blocks hold no strings
    return column[order]


def split_rows(block: Block, rows: int) -> list[Block]:
    """Split a block into pieces of at most `rows` rows."""
    total = len(block["series_id"])
    if total <= rows:
        return [block]
    return [{n: _slice(c, i, i + rows) for n, c in block.items()} for i in range(0, total, rows)]


def _slice(column: ColumnData, start: int, end: int) -> ColumnData:
    if isinstance(column, Ragged):
        first = int(column.lengths[:start].sum())
        lengths = column.lengths[start:end]
        return Ragged(lengths, column.values[first : first + int(lengths.sum())])
    return column[start:end]


def _u32(data: bytes) -> npt.NDArray[np.uint32]:
    return np.frombuffer(data, "<u4")
