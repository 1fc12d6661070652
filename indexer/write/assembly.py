"""Builds the writer of the settings with its parts.

With a journal frames are written in batches, without one each frame by itself. Embedded data belong to one
indexer; several may write to a server.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Final

from indexer.clickhouse.store import Store
from indexer.intern.series import SeriesRegistry
from indexer.intern.stored_series import StoredSeries
from indexer.intern.string_indexer import StringIndexer
from indexer.metrics import Metrics
from indexer.settings import Settings
from indexer.write.batch_claims import BatchClaims
from indexer.write.frame_claims import FrameClaims
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

#: How long replicas may be late for a claim; released frames wait for it.
_SETTLE_S: Final = 5.0


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
    shared = not store.embedded
    stored = (
        StoredSeries(store, shared=shared or not with_journal) if settings.limits.series_per_day else None
    )
    limit = SeriesLimit(registry, settings.limits.series_per_day, stored)
    journal = open_journal(settings) if with_journal else None
    days, batch_of = settings.journal.identity_days, journal.batch_of if journal and shared else None
    identities = StoredIdentities(store, days, _now_ms, batch_of) if journal else None
    inserter = Inserter(
        store,
        strings,
        registry,
        insert_feed=insert_feed,
        retention=settings.retention,
        legacy=legacy,
        identities=identities,
    )
    if journal is None or identities is None:
        frames = FrameWriter(inserter, settings, metrics, limit, health)
        return Writing(frames, limit, None, None, inserter.gate)
    claims = None
    if shared:
        claims = BatchClaims(
            FrameClaims(identities),
            journal,
            lambda verdict: metrics.left(verdict.name.lower()),
            settle_s=settle_s(settings),
        )
    writer = JournalWriter(
        store, inserter, journal, settings, metrics, limit=limit, health=health, claims=claims
    )
    return Writing(writer, limit, journal, identities, inserter.gate)


def settle_s(settings: Settings) -> float:
    """Return how long claims may take until all replicas have them."""
    return _SETTLE_S if settings.cluster is not None else 0.0


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
