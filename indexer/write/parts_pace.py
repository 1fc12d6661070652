"""Pays the parts of all INSERTs from one allowance, so that a server gets few of them. Pure, thread-safe.

Each INSERT makes a part in each table and partition that it touches; a server merges a limited number. The
indexers of a database share one rate: each has an equal part of it. Every INSERT is paid once it is done, and
batches wait until all is paid. Callers pass times of a monotonic clock.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Final

import numpy as np

from indexer.clickhouse.granularities import GRANULARITIES
from indexer.clickhouse.native_format import ColumnData
from indexer.clickhouse.schema.tables import INPUT, LEGACY_INPUT
from indexer.write.frame_to_columns import DAY_S

#: Seconds of the rate that may be used at once: agents flush together, every ten seconds.
_BURST_S: Final = 10.0
#: ... and by an indexer that has a new journal; others continue where the last process ended.
_FIRST_S: Final = 3.0
#: A batch begins so long after the one before, whatever is owed: agents wait for an answer for 10 s.
_MAX_WAIT_S: Final = 8.0
#: Debts beyond it are forgotten: rows of many days make hundreds of parts.
_MAX_OWED_S: Final = 60.0
#: The tables that get rows with those of `series`: it, and by views those of tag keys and values.
_WITH_SERIES: Final = 3


def parts_of(table: str, columns: Mapping[str, ColumnData]) -> int:
    """Return how many parts an INSERT into a table makes at most, in all tables that it fills."""
    if table == "series":
        return _WITH_SERIES
    if table.partition("_")[0] not in (INPUT, LEGACY_INPUT):
        return 1
    day = np.asarray(columns["bucket"]) // DAY_S
    return sum(_pairs(day, columns.get(f"days_{g.name}")) for g in GRANULARITIES)


def _pairs(day: np.ndarray, kept: ColumnData | None) -> int:
    """Return the number of different pairs of day and retention: at most one part each."""
    pairs = day.astype(np.uint64) << np.uint64(16)
    if kept is not None:
        pairs |= np.asarray(kept).astype(np.uint64)
    return 1 if len(pairs) and pairs.min() == pairs.max() else len(np.unique(pairs))


class PartsPace:
    """Says when the next batch may begin.

    `per_s`: parts a second of all indexers on average; 0: no limit.
    """

    def __init__(self, per_s: float) -> None:
        self._in_all = self._per_s = per_s
        self._left = _FIRST_S * per_s  # parts that may be made; below 0: debts
        self._at_ms = 0
        self._began_ms: int | None = None
        self._unowed = False
        self._lock = threading.Lock()

    def share(self, indexers: int, now_ms: int) -> None:
        """Share the rate with others from now on; `indexers` includes this one."""
        with self._lock:
            self._refill(now_ms)
            self._per_s = self._in_all / max(1, indexers)

    def resume(self, left: float, passed_s: float) -> None:
        """Go on with the allowance or the debts of an earlier process, `passed_s` ago."""
        with self._lock:
            left = max(left, -_MAX_OWED_S * self._per_s) + passed_s * self._per_s
            self._left = min(left, _BURST_S * self._per_s)

    def wait_ms(self, now_ms: int) -> int:
        """Return how long the next batch waits."""
        if not self._in_all:
            return 0
        with self._lock:
            self._refill(now_ms)
            if self._left >= 0:
                return 0
            wait_ms = int(-self._left / self._per_s * 1000) + 1
            since_ms = now_ms if self._began_ms is None else self._began_ms
            return min(wait_ms, max(0, since_ms + int(_MAX_WAIT_S * 1000) - now_ms))

    def began(self, now_ms: int) -> None:
        """Note that a batch begins."""
        with self._lock:
            self._began_ms = now_ms

    def made(self, parts: int, now_ms: int) -> None:
        """Note the parts of an INSERT."""
        if not self._in_all:
            return
        with self._lock:
            self._refill(now_ms)
            lowest = min(self._left, 0.0) if self._unowed else -_MAX_OWED_S * self._per_s
            self._left = max(self._left - parts, lowest)

    def left(self, now_ms: int) -> float:
        """Return the parts that may be made now; below 0: debts."""
        with self._lock:
            self._refill(now_ms)
            return self._left

    @contextmanager
    def unowed(self) -> Iterator[None]:
        """Let INSERTs make no debts: later batches, maybe of other orgs, do not wait for them."""
        with self._lock:
            self._unowed = True
        try:
            yield
        finally:
            with self._lock:
                self._unowed = False

    def _refill(self, now_ms: int) -> None:
        passed_s = max(0, now_ms - self._at_ms) / 1000 if self._at_ms else 0.0
        self._left = min(self._left + passed_s * self._per_s, _BURST_S * self._per_s)
        self._at_ms = max(now_ms, self._at_ms)
