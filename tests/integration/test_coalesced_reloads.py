"""Reloads that are asked for at once: at most two run, and each caller's change is read."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Sequence

import pytest

from agent.runtime.logs import Log
from agent.runtime.reload_actions import Hangup
from indexer.http.coalesced_reloads import CoalescedReloads
from indexer.http.reload_signal import reloading


class Files:
    """A file with a number, read by an action that takes as long as `go` is not set."""

    def __init__(self) -> None:
        self.number = 0
        self.read: list[int] = []
        self.began = asyncio.Event()
        self.go = asyncio.Event()
        self.reloads = CoalescedReloads(Log("test.reloads"))
        self.reloads.add("file", self._action)

    async def _action(self) -> Sequence[str]:
        self.read.append(self.number)
        self.began.set()
        await self.go.wait()
        return [f"problem of {self.read[-1]}"]


async def test_ten_at_once_are_at_most_two() -> None:
    files = Files()
    callers = [asyncio.create_task(files.reloads.run())]
    await files.began.wait()
    files.number = 1  # after the first run has read it
    callers += [asyncio.create_task(files.reloads.run()) for _ in range(9)]
    await asyncio.sleep(0)
    files.go.set()
    problems = await asyncio.gather(*callers)
    assert files.read == [0, 1]
    assert list(map(list, problems)) == [["problem of 0"]] + [["problem of 1"]] * 9
    await files.reloads.run()
    assert files.read == [0, 1, 1]


async def test_a_caller_that_gives_up_ends_no_reload() -> None:
    files = Files()
    one, other = (asyncio.create_task(files.reloads.run()) for _ in range(2))
    await files.began.wait()
    one.cancel()
    files.go.set()
    assert list(await other) == ["problem of 0"]
    assert one.cancelled()


async def test_the_end_of_the_process_ends_both() -> None:
    files = Files()
    one = asyncio.create_task(files.reloads.run())
    await files.began.wait()
    other = asyncio.create_task(files.reloads.run())
    await asyncio.sleep(0)
    files.reloads.cancel()
    for task in (one, other):
        with pytest.raises(asyncio.CancelledError):
            await task
    assert files.read == [0]


async def test_each_signal_is_followed_by_a_reload(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where two came at once, and share the reload in progress."""
    monkeypatch.setattr(Hangup, "is_of_terminal", lambda _: False)
    files, stop = Files(), asyncio.Event()
    with reloading(files.reloads, stop):
        signal.raise_signal(signal.SIGHUP)
        signal.raise_signal(signal.SIGHUP)
        await files.began.wait()
        files.began.clear()
        files.number = 1  # after the reload in progress has read it
        signal.raise_signal(signal.SIGHUP)
        for _ in range(10):
            await asyncio.sleep(0)
        files.go.set()
        async with asyncio.timeout(120):
            await files.began.wait()
        assert files.read == [0, 1]
    assert not stop.is_set()
