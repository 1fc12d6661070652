"""Tasks that do their work again and again: pauses, waking, and mistakes."""

from __future__ import annotations

import asyncio

import pytest

from indexer import periodic_task
from indexer.periodic_task import PeriodicTask


def unexpected(name: str) -> None:
    raise AssertionError(name)


async def test_a_mistake_is_logged_and_counted_and_ends_nothing(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(periodic_task, "FIRST_REST_S", 0.001)
    mistakes: list[str] = []
    done = asyncio.Event()
    calls = 0

    async def work() -> None:
        nonlocal calls
        calls += 1
        if calls < 4:
            raise ZeroDivisionError
        done.set()

    task = PeriodicTask("sweep", work, mistakes.append)
    task.start()
    async with asyncio.timeout(60):
        await done.wait()
    await task.stop()
    assert mistakes == ["sweep"] * 3
    assert caplog.text.count("event=task_failed task=sweep") == 3
    assert "ZeroDivisionError" in caplog.text


async def test_it_waits_as_long_as_the_work_says_or_until_it_is_woken() -> None:
    calls: asyncio.Queue[int] = asyncio.Queue()
    pauses = iter((0.001, None, 3_600.0, None))

    async def work() -> float | None:
        calls.put_nowait(1)
        return next(pauses)

    task = PeriodicTask("sweep", work, unexpected, first_s=3_600.0)
    task.start()
    async with asyncio.timeout(60):
        task.wake()
        await calls.get()
        await calls.get()  # after the pause
        for _ in range(2):
            task.wake()
            await calls.get()
    await task.stop()
    assert calls.empty()


async def test_a_wake_during_the_work_is_not_lost() -> None:
    began, go_on = asyncio.Semaphore(0), asyncio.Semaphore(0)

    async def work() -> None:
        began.release()
        await go_on.acquire()

    task = PeriodicTask("sweep", work, unexpected)
    task.start()
    async with asyncio.timeout(60):
        await began.acquire()
        task.wake()
        go_on.release()
        await began.acquire()
    await task.stop()


async def test_it_stops_before_it_has_started() -> None:
    async def work() -> None:
        raise AssertionError

    await PeriodicTask("sweep", work, unexpected).stop()
