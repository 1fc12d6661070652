"""SIGHUP in a process with an event loop: it reloads, or stops once its terminal is gone."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from agent.runtime.reload_actions import Hangup
from indexer.http.coalesced_reloads import CoalescedReloads


@contextmanager
def reloading(reloads: CoalescedReloads, stop: asyncio.Event) -> Iterator[None]:
    """Run the actions after each SIGHUP; set `stop` where the terminal is gone.

    Off the main thread there are no signals, and this does nothing.
    """
    loop, hangup = asyncio.get_running_loop(), Hangup()
    running: set[asyncio.Task[None]] = set()

    async def run() -> None:
        await reloads.run()

    def received() -> None:
        if hangup.is_of_terminal():
            stop.set()
        elif len(running) < 2:  # one that waits reads all that changed before it
            task = asyncio.create_task(run(), name="reload")
            running.add(task)
            task.add_done_callback(running.discard)

    with suppress(NotImplementedError, ValueError, RuntimeError):
        loop.add_signal_handler(signal.SIGHUP, received)
    try:
        yield
    finally:
        with suppress(NotImplementedError, ValueError, RuntimeError):
            loop.remove_signal_handler(signal.SIGHUP)
        for task in running:
            task.cancel()
        reloads.cancel()
