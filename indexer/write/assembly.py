"""Builds the writer of the settings with its parts.

With a journal one indexer owns the data; without one several may write, each frame by itself.
"""

from __future__ import annotations

import time
from dataclasses import dataclass

from indexer.clickhouse.store import Store
from indexer.intern.series import SeriesRegistry
from indexer.intern.stored_series import StoredSeries
from indexer.intern.string_indexer import StringIndexer
from indexer.metrics import Metrics
from indexer.settings import Settings
from indexer.write.frame_writer import FrameWriter
from indexer.write.health import Health
from indexer.write.insert_feed import InsertFeed
from indexer.write.inserter import Inserter
from indexer.write.journal import Journal
from indexer.write.journal_file import has_journal, open_journal
from indexer.write.journal_writer import JournalWriter
from indexer.write.series_limit import SeriesLimit
from indexer.write.stored_identities import StoredIdentities
from indexer.write.write_gate import WriteGate


@dataclass(frozen=True, slots=True)
class Writing:
    """A writer with its parts; `journal` and `identities` are None when batching by frame.

    `gate`: all INSERTs pass it; deletions close it.
    """

    writer: JournalWriter | FrameWriter
    limit: SeriesLimit
    journal: Journal | None
    identities: StoredIdentities | None
    gate: WriteGate


def open_writing(
    store: Store,
    settings: Settings,
    strings: StringIndexer,
    registry: SeriesRegistry,
    metrics: Metrics,
    health: Health,
    *,
    insert_feed: InsertFeed | None,
    legacy: bool,
) -> Writing:
    """Open the writer of the settings. `legacy`: the store has input tables of before migration 5.

    Raises StoreError and JournalError.
    """
    with_journal = has_journal(settings)
    stored = StoredSeries(store, shared=not with_journal) if settings.limits.series_per_day else None
    limit = SeriesLimit(registry, settings.limits.series_per_day, stored)
    identities = StoredIdentities(store, settings.journal.identity_days, _now_ms) if with_journal else None
    inserter = Inserter(
        store,
        strings,
        registry,
        insert_feed=insert_feed,
        retention=settings.retention,
        legacy=legacy,
        identities=identities,
    )
    if not with_journal:
        return Writing(
            FrameWriter(inserter, settings, metrics, limit, health), limit, None, None, inserter.gate
        )
    journal = open_journal(settings)
    writer = JournalWriter(store, inserter, journal, settings, metrics, limit=limit, health=health)
    return Writing(writer, limit, journal, identities, inserter.gate)


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
