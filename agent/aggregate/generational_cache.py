"""A bounded memory that forgets what was not asked for lately.

Two dicts: what is found in the old one moves to the young one; when the young one is full or has its age,
the old one is forgotten and the young one becomes the old. So an entry lives for at least `keep_ms` after its
last use unless the bound is reached, and nothing is kept per entry.

Pure: `now_ms` is an argument.
"""

from __future__ import annotations

from typing import Generic, TypeVar

K = TypeVar("K")
V = TypeVar("V")


class GenerationalCache(Generic[K, V]):
    """At most `2 * max_entries` entries: those in use, and those of the generation before."""

    def __init__(self, max_entries: int, keep_ms: int) -> None:
        #: What was asked for since the last turn; for reading only, another dict after `put` and `tick`.
        self.young: dict[K, V] = {}
        self._old: dict[K, V] = {}
        self._max = max_entries
        self._keep_ms = keep_ms
        self._turn_ms = 0
        #: Entries forgotten before their time because the memory was full.
        self.evicted = 0

    def __len__(self) -> int:
        return len(self.young) + len(self._old)

    def get(self, key: K) -> V | None:
        """The value of `key`, kept for another while."""
        value = self.young.get(key)
        if value is None:
            value = self._old.pop(key, None)
            if value is not None:
                self.put(key, value)
        return value

    def put(self, key: K, value: V) -> None:
        """Remembers a value, in place of one that the key has."""
        if len(self.young) >= self._max and key not in self.young:
            self.evicted += len(self._old)
            self._old, self.young = self.young, {}
        self.young[key] = value

    def items(self) -> list[tuple[K, V]]:
        """Return all entries, the newer one of a key last; safe beside a thread that changes them."""
        old, young = self._old, self.young
        return [*list(old.items()), *list(young.items())]

    def tick(self, now_ms: int) -> None:
        """Forgets what has not been used for `keep_ms` to `2 * keep_ms`. A clock set back starts anew."""
        if now_ms < self._turn_ms or self._turn_ms == 0:
            self._turn_ms = now_ms
        elif now_ms - self._turn_ms >= self._keep_ms:
            self._turn_ms = now_ms
            self._old, self.young = self.young, {}
