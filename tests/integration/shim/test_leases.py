"""Leases in a real Redis: one holder per key, followed after release and expiry, never after a failure."""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from shim.metrics import ShimMetrics
from shim.settings import LeaseSettings
from shim.ticks.redis_lease import RedisLease, open_lease
from tests.support.redis_server import RedisServer


@asynccontextmanager
async def _lease(
    server: RedisServer, ttl_s: float = 30.0, clock_s: Callable[[], float] = time.monotonic
) -> AsyncIterator[RedisLease]:
    lease = RedisLease(server.url, ttl_s, ShimMetrics(), clock_s)
    yield lease
    await lease.close()


async def test_a_key_has_one_holder_until_it_is_released(redis_server: RedisServer) -> None:
    async with _lease(redis_server) as a, _lease(redis_server) as b:
        assert await a.hold(["x", "y"]) == {"x", "y"}
        assert await b.hold(["x", "z"]) == {"z"}
        assert await a.hold(["x", "y", "z"]) == {"x", "y"}
        assert (a.holds("x"), b.holds("x")) == (True, False)
        await a.release(["x", "z"])  # z is another's: its lease stays
        assert await b.hold(["x", "y", "z"]) == {"x", "z"}
    async with _lease(redis_server) as c:  # closing released all
        assert await c.hold(["x", "y", "z"]) == {"x", "y", "z"}


async def test_many_at_once_never_share_a_key(redis_server: RedisServer) -> None:
    keys = [str(n) for n in range(2_500)]
    async with _lease(redis_server) as a, _lease(redis_server) as b:
        first, second = await asyncio.gather(a.hold(keys), b.hold(keys))
        assert not first & second
        assert first | second == set(keys)


async def test_a_lease_ends_for_its_holder_before_it_ends_in_redis(redis_server: RedisServer) -> None:
    now_s = [0.0]
    async with _lease(redis_server, 30.0, lambda: now_s[0]) as a, _lease(redis_server) as b:
        await a.hold(["x"])
        now_s[0] = 30.0
        assert not a.holds("x")  # while Redis still keeps it from others
        assert await b.hold(["x"]) == set()
        assert await a.hold(["x"]) == {"x"}


async def test_a_dead_holder_is_followed_after_the_time_to_live(redis_server: RedisServer) -> None:
    async with _lease(redis_server) as b:
        async with _lease(redis_server, 1.0) as a:
            await a.hold(["x"])
            deadline = time.monotonic() + 20
            while not await b.hold(["x"]):  # a does not renew
                assert time.monotonic() < deadline
        assert not a.holds("x")


async def test_a_hanging_redis_costs_one_short_timeout(redis_server: RedisServer) -> None:
    """A lease that is held stays valid until its time is over; no other is given."""
    metrics = ShimMetrics()
    now_s = [0.0]
    lease = RedisLease(redis_server.url, 30.0, metrics, lambda: now_s[0])
    assert await lease.hold(["x"]) == {"x"}
    redis_server.signal(signal.SIGSTOP)
    try:
        now_s[0] = 20.0
        began_s = time.monotonic()
        assert await lease.hold(["x", "y"]) == {"x"}
        assert await lease.hold(["x", "y"]) == {"x"}
        now_s[0] = 21.0
        assert await lease.hold(["x", "y"]) == {"x"}
        assert time.monotonic() - began_s < 5  # one timeout of 1 s
        now_s[0] = 30.5
        assert await lease.hold(["x"]) == set()
        assert metrics.registry.get_sample_value("meterhouse_shim_lease_failures_total") == 2
        assert metrics.registry.get_sample_value("meterhouse_shim_leases") == 0
    finally:
        redis_server.signal(signal.SIGCONT)
    now_s[0] = 33.0
    assert await lease.hold(["x"]) == {"x"}
    await lease.close()


async def test_a_sole_evaluator_holds_every_key() -> None:
    lease = open_lease(LeaseSettings(), ShimMetrics())
    assert await lease.hold(["x", "y"]) == {"x", "y"}
    assert lease.holds("z")
