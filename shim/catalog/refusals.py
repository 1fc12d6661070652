"""Remembers for a moment which look-ups were refused because they match too many series. Thread-safe."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

from shim.catalog.lru_cache import LruDict
from shim.catalog.types import SelectionKey
from shim.model.errors import ExecutionError

_MAX_REFUSALS: Final = 1_000
#: Of their texts, in units of 100 characters.
_MAX_WEIGHT: Final = 100_000


class Refusals:
    """Repeats a refusal for `max_age_s`, without a statement: series of a day only become more.

    Such a look-up costs several statements over all of the series, and dashboards repeat it. `clock` is in
    seconds.
    """

    def __init__(self, max_age_s: float, clock: Callable[[], float]) -> None:
        self._max_age_s = max_age_s
        self._clock = clock
        self._refused: LruDict[SelectionKey, tuple[float, str]] = LruDict(_MAX_REFUSALS, _MAX_WEIGHT)

    def check(self, key: SelectionKey) -> None:
        """Raise ExecutionError for a look-up that was refused lately."""
        known = self._refused.get(key)
        if known is not None and self._clock() - known[0] < self._max_age_s:
            raise ExecutionError(known[1])

    @contextmanager
    def remembering(self, key: SelectionKey) -> Iterator[None]:
        """Remember the look-up when the body refuses it with an ExecutionError."""
        try:
            yield
        except ExecutionError as e:
            self._refused.put(key, (self._clock(), str(e)), key.weight)
            raise
