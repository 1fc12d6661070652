"""Logs refused lines: at most once in 10 s their number, the last reason, and the line as an example."""

from __future__ import annotations

import time
from typing import Final

from agent.core.interface import Core
from agent.runtime.logs import QUIET_S, Log
from agent.runtime.loop import Loop

PERIOD_S: Final = 2.0


class RefusedLines:
    """Looks every PERIOD_S, in the agent's loop, and at the stop; logs at most once in QUIET_S."""

    def __init__(self, core: Core, loop: Loop, log: Log) -> None:
        self._core = core
        self._loop = loop
        self._log = log
        self._logged = 0  # refused lines
        self._logged_s = -QUIET_S

    def start(self) -> None:
        """Look from now on."""
        if time.monotonic() - self._logged_s >= QUIET_S:
            self.look()
        self._loop.call_later(PERIOD_S, self.start)

    def look(self) -> None:
        """Log the lines refused since the last look."""
        example = self._core.take_refused()
        if example is None:
            return
        refused, (reason, line) = sum(self._core.stats.bad.values()), example
        shown = line.decode(errors="backslashreplace")
        self._log.warning("lines_refused", lines=refused - self._logged, reason=reason.value, example=shown)
        self._logged, self._logged_s = refused, time.monotonic()
