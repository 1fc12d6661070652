"""Waits at the start until the store's server answers.

Owns the pauses between attempts. Runs in one event loop; the store's calls run in threads.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, Final, Protocol, TypeVar

from indexer.clickhouse.faults import Fault
from indexer.clickhouse.store import Store, StoreError

T = TypeVar("T")

log = logging.getLogger(__name__)

#: A question costs a connection, so a server that returns waits for a second at most.
_FIRST_WAIT_S: Final = 0.1
_MAX_WAIT_S: Final = 1.0


#: Faults of a server or cluster that end without a change of tables, rights or settings.
_ENDS: Final = frozenset({Fault.AWAY, Fault.KEEPER, Fault.BUSY})


class _InThread(Protocol):
    def __call__(self, call: Callable[[], T]) -> Awaitable[T]: ...


async def open_when_there(opening: Callable[[], Store], in_thread: _InThread) -> Store:
    """Open a store; wait while its server is down, starts or is overloaded, and log that once a minute.

    Raises StoreError for a lasting fault, a wrong password for example.
    """
    return await _tried(opening, in_thread, lambda e: e.retryable)


async def done_when_whole(call: Callable[[], T], in_thread: _InThread) -> T:
    """Make a call to a server; try again while it, a shard or Keeper is away, and log that once a minute.

    Raises StoreError for another fault.
    """
    return await _tried(call, in_thread, lambda e: e.retryable and e.fault in _ENDS)


async def _tried(call: Callable[[], T], in_thread: _InThread, passes: Callable[[StoreError], bool]) -> T:
    wait_s, waited_s, said_s = _FIRST_WAIT_S, 0.0, -60.0
    while True:
        try:
            return await in_thread(call)
        except StoreError as e:
            if not passes(e):
                raise
            if waited_s - said_s >= 60:
                log.warning(
                    "event=waiting_for_store waited_s=%.0f again_in_s=%.1f text=%s", waited_s, wait_s, e
                )
                said_s = waited_s
        await asyncio.sleep(wait_s)
        waited_s += wait_s
        wait_s = min(2 * wait_s, _MAX_WAIT_S)


async def started(start: Coroutine[Any, Any, None], stop: asyncio.Event) -> bool:
    """Await a start. Return False if `stop` was set first; the start is then cancelled."""
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
