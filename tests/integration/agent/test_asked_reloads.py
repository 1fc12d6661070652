"""Reloads that threads ask for: they run in the loop's thread, and those asked for together share a run."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

import pytest

from agent.runtime import asked_reloads
from agent.runtime.asked_reloads import AskedReloads


class Loop:
    """Functions that wait for the loop's thread, and the runs in it."""

    def __init__(self) -> None:
        self.waiting: queue.Queue[Callable[[], None]] = queue.Queue()
        self.threads: list[int] = []

    async def action(self) -> Sequence[str]:
        self.threads.append(threading.get_ident())
        return [] if len(self.threads) == 1 else ["bad"]


def test_threads_that_ask_together_share_a_run(monkeypatch: pytest.MonkeyPatch) -> None:
    entered = threading.Semaphore(0)

    class Counted(Future[Sequence[str]]):
        def result(self, timeout: float | None = None) -> Sequence[str]:
            del timeout
            entered.release()
            return super().result(120)

    monkeypatch.setattr(asked_reloads, "Future", Counted)
    monkeypatch.setattr(asked_reloads, "_PAUSE_S", 0.01)
    loop = Loop()
    reloads = AskedReloads({"mapping": loop.action}, loop.waiting.put)
    with ThreadPoolExecutor(4) as pool:
        for problems in ([], ["bad"]):
            asked = [pool.submit(reloads.ask) for _ in range(4)]
            assert all(entered.acquire(timeout=120) for _ in asked)
            loop.waiting.get(timeout=120)()
            assert [one.result(120) for one in asked] == [problems] * 4
            assert loop.waiting.empty()
    assert loop.threads == [threading.get_ident()] * 2
    assert reloads.run() == ["bad"]


def test_a_loop_that_hangs_keeps_no_thread_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(asked_reloads, "_WAIT_S", 0.01)
    with pytest.raises(TimeoutError):
        AskedReloads({}, lambda _: None).ask()
