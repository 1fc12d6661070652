"""Writes of subscriptions: by the indexer of this process, or over the HTTP API of others.

A shim needs no more than reading rights in ClickHouse. Blocks: call it in a thread.
"""

from __future__ import annotations

import http.client
import logging
from collections.abc import Callable
from typing import Final
from urllib.parse import urlsplit

import msgspec

from indexer.clickhouse.store import StoreError
from indexer.http.paths import SUBSCRIPTIONS
from indexer.subscriptions.messages_of_subscriptions import SubscriptionWrites
from indexer.subscriptions.subscription_rows import TickAheadError, TooManySubscriptionsError
from shim.indexers.indexer_client import IndexerClient
from shim.model.errors import BadData, Unavailable

_log: Final = logging.getLogger("shim.subscriptions")

#: Stores a message. Raises BadData, Unavailable.
Write = Callable[[SubscriptionWrites], None]
_TIMEOUT_S: Final = 60.0
#: Longer than the indexer's two deletions of ticks ahead, 30 s each: results that are stored while one runs
#: may be deleted. The end of a shim waits for it.
_AHEAD_TIMEOUT_S: Final = 75.0
#: Statuses of messages that no indexer will take.
_REFUSED: Final = frozenset({400, 413, 429})
_encoder: Final = msgspec.json.Encoder()


def local_writes(subscribe: Callable[[SubscriptionWrites], None]) -> Write:
    """Return the writes of the indexer in this process."""

    def write(writes: SubscriptionWrites) -> None:
        try:
            subscribe(writes)
        except TooManySubscriptionsError as e:
            raise BadData(str(e)) from None
        except TickAheadError as e:
            raise Unavailable(str(e)) from None
        except StoreError as e:
            raise Unavailable(f"the subscription cannot be stored: {e.told}") from e

    return write


class RemoteWrites:
    """Sends messages to the first indexer that takes them. Thread-safe."""

    def __init__(self, client: IndexerClient) -> None:
        self._client = client

    def __call__(self, writes: SubscriptionWrites) -> None:
        """Store a message. Raises BadData, Unavailable."""
        body = _encoder.encode(writes)
        timeout_s = _AHEAD_TIMEOUT_S if writes.ahead else _TIMEOUT_S
        for url in self._client.urls:
            try:
                answer = self._client.ask(url, SUBSCRIPTIONS, method="POST", body=body, timeout_s=timeout_s)
            except (OSError, http.client.HTTPException, ValueError) as e:
                _log.warning("event=subscription_not_stored indexer=%s error=%s", urlsplit(url).hostname, e)
                continue
            if answer.status == 200:
                return
            text = answer.body.decode(errors="replace")
            if answer.status in _REFUSED:
                raise BadData(f"the indexer refused the subscription: {_error_of(answer.body)}")
            _log.warning(
                "event=subscription_not_stored indexer=%s status=%d answer=%s",
                urlsplit(url).hostname,
                answer.status,
                text[:200],
            )
        raise Unavailable("no indexer of shim.indexers.urls stored the subscription: expected one that does")


def _error_of(body: bytes) -> str:
    try:
        return str(msgspec.json.decode(body, type=dict[str, str]).get("error", ""))
    except (msgspec.DecodeError, UnicodeDecodeError):
        return "no reason is given"
