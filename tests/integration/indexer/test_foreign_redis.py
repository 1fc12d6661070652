"""Another program's values under our names in Redis, and its refusals: never a wrong id, never a raise.

One short refusal for each use of Redis, counted by reason.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Final

import pytest
from redis import Redis

from indexer.intern.cache import LruCache
from indexer.intern.id_store import MemoryIdStore
from indexer.intern.ids import string_id
from indexer.intern.redis_cache import RedisCache
from indexer.intern.string_indexer import StringIndexer
from indexer.receive.org_rates import OrgRates
from indexer.receive.shared_rates import SharedRates
from indexer.settings import Limits
from shim.metrics import ShimMetrics
from shim.ticks import redis_lease
from shim.ticks.redis_lease import RedisLease
from tests.support.foreign_redis import FOREIGN, heal
from tests.support.redis_server import RedisServer

STRINGS: Final = [f"s{n}" for n in range(40)]
IDS: Final = {s: string_id(1, s) for s in STRINGS}
KEYS: Final = [f"rules/{n}" for n in range(20)]
#: No timeout is under test: a busy machine must not meet one.
PATIENT_S: Final = 60.0
LIMITS: Final = Limits(rows_per_s=10, rows_burst=100)
#: The reasons of refusals that a cache, rates and leases meet; "": none.
REASONS: Final = {
    "other_types": ("wrong_type", "wrong_type", ""),
    "garbage": ("", "wrong_type", ""),
    "absurd_numbers": ("", "wrong_type", ""),
    "ids_of_others": ("", "", ""),
    "expiring": ("", "wrong_type", ""),
    "flushed": ("", "", ""),
    "read_only": ("read_only", "read_only", "read_only"),
    "memory": ("memory", "memory", "memory"),
    "password": ("denied", "denied", "denied"),
}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    server = RedisServer(tmp_path_factory.mktemp("redis"))
    server.start()
    yield server
    server.stop()


@pytest.fixture
def client(server: RedisServer) -> Iterator[Redis]:
    client = Redis.from_url(server.url)
    client.flushall()
    yield client
    heal(client)
    client.close()


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


def cache(server: RedisServer, stack: ExitStack) -> RedisCache:
    """Return a cache that rests for ever after its first failure."""
    it = RedisCache(server.url, "ingest", rest_s=3_600, timeout_s=PATIENT_S)
    it.use_database("one")
    stack.callback(it.close)
    return it


@pytest.mark.parametrize("kind", FOREIGN)
def test_every_string_has_its_own_id(server: RedisServer, client: Redis, stack: ExitStack, kind: str) -> None:
    store = MemoryIdStore()
    first = cache(server, stack)
    StringIndexer(store, [LruCache(100), first]).bulk_record({1: set(STRINGS)})
    first.note_newest([(1, IDS["s0"])])
    FOREIGN[kind](client)
    shared = cache(server, stack)
    indexer = StringIndexer(store, [LruCache(100), shared])
    assert indexer.bulk_record({1: {*STRINGS, "new"}})[1] == IDS | {"new": string_id(1, "new")}
    newest = shared.newest()
    assert all(0 < org_id < 1 << 32 and 0 < of < 1 << 64 for org_id, of in newest)
    assert indexer.bulk_resolve(1, set(STRINGS)) == IDS
    expected = REASONS[kind][0]
    assert dict(shared.circuit.faults) == ({expected: 1} if expected else {})
    ignored = indexer.wrong_ids, shared.unreadable
    match kind:
        case "ids_of_others" | "absurd_numbers":
            assert ignored == (len(STRINGS), 0)
        case "garbage":
            assert ignored[1] >= len(STRINGS) - 1  # the first text is empty
        case "expiring":
            assert sum(ignored) <= len(STRINGS)
        case _:
            assert ignored == (0, 0)


def rates(server: RedisServer, stack: ExitStack) -> tuple[OrgRates, SharedRates]:
    of = OrgRates(LIMITS, lambda: 1_000.0)
    shared = SharedRates(server.url, of, timeout_s=PATIENT_S, now_s=lambda: 1_000.0)
    shared.use_database("one")
    of.note_charges()
    stack.callback(shared.stop)
    return of, shared


@pytest.mark.parametrize("kind", FOREIGN)
def test_an_org_waits_for_some_seconds_at_most(
    server: RedisServer, client: Redis, stack: ExitStack, kind: str
) -> None:
    (a, of_a), (b, of_b) = rates(server, stack), rates(server, stack)
    for one in (a, b):
        one.charge("rows", 1, 10)
        one.charge("rows", 2, 10)
    assert of_a.exchange()
    FOREIGN[kind](client)
    expected = REASONS[kind][1]
    assert of_b.exchange() == (not expected)
    assert set(of_b.faults) == ({expected} if expected else set())
    for org_id in (1, 2):
        rate, wait_s = b.exceeded(org_id) or ("", 0)
        assert wait_s <= 10, rate
    heal(client)
    client.flushall()
    b.charge("rows", 1, 1)
    assert of_b.exchange()


def test_charges_of_others_that_cannot_be_are_bounded(
    server: RedisServer, client: Redis, stack: ExitStack
) -> None:
    """However often they come: an org waits for 10 s, as after one."""
    of, shared = rates(server, stack)
    of.charge("rows", 1, 1)
    for _ in range(5):
        client.hset("rates:one:1:16", "rows", str(2**62))
        assert shared.exchange()
        assert of.exceeded(1) == ("rows", 10)
        client.flushall()
        assert shared.exchange()
    of.charge("rows", 1, 50)  # its own counts in full
    assert of.exceeded(1) == ("rows", 15)


@pytest.mark.parametrize("kind", FOREIGN)
async def test_every_group_is_evaluated_by_one(
    server: RedisServer, client: Redis, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(redis_lease, "_TIMEOUT_S", PATIENT_S)
    metrics = ShimMetrics()
    now_s = [0.0]
    a = RedisLease(server.url, 1.0, metrics, lambda: now_s[0])
    b = RedisLease(server.url, 1.0, metrics, lambda: now_s[0])
    assert await a.hold(KEYS, balanced=True) == set(KEYS)
    await b.hold(KEYS, balanced=True)  # it leaves wishes
    FOREIGN[kind](client)
    now_s[0] = 0.9
    for lease in (a, b):  # one refusal of each, then they rest
        await lease.hold(KEYS, balanced=True)
        await lease.hold(KEYS, balanced=True)
    reason = REASONS[kind][2]
    name = "meterhouse_shim_lease_failures_total"
    samples = [one for of in metrics.lease_failures.collect() for one in of.samples if one.name == name]
    found = {one.labels["reason"]: one.value for one in samples}
    if kind == "password":  # a process may still use the connection that was closed
        assert found
        assert set(found) <= {"away", "denied"}
    else:
        assert set(found) == ({reason} if reason else set())
    assert sum(found.values()) <= 2
    heal(client)
    await a.close()
    now_s[0] += 100
    deadline = time.monotonic() + 120
    while await b.hold(KEYS, balanced=True) != set(KEYS):
        now_s[0] += 20
        assert time.monotonic() < deadline
    await b.close()


def test_no_kind_lacks_its_reasons() -> None:
    assert set(REASONS) == set(FOREIGN)
