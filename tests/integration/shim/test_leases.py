"""Leases in a real Redis: one holder per key, followed after release and expiry, never after a failure."""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from functools import partial
from types import SimpleNamespace
from typing import Any, cast

import pytest

from shim.engine.live_edge import LiveEdge
from shim.metrics import ShimMetrics
from shim.model.tenancy import Tenant
from shim.rules.rule_directory import RuleDirectory
from shim.rules.rule_evaluator import RuleEvaluator
from shim.settings import LeaseSettings
from shim.ticks import redis_lease
from shim.ticks.redis_lease import RedisLease, open_lease
from tests.support.redis_server import RedisServer


@pytest.fixture(autouse=True)
def _patient(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Wait long for Redis, except where it hangs: on a busy machine a call may take more than a second."""
    if request.function is not test_a_hanging_redis_costs_one_short_timeout:
        monkeypatch.setattr(redis_lease, "_TIMEOUT_S", 60.0)


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
            deadline = time.monotonic() + 120
            while not await b.hold(["x"]):  # a does not renew
                assert time.monotonic() < deadline
        assert not a.holds("x")


async def test_a_hanging_redis_costs_one_short_timeout(redis_server: RedisServer) -> None:
    """A lease that is held stays valid until its time is over; no other is given."""
    metrics = ShimMetrics()
    now_s = [0.0]
    failures = "meterhouse_shim_lease_failures_total"
    lease = RedisLease(redis_server.url, 30.0, metrics, lambda: now_s[0])
    assert await lease.hold(["x"]) == {"x"}
    redis_server.signal(signal.SIGSTOP)
    try:
        now_s[0] = 20.0
        assert await lease.hold(["x", "y"]) == {"x"}
        assert await lease.hold(["x", "y"]) == {"x"}
        now_s[0] = 21.0
        assert await lease.hold(["x", "y"]) == {"x"}
        assert metrics.registry.get_sample_value(failures, {"reason": "timeout"}) == 1
        now_s[0] = 30.5
        assert await lease.hold(["x"]) == set()
        assert metrics.registry.get_sample_value(failures, {"reason": "timeout"}) == 2
        assert metrics.registry.get_sample_value("meterhouse_shim_leases") == 0
    finally:
        redis_server.signal(signal.SIGCONT)
    deadline = time.monotonic() + 120
    while await lease.hold(["x"]) != {"x"}:
        assert time.monotonic() < deadline
        now_s[0] += 3.0  # it rests after a failure
    await lease.close()


async def _rounds(
    shims: Sequence[RedisLease], keys: Sequence[str], clock: list[float], done: Callable[[], bool]
) -> None:
    """Let shims renew and hand over in turn, as the evaluator does, until something is so."""
    for _ in range(60):
        if done():
            return
        clock[0] += 1
        for shim in shims:
            await shim.hold(keys, balanced=True)
            await shim.hand_over(shim.wanted())
            assert not [key for key in keys if sum(one.holds(key) for one in shims) > 1]
    raise AssertionError("it did not come to be so in 60 seconds")


async def test_a_process_that_joins_gets_its_share_and_gives_it_back(redis_server: RedisServer) -> None:
    keys = [f"rules/{n}" for n in range(1_200)]
    now_s = [0.0]

    def clock_s() -> float:
        return now_s[0]

    def count(lease: RedisLease) -> int:
        return sum(lease.holds(key) for key in keys)

    async with _lease(redis_server, 30.0, clock_s) as a:
        assert await a.hold(keys, balanced=True) == set(keys)
        assert not a.wanted()
        async with _lease(redis_server, 30.0, clock_s) as b:
            await _rounds([a, b], keys, now_s, lambda: count(a) + count(b) == 1_200 and count(b) > 500)
            assert 500 < count(a) < 700
            kept = {key for key in keys if b.holds(key)}
            for _ in range(5):  # nothing moves to and fro
                now_s[0] += 10
                await a.hold(keys, balanced=True)
                await b.hold(keys, balanced=True)
                assert not a.wanted() | b.wanted()
            assert kept == {key for key in keys if b.holds(key)}
        now_s[0] += 20  # those that were handed over are asked for again
        await _rounds([a], keys, now_s, lambda: count(a) == 1_200)


async def test_a_key_that_its_own_process_does_not_want_stays(redis_server: RedisServer) -> None:
    """A process that has other files asks for no key of groups that it does not know."""
    keys = [f"rules/{n}" for n in range(100)]
    async with _lease(redis_server) as a, _lease(redis_server) as b:
        await a.hold(keys, balanced=True)
        await b.hold(["other"], balanced=True)
        await a.hold(keys, balanced=True)
        assert not a.wanted()
        assert all(a.holds(key) for key in keys)


async def test_groups_are_handed_over_between_their_ticks(redis_server: RedisServer) -> None:
    metrics = ShimMetrics()
    names = [f"rules/{n}" for n in range(40)]
    now_s = [0.0]  # no lease ends while the machine is busy: Redis keeps them for 30 s of its own time

    def clock_s() -> float:
        return now_s[0]

    async with _lease(redis_server, 30.0, clock_s) as a, _lease(redis_server, 30.0, clock_s) as b:
        parts = cast("Any", SimpleNamespace(lease=a, metrics=metrics))
        shim = RuleEvaluator(RuleDirectory("", None), LiveEdge(5.0), parts)
        forgotten = set[str]()
        for name in names:
            forget = partial(forgotten.add, name)
            shim.runners[Tenant(1, 1), "r.yml", name] = cast("Any", SimpleNamespace(key=name, forget=forget))
        await shim._lease()
        assert shim.held == set(names)
        runs = cast("Any", None)
        shim._running = dict.fromkeys(shim.runners, runs)
        while len(a.wanted()) < 5:
            now_s[0] += 1
            assert now_s[0] < 120
            await b.hold(names, balanced=True)
            await shim._lease()
            assert shim.held == set(names)  # all run
        shim._running = {}
        await shim._lease()
        given = set(names) - shim.held
        assert len(given) >= 5
        assert forgotten == given
        assert await b.hold(names, balanced=True) == given


async def test_a_sole_evaluator_holds_every_key() -> None:
    lease = open_lease(LeaseSettings(), ShimMetrics())
    assert await lease.hold(["x", "y"]) == {"x", "y"}
    assert lease.holds("z")
