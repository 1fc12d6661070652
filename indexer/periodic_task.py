"""A task of the event loop that does its work again and again, and that no mistake of ours ends.

Owns its start, its pauses, the waking and the end. Work that raises is logged with the task's name, counted,
and done again after a pause: a task that ended in silence would be missed much later.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Final

log = logging.getLogger(__name__)

#: The pause after a mistake: the first, and the longest of several that follow each other.
FIRST_REST_S: Final = 1.0
LONGEST_REST_S: Final = 30.0


class PeriodicTask:
    """Calls `work` after `first_s`, then after the seconds that it returns; None: when it is woken.

    `wake` calls it sooner, `linger_s` later: calls that come together are one. `on_mistake` is called
    with the name when `work` has raised, and it is called again after a pause.
    """

    def __init__(
        self,
        name: str,
        work: Callable[[], Awaitable[float | None]],
        on_mistake: Callable[[str], None],
        *,
        first_s: float = 0.0,
        linger_s: float = 0.0,
    ) -> None:
        self._name = name
        self._work = work
        self._on_mistake = on_mistake
        self._first_s = first_s
        self._linger_s = linger_s
        self._woken = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Start; in the event loop."""
        self._task = asyncio.create_task(self._run(), name=f"indexer-{self._name}")

    def wake(self) -> None:
        """Have the work done soon, also if it is being done."""
        self._woken.set()

    async def stop(self) -> None:
        """Cancel the work and wait for its end; a call that it made in a thread goes on there."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _run(self) -> None:
        wait_s: float | None = self._first_s
        rest_s = FIRST_REST_S
        while True:
            await self._wait(wait_s)
            self._woken.clear()
            try:
                wait_s = await self._work()
            except Exception:
                log.exception("event=task_failed task=%s", self._name)
                self._on_mistake(self._name)
                wait_s, rest_s = rest_s, min(2 * rest_s, LONGEST_REST_S)
            else:
                rest_s = FIRST_REST_S

    async def _wait(self, wait_s: float | None) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(wait_s):
                await self._woken.wait()
                await asyncio.sleep(self._linger_s)
