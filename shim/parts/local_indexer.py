"""The indexer that a shim writes to: of the same process, or those of the settings."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from indexer.deletion.deletion_request import DeletionRequest, DeletionResult
from indexer.intern.series import Change
from indexer.subscriptions.messages_of_subscriptions import SubscriptionWrites
from indexer.write.insert_feed import InsertFeed
from shim.engine.live_edge import Agents
from shim.http.ingest_limits import limits_of
from shim.indexers.deletions import DeleteSeries, local_deletions, remote_deletions
from shim.indexers.indexer_client import IndexerClient
from shim.indexers.message_writes import TakeMessages
from shim.settings import IndexersSettings
from shim.subscriptions.remote_writes import RemoteWrites, Write, local_writes


@dataclass(frozen=True, slots=True, kw_only=True)
class LocalIndexer:
    """Offers of an indexer in the same process, as `ShimService` explains them; None: ask another one."""

    version: Callable[[], int] | None = None
    changes: Callable[[int], Sequence[Change] | None] = lambda _: None
    insert_feed: InsertFeed | None = None
    agents: Agents | None = None
    limits: Callable[[int], Mapping[str, int]] | None = None
    subscribe: Callable[[SubscriptionWrites], None] | None = None
    take_messages: TakeMessages | None = None
    delete: Callable[[DeletionRequest], DeletionResult] | None = None

    def limits_or_remote(self, indexers: IndexersSettings) -> Callable[[int], Mapping[str, int]] | None:
        """Return the way to ask for an org's limits of ingest; None where no indexer is known."""
        return self.limits or limits_of(indexers)

    def subscription_writes(self, indexers: IndexersSettings) -> Write | None:
        """Return the way to store subscriptions; None where no indexer is known."""
        if self.subscribe is not None:
            return local_writes(self.subscribe)
        return RemoteWrites(IndexerClient(indexers)) if indexers.urls else None

    def deletions(self, indexers: IndexersSettings) -> DeleteSeries | None:
        """Return the way to delete samples; None where no indexer is known."""
        if self.delete is not None:
            return local_deletions(self.delete)
        return remote_deletions(IndexerClient(indexers)) if indexers.urls else None
