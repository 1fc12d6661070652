"""Reloads of a process with a loop: by SIGHUP, and by threads that wait for the end.

Threads that ask before a run begins share it, and at most one run begins in a second: a flood of them costs
no more than a few. Runs are in the loop's thread.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from typing import Final

from agent.runtime.logs import Log
from agent.runtime.reload_actions import ReloadAction, ReloadActions

#: SIGHUP does not read these again.
_NEEDS_RESTART: Final = "settings"
#: Seconds between the beginnings of two runs that threads ask for, and that one waits for the loop.
_PAUSE_S: Final = 1.0
_WAIT_S: Final = 5.0


class AskedReloads:
    """Runs `actions`, which may still grow. `call_soon` runs a function in the loop's thread."""

    def __init__(
        self, actions: Mapping[str, ReloadAction], call_soon: Callable[[Callable[[], None]], None]
    ) -> None:
        self._actions = actions
        self._call_soon = call_soon
        self._lock = threading.Lock()
        self._next: Future[Sequence[str]] | None = None
        self._begun_s = float("-inf")

    def run(self) -> Sequence[str]:
        """Run the actions, in the loop's thread; return their problems."""
        reloads = ReloadActions(Log(), _NEEDS_RESTART)
        for name, action in self._actions.items():
            reloads.add(name, action)
        return reloads.run_at_once()

    def ask(self) -> Sequence[str]:
        """Let the loop run the actions, from another thread. Raises TimeoutError if it does not in time."""
        with self._lock:
            asked, first = self._next, self._next is None
            if asked is None:
                asked = self._next = Future()
            wait_s = self._begun_s + _PAUSE_S - time.monotonic()
        if first:
            if wait_s > 0:
                threading.Event().wait(wait_s)
            self._call_soon(self._run_next)
        return asked.result(_WAIT_S)

    def _run_next(self) -> None:
        with self._lock:
            asked, self._next, self._begun_s = self._next, None, time.monotonic()
        problems = self.run()
        if asked is not None:
            asked.set_result(problems)
