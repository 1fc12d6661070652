"""Makes tables on nodes of a cluster that lack them: those that join, and those that were dead.

It looks once a minute, in a thread of its own; the rest runs in one event loop.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Final

from indexer.clickhouse.schema import complete
from indexer.clickhouse.store import Store, StoreError
from indexer.periodic_task import PeriodicTask

log = logging.getLogger(__name__)

_EVERY_S: Final = 60.0


class TablesWatch:
    """Looks every `every_s` seconds from `start` on."""

    def __init__(self, store: Store, on_mistake: Callable[[str], None], every_s: float = _EVERY_S) -> None:
        self._store = store
        self._every_s = every_s
        self._threads = ThreadPoolExecutor(1, thread_name_prefix="indexer-tables")
        self._task = PeriodicTask("tables", self._look, on_mistake, first_s=every_s)
        self._said = ""

    def start(self) -> None:
        """Start looking."""
        self._task.start()

    async def stop(self) -> None:
        """Stop looking, after a look that runs: the store closes next."""
        await self._task.stop()
        await asyncio.to_thread(partial(self._threads.shutdown, cancel_futures=True))

    def look(self) -> None:
        """Make missing tables; log their number, and an error once."""
        try:
            count = complete(self._store)
        except StoreError as e:
            if str(e) != self._said:
                self._said = str(e)
                log.warning("event=tables_not_completed text=%s", e)
            return
        self._said = ""
        if count:
            log.info("event=tables_completed statements=%d", count)

    async def _look(self) -> float:
        await asyncio.get_running_loop().run_in_executor(self._threads, self.look)
        return self._every_s
