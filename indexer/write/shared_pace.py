"""Paces the INSERTs of one of several indexers: who shares the rate, and the rest of earlier allowances.

The other indexers are known by the rows that their batches write into `identities`. An indexer without
batches takes no share. The journal keeps the allowance with each batch, so a restart neither gives nor takes.
Sync: `begin` and the INSERTs run in threads.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from typing import Final

from indexer.clickhouse.native_format import ColumnData
from indexer.clickhouse.schema.bookkeeping import IDENTITIES
from indexer.clickhouse.store import Store, StoreError
from indexer.metrics import Metrics
from indexer.write.journal import Journal
from indexer.write.parts_pace import PartsPace, parts_of
from indexer.write.stored_identities import JOURNAL_SOURCES

#: An indexer whose batches do not go on for so long has no share; agents send each 10 s.
ACTIVE_S: Final = 40.0
_LOOK_EVERY_S: Final = 5.0
#: The number of indexers that one assumes until it has stored a batch: others may start with it.
_NEW: Final = 3
_BATCHES: Final = (
    "SELECT source, max((block, masks)), toFloat64(max(at_ms)) FROM (SELECT source, block,"
    f" groupBitOr(mask) AS masks, max(last_ms) AS at_ms FROM {IDENTITIES}"
    " WHERE source >= {a:String} AND source < {b:String} GROUP BY source, block) GROUP BY source"
)

#: The last batch that each journal has stored, and when by its own wall clock in milliseconds.
LastBatches = Mapping[str, tuple[object, float]]


class ActiveIndexers:
    """Knows which indexers store batches, by their last ones. Pure.

    Their clocks do not count after the first look: one is active when its last batch has changed of late.
    """

    def __init__(self, own: str) -> None:
        self._own = own
        self._last: dict[str, object] = {}
        self._changed_s: dict[str, float] | None = None

    def look(self, batches: LastBatches, now_s: float, wall_ms: float) -> int:
        """Return the number of active ones, with this one. `now_s`: of a monotonic clock."""
        first, changed = self._changed_s is None, self._changed_s or {}
        for journal, (last, at_ms) in batches.items():
            if first:
                changed[journal] = now_s - max(0.0, wall_ms - at_ms) / 1000
            elif self._last.get(journal) != last:
                changed[journal] = now_s
            self._last[journal] = last
        self._changed_s = changed
        others = (at_s for journal, at_s in changed.items() if journal != self._own)
        active = 1 + sum(now_s - at_s < ACTIVE_S for at_s in others)
        return active if self._own in batches else max(active, _NEW)


class SharedPace:
    """The pace of one indexer. `per_s`: parts a second of all; 0: no limit."""

    def __init__(
        self,
        store: Store,
        journal: Journal,
        per_s: float,
        metrics: Metrics,
        clock_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self._metrics = metrics
        self._store = store
        self._clock_s = clock_s
        self._per_s = per_s
        self._active = ActiveIndexers(f"{JOURNAL_SOURCES[0]}{journal.name}")
        self._looked_s = float("-inf")
        self._pace = PartsPace(per_s)
        self._earlier = journal.allowance
        if per_s:
            journal.allowance_left = lambda: self._pace.left(self._now_ms())
            store.on_insert = self._inserted

    def wait_ms(self) -> int:
        """Return how long the next batch waits."""
        return self._pace.wait_ms(self._now_ms())

    def look(self) -> None:
        """Look for other indexers, now and then."""
        now_s = self._clock_s()
        if self._per_s and now_s - self._looked_s >= _LOOK_EVERY_S:
            self._looked_s = now_s
            self._share(now_s)

    def start(self) -> None:
        """Go on with the earlier allowance, without a look: before the first batch there is time for it."""
        if self._per_s:
            self._begin()

    def begin(self, *, alone: bool = False) -> None:
        """Note that a batch begins, and look for other indexers.

        A batch of one message, `alone`, does not put the next one off.
        """
        if not self._per_s or alone:
            return
        self.look()
        self._begin()

    def _begin(self) -> None:
        if self._earlier is not None:
            left, at_ms = self._earlier
            self._pace.resume(left, max(0, _wall_ms() - at_ms) / 1000)
            self._earlier = None
        self._pace.began(self._now_ms())

    def unowed(self) -> AbstractContextManager[None]:
        """Return a context whose INSERTs later batches do not wait for."""
        return self._pace.unowed()

    def _share(self, now_s: float) -> None:
        first, end = JOURNAL_SOURCES
        try:
            rows = self._store.rows(_BATCHES, {"a": first, "b": end})
        except StoreError:  # the batch will tell; those known so far still count
            return
        batches = {str(source): (last, float(at_ms)) for source, last, at_ms in rows}
        active = self._active.look(batches, now_s, _wall_ms())
        self._metrics.sharing_indexers.set(active)
        self._pace.share(active, self._now_ms())

    def _inserted(self, table: str, columns: Mapping[str, ColumnData]) -> None:
        parts = parts_of(table, columns)
        self._metrics.inserted_parts.inc(parts)
        self._pace.made(parts, self._now_ms())

    def _now_ms(self) -> int:
        return int(self._clock_s() * 1000)


def _wall_ms() -> int:
    return time.time_ns() // 1_000_000
