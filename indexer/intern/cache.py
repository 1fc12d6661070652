"""Caches of string ids: in the process (LRU) and shared (Redis). A cache may lose, never lie.

Keys are `org_id:string`. `get_many` answers under the caller's keys, None for a miss. Only ids that are
there are cached, never the lack of one: a string that is created elsewhere is seen at once.
Namespaces part what ingest wrote from what queries wrote, so a wrong read cannot poison ingest.
Thread-safe. Source of key and format: Sentry's StringIndexerCache.
"""

from __future__ import annotations

import random
import threading
from collections.abc import Callable, Mapping, Sequence
from hashlib import md5
from itertools import repeat
from typing import Literal, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt
import redis

from indexer.intern.keys import cache_keys
from indexer.intern.redis_client import open_redis

Namespace = Literal["ingest", "query"]

TTL_S = 7_200
JITTER_S = 1_200
#: The key of the strings that were created last, beside those of strings.
_NEWEST = "newest"


def make_cache_key(key: str) -> str:
    """The key a shared cache uses for `org_id:string`: of fixed length, whatever the string."""
    hashed = md5(key.encode("utf-8", "surrogatepass"), usedforsecurity=False).hexdigest()
    return f"indexer:org:str:{hashed}"


class StringCache(Protocol):
    def get_many(self, keys: Sequence[str]) -> dict[str, int | None]: ...

    def set_many(self, ids: Mapping[str, int]) -> None: ...

    def delete(self, key: str) -> None: ...


@runtime_checkable
class NearCache(StringCache, Protocol):
    """A cache in the process: whole columns of an agent's strings, 100,000 in a bucket, go through it."""

    dropped: int

    def __len__(self) -> int: ...

    def find(self, org_id: int, strings: list[str]) -> npt.NDArray[np.uint64]:
        """The ids of strings of an org in their order, 0 for a miss."""

    def put(self, org_id: int, strings: list[str], ids: Sequence[int]) -> None:
        """Keep the ids of strings of an org, in the same order."""


def open_near_cache(max_entries: int) -> NearCache:
    """The compiled one, which takes an eighth of the CPU a string, or the one in Python."""
    try:
        from indexer._native.id_table import NativeCache
    except ImportError:  # not compiled
        return LruCache(max_entries)
    return NativeCache(max_entries)


class LruCache:
    """At most `max_entries` ids, the ones not used for long dropped first.

    Two generations of plain dicts instead of a list in order of use: a hit costs one look-up, and when the
    young generation is half of the bound, the old one is dropped whole.
    """

    def __init__(self, max_entries: int) -> None:
        if max_entries < 2:
            raise ValueError("an LRU of fewer than 2 entries holds nothing")
        self._half = max_entries // 2
        self._young: dict[str, int] = {}
        self._old: dict[str, int] = {}
        self._lock = threading.Lock()
        self.dropped = 0

    def __len__(self) -> int:
        return len(self._young) + len(self._old)

    def find(self, org_id: int, strings: list[str]) -> npt.NDArray[np.uint64]:
        keys = cache_keys(org_id, strings)
        with self._lock:
            found = list(map(self._young.get, keys, repeat(0)))
            if self._old and 0 in found:
                for at, value in enumerate(found):
                    if value == 0 and (older := self._old.pop(keys[at], None)) is not None:
                        found[at] = older
                        self._put(keys[at], older)
        return np.array(found, np.uint64)

    def put(self, org_id: int, strings: list[str], ids: Sequence[int]) -> None:
        self.set_many(dict(zip(cache_keys(org_id, strings), ids, strict=True)))

    def get_many(self, keys: Sequence[str]) -> dict[str, int | None]:
        with self._lock:
            found = dict(zip(keys, map(self._young.get, keys), strict=True))
            if self._old and len(found):
                for key, value in found.items():
                    if value is None and (older := self._old.pop(key, None)) is not None:
                        found[key] = older
                        self._put(key, older)
            return found

    def set_many(self, ids: Mapping[str, int]) -> None:
        with self._lock:
            for key, value in ids.items():
                self._old.pop(key, None)
                self._put(key, value)

    def delete(self, key: str) -> None:
        with self._lock:
            self._young.pop(key, None)
            self._old.pop(key, None)

    def _put(self, key: str, value: int) -> None:
        self._young[key] = value
        if len(self._young) >= self._half:
            self.dropped += len(self._old)
            self._old, self._young = self._young, {}


class Circuit:
    """Whether a service is used: not from a failure on until `probe` succeeds, in a thread of its own.

    So a service that hangs costs its callers one timeout, however long it hangs. Thread-safe.
    """

    def __init__(self, probe: Callable[[], object], rest_s: float) -> None:
        self._probe = probe
        self._rest_s = rest_s
        self._lock = threading.Lock()
        self._open = False
        self._closing = threading.Event()
        self.failures = 0
        self.skipped = 0

    @property
    def closed(self) -> bool:
        """Whether the service is used."""
        return not self._open

    def allows(self) -> bool:
        """Return whether to try, and count where not."""
        with self._lock:
            self.skipped += self._open
            return not self._open

    def failed(self) -> None:
        """Leave the service alone until it answers again."""
        with self._lock:
            self.failures += 1
            if self._open or self._closing.is_set():
                return
            self._open = True
        threading.Thread(target=self._wait, name="redis-probe", daemon=True).start()

    def close(self) -> None:
        """End the thread that probes, if there is one, within `rest_s` and a timeout."""
        self._closing.set()

    def _wait(self) -> None:
        while not self._closing.wait(self._rest_s):
            try:
                self._probe()
            except (redis.RedisError, OSError):
                continue
            with self._lock:
                self._open = False
            return


class RedisCache:
    """Ids shared by all indexers. Redis down means misses (latency), never an error and never a wrong id.

    After a failure it is left alone until it answers a ping again, asked each `rest_s` in the background: a
    Redis that hangs costs one timeout, then none.
    """

    def __init__(
        self,
        url: str,
        namespace: Namespace,
        *,
        ttl_s: int = TTL_S,
        jitter_s: int = JITTER_S,
        timeout_s: float = 0.25,
        rest_s: float = 1.0,
    ) -> None:
        self._redis = open_redis(url, timeout_s)
        self._namespace = namespace
        self._prefix = f"{namespace}:"
        self._ttl_s = ttl_s
        self._jitter_s = jitter_s
        self.circuit = Circuit(self._redis.ping, rest_s)

    def use_database(self, database_id: str) -> None:
        """Keep to the keys of one database: several may share a Redis, and one may be restored."""
        self._prefix = f"{self._namespace}:{database_id}:"

    def note_newest(self, ids: Sequence[tuple[int, int]]) -> None:
        """Keep the (org, id) of strings that were created last, for `newest`."""
        if self.circuit.allows():
            text = " ".join(f"{org_id}:{string_id}" for org_id, string_id in ids)
            try:
                self._redis.set(self._prefix + _NEWEST, text, ex=self._ttl_s + self._jitter_s)
            except (redis.RedisError, OSError):
                self.circuit.failed()

    def newest(self) -> list[tuple[int, int]]:
        """Return what was noted last, by any indexer; nothing when Redis does not answer."""
        if not self.circuit.allows():
            return []
        try:
            value = self._redis.get(self._prefix + _NEWEST)
        except (redis.RedisError, OSError):
            self.circuit.failed()
            return []
        pairs = value.decode(errors="replace").split() if isinstance(value, bytes) else []
        found = [pair.partition(":")[::2] for pair in pairs]
        return [(int(org), int(of)) for org, of in found if org.isdecimal() and of.isdecimal()]

    def get_many(self, keys: Sequence[str]) -> dict[str, int | None]:
        values: Sequence[object] = ()
        if keys and self.circuit.allows():
            try:
                values = self._redis.mget([self._key(k) for k in keys])
            except (redis.RedisError, OSError):
                self.circuit.failed()
        if len(values) != len(keys):
            return dict.fromkeys(keys)
        return {key: _id(value) for key, value in zip(keys, values, strict=True)}

    def set_many(self, ids: Mapping[str, int]) -> None:
        """Store for the TTL plus a jitter, so that what was written together does not expire together."""
        if not ids or not self.circuit.allows():
            return
        try:
            with self._redis.pipeline(transaction=False) as pipe:
                for key, value in ids.items():
                    jitter_s = random.randint(0, self._jitter_s)  # noqa: S311  # spreads load, guards nothing
                    pipe.set(self._key(key), value, ex=self._ttl_s + jitter_s)
                pipe.execute()
        except (redis.RedisError, OSError):
            self.circuit.failed()

    def delete(self, key: str) -> None:
        if not self.circuit.allows():
            return
        try:
            self._redis.delete(self._key(key))
        except (redis.RedisError, OSError):
            self.circuit.failed()

    def close(self) -> None:
        self.circuit.close()
        self._redis.close()

    def _key(self, key: str) -> str:
        return self._prefix + make_cache_key(key)


def _id(value: object) -> int | None:
    """What Redis holds, as an id; anything that is none is a miss."""
    if isinstance(value, bytes) and value.isdigit() and 0 < int(value) < 1 << 64:
        return int(value)
    return None
