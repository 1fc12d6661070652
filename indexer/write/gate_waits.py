"""Lets frames wait at a gate until a deletion of their org has ended, and no thread with them.

Owns the looks at the gate (indexer/write/write_gate.py): one for all frames of an org, as thousands may wait.
For one event loop.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from indexer.write.gated_batches import GATE_LOOK_S
from indexer.write.write_gate import WriteGate


class GateWaits:
    """The frames that wait at a gate."""

    def __init__(self, gate: WriteGate, sleep: Callable[[float], Awaitable[None]] = asyncio.sleep) -> None:
        self._gate = gate
        self._sleep = sleep
        self._looks: dict[int, asyncio.Task[None]] = {}  # by org

    @asynccontextmanager
    async def entered(self, org_id: int) -> AsyncIterator[None]:
        """Enter with an INSERT of an org, once the org is open."""
        while self._gate.enter((org_id,)):
            look = self._looks.get(org_id)
            if look is None:
                look = self._looks[org_id] = asyncio.create_task(self._look(org_id), name="gate-look")
            await asyncio.shield(look)
        try:
            yield
        finally:
            self._gate.leave((org_id,))

    async def _look(self, org_id: int) -> None:
        try:
            while org_id in self._gate.closed:
                await self._sleep(GATE_LOOK_S)
        finally:
            del self._looks[org_id]
