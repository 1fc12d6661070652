"""Drops expired rows, and splits a frame of many days into several. Pure.

A partition of the tables is a day and a `retention_days`, and each costs time in an INSERT. So a frame holds
days of one group: 32 days in a row, counted from 1970. The group of a row depends only on its time. So a
resent frame is split in the same way, whatever expired or was configured in between.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Final

import msgspec
import numpy as np
import numpy.typing as npt

from agent.wire.frame import Frame, SeriesColumns, encode
from indexer.clickhouse.granularities import GRANULARITIES
from indexer.clickhouse.native_format import AnyArray
from indexer.clickhouse.retention import Retention
from indexer.clickhouse.schema.metric_types import KINDS, Kind
from indexer.write.accepted_frame import AcceptedFrame
from indexer.write.frame_to_columns import DAY_S, RAGGED, VALUES, ranges

#: Maximum days of one INSERT, and of one group.
MAX_DAYS: Final = 32
#: Maximum rows of one INSERT: below ClickHouse's own block size, so that one INSERT is one block.
MAX_BLOCK_ROWS: Final = 500_000

#: A frame's own time decides for this long: its retries see the same rows expire.
_RETRIED_DAYS: Final = 14

Bools = npt.NDArray[np.bool_]


class RetentionRules:
    """Rules for how long rows are kept, by the `retention_days` of their frame."""

    def __init__(self, retention: Retention, steps: Sequence[int]) -> None:
        self._steps = steps
        self._max_days = max(retention.days(g.name) for g in GRANULARITIES)

    def rounded(self, retention_days: int) -> int:
        """Return the next step; 0, as long as the granularities are kept, if no step is as long."""
        if not retention_days:
            return 0
        return next((step for step in self._steps if step >= retention_days), 0)

    def first_day(self, retention_days: int, created_ms: int, now_ms: int) -> int:
        """Return the first day (since 1970) whose rows are kept; `retention_days` is rounded."""
        created_day, today = (ms // 1000 // DAY_S for ms in (created_ms, now_ms))
        since = min(today, max(created_day, today - _RETRIED_DAYS))
        return since - min(retention_days or self._max_days, self._max_days)


def day_groups(frame: Frame) -> list[int]:
    """Return the groups of days of a checked frame's rows, ascending."""
    found: set[int] = set()
    for bucket in _buckets(frame):
        first, last = (int(edge) // DAY_S // MAX_DAYS for edge in (bucket.min(), bucket.max()))
        found.update((first, last) if last - first < 2 else np.unique(_group(bucket)).tolist())
    return sorted(found)


def max_blocks(units: Sequence[AcceptedFrame]) -> int:
    """Return how many blocks a table gets at most from an INSERT of units: one for each partition."""
    found: set[tuple[int, int]] = set()
    for unit in units:
        for bucket in _buckets(unit.frame):
            first, last = int(bucket.min()) // DAY_S, int(bucket.max()) // DAY_S
            days = range(first, min(last, first + MAX_DAYS) + 1)
            found.update((unit.frame.retention_days, day) for day in days)
    return len(found)


def last_bucket_s(frame: Frame) -> int:
    """Return the start of the latest bucket, in Unix seconds; 0 for a frame without rows."""
    return max((int(bucket.max()) for bucket in _buckets(frame)), default=0)


def expired_rows(frame: Frame, first_day: int) -> int:
    """Return the number of rows of days before `first_day`."""
    return sum(int(np.count_nonzero(bucket < first_day * DAY_S)) for bucket in _buckets(frame))


def without_expired(unit: AcceptedFrame, first_day: int) -> AcceptedFrame:
    """Return the frame without rows of days before `first_day`."""
    return _selected(unit, lambda bucket: bucket >= first_day * DAY_S)


def of_group(unit: AcceptedFrame, group: int, *, last: bool) -> AcceptedFrame:
    """Return the rows of one group of days as a frame of its own.

    The `last` group keeps the identity. It is written after the others: if the identity is known, all of the
    frame is stored, also by an indexer that did not split frames.
    """
    part = _selected(unit, lambda bucket: _group(bucket) == group)
    return part if last else replace(part, identity=f"{unit.identity}/days-{group}")


def _group(bucket: AnyArray) -> AnyArray:
    return bucket // (DAY_S * MAX_DAYS)


def _buckets(frame: Frame) -> list[AnyArray]:
    """Return the buckets of each kind that has rows."""
    columns = (getattr(frame, kind).bucket for kind in KINDS)
    return [np.frombuffer(column, "<u4") for column in columns if column]


def _selected(unit: AcceptedFrame, wanted: Callable[[AnyArray], Bools]) -> AcceptedFrame:
    """Return the rows whose bucket is selected, with the series and strings that they use."""
    rows = {kind: _rows(kind, getattr(unit.frame, kind), wanted) for kind in KINDS}
    frame, given = compacted(msgspec.structs.replace(unit.frame, **rows), unit.given_ids)
    return replace(unit, body=encode(frame), frame=frame, given_ids=given)


def _rows(kind: Kind, columns: msgspec.Struct, wanted: Callable[[AnyArray], Bools]) -> msgspec.Struct:
    mask = wanted(np.frombuffer(getattr(columns, "bucket"), "<u4"))  # noqa: B009  # of any kind
    picked: dict[str, bytes] = {}
    for name in columns.__struct_fields__:
        data = getattr(columns, name)
        if name in RAGGED[kind]:
            length, dtype = RAGGED[kind][name]
            entries = np.repeat(mask, np.frombuffer(getattr(columns, length), "<u4"))
            picked[name] = np.frombuffer(data, dtype)[entries].tobytes()
        else:
            picked[name] = np.frombuffer(data, VALUES[kind].get(name, "<u4"))[mask].tobytes()
    return type(columns)(**picked)


def compacted(frame: Frame, given_ids: Mapping[int, int]) -> tuple[Frame, dict[int, int]]:
    """Return the frame without unused series and strings, and the ids given for the remaining ones."""
    source = frame.series
    of_rows: Mapping[Kind, AnyArray] = {k: np.frombuffer(getattr(frame, k).series, "<u4") for k in KINDS}
    series = np.unique(np.concatenate(list(of_rows.values())))
    counts = np.frombuffer(source.tag_count, "<u2")
    starts = np.cumsum(counts, dtype=np.int64) - counts
    tags = ranges(starts[series], counts[series].astype(np.int64))
    name = np.frombuffer(source.name, "<u4")[series]
    key, value = (np.frombuffer(column, "<u4")[tags] for column in (source.tag_key, source.tag_value))
    strings = np.unique(np.concatenate((name, key, value)))
    compact = msgspec.structs.replace(
        frame,
        strings=[frame.strings[at] for at in strings.tolist()],
        series=SeriesColumns(
            _places(strings, name), counts[series].tobytes(), _places(strings, key), _places(strings, value)
        ),
        **{k: msgspec.structs.replace(getattr(frame, k), series=_places(series, of_rows[k])) for k in KINDS},
    )
    given = {at: given_ids[old] for at, old in enumerate(strings.tolist()) if old in given_ids}
    return compact, given


def _places(ordered: AnyArray, values: AnyArray) -> bytes:
    """Return the position of each value in `ordered`, as a column."""
    return np.searchsorted(ordered, values).astype("<u4").tobytes()
