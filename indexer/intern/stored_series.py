"""Counts an org's series of a day in the store, for limits: also of earlier runs and other indexers.

Counts are read at the start, and again after REFRESH_S if several indexers write. They say whether an org is
near its limit; only then the ids are read, and kept for REFRESH_S. No row causes a query. Thread-safe.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping
from typing import Final

import numpy as np

from indexer.clickhouse.store import Store, StoreError
from indexer.intern.series import Project, U64s

log = logging.getLogger(__name__)

#: Seconds that counts and ids are valid.
REFRESH_S: Final = 60.0
_IDS: Final = np.dtype([("project_id", "<u4"), ("series_id", "<u8")])


class StoredSeries:
    """Series in the table `series`. `shared`: other indexers write there, too. `clock` is monotonic."""

    def __init__(
        self, store: Store, *, shared: bool = False, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._store = store
        self._shared = shared
        self._clock = clock
        self._lock = threading.Lock()
        self._read_s = clock()
        self._is_old = True  # counted when they are first asked for: a start is short
        self._counts: Mapping[tuple[int, int], int] = {}
        self._ids: dict[tuple[int, int], tuple[float, Mapping[Project, U64s]]] = {}

    def count(self, org_id: int, day: int) -> int:
        """Return the number of an org's series on a day (since 1970) when the store was last asked.

        The counts stay while the store does not answer.
        """
        with self._lock:
            if self._is_old or (self._shared and self._clock() - self._read_s >= REFRESH_S):
                self._read_s = self._clock()
                try:
                    self._counts = self._read_counts()
                    self._is_old = False
                except StoreError as e:
                    log.debug("event=series_not_counted error=%s", e)  # the writer reports the error
            return self._counts.get((org_id, day), 0)

    def ids(self, org_id: int, day: int) -> Mapping[Project, U64s]:
        """Return the sorted ids of an org's series on a day, by tenant. Raises StoreError."""
        now_s = self._clock()
        with self._lock:
            read_s, found = self._ids.get((org_id, day), (-REFRESH_S, {}))
            if now_s - read_s >= REFRESH_S:
                found = self._read_ids(org_id, day)
                fresh = {key: one for key, one in self._ids.items() if now_s - one[0] < REFRESH_S}
                self._ids = {**fresh, (org_id, day): (now_s, found)}
        return found

    def forget(self) -> None:
        """Read everything again when it is next asked for: series were deleted, or lost."""
        with self._lock:
            self._is_old = True
            self._ids = {}

    def _read_counts(self) -> Mapping[tuple[int, int], int]:
        """Count the series of each org from yesterday on."""
        rows = self._store.rows(
            "SELECT org_id, toUInt16(day) AS d, uniqExact(project_id, series_id) FROM series"
            " WHERE day >= toDate(now('UTC')) - 1 GROUP BY org_id, d"
        )
        return {(org_id, day): count for org_id, day, count in rows}

    def _read_ids(self, org_id: int, day: int) -> Mapping[Project, U64s]:
        found = self._store.columns(
            "SELECT project_id, series_id FROM series WHERE org_id = {org:UInt32}"
            " AND day = toDate({day:UInt16}) GROUP BY project_id, series_id",
            _IDS,
            {"org": org_id, "day": day},
        )
        projects = found["project_id"]
        return {
            Project(org_id, int(project)): np.sort(found["series_id"][projects == project])
            for project in np.unique(projects)
        }
