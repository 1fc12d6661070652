"""Deletions that last: they take no thread of other work, and an org has one at once."""

from __future__ import annotations

import asyncio
import threading

import pytest

from indexer.deletion.deletion_request import DeletionBusyError, DeletionRequest, DeletionResult
from indexer.deletion.deletion_threads import MAX_DELETIONS, DeletionThreads

DONE = DeletionResult(0, 0, 0, 1)


def of(org_id: int) -> DeletionRequest:
    return DeletionRequest(org_id, [])


async def test_an_org_with_many_deletions_holds_up_neither_others_nor_other_work() -> None:
    threads, end = DeletionThreads(), threading.Event()

    def lasts(asked: DeletionRequest) -> DeletionResult:
        del asked
        end.wait(240)
        return DONE

    async with asyncio.timeout(120):
        first = asyncio.create_task(threads.run(lasts, of(1)))
        await asyncio.sleep(0)
        for _ in range(50):
            with pytest.raises(DeletionBusyError, match="org 1: another deletion is running"):
                await threads.run(lasts, of(1))
        assert await threads.run(lambda _: DONE, of(2)) == DONE
        assert await asyncio.to_thread(lambda: 1) == 1
        others = [asyncio.create_task(threads.run(lasts, of(n))) for n in range(2, 1 + MAX_DELETIONS)]
        await asyncio.sleep(0)
        with pytest.raises(DeletionBusyError, match=f"{MAX_DELETIONS} deletions are running"):
            await threads.run(lasts, of(99))
        end.set()
        assert await asyncio.gather(first, *others) == [DONE] * MAX_DELETIONS
        assert await threads.run(lambda _: DONE, of(1)) == DONE


async def test_a_deletion_that_fails_leaves_its_org_free() -> None:
    threads = DeletionThreads()

    def fails(asked: DeletionRequest) -> DeletionResult:
        raise DeletionBusyError(f"not org {asked.org_id}")

    async with asyncio.timeout(120):
        with pytest.raises(DeletionBusyError, match="not org 1"):
            await threads.run(fails, of(1))
        assert await threads.run(lambda _: DONE, of(1)) == DONE
