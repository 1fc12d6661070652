"""The Redis client of all parts of the indexer: a call fails after one timeout."""

from __future__ import annotations

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry


def open_redis(url: str, timeout_s: float) -> redis.Redis:
    """Return a client, which connects at its first call. `timeout_s` bounds connecting and each answer."""
    # The client's own retries would turn one timeout into several.
    return redis.Redis.from_url(
        url,
        socket_timeout=timeout_s,
        socket_connect_timeout=timeout_s,
        retry=Retry(NoBackoff(), 0),
        health_check_interval=0,
    )
