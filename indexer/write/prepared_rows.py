"""Keeps the rows of frames that wait for their batch, made while it gathers further frames.

A batch waits for the frames of all agents anyway, and all its senders wait for the work that follows.
Rows follow from a frame and the ids of its strings alone, so those made earlier are the same. They are
dropped when caches are emptied (`generation`), since their strings may be gone from the store: the batch then
records these again. For one thread.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from indexer.write.accepted_frame import AcceptedFrame
from indexer.write.frame_to_columns import FrameRows


class _Prepared(NamedTuple):
    unit: AcceptedFrame
    rows: FrameRows


class PreparedRows:
    """See the module."""

    def __init__(self) -> None:
        self._generation = 0
        self._of: dict[str, _Prepared] = {}  # by identity

    def __len__(self) -> int:
        return len(self._of)

    def missing(self, units: Sequence[AcceptedFrame], generation: int) -> list[AcceptedFrame]:
        """Forget all frames but these, and return those that have no rows yet."""
        self._use(generation)
        self._of = {u.identity: self._of[u.identity] for u in units if self._has(u)}
        return [u for u in units if u.identity not in self._of]

    def put(self, unit: AcceptedFrame, rows: FrameRows, generation: int) -> None:
        """Keep the rows of a frame, whose strings were recorded in this generation."""
        if generation == self._generation:
            self._of[unit.identity] = _Prepared(unit, rows)

    def take(self, unit: AcceptedFrame, generation: int) -> FrameRows | None:
        """Remove and return the rows of this very frame; a changed copy of it has others."""
        self._use(generation)
        if not self._has(unit):
            return None
        return self._of.pop(unit.identity).rows

    def _has(self, unit: AcceptedFrame) -> bool:
        found = self._of.get(unit.identity)
        return found is not None and found.unit is unit

    def _use(self, generation: int) -> None:
        if generation != self._generation:
            self._generation = generation
            self._of = {}
