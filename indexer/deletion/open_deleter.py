"""Opens the deleter beside a writer: which gate it closes, and which batches it waits for."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from indexer.clickhouse.store import Store
from indexer.deletion.deleter import Deleter, DeletionParts
from indexer.deletion.unsettled_batches import unsettled_batches
from indexer.settings import Settings
from indexer.write.assembly import Writing
from indexer.write.insert_feed import InsertFeed


def open_deleter(
    store: Store, settings: Settings, writing: Writing, feed: InsertFeed | None, renew: Callable[[], None]
) -> Deleter:
    """Return the deleter; `renew` empties the caches of all indexers."""
    journal = writing.journal
    alone = journal is not None and (store.embedded or settings.only_indexer)
    unsettled = partial(unsettled_batches, journal) if journal is not None else None
    parts = DeletionParts(writing.gate, feed, renew, alone=alone, unsettled=unsettled)
    return Deleter(store, settings.retention, parts)
