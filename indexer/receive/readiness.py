"""Whether the store answers: waited for at the start, asked for by /readyz.

Owns how long is waited. Runs in one event loop; the store's calls run in threads of their own, so that a
ClickHouse that hangs keeps neither /readyz nor anything else waiting.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final, Protocol

from indexer.clickhouse.store import Store, StoreError
from indexer.write.health import Health, Part
from indexer.write.journal import Journal, JournalError

log = logging.getLogger(__name__)


#: How long /readyz waits for the store.
_ANSWER_S: Final = 2.0
_FIRST_WAIT_S: Final = 0.5
_LONGEST_WAIT_S: Final = 10.0


class _InThread(Protocol):
    def __call__(self, call: Callable[[], Store]) -> Awaitable[Store]: ...


async def open_when_there(opening: Callable[[], Store], in_thread: _InThread) -> Store:
    """Open a store; wait while its server is away, starts or is overloaded, and say so once a minute.

    Raises StoreError for what does not pass by itself, a wrong password for example.
    """
    wait_s, waited_s, said_s = _FIRST_WAIT_S, 0.0, -60.0
    while True:
        try:
            return await in_thread(opening)
        except StoreError as e:
            if not e.retryable:
                raise
            if waited_s - said_s >= 60:
                log.warning("event=waiting_for_store waited_s=%.0f text=%s", waited_s, e)
                said_s = waited_s
        await asyncio.sleep(wait_s)
        waited_s += wait_s
        wait_s = min(2 * wait_s, _LONGEST_WAIT_S)


async def started(start: Coroutine[Any, Any, None], stop: asyncio.Event) -> bool:
    """Await a start. Return False where `stop` was set first, and the start was given up."""
    starting = asyncio.create_task(start, name="start")
    stopped = asyncio.create_task(stop.wait())
    try:
        await asyncio.wait((starting, stopped), return_when=asyncio.FIRST_COMPLETED)
        if not starting.done():
            starting.cancel()
            await asyncio.gather(starting, return_exceptions=True)
            return False
        await starting
    finally:
        stopped.cancel()
    return True


class Readiness:
    """Asks the store and the journal; one question is under way at most."""

    def __init__(self, health: Health) -> None:
        self._health = health
        self._threads = ThreadPoolExecutor(2, thread_name_prefix="indexer-ready")
        self._asking: asyncio.Future[str] | None = None

    async def problems(self, store: Store, journal: Journal | None) -> Mapping[Part, str]:
        """Return what keeps the indexer from storing frames, or sets batches aside, in words."""
        found = dict(self._health.problems())
        if Part.JOURNAL in found and journal is not None and await self._in_thread(_is_written, journal):
            self._health.journal_works()
            del found[Part.JOURNAL]
        answer = await self._answer(store)
        if answer:
            found.setdefault(Part.STORE, answer)
        return found

    def close(self) -> None:
        """Let go of the threads; a question under way is not waited for."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def _answer(self, store: Store) -> str:
        """Return why the store does not answer; empty when it does."""
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
