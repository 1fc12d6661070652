"""The signals of a process that runs a loop: SIGTERM and SIGINT end it, SIGHUP reads files again."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Callable, Iterator

from agent.runtime.loop import Loop
from agent.runtime.reload_actions import Hangup


@contextlib.contextmanager
def loop_signals(loop: Loop, reload: Callable[[], object]) -> Iterator[None]:
    """Handle the signals while the block runs; only the main thread can. `reload` runs in the loop."""
    if threading.current_thread() is not threading.main_thread():
        yield  # signals belong to the main thread
        return
    numbers = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
    before = [signal.signal(number, lambda *_: loop.stop()) for number in numbers[:2]]
    hangup = Hangup()

    def run() -> None:
        reload()

    def hung_up(*_: object) -> None:
        if hangup.is_of_terminal():
            loop.stop()
        else:
            loop.call_soon_threadsafe(run)

    before.append(signal.signal(signal.SIGHUP, hung_up))
    try:
        yield
    finally:
        for number, handler in zip(numbers, before, strict=True):
            signal.signal(number, handler)
