"""Starts the consumers of the settings' streams, and imports the modules of streams only where there is one.

Most indexers have none, and a restart is an outage.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING

from indexer.clickhouse.store import Store
from indexer.metrics import Metrics
from indexer.settings import Settings
from indexer.write.accepted_frame import AcceptedFrame
from indexer.write.health import Health

if TYPE_CHECKING:
    from indexer.streams.consumer import StreamConsumer


def start_consumers(
    settings: Settings,
    store: Store,
    write: Callable[[Sequence[AcceptedFrame]], Awaitable[None]],
    metrics: Metrics,
    health: Health,
) -> list[StreamConsumer]:
    """Return the started consumers, which note batches in the store. Raises NoClientError."""
    if not settings.stream.url and not settings.kafka.brokers:
        return []
    from indexer.streams.open_consumers import open_consumers
    from indexer.streams.stream_commits import StreamCommits

    note = StreamCommits(store, lambda: time.time_ns() // 1_000_000).add
    consumers = open_consumers(settings, write, note, metrics, health)
    for consumer in consumers:
        consumer.start()
    return consumers
