"""Whether the client of Kafka is installed: an extra, which only an indexer with a topic needs."""

from __future__ import annotations

from importlib.util import find_spec


class NoClientError(OSError):
    """The settings name a topic, and the client of Kafka is not installed."""


def check_kafka_installed() -> None:
    """Raise NoClientError if it is not."""
    if find_spec("confluent_kafka") is None:
        raise NoClientError(
            "indexer.kafka.brokers: the client of Kafka is not installed: expected `pip install"
            " meterhouse[kafka]`"
        )
