"""A bounded cache that drops the least recently used entry first. Thread-safe."""

from __future__ import annotations

import threading
from collections import OrderedDict
from typing import Generic, TypeVar

K = TypeVar("K")
V = TypeVar("V")


class LruDict(Generic[K, V]):
    """A cache of at most `max_entries` and `max_weight` in all; an entry heavier than that empties it."""

    def __init__(self, max_entries: int, max_weight: int = 0) -> None:
        self._max_entries = max_entries
        self._max_weight = max_weight
        self._lock = threading.Lock()
        self._held: OrderedDict[K, tuple[V, int]] = OrderedDict()
        self._weight = 0

    def __len__(self) -> int:
        return len(self._held)

    def keys(self) -> list[K]:
        """Return the keys ordered by last use, most recent last."""
        with self._lock:
            return list(self._held)

    def get(self, key: K) -> V | None:
        """Return the value of a key, now most recently used; None if absent."""
        with self._lock:
            entry = self._held.get(key)
            if entry is None:
                return None
            self._held.move_to_end(key)
            return entry[0]

    @property
    def weight(self) -> int:
        """The weight of all entries."""
        return self._weight

    def put(self, key: K, value: V, weight: int = 0) -> int:
        """Keep a value, and drop the least recently used until all fit. Return the number dropped."""
        evicted = 0
        with self._lock:
            before = self._held.pop(key, None)
            self._weight += weight - (before[1] if before is not None else 0)
            self._held[key] = (value, weight)
            while len(self._held) > self._max_entries or self._weight > self._max_weight:
                _, (_, dropped) = self._held.popitem(last=False)
                self._weight -= dropped
                evicted += 1
        return evicted
