"""Turns of orgs for heavy work: one org never keeps another waiting for all of its own."""

from __future__ import annotations

import asyncio
from contextlib import suppress

import pytest

from indexer.write.org_turns import OrgTurns


class Log:
    """Requests that hold turns until the test ends them."""

    def __init__(self, turns: OrgTurns) -> None:
        self._turns = turns
        self.begun: list[str] = []
        self._ends: dict[str, asyncio.Event] = {}
        self._tasks: list[asyncio.Task[None]] = []

    async def ask(self, name: str, org_id: int) -> asyncio.Task[None]:
        self._ends[name] = asyncio.Event()
        task = asyncio.create_task(self._hold(name, org_id))
        self._tasks.append(task)
        await asyncio.sleep(0)
        return task

    async def end(self, name: str) -> None:
        self._ends[name].set()
        for _ in range(5):
            await asyncio.sleep(0)

    async def _hold(self, name: str, org_id: int) -> None:
        async with self._turns.turn(org_id):
            self.begun.append(name)
            await self._ends[name].wait()


async def test_one_org_alone_has_all_turns() -> None:
    log = Log(OrgTurns(2))
    for name in ("a1", "a2", "a3"):
        await log.ask(name, 1)
    assert log.begun == ["a1", "a2"]
    await log.end("a1")
    assert log.begun == ["a1", "a2", "a3"]
    for name in ("a2", "a3"):
        await log.end(name)


async def test_of_several_orgs_each_has_one() -> None:
    turns = OrgTurns(2)
    turns.note(2)
    log = Log(turns)
    for name in ("a1", "a2", "a3"):
        await log.ask(name, 1)
    assert log.begun == ["a1"]
    await log.ask("b1", 2)
    assert log.begun == ["a1", "b1"]
    await log.end("a1")
    assert log.begun == ["a1", "b1", "a2"]
    for name in ("b1", "a2", "a3"):
        await log.end(name)


async def test_a_free_turn_goes_to_another_org() -> None:
    log = Log(OrgTurns(1))
    for name in ("a1", "a2", "a3"):
        await log.ask(name, 1)
    await log.ask("b1", 2)
    await log.end("a1")
    await log.end("b1")
    await log.end("a2")
    await log.end("a3")
    assert log.begun == ["a1", "b1", "a2", "a3"]


async def test_a_wait_that_is_given_up_leaves_no_trace() -> None:
    log = Log(OrgTurns(1))
    await log.ask("a1", 1)
    gone = await log.ask("a2", 1)
    await log.ask("a3", 1)
    gone.cancel()
    with suppress(asyncio.CancelledError):
        await gone
    await log.end("a1")
    assert log.begun == ["a1", "a3"]
    await log.end("a3")
    await log.ask("a4", 1)
    assert log.begun[-1] == "a4"
    await log.end("a4")


async def test_a_turn_that_comes_as_its_wait_is_given_up_goes_on() -> None:
    turns = OrgTurns(1)
    log = Log(turns)
    async with turns.turn(1):
        second = await log.ask("a2", 1)
        third = await log.ask("a3", 1)
    second.cancel()  # it was served just now, and does not know yet
    with suppress(asyncio.CancelledError):
        await second
    await log.end("a3")
    await third
    assert log.begun == ["a3"]


async def test_a_wait_has_an_end() -> None:
    turns = OrgTurns(1)
    async with turns.turn(1):
        with pytest.raises(TimeoutError):
            async with turns.turn(2, 0.01):
                raise AssertionError("there is one turn")
    async with turns.turn(2, 0.01):
        pass
