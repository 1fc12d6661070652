"""Counts the parts that INSERTs make in a ClickHouse, by table and second.

The highest block number says less: those of a table without replicas are shared by its partitions, and a
repeated INSERT that is dropped takes one. So parts of one block are counted. They stay listed for minutes
after their merge.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Final

from indexer.clickhouse.store import Store

#: Seconds between two looks, and how far back each one sees: inactive parts stay for 480 s.
_EVERY_S: Final = 5.0
_BACK_S: Final = 240
_EVENTS: Final = "SELECT sum(value) FROM system.events WHERE event IN ({names})".format(
    names="'InsertedCompactParts', 'InsertedWideParts'"
)
_NEW: Final = (
    "SELECT table, partition_id || '/' || toString(min_block_number), min(toUnixTimestamp(modification_time))"
    " FROM system.parts WHERE database = currentDatabase() AND min_block_number = max_block_number"
    f" AND modification_time > now() - {_BACK_S} GROUP BY ALL"
)


class PartsWatch:
    """Looks at the parts of a store in a thread, from `start` to `stop`; the store is its own."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._seen: dict[tuple[str, str], int] = {}  # when each part was made, in seconds
        self._before: set[tuple[str, str]] = set()
        self._events = 0
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def start(self) -> None:
        """Begin; parts made before do not count."""
        self._before = set(self._look())
        self._events = self._made()
        self._thread.start()

    def stop(self) -> None:
        """Look for the last time."""
        self._stopped.set()
        self._thread.join()
        self._seen = self._look() | self._seen
        self._events = self._made() - self._events

    @property
    def events(self) -> int:
        """The parts of INSERTs by the engine's own count, once stopped."""
        return self._events

    def by_table(self) -> dict[str, int]:
        """Return the number of parts of each table, the highest first."""
        return dict(Counter(table for table, _ in self._new()).most_common())

    def seconds(self) -> list[int]:
        """Return the second of each part."""
        return sorted(self._new().values())

    def _new(self) -> Mapping[tuple[str, str], int]:
        return {part: at_s for part, at_s in self._seen.items() if part not in self._before}

    def _run(self) -> None:
        while not self._stopped.wait(_EVERY_S):
            self._seen = self._look() | self._seen  # a part that was rewritten keeps its first time

    def _look(self) -> dict[tuple[str, str], int]:
        return {(table, name): int(at_s) for table, name, at_s in self._store.rows(_NEW)}

    def _made(self) -> int:
        return int(self._store.rows(_EVENTS)[0][0] or 0)


def worst_rate(seconds: Iterable[int], window_s: int) -> float:
    """Return the events a second of the window of whole seconds that has the highest number of them."""
    counts = Counter(seconds)
    sums = (sum(counts[at + n] for n in range(window_s)) for at in counts)
    return max(sums, default=0) / window_s
