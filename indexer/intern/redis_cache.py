"""The cache of string ids that indexers share, in Redis. Thread-safe.

It loses entries, never lies: without Redis every look-up misses (indexer/intern/cache.py). Namespaces
separate the entries of ingest from those of queries, so that a wrong read cannot poison ingest. Imported only
where the settings name a Redis: its client is a tenth of a start's imports. Source of key and format:
Sentry's StringIndexerCache.
"""

from __future__ import annotations

import random
import threading
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from hashlib import md5
from typing import Literal

from indexer.intern.redis_client import open_redis
from indexer.intern.redis_faults import REDIS_ERRORS, RedisFault, redis_fault

Namespace = Literal["ingest", "query"]

TTL_S = 7_200
JITTER_S = 1_200
#: The key of the strings created last, beside the keys of strings.
_NEWEST = "newest"
#: Ids and orgs end here, and have no more digits than this: Python refuses to parse thousands of them.
_IDS = 1 << 64
_ORGS = 1 << 32
_MAX_DIGITS = 20


def make_cache_key(key: str) -> str:
    """Return the shared cache's key for `org_id:string`: of fixed length for any string."""
    hashed = md5(key.encode("utf-8", "surrogatepass"), usedforsecurity=False).hexdigest()
    return f"indexer:org:str:{hashed}"


class Circuit:
    """A circuit breaker: after a failure the service is unused until `probe` succeeds in a thread.

    So a service that hangs costs its callers one timeout, however long it hangs. Thread-safe.
    """

    def __init__(self, probe: Callable[[], object], rest_s: float) -> None:
        self._probe = probe
        self._rest_s = rest_s
        self._lock = threading.Lock()
        self._open = False
        self._closing = threading.Event()
        self.faults: Counter[RedisFault] = Counter()
        self.skipped = 0

    @property
    def failures(self) -> int:
        """Failed calls."""
        return self.faults.total()

    @property
    def closed(self) -> bool:
        """Whether the service is used."""
        return not self._open

    def allows(self) -> bool:
        """Return whether to try; count each refusal."""
        with self._lock:
            self.skipped += self._open
            return not self._open

    def failed(self, error: Exception) -> None:
        """Stop using the service until it answers again."""
        with self._lock:
            self.faults[redis_fault(error)] += 1
            if self._open or self._closing.is_set():
                return
            self._open = True
        threading.Thread(target=self._wait, name="redis-probe", daemon=True).start()

    def close(self) -> None:
        """End the probing thread, if any, within `rest_s` and a timeout."""
        self._closing.set()

    def _wait(self) -> None:
        while not self._closing.wait(self._rest_s):
            try:
                self._probe()
            except REDIS_ERRORS:
                continue
            with self._lock:
                self._open = False
            return


class RedisCache:
    """Ids shared by all indexers. Without Redis every look-up misses: slower, but never wrong.

    After a failure Redis is unused until it answers a ping, sent every `rest_s` in the background: a Redis
    that hangs costs one timeout, then none.
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
        #: The id of the database whose strings it holds: entries of another version are not seen.
        self.version = ""
        self._prefix = f"{namespace}:"
        self._ttl_s = ttl_s
        self._jitter_s = jitter_s
        #: Values of other programs, which are no ids and were ignored.
        self.unreadable = 0
        self.circuit = Circuit(self._redis.ping, rest_s)

    def use_database(self, database_id: str) -> None:
        """Use the keys of this database alone: several may share a Redis, and one may be restored."""
        self.version = database_id
        self._prefix = f"{self._namespace}:{database_id}:"

    def note_newest(self, ids: Sequence[tuple[int, int]]) -> None:
        """Store the (org, id) of the strings created last, for `newest`."""
        if self.circuit.allows():
            text = " ".join(f"{org_id}:{string_id}" for org_id, string_id in ids)
            try:
                self._redis.set(self._prefix + _NEWEST, text, ex=self._ttl_s + self._jitter_s)
            except REDIS_ERRORS as e:
                self.circuit.failed(e)

    def newest(self) -> list[tuple[int, int]]:
        """Return the pair stored last by any indexer; nothing if Redis does not answer."""
        if not self.circuit.allows():
            return []
        try:
            value = self._redis.get(self._prefix + _NEWEST)
        except REDIS_ERRORS as e:
            self.circuit.failed(e)
            return []
        pairs = value.split() if isinstance(value, bytes) else []
        found = [
            (_number(org, _ORGS), _number(of, _IDS)) for org, _, of in (p.partition(b":") for p in pairs)
        ]
        return [(org, of) for org, of in found if org is not None and of is not None]

    def get_many(self, keys: Sequence[str]) -> dict[str, int | None]:
        """Return the ids of keys; None for a miss."""
        values: Sequence[object] = ()
        if keys and self.circuit.allows():
            try:
                values = self._redis.mget([self._key(k) for k in keys])
            except REDIS_ERRORS as e:
                self.circuit.failed(e)
        if len(values) != len(keys):
            return self._format_results(keys, {})
        ids = list(map(_id, values))
        self.unreadable += sum(value is not None for value in values) - sum(of is not None for of in ids)
        return self._format_results(keys, dict(zip(map(make_cache_key, keys), ids, strict=True)))

    def get(self, key: str) -> int | None:
        """Return the id of a key; None for a miss."""
        return self.get_many([key])[key]

    def set_many(self, ids: Mapping[str, int]) -> None:
        """Store for the TTL plus a jitter, so that entries written together do not expire together."""
        if not ids or not self.circuit.allows():
            return
        try:
            with self._redis.pipeline(transaction=False) as pipe:
                for key, value in ids.items():
                    jitter_s = random.randint(0, self._jitter_s)  # noqa: S311  # spreads load, guards nothing
                    pipe.set(self._key(key), value, ex=self._ttl_s + jitter_s)
                pipe.execute()
        except REDIS_ERRORS as e:
            self.circuit.failed(e)

    def delete(self, key: str) -> None:
        """Drop a key."""
        if not self.circuit.allows():
            return
        try:
            self._redis.delete(self._key(key))
        except REDIS_ERRORS as e:
            self.circuit.failed(e)

    def close(self) -> None:
        """Close the client and end the probes."""
        self.circuit.close()
        self._redis.close()

    def _format_results(
        self, keys: Sequence[str], results: Mapping[str, int | None]
    ) -> dict[str, int | None]:
        """Return the results of hashed keys under the caller's keys; None for a miss."""
        return {key: results.get(make_cache_key(key)) for key in keys}

    def _key(self, key: str) -> str:
        return self._prefix + make_cache_key(key)


def _id(value: object) -> int | None:
    """Parse a value of Redis as an id; anything else is a miss."""
    return _number(value, _IDS) if isinstance(value, bytes) else None


def _number(text: bytes, end: int) -> int | None:
    """Parse decimal digits as a number from 1 to below `end`; None for anything else."""
    number = int(text) if text.isdigit() and len(text) <= _MAX_DIGITS else 0
    return number if 0 < number < end else None
