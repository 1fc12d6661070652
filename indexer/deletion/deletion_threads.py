"""Threads of deletions, which last for minutes: their own, so that they hold up no other work.

An org has one deletion at once: further ones of its keys never keep those of other orgs waiting.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Final

from indexer.deletion.deletion_request import DeletionRequest, DeletionResult, TooManyDeletionsError

#: Deletions that run or wait at once, of as many orgs.
MAX_DELETIONS: Final = 4


class DeletionThreads:
    """For one event loop."""

    def __init__(self) -> None:
        self._threads = ThreadPoolExecutor(MAX_DELETIONS, thread_name_prefix="deletions")
        self._orgs: set[int] = set()

    async def run(
        self, delete: Callable[[DeletionRequest], DeletionResult], asked: DeletionRequest
    ) -> DeletionResult:
        """Delete, or count. Raises TooManyDeletionsError at once, and as `delete` does."""
        org_id = asked.org_id
        if org_id in self._orgs:
            raise TooManyDeletionsError(f"org {org_id}: another deletion is running: delete again later")
        if len(self._orgs) >= MAX_DELETIONS:
            raise TooManyDeletionsError(f"{MAX_DELETIONS} deletions are running: delete again later")
        self._orgs.add(org_id)
        work = self._threads.submit(delete, asked)
        work.add_done_callback(lambda _: self._orgs.discard(org_id))
        return await asyncio.wrap_future(work)
