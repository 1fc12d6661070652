"""The interface of both ways to write frames exactly once. Pure."""

from __future__ import annotations

from typing import Protocol

from indexer.write.accepted_frame import AcceptedFrame


class Writer(Protocol):
    """Writes frames exactly once."""

    async def start(self) -> None:
        """Write the unfinished batches of an earlier run, then be ready."""

    async def write(self, unit: AcceptedFrame) -> None:
        """Return when the frame is in ClickHouse. Raises WriteError."""

    async def knows(self, unit: AcceptedFrame) -> bool:
        """Return whether the frame is known to be in ClickHouse. Raises WriteError if it never will be."""

    def oldest_waiting_s(self) -> float:
        """Return how long the oldest frame in progress has waited; 0 for none."""

    async def stop(self, deadline_s: float) -> None:
        """Write the accepted frames, until the deadline; accept no more."""
