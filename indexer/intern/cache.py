"""Caches of string ids, in the process (LRU) and shared (indexer/intern/redis_cache.py).

A cache may lose, never lie. Keys are `org_id:string`. `get_many` answers under the caller's keys, None for a
miss. Only existing ids are cached, never their absence: a string created elsewhere is seen at once.
Thread-safe.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from itertools import repeat
from typing import Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

from indexer.intern.keys import cache_keys


class StringCache(Protocol):
    """A cache of ids by `org_id:string`."""

    def get_many(self, keys: Sequence[str]) -> dict[str, int | None]:
        """Return the ids of keys; None for a miss."""

    def set_many(self, ids: Mapping[str, int]) -> None:
        """Store ids by their keys."""

    def delete(self, key: str) -> None:
        """Drop a key."""


@runtime_checkable
class NearCache(StringCache, Protocol):
    """A cache in the process, for whole columns of an agent's strings: 100,000 per bucket."""

    dropped: int

    def __len__(self) -> int: ...

    def find(self, org_id: int, strings: list[str]) -> npt.NDArray[np.uint64]:
        """Return the ids of an org's strings in their order, 0 for a miss."""

    def put(self, org_id: int, strings: list[str], ids: Sequence[int]) -> None:
        """Store the ids of an org's strings, in the same order."""


def open_near_cache(max_entries: int) -> NearCache:
    """Return the compiled cache, which takes an eighth of the CPU per string, or the one in Python."""
    try:
        from indexer._native.id_table import NativeCache
    except ImportError:  # not compiled
        return LruCache(max_entries)
    return NativeCache(max_entries)


class LruCache:
    """Holds at most `max_entries` ids; drops those unused for longest first.

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
        """Return the ids of an org's strings in their order, 0 for a miss."""
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
        """Store the ids of an org's strings, in the same order."""
        self.set_many(dict(zip(cache_keys(org_id, strings), ids, strict=True)))

    def get_many(self, keys: Sequence[str]) -> dict[str, int | None]:
        """Return the ids of keys; None for a miss."""
        with self._lock:
            found = dict(zip(keys, map(self._young.get, keys), strict=True))
            if self._old and len(found):
                for key, value in found.items():
                    if value is None and (older := self._old.pop(key, None)) is not None:
                        found[key] = older
                        self._put(key, older)
            return found

    def set_many(self, ids: Mapping[str, int]) -> None:
        """Store ids by their keys."""
        with self._lock:
            for key, value in ids.items():
                self._old.pop(key, None)
                self._put(key, value)

    def delete(self, key: str) -> None:
        """Drop a key."""
        with self._lock:
            self._young.pop(key, None)
            self._old.pop(key, None)

    def _put(self, key: str, value: int) -> None:
        self._young[key] = value
        if len(self._young) >= self._half:
            self.dropped += len(self._old)
            self._old, self._young = self._young, {}
