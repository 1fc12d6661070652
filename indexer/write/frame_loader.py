"""Stores frames of this process in a new database, without a journal: for unit tests of rules."""

from __future__ import annotations

from collections.abc import Iterable

from agent.wire.frame import decode
from indexer.clickhouse.retention import Retention
from indexer.clickhouse.store import Store
from indexer.intern.id_store import ClickHouseIdStore
from indexer.intern.series import SeriesRegistry
from indexer.intern.string_indexer import StringIndexer
from indexer.write.accepted_frame import AcceptedFrame
from indexer.write.inserter import Inserter

_MAX_SERIES = 1_000_000


def load_frames(store: Store, bodies: Iterable[bytes], retention: Retention) -> None:
    """Store the frames, which are new to the database. Raises StoreError."""
    strings = StringIndexer(ClickHouseIdStore(store))
    inserter = Inserter(store, strings, SeriesRegistry(_MAX_SERIES), retention=retention)
    for body in bodies:
        frame = decode(body)
        inserter.insert(frame.identity, [AcceptedFrame(frame.identity, body, frame)], first=True)
