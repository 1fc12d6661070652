"""Writes of subscriptions by the indexer of the same process: a client is told why they are not stored."""

from __future__ import annotations

import pytest

from indexer.clickhouse.store import StoreError
from indexer.service import IndexerService
from indexer.settings import Settings
from indexer.subscriptions.messages_of_subscriptions import SubscriptionWrites
from shim.model.errors import Unavailable
from shim.subscriptions.remote_writes import local_writes


def test_an_indexer_that_is_not_started() -> None:
    """It said that ClickHouse cannot be reached."""
    write = local_writes(IndexerService(Settings()).subscribe)
    with pytest.raises(Unavailable, match=r"^the subscription cannot be stored: the indexer is not started$"):
        write(SubscriptionWrites())


def test_a_server_that_is_away() -> None:
    def away(_: SubscriptionWrites) -> None:
        raise StoreError("a secret", retryable=True)

    with pytest.raises(Unavailable, match="ClickHouse cannot be reached"):
        local_writes(away)(SubscriptionWrites())
