"""Paces batches by the parts that they make, so that a server has few of them. Pure.

Each INSERT makes a part in each rollup and partition that it touches; a server merges a limited number. Parts
are counted before they are made: callers pass the frames of a batch, and times of a monotonic clock.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from indexer.clickhouse.granularities import GRANULARITIES
from indexer.clickhouse.schema.metric_types import KINDS
from indexer.write.accepted_frame import AcceptedFrame

#: Seconds of the rate that may be used at once: agents flush together, every ten seconds.
_BURST_S: Final = 10.0
#: ... and by a process that has just started: one that is killed again and again makes no more parts.
_FIRST_S: Final = 3.0
#: A batch waits no longer, whatever the one before it made: agents wait for an answer for 10 s.
_MAX_WAIT_S: Final = 7.0
#: Parts of a batch that are no rows: its claims, its identities, its heartbeats, new strings and series.
_BESIDE: Final = 4


def parts_of(units: Sequence[AcceptedFrame]) -> int:
    """Return how many parts an INSERT of frames makes at most, in all tables."""
    kinds = sum(any(getattr(unit.frame, kind).bucket for unit in units) for kind in KINDS)
    partitions = {partition for unit in units for partition in unit.partitions}
    return kinds * len(GRANULARITIES) * len(partitions) + _BESIDE


class PartsPace:
    """Says when the next batch may begin. `per_s`: parts a second on average; 0: no limit."""

    def __init__(self, per_s: float) -> None:
        self._per_s = per_s
        self._left = _FIRST_S * per_s
        self._at_ms = 0

    def wait_ms(self, now_ms: int) -> int:
        """Return how long the next batch waits."""
        if not self._per_s:
            return 0
        self._refill(now_ms)
        return 0 if self._left > 0 else int(-self._left / self._per_s * 1000) + 1

    def made(self, parts: int, now_ms: int, *, owed: bool = True) -> None:
        """Note the parts of a batch that begins.

        Not `owed`: later batches, which may be of other orgs, do not wait for them.
        """
        if self._per_s:
            self._refill(now_ms)
            lowest = -_MAX_WAIT_S * self._per_s if owed else min(self._left, 0.0)
            self._left = max(self._left - parts, lowest)

    def _refill(self, now_ms: int) -> None:
        passed_s = max(0, now_ms - self._at_ms) / 1000 if self._at_ms else 0.0
        self._left = min(self._left + passed_s * self._per_s, _BURST_S * self._per_s)
        self._at_ms = max(now_ms, self._at_ms)
