"""Keeps frames back whose org has a deletion (indexer/write/write_gate.py), so that no thread waits for it.

Frames of other orgs in the same batch go on without them. For one event loop.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Final

from indexer.write.accepted_frame import AcceptedFrame
from indexer.write.batch_turns import TakenBatch
from indexer.write.write_gate import WriteGate

#: Why a batch waits.
DELETED: Final = "data of its org are being deleted"
#: Seconds between two looks whether a deletion has ended.
GATE_LOOK_S: Final = 0.1


class GatedBatches:
    """The batches of a writer at a gate."""

    def __init__(self, gate: WriteGate) -> None:
        self._gate = gate
        self._back: list[TakenBatch] = []

    @property
    def closed(self) -> frozenset[int]:
        """The orgs whose frames wait."""
        return self._gate.closed

    def wait_s(self, wait_ms: int | None) -> float | None:
        """Return how long the writer may wait for the next batch; None: for ever."""
        if self._back or self._gate.closed:
            return GATE_LOOK_S if wait_ms is None else min(wait_ms / 1000, GATE_LOOK_S)
        return None if wait_ms is None else wait_ms / 1000

    @contextmanager
    def entered(self, batch: TakenBatch) -> Iterator[TakenBatch | None]:
        """Enter with a new batch, and keep its frames of closed orgs back; None: nothing is left."""
        orgs = orgs_of(batch.units)
        held = self._gate.enter(orgs)
        try:
            yield self._divided(batch, held) if held else batch
        finally:
            self._gate.leave(orgs - held)

    @contextmanager
    def passing(self, units: Sequence[AcceptedFrame]) -> Iterator[bool]:
        """Enter with a batch of the journal; False: it did not, as an org of it is closed."""
        orgs = orgs_of(units)
        held = self._gate.enter(orgs)
        try:
            yield not held
        finally:
            self._gate.leave(orgs - held)

    def opened(self) -> list[TakenBatch]:
        """Remove and return the batches whose orgs are open again."""
        closed = self._gate.closed
        found = [one for one in self._back if closed.isdisjoint(orgs_of(one.units))]
        self._back = [one for one in self._back if not closed.isdisjoint(orgs_of(one.units))]
        return found

    def _divided(self, batch: TakenBatch, held: frozenset[int]) -> TakenBatch | None:
        back = [unit for unit in batch.units if unit.frame.org_id in held]
        rest = [unit for unit in batch.units if unit.frame.org_id not in held]
        if not rest:
            self._back.append(batch)
            return None
        self._back.append(TakenBatch(uuid.uuid4().hex, back))
        return TakenBatch(batch.token, rest)


def orgs_of(units: Sequence[AcceptedFrame]) -> set[int]:
    """Return the orgs of frames."""
    return {unit.frame.org_id for unit in units}
