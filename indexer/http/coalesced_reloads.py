"""Reloads of a process with an event loop: those that are asked for while one runs share the next one."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from agent.runtime.logs import Log
from agent.runtime.reload_actions import ReloadActions


class CoalescedReloads(ReloadActions):
    """The actions of one process; at most one run, and one that waits for it."""

    def __init__(self, log: Log) -> None:
        super().__init__(log)
        self._lock = asyncio.Lock()
        self._running: asyncio.Task[Sequence[str]] | None = None
        self._next: asyncio.Task[Sequence[str]] | None = None

    async def run(self) -> Sequence[str]:
        """Return the problems of a run that begins after this call."""
        return await asyncio.shield(self.ask())  # one that gives up ends it for no other

    def ask(self) -> asyncio.Task[Sequence[str]]:
        """Return a run that begins after this call; others may have asked for it."""
        if self._next is None:
            self._next = asyncio.create_task(self._run(), name="reload")
        return self._next

    async def _run(self) -> Sequence[str]:
        async with self._lock:
            self._running, self._next = self._next, None  # later callers may have changed more
            return await super().run()

    def cancel(self) -> None:
        """End the run and the one that waits."""
        for task in (self._running, self._next):
            if task is not None:
                task.cancel()
