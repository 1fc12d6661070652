"""Leases in Redis, which expire after `ttl_s` unless they are renewed.

A call costs one round trip at most, and none while Redis is known to be away. A lease counts from the
moment before Redis was asked, so that its holder gives it up before Redis does.
"""

from __future__ import annotations

import logging
import time
import uuid
from collections.abc import Callable, Collection
from typing import Final

from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from shim.metrics import ShimMetrics
from shim.settings import LeaseSettings
from shim.ticks.lease import Lease, SoleEvaluator

_log: Final = logging.getLogger("shim.lease")

#: Takes or renews each key: `ARGV[1]` is the holder, `ARGV[2]` the time to live in ms. Returns 0 or 1 each.
_HOLD: Final = """
local held = {}
for i, key in ipairs(KEYS) do
  local holder = redis.call('GET', key)
  if not holder or holder == ARGV[1] then
    redis.call('SET', key, ARGV[1], 'PX', ARGV[2])
    held[i] = 1
  else
    held[i] = 0
  end
end
return held
"""
_RELEASE: Final = """
for _, key in ipairs(KEYS) do
  if redis.call('GET', key) == ARGV[1] then redis.call('DEL', key) end
end
"""
#: Seconds that a call waits for Redis, and during which none is made after one failed.
_TIMEOUT_S: Final = 1.0
_REST_S: Final = 2.0
#: Keys of one call.
_KEYS: Final = 1_000
#: A lease is renewed once this part of its time has passed.
_RENEW_AFTER: Final = 1 / 3


def open_lease(settings: LeaseSettings, metrics: ShimMetrics) -> Lease:
    """Return the leases of the settings; the connection is made at the first call."""
    if not settings.redis_url:
        return SoleEvaluator()
    return RedisLease(settings.redis_url, settings.ttl_s, metrics)


class RedisLease:
    """Used in one event loop. `clock_s` is monotonic."""

    def __init__(
        self, url: str, ttl_s: float, metrics: ShimMetrics, clock_s: Callable[[], float] = time.monotonic
    ) -> None:
        self._redis: Redis = Redis.from_url(
            url,
            socket_timeout=_TIMEOUT_S,
            socket_connect_timeout=_TIMEOUT_S,
            retry=Retry(NoBackoff(), 0),  # the client's own retries would turn one timeout into several
        )
        self._ttl_s = ttl_s
        self._metrics = metrics
        self._clock_s = clock_s
        self._holder = uuid.uuid4().hex
        self._until_s: dict[str, float] = {}
        self._rests_until_s = float("-inf")

    async def hold(self, keys: Collection[str]) -> frozenset[str]:
        """Take or renew leases; return those that are held, also while Redis is away."""
        fresh_s = self._clock_s() + self._ttl_s * (1 - _RENEW_AFTER)
        asked = sorted(key for key in keys if self._until_s.get(key, 0.0) < fresh_s)
        for at in range(0, len(asked), _KEYS):
            if not await self._ask(asked[at : at + _KEYS]):
                break
        now_s = self._clock_s()
        self._until_s = {key: until_s for key, until_s in self._until_s.items() if until_s > now_s}
        self._metrics.leases.set(len(self._until_s))
        return frozenset(key for key in keys if key in self._until_s)

    def holds(self, key: str) -> bool:
        """Return whether the lease of `key` is still valid."""
        return self._until_s.get(key, 0.0) > self._clock_s()

    async def release(self, keys: Collection[str]) -> None:
        """Give up leases; those that Redis does not hear of expire."""
        held = [key for key in keys if self._until_s.pop(key, None) is not None]
        for at in range(0, len(held), _KEYS):
            await self._call(_RELEASE, held[at : at + _KEYS], ())

    async def close(self) -> None:
        """Release all leases and close the connection."""
        await self.release(list(self._until_s))
        await self._redis.aclose()

    async def _ask(self, keys: Collection[str]) -> bool:
        """Take or renew some leases; return False if Redis is away."""
        until_s = self._clock_s() + self._ttl_s
        answer = await self._call(_HOLD, keys, (round(self._ttl_s * 1000),))
        if answer is None:
            return False
        for key, held in zip(keys, answer, strict=True):
            if held:
                self._until_s[key] = until_s
            else:
                self._until_s.pop(key, None)
        return True

    async def _call(self, script: str, keys: Collection[str], args: Collection[int]) -> list[int] | None:
        """Run a script; None if Redis is away, or was a moment ago."""
        if self._clock_s() < self._rests_until_s:
            return None
        try:
            names = [f"meterhouse:lease:{key}" for key in keys]
            found: list[int] = await self._redis.eval(script, len(names), *names, self._holder, *args)
        except (RedisError, OSError) as e:
            self._metrics.lease_failures.inc()
            self._rests_until_s = self._clock_s() + _REST_S
            _log.warning("event=lease_failed error=%s hint=nothing is evaluated without a lease", e)
            return None
        return found or []
