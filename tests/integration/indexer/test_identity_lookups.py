"""Look-ups of identities: many by one statement, and each gets its own answer."""

from __future__ import annotations

import asyncio
from collections.abc import Collection

import pytest

from indexer.clickhouse.store import StoreError
from indexer.write.identity_lookups import IdentityLookups


async def test_a_burst_is_two_statements() -> None:
    asked: list[list[str]] = []

    def stored_of(identities: Collection[str]) -> set[str]:
        asked.append(list(identities))
        return {one for one in identities if int(one) % 2}

    lookups = IdentityLookups(stored_of)
    names = [str(number) for number in range(200)]
    found = await asyncio.gather(lookups.has("0"), *(lookups.has(name) for name in [*names, *names]))
    assert found == [False] + [bool(int(name) % 2) for name in [*names, *names]]
    assert len(asked) <= 2
    assert await lookups.has("1")


async def test_a_failure_is_told_to_all_and_the_next_one_is_asked_again() -> None:
    calls = iter((StoreError("away", retryable=True), None))

    def stored_of(identities: Collection[str]) -> Collection[str]:
        if failed := next(calls):
            raise failed
        return identities

    lookups = IdentityLookups(stored_of)
    found = await asyncio.gather(*(lookups.has(name) for name in "abc"), return_exceptions=True)
    assert [type(one) for one in found] == [StoreError] * 3
    assert await lookups.has("a")


async def test_a_mistake_leaves_no_frame_waiting() -> None:
    def stored_of(_: Collection[str]) -> Collection[str]:
        raise ZeroDivisionError

    lookups = IdentityLookups(stored_of)
    for _ in range(2):
        with pytest.raises(ZeroDivisionError):
            await lookups.has("a")


async def test_a_request_that_ends_leaves_the_others_their_answer() -> None:
    lookups = IdentityLookups(lambda identities: identities)
    gone, stays = (asyncio.create_task(lookups.has("a")) for _ in range(2))
    await asyncio.sleep(0)
    gone.cancel()
    assert await stays
