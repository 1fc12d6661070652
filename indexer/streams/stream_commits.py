"""Notes stored batches of streams in ClickHouse: for the view `commit_log`.

A batch is noted when its rows are stored and before its position is committed, under its own name as the
token: a batch that is written again after a crash has one entry. Sync: runs in threads.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from indexer.clickhouse.native_format import ColumnData
from indexer.clickhouse.schema.commit_log import STREAM_COMMITS
from indexer.clickhouse.store import Store
from indexer.streams.batch import Batch, StoredBatch
from indexer.streams.source import Source


class StreamCommits:
    """Writes the entries. `now_ms`: the wall clock."""

    def __init__(self, store: Store, now_ms: Callable[[], int]) -> None:
        self._store = store
        self._now_ms = now_ms

    def add(self, source: Source, batch: Batch, stored: StoredBatch) -> None:
        """Write the entry of a stored batch. Raises StoreError."""
        texts = {
            "source": source.server,
            "stream": source.stream,
            "group": source.group,
            "first": batch.first,
            "last": batch.last,
        }
        numbers = {
            "partition": batch.partition,
            "messages": stored.messages,
            "rows": stored.rows,
            "dead_letters": len(stored.bad),
            "parked": len(stored.parked),
            "stored_ms": self._now_ms(),
        }
        columns: dict[str, ColumnData] = {name: [text] for name, text in texts.items()}
        columns |= {name: np.array([number], np.uint64) for name, number in numbers.items()}
        self._store.insert(STREAM_COMMITS, columns, token=f"{batch.key}/commit")
