"""Opens the deleter beside a writer: which gate it closes, and which batches it waits for."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache

from indexer.clickhouse.schema import SCOPED_IDENTITIES, applied_times
from indexer.clickhouse.store import Store
from indexer.deletion.deleter import Deleter, DeletionParts, UnsettledOf
from indexer.deletion.unsettled_batches import UnsettledBatch, unsettled_batches
from indexer.settings import Settings
from indexer.write.assembly import Writing
from indexer.write.insert_feed import InsertFeed
from indexer.write.journal import Journal


def open_deleter(
    store: Store, settings: Settings, writing: Writing, feed: InsertFeed | None, renew: Callable[[], None]
) -> Deleter:
    """Return the deleter; `renew` empties the caches of all indexers."""
    journal = writing.journal
    alone = journal is not None and (store.embedded or settings.only_indexer)
    unsettled = _unsettled(store, journal) if journal is not None else None
    parts = DeletionParts(writing.gate, feed, renew, alone=alone, unsettled=unsettled)
    return Deleter(store, settings.retention, parts)


def _unsettled(store: Store, journal: Journal) -> UnsettledOf:
    """Return the batches to wait for; the time of their identities' migration is asked for once."""

    @cache
    def scoped_from_ms() -> int:
        return applied_times(store).get(SCOPED_IDENTITIES, 0)

    def unsettled(org_id: int, *, shared: bool = False) -> Sequence[UnsettledBatch]:
        return unsettled_batches(journal, org_id, shared=shared, scoped_from_ms=scoped_from_ms())

    return unsettled
