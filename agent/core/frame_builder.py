"""Builds wire frames from flushed buckets: rows become columns, and each string is stored once per frame.

Owns how many rows share a frame. One frame at once, so that its caller can do other work in between. Pure;
see agent/wire/frame.py for the layout.
"""

from __future__ import annotations

import sys
from array import array
from collections import deque
from collections.abc import Iterable, Iterator
from math import isfinite, isnan
from typing import Final, TypeVar

from agent.aggregate.state import Bucket, Cell, CounterCell, DistributionCell, GaugeCell, Series, SetCell
from agent.protocol.line import MAX_NUMBER
from agent.wire.frame import Counters, Distributions, Frame, Gauges, Sender, SeriesColumns, Sets

# Approximate bytes before compression: columns of a row, one entry of a bucket map, one set member.
_ROW_BYTES: Final = 64
_ENTRY_BYTES: Final = 12
_MEMBER_BYTES: Final = 8


C = TypeVar("C")
Row = tuple[int, Series, C]  # bucket, series, cell


class RowQueue:
    """Rows of flushed buckets, in the order of the buckets and of the series within each.

    Releases buckets as it proceeds, so that the memory of a bucket is free once its rows are taken. Their
    cells must not change any more.
    """

    def __init__(self) -> None:
        #: Entries (agent/aggregate/state.py) of the buckets not started yet.
        self.entries = 0
        self._buckets: deque[Bucket] = deque()
        self._rows = self._all_rows()
        self._next: tuple[Row[Cell], int] | None = (
            None  # a row that did not fit the last frame, and its bytes
        )

    def put(self, buckets: Iterable[Bucket]) -> None:
        """Append buckets, which then belong to the queue."""
        for bucket in buckets:
            self._buckets.append(bucket)
            self.entries += bucket.entries

    def take(self, max_rows: int, max_bytes: int) -> list[Row[Cell]]:
        """Take at most `max_rows` rows of about `max_bytes`; a single larger row is taken alone."""
        rows: list[Row[Cell]] = []
        size = 0
        while (found := self._pop()) is not None:
            row, row_bytes = found
            if rows and (len(rows) >= max_rows or size + row_bytes > max_bytes):
                self._next = found
                break
            rows.append(row)
            size += row_bytes
        return rows

    def _pop(self) -> tuple[Row[Cell], int] | None:
        found, self._next = self._next, None
        if found is None:
            found = next(self._rows, None)
            if found is None:
                self._rows = self._all_rows()  # for later buckets
        return found

    def _all_rows(self) -> Iterator[tuple[Row[Cell], int]]:
        while self._buckets:
            bucket = self._buckets.popleft()
            self.entries -= bucket.entries
            for series, cell in bucket.cells.items():
                yield (bucket.start_s, series, cell), series.size_bytes + _row_bytes(cell)


def build_frames(
    buckets: Iterable[Bucket],
    sender: Sender,
    sequence: Iterator[int],
    created_ms: int,
    *,
    max_rows: int,
    max_bytes: int,
) -> Iterator[Frame]:
    """Yield all frames of `buckets`; each takes the next number of `sequence`."""
    queue = RowQueue()
    queue.put(buckets)
    while rows := queue.take(max_rows, max_bytes):
        yield frame_of(rows, sender, next(sequence), created_ms)


def _row_bytes(cell: Cell) -> int:
    if isinstance(cell, DistributionCell):
        return _ROW_BYTES + _ENTRY_BYTES * cell.entries
    if isinstance(cell, SetCell):
        return _ROW_BYTES + _MEMBER_BYTES * len(cell.members)
    return _ROW_BYTES


def frame_of(rows: list[Row[Cell]], sender: Sender, sequence: int, created_ms: int) -> Frame:
    """Build the frame of some rows."""
    index: dict[Series, int] = {}
    for _, one, _ in rows:
        index.setdefault(one, len(index))
    strings: dict[str, int] = {}
    series = _series(index, strings)
    return Frame(
        agent=sender.agent,
        epoch=sender.epoch,
        sequence=sequence,
        created_ms=created_ms,
        org_id=sender.org_id,
        project_id=sender.project_id,
        retention_days=sender.retention_days,
        strings=list(strings),
        series=series,
        counters=_counters([(b, index[s], c) for b, s, c in rows if isinstance(c, CounterCell)]),
        gauges=_gauges([(b, index[s], c) for b, s, c in rows if isinstance(c, GaugeCell)]),
        distributions=_distributions(
            [(b, index[s], c) for b, s, c in rows if isinstance(c, DistributionCell)]
        ),
        sets=_sets([(b, index[s], c) for b, s, c in rows if isinstance(c, SetCell)]),
        lines=sum(c.lines for _, _, c in rows),
    )


def _series(index: Iterable[Series], strings: dict[str, int]) -> SeriesColumns:
    names, counts, keys, values = list[int](), list[int](), list[int](), list[int]()
    number = strings.setdefault
    for series in index:
        names.append(number(series.name, len(strings)))
        counts.append(len(series.tags))
        for key, value in series.tags:
            keys.append(number(key, len(strings)))
            values.append(number(value, len(strings)))
    return SeriesColumns(
        name=_column("I", names),
        tag_count=_column("H", counts),
        tag_key=_column("I", keys),
        tag_value=_column("I", values),
    )


def _column(code: str, values: Iterable[float]) -> bytes:
    """Encode a column, little-endian, with the widths that agent/wire/frame.py expects.

    Overflowed sums are clamped to the range of a float: the indexer refuses a frame with any value that is
    not finite, and one faulty sender must not cost the rows of others.
    """
    column = array(code, values)
    if code == "d" and not isfinite(sum(column)):
        column = array(code, map(_finite, column))
    if sys.byteorder == "big":
        column.byteswap()
    return column.tobytes()


def _finite(value: float) -> float:
    return 0.0 if isnan(value) else min(max(value, -MAX_NUMBER), MAX_NUMBER)


def _counters(rows: list[tuple[int, int, CounterCell]]) -> Counters:
    return Counters(
        series=_column("I", [s for _, s, _ in rows]),
        bucket=_column("I", [b for b, _, _ in rows]),
        value=_column("d", [c.value for _, _, c in rows]),
    )


def _gauges(rows: list[tuple[int, int, GaugeCell]]) -> Gauges:
    return Gauges(
        series=_column("I", [s for _, s, _ in rows]),
        bucket=_column("I", [b for b, _, _ in rows]),
        last_ms=_column("q", [c.last_ms for _, _, c in rows]),
        last=_column("d", [c.last for _, _, c in rows]),
        min=_column("d", [c.min for _, _, c in rows]),
        max=_column("d", [c.max for _, _, c in rows]),
        sum=_column("d", [c.sum for _, _, c in rows]),
        count=_column("d", [c.count for _, _, c in rows]),
    )


def _distributions(rows: list[tuple[int, int, DistributionCell]]) -> Distributions:
    positive = [sorted(c.positive.items()) for _, _, c in rows]
    negative = [sorted(c.negative.items()) for _, _, c in rows]
    return Distributions(
        series=_column("I", [s for _, s, _ in rows]),
        bucket=_column("I", [b for b, _, _ in rows]),
        count=_column("d", [c.count for _, _, c in rows]),
        sum=_column("d", [c.sum for _, _, c in rows]),
        sum_squares=_column("d", [c.sum_squares for _, _, c in rows]),
        min=_column("d", [c.min for _, _, c in rows]),
        max=_column("d", [c.max for _, _, c in rows]),
        zero=_column("d", [c.zero for _, _, c in rows]),
        positive_length=_column("I", map(len, positive)),
        positive_index=_column("i", [i for row in positive for i, _ in row]),
        positive_count=_column("d", [n for row in positive for _, n in row]),
        negative_length=_column("I", map(len, negative)),
        negative_index=_column("i", [i for row in negative for i, _ in row]),
        negative_count=_column("d", [n for row in negative for _, n in row]),
    )


def _sets(rows: list[tuple[int, int, SetCell]]) -> Sets:
    return Sets(
        series=_column("I", [s for _, s, _ in rows]),
        bucket=_column("I", [b for b, _, _ in rows]),
        length=_column("I", [len(c.members) for _, _, c in rows]),
        member=_column("Q", [m for _, _, c in rows for m in sorted(c.members)]),
    )
