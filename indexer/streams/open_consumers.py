"""Makes the consumers of the settings: of a Redis stream, of a Kafka topic, and of their parked frames."""

from __future__ import annotations

import importlib
import socket
from collections.abc import Awaitable, Callable, Iterator, Sequence

from indexer.metrics import Metrics
from indexer.settings import KafkaSettings, Settings
from indexer.streams.batch import Batch, StoredBatch
from indexer.streams.consumer import StreamConsumer
from indexer.streams.kafka_installed import check_kafka_installed
from indexer.streams.reading_rules import ReadingRules, present_rules
from indexer.streams.redis_stream import RedisStream
from indexer.streams.source import Source
from indexer.write.accepted_frame import AcceptedFrame
from indexer.write.health import Health


def open_consumers(
    settings: Settings,
    write: Callable[[Sequence[AcceptedFrame]], Awaitable[None]],
    note: Callable[[Source, Batch, StoredBatch], None],
    metrics: Metrics,
    health: Health,
) -> list[StreamConsumer]:
    """Return the consumers of the settings, not started. Raises NoClientError."""
    return [StreamConsumer(source, write, note, metrics, health) for source in _sources(settings)]


def _sources(settings: Settings) -> Iterator[Source]:
    for parked in (False, True):
        if settings.stream.url:
            consumer = settings.stream.consumer or socket.gethostname()
            rules = present_rules(settings, settings.stream.tenants)
            yield RedisStream(settings.stream, consumer, rules, parked=parked)
        if settings.kafka.brokers:
            rules = present_rules(settings, settings.kafka.tenants)
            yield _kafka(settings.kafka, rules, parked=parked)


def _kafka(settings: KafkaSettings, rules: ReadingRules, *, parked: bool) -> Source:
    """Return a topic; its client is imported only here. Raises NoClientError."""
    check_kafka_installed()
    module = importlib.import_module("indexer.streams.kafka_stream")
    source: Source = module.KafkaStream(settings, rules, parked=parked)
    return source
