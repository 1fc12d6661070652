"""Which units make the next batch. Pure: times are arguments, nothing waits here.

Units queue up while a batch is being written and go out together with the next one. The queue is bounded by
bytes: a unit that does not fit is refused, and its sender keeps it.
"""

from __future__ import annotations

from collections import deque

from indexer.settings import Batch
from indexer.shares import HeldBytes
from indexer.unit import Unit


class Batcher:
    """`queue_bytes` bounds what waits and what is being written, together and by org (indexer/shares.py)."""

    def __init__(self, settings: Batch, queue_bytes: int) -> None:
        self._settings = settings
        self._held = HeldBytes(queue_bytes)
        self._queue: deque[tuple[Unit, int]] = deque()  # with the time it came, in ms
        self._rows = 0
        self._waiting_bytes = 0

    @property
    def held_bytes(self) -> int:
        """Bytes of the units that wait or are being written."""
        return self._held.total

    def __len__(self) -> int:
        return len(self._queue)

    def offer(self, unit: Unit, now_ms: int) -> bool:
        """Queue a unit; False when it does not fit. An empty queue takes a unit of any size."""
        if not self._held.take(unit.frame.org_id, unit.held_bytes):
            return False
        self._queue.append((unit, now_ms))
        self._rows += unit.frame.rows
        self._waiting_bytes += unit.held_bytes
        return True

    def ready_in_ms(self, now_ms: int) -> int | None:
        """How long until a batch should be taken: 0 is now, None is never (nothing waits)."""
        if not self._queue:
            return None
        if self._rows >= self._settings.rows or self._waiting_bytes >= self._settings.bytes:
            return 0
        return max(0, self._queue[0][1] + self._settings.linger_ms - now_ms)

    def take(self) -> list[Unit]:
        """The next batch: units in the order they came, up to the bounds, at least one if any waits."""
        units: list[Unit] = []
        rows = size = 0
        while self._queue:
            unit = self._queue[0][0]
            rows += unit.frame.rows
            size += unit.held_bytes
            if units and (rows > self._settings.rows or size > self._settings.bytes):
                break
            self._queue.popleft()
            units.append(unit)
            self._rows -= unit.frame.rows
            self._waiting_bytes -= unit.held_bytes
        return units

    def release(self, units: list[Unit]) -> None:
        """The batch is done with: its bytes are free."""
        for unit in units:
            self._held.release(unit.frame.org_id, unit.held_bytes)
