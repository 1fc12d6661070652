"""Folds new series beyond an org's daily limit into one series per metric.

A series is new if the registry does not know it. The rows of a folded series become rows of its metric with
`__overflow__="true"` alone, so counters, distributions and sets keep their totals; of gauges the last value
counts. The frame is rebuilt with them before the journal has it: a batch that is written again is the same.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final, NamedTuple, Protocol

import msgspec
import numpy as np

from agent.wire.frame import Frame, SeriesColumns, encode
from indexer.clickhouse.native_format import AnyArray
from indexer.clickhouse.schema.metric_types import KINDS, Kind
from indexer.intern.series import Project, SeriesRegistry, U64s
from indexer.intern.sorted_ids import find_ids
from indexer.write.accepted_frame import AcceptedFrame
from indexer.write.frame_to_columns import DAY_S, FrameRows, SeriesOnDay
from indexer.write.split_by_day import compacted

OVERFLOW_KEY: Final = "__overflow__"
OVERFLOW_VALUE: Final = "true"


class OrgDay(NamedTuple):
    """The key of the limit: an org and a day."""

    org_id: int
    day: int  # since 1970


@dataclass
class ExcessSeries:
    """The series of one frame beyond the limit, by kind and day, as indexes of the frame's series."""

    series: dict[tuple[Kind, int], AnyArray] = field(default_factory=dict)


class StoredCounts(Protocol):
    """Counts series of earlier processes or other indexers (indexer/intern/stored_series.py)."""

    def count(self, org_id: int, day: int) -> int:
        """Return the org's number of series on that day, including those that this process knows."""

    def ids(self, org_id: int, day: int) -> Mapping[Project, U64s]:
        """Return the series ids, sorted, by tenant."""

    def forget(self) -> None:
        """Read everything again when it is next asked for."""


class SeriesLimit:
    """Allows at most `max_series` new series per org and day; 0: unlimited.

    Without `stored` only those of this process count.
    """

    def __init__(self, registry: SeriesRegistry, max_series: int, stored: StoredCounts | None = None) -> None:
        self._registry = registry
        self._max_series = max_series
        self._stored = stored

    def near(self, units: Sequence[AcceptedFrame]) -> bool:
        """Return whether these frames might reach the limit if all their series were new."""
        if not self._max_series:
            return False
        coming: dict[OrgDay, int] = {}
        for unit in units:
            rows = min(unit.frame.rows, len(KINDS) * (len(unit.frame.series.name) // 4))
            for _, day in unit.partitions:
                key = OrgDay(unit.frame.org_id, day)
                coming[key] = coming.get(key, 0) + rows
        return any(self._at_most(key) + rows > self._max_series for key, rows in coming.items())

    def forget(self) -> None:
        """Count the stored series again."""
        if self._stored is not None:
            self._stored.forget()

    def known(self, org_id: int, day: int) -> int:
        """Return the number of an org's known series on a day, without asking the store."""
        stored = self._stored.count(org_id, day) if self._stored is not None else 0
        return max(self._registry.count(org_id, day), stored)

    def _at_most(self, key: OrgDay) -> int:
        stored = self._stored.count(*key) if self._stored is not None else 0
        return self._registry.count(*key) + stored

    def _count(self, key: OrgDay) -> int:
        """Count the series that are registered or stored."""
        unseen = sum(
            int(self._registry.unknown(tenant, key.day, ids).sum()) for tenant, ids in self._ids(key).items()
        )
        return self._registry.count(*key) + unseen

    def _ids(self, key: OrgDay) -> Mapping[Project, U64s]:
        if self._stored is None or not self._stored.count(*key):
            return {}
        return self._stored.ids(*key)

    def excess(self, frames: Sequence[FrameRows]) -> list[ExcessSeries]:
        """Return each frame's series beyond the limit; the first ones are accepted first.

        Raises StoreError if the stored series are unreadable.
        """
        admitted: dict[tuple[Project, int], list[U64s]] = {}
        counts: dict[OrgDay, int] = {}
        out = []
        for frame in frames:
            found = ExcessSeries()
            tenant = Project(frame.series.org_id, frame.series.project_id)
            for sighting in (s for kind in KINDS for s in frame.sightings(kind)):
                key = OrgDay(tenant.org_id, sighting.day)
                if key not in counts:
                    counts[key] = self._count(key)
                before = admitted.setdefault((tenant, sighting.day), [])
                new = self._new(tenant, sighting, before)
                room = max(0, self._max_series - counts[key])
                before.append(sighting.series_id[new[:room]])
                counts[key] += len(new[:room])
                if len(new) > room:
                    found.series[sighting.kind, sighting.day] = sighting.index[new[room:]]
            out.append(found)
        return out

    def _new(self, tenant: Project, sighting: SeriesOnDay, admitted: Sequence[U64s]) -> AnyArray:
        unknown = self._registry.unknown(tenant, sighting.day, sighting.series_id)
        stored = self._ids(OrgDay(tenant.org_id, sighting.day)).get(tenant)
        if stored is not None:
            unknown &= ~find_ids(stored, sighting.series_id)[1]
        for ids in admitted:
            unknown &= ~np.isin(sighting.series_id, ids)
        return np.flatnonzero(unknown)


def fold_excess(unit: AcceptedFrame, excess: ExcessSeries) -> tuple[AcceptedFrame, int]:
    """Return the frame with the rows beyond the limit folded, and the number of those rows."""
    frame = unit.frame
    names = np.frombuffer(frame.series.name, "<u4")
    rows = {kind: _beyond(kind, frame, excess) for kind in KINDS}
    used = [np.frombuffer(getattr(frame, kind).series, "<u4")[mask] for kind, mask in rows.items()]
    beyond = names[np.unique(np.concatenate(used))]
    metrics = np.unique(beyond)
    if not len(metrics):
        return unit, 0
    groups = {}
    for kind, mask in rows.items():
        columns = getattr(frame, kind)
        series = np.frombuffer(columns.series, "<u4").copy()
        series[mask] = len(names) + np.searchsorted(metrics, names[series[mask]])
        groups[kind] = msgspec.structs.replace(columns, series=series.tobytes())
    whole = msgspec.structs.replace(_with_overflow(frame, metrics), **groups)
    small, given = compacted(whole, unit.given_ids)
    folded_unit = replace(unit, body=encode(small), frame=small, given_ids=given)
    return folded_unit, sum(int(np.count_nonzero(mask)) for mask in rows.values())


def _beyond(kind: Kind, frame: Frame, excess: ExcessSeries) -> AnyArray:
    """Return which rows of a kind belong to series beyond the limit."""
    columns = getattr(frame, kind)
    series, day = np.frombuffer(columns.series, "<u4"), np.frombuffer(columns.bucket, "<u4") // DAY_S
    mask = np.zeros(len(series), bool)
    for (of_kind, of_day), indexes in excess.series.items():
        if of_kind == kind:
            gone = np.zeros(len(frame.series.name) // 4, bool)
            gone[indexes] = True
            mask |= gone[series] & (day == of_day)
    return mask


def _with_overflow(frame: Frame, metrics: AnyArray) -> Frame:
    """Return the frame with one more series for each of these names, which the others fold into."""
    source, count, at = frame.series, len(metrics), len(frame.strings)
    return msgspec.structs.replace(
        frame,
        strings=[*frame.strings, OVERFLOW_KEY, OVERFLOW_VALUE],
        series=SeriesColumns(
            source.name + metrics.astype("<u4").tobytes(),
            source.tag_count + np.ones(count, "<u2").tobytes(),
            source.tag_key + np.full(count, at, "<u4").tobytes(),
            source.tag_value + np.full(count, at + 1, "<u4").tobytes(),
        ),
    )
