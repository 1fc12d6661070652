"""Checks settings that end the start of an indexer, before it binds ports and alters tables.

Imports little: it comes before the imports of the rest.
"""

from __future__ import annotations

from indexer.http.access_files import check_access_files
from indexer.settings import Settings, entries
from indexer.streams.kafka_installed import check_kafka_installed


def check_start(settings: Settings) -> None:
    """Raise OSError for files of the listener that cannot be used, and for a client that is missing."""
    known = entries(settings)
    check_access_files("indexer.tls", settings.tls, "indexer.tokens_file", known, settings.tokens_file)
    if settings.kafka.brokers:
        check_kafka_installed()
