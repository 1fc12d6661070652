"""Lets frames wait at a gate until a deletion of their org has ended, and no thread with them.

Owns the looks at the gate (indexer/write/write_gate.py): one for all frames of an org, as thousands may wait.
For one event loop.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from indexer.write.gated_batches import GATE_LOOK_S
from indexer.write.write_gate import WriteGate


class GateWaits:
    """The frames that wait at a gate."""

    def __init__(self, gate: WriteGate, sleep: Callable[[float], Awaitable[None]] = asyncio.sleep) -> None:
        self._gate = gate
        self._sleep = sleep
        self._looks: dict[int, asyncio.Task[None]] = {}  # by org

    async def opened(self, org_id: int) -> None:
        """Wait until an org is open; the next deletion may close it again at once."""
        while org_id in self._gate.closed:
            look = self._looks.get(org_id)
            if look is None:
                look = self._looks[org_id] = asyncio.create_task(self._look(org_id), name="gate-look")
            await asyncio.shield(look)

    async def _look(self, org_id: int) -> None:
        try:
            while org_id in self._gate.closed:
                await self._sleep(GATE_LOOK_S)
        finally:
            del self._looks[org_id]
