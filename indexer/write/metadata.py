"""Writes metadata of mapping files to its table: the indexer's side of `POST /v1/metadata`.

Owns the table's rows; agent/wire/metadata.py owns the message and its bounds. A row replaces the one before
it for its org, project and name, so a message may come any number of times. Sync: runs in a thread.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from agent.wire.metadata import MetadataMessage, MetricMetadata
from indexer.clickhouse.native_format import ColumnData, Ragged
from indexer.clickhouse.schema.tables import METADATA
from indexer.clickhouse.store import Store


class MetadataWriter:
    """Writes messages; `now_ms` is the wall clock, whose latest row wins."""

    def __init__(self, store: Store, now_ms: Callable[[], int]) -> None:
        self._store = store
        self._now_ms = now_ms

    def write(self, message: MetadataMessage) -> int:
        """Write a message; return the number of its metrics. Raises StoreError."""
        metrics = {metric.name: metric for metric in message.metrics}
        if metrics:
            block = _block(message.org_id, message.project_id, list(metrics.values()), self._now_ms())
            self._store.insert(METADATA, block)
        return len(metrics)


def _block(
    org_id: int, project_id: int, metrics: list[MetricMetadata], now_ms: int
) -> Mapping[str, ColumnData]:
    rows = len(metrics)
    lengths = np.array([len(metric.buckets) for metric in metrics])
    bounds = [bound for metric in metrics for bound in metric.buckets]
    return {
        "org_id": np.full(rows, org_id, np.uint32),
        "project_id": np.full(rows, project_id, np.uint32),
        "name": [metric.name for metric in metrics],
        "help": [metric.help for metric in metrics],
        "unit": [metric.unit for metric in metrics],
        "buckets": Ragged(lengths, np.array(bounds, np.float64)),
        "updated_ms": np.full(rows, now_ms, np.uint64),
    }
