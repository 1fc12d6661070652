"""The leases of subscriptions: one for each sixteenth of them, by their ids. Pure."""

from __future__ import annotations

from typing import Final

from indexer.subscriptions.messages_of_subscriptions import Subscription

_SHARDS: Final = 16
LEASE_KEYS: Final = frozenset(f"subscriptions/{n}" for n in range(_SHARDS))


def lease_key(of: Subscription) -> str:
    """Return the lease under which a subscription is evaluated and its results are delivered."""
    return f"subscriptions/{int(of.id[:2], 16) % _SHARDS}"
