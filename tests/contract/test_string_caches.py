"""What every string cache does: the LRU and a real Redis."""

from __future__ import annotations

from collections.abc import Iterator
from hashlib import md5

import pytest
import redis

from indexer.strings.cache import LruCache, RedisCache, StringCache, make_cache_key
from indexer.strings.keys import FetchType
from indexer.strings.record import StringIndexer
from indexer.strings.store import MemoryIdStore
from tests.support.redis_server import RedisServer


@pytest.fixture(params=["lru", "redis"])
def cache(request: pytest.FixtureRequest) -> Iterator[StringCache]:
    if request.param == "lru":
        yield LruCache(100)
        return
    shared = RedisCache(request.getfixturevalue("redis_server").url, "ingest")
    yield shared
    shared.close()


def test_key_is_the_hash_of_org_and_string() -> None:
    assert make_cache_key("1:a:b") == "indexer:org:str:" + md5(b"1:a:b").hexdigest()


def test_miss_is_none_under_the_callers_key(cache: StringCache) -> None:
    assert cache.get_many(["1:a", "1:b"]) == {"1:a": None, "1:b": None}


def test_hits_and_misses_in_the_callers_order(cache: StringCache) -> None:
    cache.set_many({"1:a": 5, "2:x:y:z": 2**63 + 1, "1:ü 🙂": 7})
    got = cache.get_many(["1:ü 🙂", "1:b", "2:x:y:z", "1:a"])
    assert list(got.items()) == [("1:ü 🙂", 7), ("1:b", None), ("2:x:y:z", 2**63 + 1), ("1:a", 5)]


def test_nothing_asked_nothing_given(cache: StringCache) -> None:
    cache.set_many({})
    assert cache.get_many([]) == {}


def test_delete(cache: StringCache) -> None:
    cache.set_many({"1:a": 5, "1:b": 6})
    cache.delete("1:a")
    cache.delete("1:never")
    assert cache.get_many(["1:a", "1:b"]) == {"1:a": None, "1:b": 6}


def test_lru_keeps_to_its_bound_and_what_is_used() -> None:
    cache = LruCache(10)
    for i in range(1000):
        cache.set_many({f"1:{i}": i + 1})
        assert len(cache) <= 10
        assert cache.get_many(["1:0"]) == {"1:0": 1}
    assert cache.dropped > 0
    assert cache.get_many(["1:999", "1:500"]) == {"1:999": 1000, "1:500": None}


def test_lru_of_nothing() -> None:
    with pytest.raises(ValueError, match="fewer than 2"):
        LruCache(1)


def test_redis_namespaces_are_apart(redis_server: RedisServer) -> None:
    ingest, query = RedisCache(redis_server.url, "ingest"), RedisCache(redis_server.url, "query")
    query.set_many({"1:a": 666})
    assert ingest.get_many(["1:a"]) == {"1:a": None}
    ingest.close()
    query.close()


def test_redis_entries_expire_apart(redis_server: RedisServer) -> None:
    cache = RedisCache(redis_server.url, "ingest", ttl_s=7200, jitter_s=1000)
    cache.set_many({f"1:{i}": i + 1 for i in range(50)})
    client = redis.Redis.from_url(redis_server.url)
    left = [client.ttl(f"ingest:{make_cache_key(f'1:{i}')}") for i in range(50)]
    assert 7190 <= min(left) <= max(left) <= 8200
    assert len(set(left)) > 10
    client.close()
    cache.close()


def test_redis_with_rubbish_in_it_misses(redis_server: RedisServer) -> None:
    client = redis.Redis.from_url(redis_server.url)
    for i, value in enumerate((b"x", b"", b"0", b"-1", b"1.5", str(2**64).encode())):
        client.set(f"ingest:{make_cache_key(f'1:{i}')}", value)
    cache = RedisCache(redis_server.url, "ingest")
    assert set(cache.get_many([f"1:{i}" for i in range(6)]).values()) == {None}
    client.close()
    cache.close()


def test_redis_down_is_a_miss_and_left_alone(redis_server: RedisServer) -> None:
    cache = RedisCache(redis_server.url, "ingest", rest_s=3600)
    cache.set_many({"1:a": 5})
    redis_server.stop()
    for _ in range(100):
        assert cache.get_many(["1:a"]) == {"1:a": None}
        cache.set_many({"1:b": 6})
        cache.delete("1:b")
    assert cache.breaker.failures == 1
    assert cache.breaker.skipped == 299
    cache.close()


def test_redis_back_is_used_again(redis_server: RedisServer) -> None:
    cache = RedisCache(redis_server.url, "ingest", rest_s=0.0)
    redis_server.stop()
    assert cache.get_many(["1:a"]) == {"1:a": None}
    redis_server.start()
    cache.set_many({"1:a": 5})
    assert cache.get_many(["1:a"]) == {"1:a": 5}
    cache.close()


def test_recording_without_redis_loses_nothing(redis_server: RedisServer) -> None:
    ids = MemoryIdStore()
    shared = RedisCache(redis_server.url, "ingest", rest_s=3600)
    indexer = StringIndexer(ids, [LruCache(100), shared])
    first = indexer.record(1, "a")
    redis_server.stop()
    assert indexer.record(1, "b") == StringIndexer(ids).record(1, "b")
    assert indexer.record(1, "a") == first
    shared.close()


def test_second_indexer_hits_what_the_first_put_into_redis(redis_server: RedisServer) -> None:
    ids = MemoryIdStore()
    caches = [RedisCache(redis_server.url, "ingest") for _ in range(2)]
    first, second = (StringIndexer(ids, [LruCache(100), c]) for c in caches)
    expected = first.bulk_record({1: {"a", "b:c"}})
    results = second.bulk_record_results({1: {"a", "b:c", "host"}})
    assert {s: m.fetch_type for s, m in results.get_fetch_metadata()[1].items()} == {
        "a": FetchType.CACHE_HIT,
        "b:c": FetchType.CACHE_HIT,
        "host": FetchType.HARDCODED,
    }
    assert results.get_mapped_results()[1].items() >= expected[1].items()
    for c in caches:
        c.close()
