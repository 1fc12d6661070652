"""Memory and turns for decoding, shared by all requests.

Memory is reserved before a body is unpacked, and large bodies take turns.
"""

from __future__ import annotations

import asyncio
import os
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, nullcontext
from typing import Final

from indexer.write.org_turns import OrgTurns

#: Divisors of the whole: the share for small reservations alone, and their maximum size.
_SMALL_SHARE: Final = 8
_SMALL_SIZE: Final = 64
#: A smaller budget has no share for small reservations.
_MIN_SHARED_BYTES: Final = 1 << 20


class DecodeBudget:
    """Reserves at most `max_bytes` at once, first come, first served. For one event loop.

    An eighth is for small reservations alone: they do not wait for the memory of large ones. A reservation
    larger than its share waits until the share is empty. `max_turns` large bodies are decoded at once
    (indexer/write/org_turns.py); by default half as many as there are CPUs.
    """

    def __init__(self, max_bytes: int, max_turns: int = 0) -> None:
        self._turns = OrgTurns(max_turns or max(1, len(os.sched_getaffinity(0)) // 2))
        small_bytes = max_bytes // _SMALL_SHARE if max_bytes >= _MIN_SHARED_BYTES else 0
        self._max_small_size = small_bytes * _SMALL_SHARE // _SMALL_SIZE
        self._small = _Share(small_bytes)
        self._large = _Share(max_bytes - small_bytes)

    @property
    def reserved(self) -> int:
        """Bytes that are reserved now."""
        return self._small.reserved + self._large.reserved

    @asynccontextmanager
    async def reserve(self, size: int, wait_s: float, org_id: int | None = None) -> AsyncIterator[None]:
        """Hold `size` bytes, and an org's turn if an org is given.

        Raises TimeoutError if either does not come within `wait_s`.
        """
        async with nullcontext() if org_id is None else self._turns.turn(org_id, wait_s):
            share = self._small if size <= self._max_small_size else self._large
            size = min(size, share.max_bytes)
            if not share.take(size):
                async with asyncio.timeout(wait_s):
                    await share.acquire(size)
            try:
                yield
            finally:
                share.release(size)


class _Share:
    """A part of the budget with its own queue."""

    def __init__(self, max_bytes: int) -> None:
        self.max_bytes = max_bytes
        self.reserved = 0
        self._waiting: deque[tuple[int, asyncio.Future[None]]] = deque()

    def take(self, size: int) -> bool:
        """Reserve if nothing has to be waited for; return whether that is so."""
        if self._waiting or self.reserved + size > self.max_bytes:
            return False
        self.reserved += size
        return True

    async def acquire(self, size: int) -> None:
        """Reserve, after earlier reservations."""
        if self.take(size):
            return
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((size, future))
        try:
            await future
        except asyncio.CancelledError:
            if future.done() and not future.cancelled():  # served at the same moment
                self.reserved -= size
            elif (size, future) in self._waiting:  # else it was passed over, being cancelled
                self._waiting.remove((size, future))
            self._serve()
            raise

    def release(self, size: int) -> None:
        """Give the bytes back, and serve the queue."""
        self.reserved -= size
        self._serve()

    def _serve(self) -> None:
        while self._waiting and self.reserved + self._waiting[0][0] <= self.max_bytes:
            size, future = self._waiting.popleft()
            if not future.done():
                self.reserved += size
                future.set_result(None)
