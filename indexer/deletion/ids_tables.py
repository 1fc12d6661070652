"""Tables of the ids of series that a deletion names: more than the text of a statement may hold.

Where a deletion failed its table stays, as ClickHouse may still read it. A later deletion drops it: of this
process at once, of another one, which may be another indexer, when it is older than a deletion can be. For
stores that are no cluster. Thread-safe.
"""

from __future__ import annotations

import threading
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Final

import numpy as np

from indexer.clickhouse.abandoned_tables import MAX_USE_S, abandoned_tables
from indexer.clickhouse.native_format import AnyArray
from indexer.clickhouse.schema.metric_types import BY_KIND
from indexer.clickhouse.sql_quoting import quote_name
from indexer.clickhouse.store import Store
from indexer.deletion.deletion_request import MetricSeries, entries

#: How the names of the tables begin.
_PREFIX: Final = "deletion_"
_ROWS: Final = 250_000


class IdsTables:
    """The tables of one store. Every method raises StoreError. `max_use_s`: of other processes."""

    def __init__(self, store: Store, max_use_s: int = MAX_USE_S) -> None:
        self._store = store
        self._max_use_s = max_use_s
        self._lock = threading.Lock()
        self._used: set[str] = set()  # by deletions of this process that run
        self._left: set[str] = set()  # of this process, by deletions that failed

    @contextmanager
    def table(self, metrics: Sequence[MetricSeries]) -> Iterator[str]:
        """Provide the qualified name of a table of these series while they are deleted."""
        name = f"{_PREFIX}{uuid.uuid4().hex}"
        with self._lock:
            self._used.add(name)
        try:
            self._store.command(
                f"CREATE TABLE {quote_name(name)} (kind UInt8, project_id UInt32, metric_id UInt64,"
                " series_id UInt64) ENGINE = MergeTree ORDER BY (kind, project_id, metric_id, series_id)"
            )
            columns = _id_columns(metrics)
            for at in range(0, len(columns["kind"]), _ROWS):
                self._store.insert(name, {key: of[at : at + _ROWS] for key, of in columns.items()})
            yield f"{quote_name(self._store.database)}.{quote_name(name)}"
            self._drop(name)
        except BaseException:
            with self._lock:
                self._left.add(name)
            raise
        finally:
            with self._lock:
                self._used.discard(name)

    def drop_old(self) -> None:
        """Drop tables that earlier deletions left, and that ClickHouse does not read any more."""
        if self._store.cluster is not None:
            return
        left = abandoned_tables(self._store, _PREFIX, self._max_use_s)
        reading = "SELECT command FROM system.mutations WHERE database = currentDatabase() AND NOT is_done"
        with self._lock:
            left = (left | self._left) - self._used
        commands = [str(text) for (text,) in self._store.rows(reading)] if left else []
        for name in left:
            if not any(name in text for text in commands):
                self._drop(name)
                with self._lock:
                    self._left.discard(name)

    def _drop(self, name: str) -> None:
        self._store.command(f"DROP TABLE IF EXISTS {quote_name(name)} SYNC")


def _id_columns(metrics: Sequence[MetricSeries]) -> dict[str, AnyArray]:
    counts = [entries([one]) for one in metrics]

    def repeated(values: Sequence[int], dtype: str) -> AnyArray:
        return np.repeat(np.array(values, dtype), counts)

    return {
        "kind": repeated([BY_KIND[one.kind].number for one in metrics], "<u1"),
        "project_id": repeated([one.project_id for one in metrics], "<u4"),
        "metric_id": repeated([one.metric_id for one in metrics], "<u8"),
        "series_id": np.concatenate([one.ids if one.series else np.zeros(1, "<u8") for one in metrics]),
    }
