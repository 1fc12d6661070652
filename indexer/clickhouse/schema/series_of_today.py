"""Reads the series of today that are stored with all their tags: a new process need not write them again.

A series' row and those of its tags are in three tables, which one INSERT fills one after the other. An INSERT
may end in between: such a series is left out, so that the next batch writes it again. So are all of them
while rows of `series` are being deleted, perhaps for a process that died and will not say so.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from indexer.clickhouse.schema.database_id import read_ids
from indexer.clickhouse.store import Store, StoreError

#: Series that are read at most. Further ones are written again by their first frames.
MAX_SERIES: Final = 100_000
#: Tables with more rows to look at are not read: a start does not wait for seconds.
_MAX_READ_ROWS: Final = 2_000_000
#: ... nor is a busy server waited for longer.
_MAX_S: Final = 1
_ROW: Final = np.dtype([("org", "<u4"), ("project", "<u4"), ("series", "<u8")])
_SQL: Final = f"""
SELECT org_id, project_id, series_id FROM series
WHERE day = toDate({{day:UInt16}}) AND arrayAll(
    (key, value) ->
        cityHash64(org_id, project_id, metric_id, key) IN (
            SELECT cityHash64(org_id, project_id, metric_id, tag_key)
            FROM metric_tag_keys WHERE last_day >= toDate({{day:UInt16}})
        ) AND cityHash64(org_id, project_id, metric_id, key, value) IN (
            SELECT cityHash64(org_id, project_id, metric_id, tag_key, tag_value)
            FROM metric_tag_values WHERE last_day >= toDate({{day:UInt16}})
        ),
    tag_keys, tag_values
) AND NOT (
    SELECT count() > 0 FROM system.mutations
    WHERE database = currentDatabase() AND table = 'series' AND NOT is_done
)
LIMIT {MAX_SERIES}
SETTINGS max_rows_to_read = {_MAX_READ_ROWS}, max_execution_time =
"""


class SeriesOfTenant(NamedTuple):
    """The ids of a project's series."""

    org_id: int
    project_id: int
    ids: npt.NDArray[np.uint64]


class StoredSeriesOfDay(NamedTuple):
    """Series that have rows on a day (since 1970), read while the database had this id."""

    database_id: str
    day: int
    series: Sequence[SeriesOfTenant]


def read_series(store: Store, day: int) -> StoredSeriesOfDay | None:
    """Return the whole series of a day, MAX_SERIES at most; None if they are not readable in time.

    None on a cluster: replicas may be late, and a series and its tags are on different servers. The id is
    read first: rows that were deleted since then give the database another one.
    """
    if store.cluster is not None:
        return None
    try:
        ids = read_ids(store)
        rows = store.fetch(f"{_SQL} {_MAX_S}", _ROW, {"day": day})
    except StoreError:  # the start goes on without them, or tells why it cannot
        return None
    return StoredSeriesOfDay(ids[0], day, list(_by_tenant(rows))) if ids else None


def _by_tenant(rows: np.ndarray) -> Iterator[SeriesOfTenant]:
    tenants = rows["org"].astype(np.uint64) << np.uint64(32) | rows["project"].astype(np.uint64)
    order = np.argsort(tenants, kind="stable")
    rows = rows[order]
    edges = np.flatnonzero(np.diff(tenants[order])) + 1
    for part in np.split(rows, edges) if len(rows) else ():
        org_id, project_id = int(part["org"][0]), int(part["project"][0])
        yield SeriesOfTenant(org_id, project_id, part["series"].astype(np.uint64))
