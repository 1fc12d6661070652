"""Memory for decoding, shared by all requests: what a body unpacks to is reserved before it is unpacked."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager


class DecodeBudget:
    """At most `max_bytes` reserved at once, first come, first served. For one event loop.

    A reservation of more than all of it waits until nothing else is reserved.
    """

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._reserved = 0
        self._waiting: deque[tuple[int, asyncio.Future[None]]] = deque()

    @property
    def reserved(self) -> int:
        """Bytes that are reserved now."""
        return self._reserved

    @asynccontextmanager
    async def reserve(self, size: int, wait_s: float) -> AsyncIterator[None]:
        """Hold `size` bytes. Raises TimeoutError when they are not free within `wait_s`."""
        size = min(size, self._max_bytes)
        async with asyncio.timeout(wait_s):
            await self._acquire(size)
        try:
            yield
        finally:
            self._reserved -= size
            self._serve()

    async def _acquire(self, size: int) -> None:
        if not self._waiting and self._reserved + size <= self._max_bytes:
            self._reserved += size
            return
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((size, future))
        try:
            await future
        except asyncio.CancelledError:
            if future.done() and not future.cancelled():  # served at the same moment
                self._reserved -= size
            else:
                self._waiting.remove((size, future))
            self._serve()
            raise

    def _serve(self) -> None:
        while self._waiting and self._reserved + self._waiting[0][0] <= self._max_bytes:
            size, future = self._waiting.popleft()
            if not future.done():
                self._reserved += size
                future.set_result(None)
