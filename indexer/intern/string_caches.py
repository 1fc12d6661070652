"""The caches of strings of one indexer, nearest first: its own memory, and Redis if the settings name one."""

from __future__ import annotations

from typing import TYPE_CHECKING

from indexer.intern.cache import StringCache, open_near_cache

if TYPE_CHECKING:
    from indexer.intern.redis_cache import RedisCache


class StringCaches:
    """Holds `max_entries` strings in memory; `redis_url` empty: no cache is shared."""

    def __init__(self, max_entries: int, redis_url: str) -> None:
        self._max_entries = max_entries
        self.near = open_near_cache(max_entries)
        self.redis = _open(redis_url) if redis_url else None

    def all(self) -> list[StringCache]:
        """Return the caches in the order in which they are asked."""
        return [self.near] if self.redis is None else [self.near, self.redis]

    def renew(self, database_id: str) -> None:
        """Empty the near cache, and use the part of Redis that belongs to data with this id."""
        if self.redis is not None:
            self.redis.use_database(database_id)
        self.near = open_near_cache(self._max_entries)

    def close(self) -> None:
        """Close the connections of Redis. Twice does nothing."""
        if self.redis is not None:
            self.redis.close()


def _open(url: str) -> RedisCache:
    """Return the shared cache; the client of Redis is imported only here, for settings that name one."""
    from indexer.intern.redis_cache import RedisCache

    return RedisCache(url, "ingest")
