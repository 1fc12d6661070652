"""Looks identities up in ClickHouse, many by one statement: all agents send at once after a restart.

For one event loop; the statements run in threads, one at once.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection


class IdentityLookups:
    """Those that come while a statement runs wait for the next one. `stored_of` raises StoreError."""

    def __init__(self, stored_of: Callable[[Collection[str]], Collection[str]]) -> None:
        self._stored_of = stored_of
        self._waiting: dict[str, asyncio.Future[bool | Exception]] = {}
        self._task: asyncio.Task[None] | None = None

    async def has(self, identity: str) -> bool:
        """Return whether the identity is stored. Raises StoreError."""
        answer = self._waiting.get(identity)
        if answer is None:
            answer = self._waiting[identity] = asyncio.get_running_loop().create_future()
        if self._task is None:
            self._task = asyncio.create_task(self._ask(), name="indexer-identities")
        found = await asyncio.shield(answer)
        if isinstance(found, Exception):
            raise found
        return found

    async def _ask(self) -> None:
        while self._waiting:
            asked, self._waiting = self._waiting, {}
            stored: Collection[str] = ()
            failed: Exception | None = None
            try:
                stored = set(await asyncio.to_thread(self._stored_of, list(asked)))
            except Exception as e:  # each request is told it, also a mistake of ours
                failed = e
            for identity, answer in asked.items():
                answer.set_result(failed or identity in stored)
        self._task = None
