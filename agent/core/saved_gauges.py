"""Saves the last values of gauges across a restart: read at the start, written periodically and at the end.

Owns when they are written: every `interval_s` if lines arrived since, in a thread of its own. After a slow
write the pause is `REST` times as long as the write, so that the cost stays below 1 % of a CPU. After kill -9
the values of at most that time are missing.
"""

from __future__ import annotations

import threading
import time
from typing import Final

from agent.core.interface import Core
from agent.runtime.logs import Log
from agent.runtime.loop import Loop
from agent.runtime.state_dir import StateDir, StateDirError

NAME: Final = "last_values"
VERSION: Final = 1
#: Minimum pause between two writes, as a multiple of the last write's duration.
REST: Final = 100


class SavedGauges:
    """Keeps the last values of a core's gauges in a state directory; without a directory it does nothing."""

    def __init__(
        self, directory: StateDir | None, core: Core, loop: Loop, log: Log, interval_s: float
    ) -> None:
        self._directory = directory
        self._core = core
        self._loop = loop
        self._log = log
        self._interval_s = interval_s
        self._writing: threading.Thread | None = None
        self._pause_s = interval_s
        self._written_lines = 0  # the core's total at the last write
        #: When values were last written, in Unix seconds; 0: never.
        self.written_s = 0.0
        #: Writes that failed.
        self.failed = 0

    @property
    def damaged(self) -> int:
        """Files that could not be used and were set aside."""
        return self._directory.damaged if self._directory else 0

    def start(self) -> None:
        """Load the saved values; to be called before the first line."""
        if self._directory is None:
            return
        try:
            values = self._directory.read(NAME, VERSION)
        except OSError as e:
            self._log.warning("state_not_read", file=NAME, error=e)
            values = None
        if self._directory.damaged:
            self._log.warning("state_damaged", file=NAME, set_aside=f"{self._directory.path / NAME}.damaged")
        if values:
            self._core.import_last_values(values, time.time_ns() // 1_000_000)
        self._loop.call_later(self._interval_s, self._write_later)

    def _write_later(self) -> None:
        """Start a write unless one is running or no lines arrived; then reschedule."""
        if self._writing is not None and not self._writing.is_alive():
            self._writing = None
        if self._writing is None and self._core.stats.lines != self._written_lines:
            self._writing = threading.Thread(target=self._write, name="state", daemon=True)
            self._writing.start()
        self._loop.call_later(self._pause_s, self._write_later)

    def _write(self) -> None:
        if self._directory is None:
            return
        start_s, lines = time.monotonic(), self._core.stats.lines
        try:
            values = self._core.export_last_values(time.time_ns() // 1_000_000)
            self._directory.write(NAME, VERSION, values)
        except OSError as e:
            self.failed += 1
            self._log.throttled("state_not_written", file=NAME, error=e)
        else:
            self._written_lines = lines
            self.written_s = time.time()
        self._pause_s = max(self._interval_s, REST * (time.monotonic() - start_s))

    def stop(self) -> None:
        """Write once more, after the last line."""
        if self._writing is not None:
            self._writing.join()
        if self._core.stats.lines != self._written_lines:
            self._write()
        if self._directory:
            self._directory.close()


def open_directory(path: str, log: Log, wait_s: float = 0.0) -> StateDir | None:
    """Return the state directory; None, with one log line, if there is none to use.

    Waits up to `wait_s` for another agent to release it.
    """
    effect = "deltas of gauges start from 0 after a restart"
    if not path:
        log.info("state_off", effect=effect, fix="agent.state_dir")
        return None
    try:
        directory = StateDir(path, wait_s)
    except StateDirError as e:
        log.warning("state_off", error=e, effect=effect)
        return None
    log.info("state", dir=path)
    return directory
