"""Results as entries of a Redis stream, each once.

A script adds an entry and notes its tick in one step, so a repeated call, and that of another shim, adds
nothing. Ids of entries begin with the millisecond of the tick. A tick that is later than others of the
stream has the millisecond of the last entry: a stream's ids only grow. A last tick more than SLACK_S ahead is
of a clock that was ahead: it does not count.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import ClassVar, Final

from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from indexer.clickhouse.schema.subscription_tables import RESULT_DAYS
from indexer.subscriptions.messages_of_subscriptions import Subscription
from indexer.subscriptions.subscription_rows import SLACK_S
from shim.metrics import ShimMetrics
from shim.settings import SubscriptionSettings
from shim.subscriptions.result_sink import SinkAwayError, StoredResult
from shim.subscriptions.subscription_book import public_id

#: KEYS: the stream, and the last tick of each subscription. ARGV: subscription, entries to keep, the oldest
#: tick to remember, the latest that counts, then ticks and documents. Returns the number of entries added.
_ADD: Final = """
local last = tonumber(redis.call('ZSCORE', KEYS[2], ARGV[1]) or '-1')
if last > tonumber(ARGV[4]) then last = -1 end
local ms, number = -1, 0
if redis.call('EXISTS', KEYS[1]) == 1 then
  local info = redis.call('XINFO', 'STREAM', KEYS[1])
  for i = 1, #info, 2 do
    if info[i] == 'last-generated-id' then
      local a, b = string.match(info[i + 1], '^(%d+)-(%d+)$')
      ms, number = tonumber(a), tonumber(b)
    end
  end
end
local added = 0
for i = 5, #ARGV, 2 do
  local tick = tonumber(ARGV[i])
  if tick > last then
    if tick * 1000 > ms then
      ms, number = tick * 1000, 0
    else
      number = number + 1
    end
    redis.call('XADD', KEYS[1], 'MAXLEN', '~', ARGV[2], string.format('%.0f-%.0f', ms, number),
      'id', ARGV[1] .. '/' .. ARGV[i], 'message', ARGV[i + 1])
    last = tick
    added = added + 1
  end
end
if added > 0 then
  redis.call('ZADD', KEYS[2], last, ARGV[1])
  redis.call('ZREMRANGEBYSCORE', KEYS[2], '-inf', '(' .. ARGV[3])
end
return added
"""
_TIMEOUT_S: Final = 5.0
#: Bytes of documents in one call.
_BYTES: Final = 4 << 20
#: Seconds after which a tick is forgotten: the table of results has dropped it before.
_REMEMBERED_S: Final = (RESULT_DAYS + 2) * 86_400


class ResultStream:
    """A stream of one Redis; used in one event loop. `now_s` is the wall clock."""

    name: ClassVar[str] = "stream"

    def __init__(
        self,
        settings: SubscriptionSettings,
        metrics: ShimMetrics,
        now_s: Callable[[], float] = time.time,
    ) -> None:
        self._now_s = now_s
        self._key = settings.stream
        self._ticks = f"{settings.stream}:ticks"
        self._entries = settings.stream_entries
        self._metrics = metrics
        self._redis: Redis = Redis.from_url(
            settings.stream_url,
            socket_timeout=_TIMEOUT_S,
            socket_connect_timeout=_TIMEOUT_S,
            retry=Retry(NoBackoff(), 0),
        )

    def wants(self, of: Subscription) -> bool:
        """Return True: the stream has all results."""
        del of
        return True

    def keep(self, ids: Collection[str]) -> None:
        """Do nothing: Redis remembers all."""
        del ids

    async def positions(self, of: Sequence[Subscription]) -> Mapping[str, int]:
        """Return the last ticks in the stream, by subscription. Raises SinkAwayError."""
        if not of:
            return {}
        with _away():
            found = await self._redis.zmscore(self._ticks, list(map(public_id, of)))
        return {one.id: int(float(score)) for one, score in zip(of, found, strict=True) if score is not None}

    async def deliver(self, of: Subscription, results: Sequence[StoredResult]) -> int | None:
        """Add the results that the stream does not have; return the last tick. Raises SinkAwayError."""
        done_s = None
        for part in _parts(results):
            pairs = [text for one in part for text in (str(one.tick_s), one.document)]
            oldest_s = part[0].tick_s - _REMEMBERED_S
            latest_s = max(int(self._now_s()), part[-1].tick_s) + SLACK_S
            arguments: list[str | int] = [public_id(of), self._entries, oldest_s, latest_s, *pairs]
            with _away():
                added = await self._redis.eval(_ADD, 2, self._key, self._ticks, *arguments)
            count = self._metrics.subscription_deliveries.labels
            count(self.name, "delivered").inc(int(added))
            done_s = part[-1].tick_s
        return done_s

    async def close(self) -> None:
        """Close the connections."""
        await self._redis.aclose()


@contextmanager
def _away() -> Iterator[None]:
    """Turn errors of Redis into SinkAwayError."""
    try:
        yield
    except (RedisError, OSError) as e:
        raise SinkAwayError(f"the Redis of shim.subscriptions.stream_url: {e}") from e


def _parts(results: Sequence[StoredResult]) -> list[list[StoredResult]]:
    """Cut results into calls of at most _BYTES, each with one result or more."""
    out: list[list[StoredResult]] = []
    size = _BYTES
    for one in results:
        if size + len(one.document) > _BYTES:
            out.append([])
            size = 0
        out[-1].append(one)
        size += len(one.document)
    return out
