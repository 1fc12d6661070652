"""Decides how long a failed batch waits for its next attempt, and asks whether ClickHouse answers.

A server that is away is asked often by a statement that costs nothing, and the attempt follows its first
answer. Any other failure is waited out by pauses that grow.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any, Final, Protocol, TypeVar

from indexer.clickhouse.faults import Fault
from indexer.clickhouse.store import StoreError

T = TypeVar("T")

#: Pauses between attempts while the server answers.
_BACKOFF_S: Final = (0.1, 0.3, 1.0, 3.0, 5.0)
#: Pauses between questions to a server that is away: an eighth of its absence within these bounds.
_ASK_S: Final = (0.05, 1.0)
_ASK_SHARE: Final = 1 / 8


class _InThread(Protocol):
    def __call__(self, call: Callable[..., Any], *args: object) -> Awaitable[Any]: ...


class AttemptPauses:
    """The pauses of one writer. `ask` is a cheap statement; `failed` is told of its failures."""

    def __init__(
        self,
        in_thread: _InThread,
        ask: Callable[[], object],
        failed: Callable[[StoreError], None],
        *,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._in_thread = in_thread
        self._ask = ask
        self._failed = failed
        self._clock = clock
        self._sleep = sleep

    async def wait(self, tries: int, fault: Fault | None) -> None:
        """Wait after failed attempts; `tries` are those before the last one."""
        began_s = self._clock()
        pause_s = _BACKOFF_S[min(tries, len(_BACKOFF_S) - 1)]
        away = False
        while fault is Fault.AWAY and (away or self._clock() < began_s + pause_s):
            shortest, longest = _ASK_S
            await self._sleep(min(max((self._clock() - began_s) * _ASK_SHARE, shortest), longest))
            answers = await self.answers()
            if away and answers:
                return
            away = away or not answers
        await self._sleep(max(0.0, began_s + pause_s - self._clock()))

    async def until_there(
        self,
        call: Callable[..., T],
        *args: object,
        failed: Callable[[StoreError], None],
        stops: Callable[[], bool],
    ) -> T:
        """Return the result of a call in a thread, once the server is there.

        Raises StoreError for other faults, and when it `stops`; `failed` hears of tries in vain.
        """
        tries = 0
        while True:
            try:
                found: T = await self._in_thread(call, *args)
            except StoreError as e:
                if e.fault is not Fault.AWAY or stops():
                    raise
                failed(e)
            else:
                return found
            await self.wait(tries, Fault.AWAY)
            tries += 1

    async def answers(self) -> bool:
        """Return whether ClickHouse answers at all: if not, no batch is to blame."""
        try:
            await self._in_thread(self._ask)
        except StoreError as e:
            self._failed(e)
            return False
        return True
