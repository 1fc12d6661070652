"""Leases in Redis, which expire after `ttl_s` unless they are renewed.

A call costs two round trips at most, and none while Redis is known to be away. A lease counts from the
moment before Redis was asked, so that its holder gives it up before Redis does.

Keys are balanced over the processes that are alive by rendezvous hashing (shim/ticks/shares.py). Whichever
process finds a key free takes it. One that lacks a key of its share leaves a wish in Redis; the holder sees
it when it renews the key, and hands it over when nothing runs under it. So a key whose own process does not
want it, as it has other files, stays where it is.
"""

from __future__ import annotations

import logging
import re
import time
import uuid
from collections.abc import Callable, Collection
from typing import Any, Final

from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from indexer.intern.redis_faults import REDIS_ERRORS, redis_fault
from shim.metrics import ShimMetrics
from shim.settings import LeaseSettings
from shim.ticks.lease import Lease, SoleEvaluator
from shim.ticks.shares import Share

_log: Final = logging.getLogger("shim.lease")

#: The longest time to live, in ms: a value that stays longer is another program's.
_MAX_TTL_MS: Final = 3_600_000
#: The function `process`: the process that a key names. A key with another program's value is free: one of
#: another type, with other text than an id of ours, or that stays for longer than a lease.
_PROCESS: Final = f"""
local function process(key)
  local value = redis.pcall('GET', key)
  if value == ARGV[1] then return value end
  if type(value) ~= 'string' or #value ~= 32 or string.find(value, '%X') then return false end
  local left_ms = redis.call('PTTL', key)
  return left_ms > 0 and left_ms <= {_MAX_TTL_MS} and value
end
"""
#: Takes or renews each key after the members: `ARGV[1]` is the holder, `ARGV[2]` the time to live in ms, the
#: rest is "1" for keys of the holder's share. Returns 0 (another's), 1 (held) or 2 (held, but asked for).
_HOLD: Final = (
    _PROCESS
    + """
local held = {}
for i = 2, #KEYS do
  local key = KEYS[i]
  local wish = key .. ':wish'
  local holder = process(key)
  if not holder or holder == ARGV[1] then
    redis.call('SET', key, ARGV[1], 'PX', ARGV[2])
    local asking = process(wish)
    if asking and (asking == ARGV[1] or type(redis.pcall('ZSCORE', KEYS[1], asking)) ~= 'string') then
      redis.call('DEL', wish)
      asking = false
    end
    held[i - 1] = asking and 2 or 1
  else
    held[i - 1] = 0
    if ARGV[1 + i] == '1' then
      redis.call('SET', wish, ARGV[1], 'PX', ARGV[2])
    end
  end
end
return held
"""
)
#: Notes that `ARGV[1]` is alive for `ARGV[2]` ms, and returns who is.
_JOIN: Final = f"""
local time = redis.call('TIME')
local now_ms = time[1] * 1000 + math.floor(time[2] / 1000)
if redis.call('TYPE', KEYS[1]).ok ~= 'zset' then redis.call('DEL', KEYS[1]) end
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now_ms)
redis.call('ZREMRANGEBYSCORE', KEYS[1], now_ms + {_MAX_TTL_MS} + 1, '+inf')
redis.call('ZADD', KEYS[1], now_ms + ARGV[2], ARGV[1])
redis.call('PEXPIRE', KEYS[1], ARGV[2])
return redis.call('ZRANGE', KEYS[1], 0, -1)
"""
_LEAVE: Final = "redis.pcall('ZREM', KEYS[1], ARGV[1]) return {}"
_RELEASE: Final = """
for _, key in ipairs(KEYS) do
  if redis.pcall('GET', key) == ARGV[1] then redis.call('DEL', key) end
end
"""
#: Seconds that a call waits for Redis, and during which none is made after one failed.
_TIMEOUT_S: Final = 1.0
_REST_S: Final = 2.0
#: Keys of one call.
_KEYS: Final = 1_000
#: A lease is renewed once this part of its time has passed.
_RENEW_AFTER: Final = 1 / 3
#: Processes are counted this often, in times of the time to live, and at least every second.
_JOIN_EVERY: Final = 1 / 6
_MAX_JOIN_EVERY_S: Final = 1.0
#: For this part of the time to live a key that was handed over is left to others.
_LEFT_FOR: Final = 1 / 2
_MEMBERS: Final = "members"
_MEMBER: Final = re.compile(rb"[0-9a-f]{32}")
#: The answer of _HOLD for a key that another process asks for.
_WANTED: Final = 2


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
        self._share = Share(self._holder, ())
        self._joined_s = float("-inf")
        self._wanted: set[str] = set()
        self._left_until_s: dict[str, float] = {}  # keys that were handed over

    async def hold(self, keys: Collection[str], *, balanced: bool = False) -> frozenset[str]:
        """Take or renew leases; return those that are held, also while Redis is away."""
        if balanced:
            await self._join()
        now_s = self._clock_s()
        fresh_s = now_s + self._ttl_s * (1 - _RENEW_AFTER)
        self._left_until_s = {key: until_s for key, until_s in self._left_until_s.items() if until_s > now_s}
        asked = sorted(
            key for key in keys if self._until_s.get(key, 0.0) < fresh_s and key not in self._left_until_s
        )
        for at in range(0, len(asked), _KEYS):
            if not await self._ask(asked[at : at + _KEYS], balanced=balanced):
                break
        now_s = self._clock_s()
        self._until_s = {key: until_s for key, until_s in self._until_s.items() if until_s > now_s}
        self._wanted &= self._until_s.keys()
        self._metrics.leases.set(len(self._until_s))
        return frozenset(key for key in keys if key in self._until_s)

    def wanted(self) -> frozenset[str]:
        """Return the keys held here that are another process's share, which asks for them."""
        return frozenset(self._wanted)

    async def hand_over(self, keys: Collection[str]) -> None:
        """Give up wanted keys, and leave them to the other process for a while."""
        self._left_until_s |= dict.fromkeys(keys, self._clock_s() + self._ttl_s * _LEFT_FOR)
        await self.release(keys)

    def holds(self, key: str) -> bool:
        """Return whether the lease of `key` is still valid."""
        return self._until_s.get(key, 0.0) > self._clock_s()

    async def release(self, keys: Collection[str]) -> None:
        """Give up leases; those that Redis does not hear of expire."""
        held = [key for key in keys if self._until_s.pop(key, None) is not None]
        self._wanted.difference_update(held)
        for at in range(0, len(held), _KEYS):
            await self._call(_RELEASE, held[at : at + _KEYS], ())

    async def close(self) -> None:
        """Release all leases and close the connection."""
        await self.release(list(self._until_s))
        if self._share.members:
            await self._call(_LEAVE, [_MEMBERS], ())
        await self._redis.aclose()

    async def _join(self) -> None:
        """Note that this process is alive, and learn which others are."""
        now_s, every_s = self._clock_s(), min(_MAX_JOIN_EVERY_S, self._ttl_s * _JOIN_EVERY)
        if now_s - self._joined_s < every_s:
            return
        answer = await self._call(_JOIN, [_MEMBERS], (round(self._ttl_s * 1000),))
        if answer is None:
            return
        self._joined_s = now_s
        members = tuple(sorted(one.decode() for one in answer if _MEMBER.fullmatch(one)))
        if members != self._share.members:
            self._share = Share(self._holder, members)

    async def _ask(self, keys: Collection[str], *, balanced: bool) -> bool:
        """Take or renew some leases; return False if Redis is away."""
        until_s = self._clock_s() + self._ttl_s
        own = [int(balanced and self._share.has(key)) for key in keys]
        answer = await self._call(_HOLD, [_MEMBERS, *keys], (round(self._ttl_s * 1000), *own))
        if answer is None:
            return False
        for key, held in zip(keys, answer, strict=True):
            if held:
                self._until_s[key] = until_s
            else:
                self._until_s.pop(key, None)
            if held == _WANTED:
                self._wanted.add(key)
            else:
                self._wanted.discard(key)
        return True

    async def _call(self, script: str, keys: Collection[str], args: Collection[int]) -> list[Any] | None:
        """Run a script; None if Redis is away, or was a moment ago."""
        if self._clock_s() < self._rests_until_s:
            return None
        try:
            names = [f"meterhouse:lease:{key}" for key in keys]
            found: list[Any] = await self._redis.eval(script, len(names), *names, self._holder, *args)
        except REDIS_ERRORS as e:
            self._metrics.lease_failures.labels(redis_fault(e)).inc()
            self._rests_until_s = self._clock_s() + _REST_S
            _log.warning("event=lease_failed error=%s hint=nothing is evaluated without a lease", e)
            return None
        return found or []
