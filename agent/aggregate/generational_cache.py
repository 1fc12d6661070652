"""A bounded cache that evicts entries not used recently.

Two generations: an entry found in the old one moves to the young one. When the young generation is full or
has reached its age, the old one is dropped and the young one becomes old. An entry therefore lives at least
`keep_ms` after its last use unless the bound is reached, without any per-entry bookkeeping.

Pure: `now_ms` is an argument.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, TypeVar

K = TypeVar("K")
V = TypeVar("V")


class GenerationalCache(Generic[K, V]):
    """Holds at most `2 * max_entries` entries: those in use, and those of the generation before.

    `weigh`: as how many entries a key counts.
    """

    def __init__(self, max_entries: int, keep_ms: int, weigh: Callable[[K], int] | None = None) -> None:
        #: Entries used since the last turn. Read only; `put` and `tick` may replace the dict.
        self.young: dict[K, V] = {}
        self._old: dict[K, V] = {}
        self._max = max_entries
        self._weigh = weigh
        self._more = 0  # beyond the number of young entries, by their weights
        self._keep_ms = keep_ms
        self._turn_ms = 0
        #: Entries evicted early because the cache was full.
        self.evicted = 0

    def __len__(self) -> int:
        return len(self.young) + len(self._old)

    def get(self, key: K) -> V | None:
        """Return the value of `key` and mark it as used."""
        value = self.young.get(key)
        if value is None:
            value = self._old.pop(key, None)
            if value is not None:
                self.put(key, value)
        return value

    def put(self, key: K, value: V) -> None:
        """Store a value, replacing an earlier one of the key."""
        if key not in self.young:
            if len(self.young) + self._more >= self._max:
                self.evicted += len(self._old)
                self._turn()
            if self._weigh is not None:
                self._more += self._weigh(key) - 1
        self.young[key] = value

    def items(self) -> list[tuple[K, V]]:
        """Return all entries, the newer one of a key last; safe while another thread changes them."""
        old, young = self._old, self.young
        return [*list(old.items()), *list(young.items())]

    def clear(self) -> None:
        """Forget all entries."""
        self._old, self.young, self._more = {}, {}, 0

    def _turn(self) -> None:
        self._old, self.young, self._more = self.young, {}, 0

    def tick(self, now_ms: int) -> None:
        """Evict entries not used for `keep_ms` to `2 * keep_ms`; a clock set back restarts the age."""
        if now_ms < self._turn_ms or self._turn_ms == 0:
            self._turn_ms = now_ms
        elif now_ms - self._turn_ms >= self._keep_ms:
            self._turn_ms = now_ms
            self._turn()
