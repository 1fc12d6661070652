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

    def received() -> None:
        if hangup.is_of_terminal():
            stop.set()
        else:
            reloads.ask()

    with suppress(NotImplementedError, ValueError, RuntimeError):
        loop.add_signal_handler(signal.SIGHUP, received)
    try:
        yield
    finally:
        with suppress(NotImplementedError, ValueError, RuntimeError):
            loop.remove_signal_handler(signal.SIGHUP)
        reloads.cancel()
