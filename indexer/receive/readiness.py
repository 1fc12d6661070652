"""Asks the store and the journal whether they work, for `/readyz`.

Owns how long it waits for an answer. Runs in one event loop; calls of the store run in threads of their own,
so that a ClickHouse that hangs blocks neither `/readyz` nor anything else.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final

from indexer.clickhouse.store import Store, StoreError
from indexer.write.health import Health, Part
from indexer.write.journal import Journal, JournalError

#: How long /readyz waits for the store.
_ANSWER_S: Final = 2.0


class Readiness:
    """Asks the store and the journal; at most one question is in progress."""

    def __init__(self, health: Health) -> None:
        self._health = health
        self._threads = ThreadPoolExecutor(2, thread_name_prefix="indexer-ready")
        self._asking: asyncio.Future[str] | None = None

    async def problems(self, store: Store, journal: Journal | None) -> Mapping[Part, str]:
        """Return why frames are not stored, or batches are set aside, by part."""
        found = dict(self._health.problems())
        if Part.JOURNAL in found and journal is not None and await self._in_thread(_is_written, journal):
            self._health.journal_works()
            del found[Part.JOURNAL]
        answer = await self._answer(store)
        if answer:
            found.setdefault(Part.STORE, answer)
        return found

    def close(self) -> None:
        """Release the threads without waiting for a question in progress."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def _answer(self, store: Store) -> str:
        """Return why the store does not answer; empty if it does."""
        if self._asking is None or self._asking.done():
            self._asking = asyncio.ensure_future(self._in_thread(_asked, store))
        try:
            async with asyncio.timeout(_ANSWER_S):
                return await asyncio.shield(self._asking)
        except TimeoutError:
            return f"ClickHouse does not answer within {_ANSWER_S:.0f} s"

    async def _in_thread(self, call: Callable[..., Any], *args: object) -> Any:
        return await asyncio.get_running_loop().run_in_executor(self._threads, call, *args)


def _asked(store: Store) -> str:
    try:
        store.rows("SELECT 1")
    except StoreError as e:
        return e.told
    return ""


def _is_written(journal: Journal) -> bool:
    try:
        journal.check()
    except JournalError:
        return False
    return True
