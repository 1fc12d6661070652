"""The options that all clients of Kafka have. Imported only when a topic is consumed."""

from __future__ import annotations

import logging
from typing import Any, Final

from indexer.settings import KafkaSettings

log = logging.getLogger("indexer.streams.kafka")


#: Beginnings of options that only a consumer has.
_OF_CONSUMERS: Final = ("session.", "heartbeat.", "fetch.", "max.poll.", "group.", "partition.assignment.")


def consumer_options(settings: KafkaSettings) -> dict[str, Any]:
    """Return the options of librdkafka for a consumer of the settings' brokers."""
    return _of_any(settings) | settings.options


def producer_options(settings: KafkaSettings) -> dict[str, Any]:
    """Return the options of librdkafka for a producer of the settings' brokers."""
    of_producer = {n: v for n, v in settings.options.items() if not n.startswith(_OF_CONSUMERS)}
    return _of_any(settings) | of_producer


def _of_any(settings: KafkaSettings) -> dict[str, Any]:
    options: dict[str, Any] = {"bootstrap.servers": settings.brokers, "logger": log}
    if settings.user:
        options["sasl.username"] = settings.user
    if settings.password:
        options["sasl.password"] = settings.password
    return options
