"""Contract of every string cache: the two near ones and a real Redis."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Iterator
from hashlib import md5
from typing import Final

import pytest
import redis
from hypothesis import given
from hypothesis import strategies as st

from indexer._native.id_table import NativeCache
from indexer.intern.cache import LruCache, NearCache, StringCache, open_near_cache
from indexer.intern.id_store import MemoryIdStore
from indexer.intern.keys import FetchType
from indexer.intern.redis_cache import RedisCache, make_cache_key
from indexer.intern.string_indexer import StringIndexer
from tests.support.redis_server import RedisServer

OpenNear = Callable[[int], NearCache]

#: An answer of Redis may take this long: with the default a busy machine makes misses.
PATIENT_S: Final = 60.0


@pytest.fixture(params=[LruCache, NativeCache])
def open_near(request: pytest.FixtureRequest) -> OpenNear:
    opener: OpenNear = request.param
    return opener


@pytest.fixture(params=["lru", "native", "redis"])
def cache(request: pytest.FixtureRequest) -> Iterator[StringCache]:
    if request.param != "redis":
        yield (LruCache if request.param == "lru" else NativeCache)(100)
        return
    shared = RedisCache(request.getfixturevalue("redis_server").url, "ingest", timeout_s=PATIENT_S)
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


def test_the_compiled_cache_is_the_one_in_use() -> None:
    assert isinstance(open_near_cache(10), NativeCache)
    assert isinstance(NativeCache(10), NearCache)
    assert isinstance(LruCache(10), NearCache)


def test_a_near_cache_keeps_to_its_bound_and_what_is_used(open_near: OpenNear) -> None:
    cache = open_near(10)
    for i in range(1000):
        cache.set_many({f"1:{i}": i + 1})
        assert len(cache) <= 10
        assert cache.get_many(["1:0"]) == {"1:0": 1}
    assert cache.dropped > 0
    assert cache.get_many(["1:999", "1:500"]) == {"1:999": 1000, "1:500": None}


def test_a_near_cache_of_nothing(open_near: OpenNear) -> None:
    with pytest.raises(ValueError, match="fewer than 2"):
        open_near(1)


def test_a_near_cache_finds_columns_of_strings(open_near: OpenNear) -> None:
    cache = open_near(10_000)
    strings = [f"host-{i}" + "x" * (i % 70) for i in range(1000)] + ["", "ü", "a:b", "\ud800"]
    ids = list(range(1, len(strings) + 1))
    cache.put(7, strings, ids)
    assert cache.find(7, [*reversed(strings), "unknown"]).tolist() == [*reversed(ids), 0]
    assert cache.find(8, strings).tolist() == [0] * len(strings)
    assert cache.find(7, []).tolist() == []
    assert cache.get_many(["7:a:b", "7:", "7:x"]) == {"7:a:b": ids[-2], "7:": ids[-4], "7:x": None}
    with pytest.raises(ValueError, match=r"shorter|longer|different"):
        cache.put(7, ["a", "b"], [1])


def test_texts_that_differ_by_little_have_entries_of_their_own(open_near: OpenNear) -> None:
    """Every length across the hash's strides, and a change of every byte."""
    cache = open_near(100_000)
    texts = ["a" * size for size in range(100)]
    texts += ["a" * at + "b" + "a" * (size - at - 1) for size in range(1, 60) for at in range(size)]
    cache.put(1, texts, range(1, len(texts) + 1))
    assert cache.find(1, texts).tolist() == list(range(1, len(texts) + 1))
    assert len(cache) == len(texts)


@given(
    st.integers(2, 40),
    st.lists(
        st.tuples(
            st.sampled_from(["put", "find", "delete"]),
            st.lists(st.integers(0, 30), max_size=12),
        ),
        max_size=60,
    ),
)
def test_a_near_cache_may_lose_and_never_lies(max_entries: int, steps: list[tuple[str, list[int]]]) -> None:
    for cache in (LruCache(max_entries), NativeCache(max_entries)):
        there: dict[str, int] = {}
        for number, (step, keys) in enumerate(steps):
            strings = [f"s{k}" for k in keys]
            if step == "put":
                ids = [number * 100 + k + 1 for k in keys]
                cache.put(1, strings, ids)
                there.update(zip(strings, ids, strict=True))
            elif step == "delete":
                for string in strings:
                    cache.delete(f"1:{string}")
                    there.pop(string, None)
            else:
                for string, found in zip(strings, cache.find(1, strings).tolist(), strict=True):
                    assert found in (0, there.get(string, 0))
            assert len(cache) <= max_entries
            if len(there) < max_entries // 2 and not cache.dropped:
                assert cache.find(1, list(there)).tolist() == list(there.values())


def test_redis_namespaces_are_apart(redis_server: RedisServer) -> None:
    ingest, query = (
        RedisCache(redis_server.url, "ingest", timeout_s=PATIENT_S),
        RedisCache(redis_server.url, "query", timeout_s=PATIENT_S),
    )
    query.set_many({"1:a": 666})
    assert ingest.get_many(["1:a"]) == {"1:a": None}
    ingest.close()
    query.close()


def test_names_and_version_of_the_seed(redis_server: RedisServer) -> None:
    cache = RedisCache(redis_server.url, "ingest", timeout_s=PATIENT_S)
    cache.use_database("one")
    cache.set_many({"1:a": 7})
    assert (cache.version, cache.get("1:a"), cache.get("1:b")) == ("one", 7, None)
    assert cache._format_results(["1:a", "1:b"], {make_cache_key("1:a"): 2}) == {"1:a": 2, "1:b": None}
    cache.use_database("two")
    assert (cache.version, cache.get("1:a")) == ("two", None)
    cache.close()


def test_redis_entries_expire_apart(redis_server: RedisServer) -> None:
    cache = RedisCache(redis_server.url, "ingest", timeout_s=PATIENT_S, ttl_s=7200, jitter_s=1000)
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
    cache = RedisCache(redis_server.url, "ingest", timeout_s=PATIENT_S)
    assert set(cache.get_many([f"1:{i}" for i in range(6)]).values()) == {None}
    client.close()
    cache.close()


def test_redis_down_is_a_miss_and_left_alone(redis_server: RedisServer) -> None:
    cache = RedisCache(redis_server.url, "ingest", timeout_s=PATIENT_S, rest_s=3600)
    cache.set_many({"1:a": 5})
    redis_server.stop()
    for _ in range(100):
        assert cache.get_many(["1:a"]) == {"1:a": None}
        cache.set_many({"1:b": 6})
        cache.delete("1:b")
    assert cache.circuit.failures == 1
    assert cache.circuit.skipped == 299
    cache.close()


def test_redis_back_is_used_again(redis_server: RedisServer) -> None:
    cache = RedisCache(redis_server.url, "ingest", timeout_s=PATIENT_S, rest_s=0.01)
    redis_server.stop()
    assert cache.get_many(["1:a"]) == {"1:a": None}
    redis_server.start()
    until(lambda: cache.circuit.closed)
    cache.set_many({"1:a": 5})
    assert cache.get_many(["1:a"]) == {"1:a": 5}
    cache.close()


def until(there: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 120
    while not there():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def test_a_redis_that_hangs_costs_one_timeout_and_then_none(redis_server: RedisServer) -> None:
    cache = RedisCache(redis_server.url, "ingest", timeout_s=3.0, rest_s=0.05)
    cache.set_many({"1:a": 5})
    redis_server.signal(signal.SIGSTOP)
    began = time.monotonic()
    for _ in range(50):
        assert cache.get_many(["1:a"]) == {"1:a": None}
        cache.set_many({"1:b": 6})
    assert time.monotonic() - began < 150, "100 timeouts take 300 s; probes fail in the background"
    assert cache.circuit.failures == 1
    redis_server.signal(signal.SIGCONT)
    until(lambda: cache.circuit.closed)
    assert cache.get_many(["1:a"]) == {"1:a": 5}
    cache.close()


def test_recording_without_redis_loses_nothing(redis_server: RedisServer) -> None:
    ids = MemoryIdStore()
    shared = RedisCache(redis_server.url, "ingest", timeout_s=PATIENT_S, rest_s=3600)
    indexer = StringIndexer(ids, [LruCache(100), shared])
    first = indexer.record(1, "a")
    redis_server.stop()
    assert indexer.record(1, "b") == StringIndexer(ids).record(1, "b")
    assert indexer.record(1, "a") == first
    shared.close()


def test_second_indexer_hits_what_the_first_put_into_redis(redis_server: RedisServer) -> None:
    ids = MemoryIdStore()
    caches = [RedisCache(redis_server.url, "ingest", timeout_s=PATIENT_S) for _ in range(2)]
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
