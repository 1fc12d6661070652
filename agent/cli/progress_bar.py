"""Shows the progress of long work: a bar on a terminal, a line from time to time elsewhere."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final, TextIO

#: Interval between updates, on a terminal and elsewhere.
_TERMINAL_S: Final = 0.2
_LINES_S: Final = 10.0
_BAR: Final = 30


class ProgressBar:
    """Progress for the user: a bar on a terminal, else a line from time to time. `unit` is counted."""

    def __init__(
        self,
        size: int,
        out: TextIO,
        clock_s: Callable[[], float] = time.monotonic,
        *,
        unit: str = "lines",
    ) -> None:
        self._out = out
        self._clock_s = clock_s
        self._size = max(size, 1)
        self._unit = unit
        self._terminal = self._out.isatty()
        self._every_s = _TERMINAL_S if self._terminal else _LINES_S
        self._next_s = clock_s() + self._every_s
        self._bar = False

    def progress(self, at: int, count: int) -> None:
        """Show the position and a count, if it is time to."""
        now_s = self._clock_s()
        if now_s < self._next_s:
            return
        self._next_s = now_s + self._every_s
        part = min(at / self._size, 1.0)
        text = f"{part:4.0%}  {count:,} {self._unit}"
        if self._terminal:
            filled = round(part * _BAR)
            print(f"\r[{'#' * filled}{'.' * (_BAR - filled)}] {text} ", end="", file=self._out, flush=True)
            self._bar = True
        else:
            print(text, file=self._out, flush=True)

    def say(self, text: str) -> None:
        """Print a line, in place of the bar."""
        self.end()
        print(text, file=self._out, flush=True)

    def end(self) -> None:
        """Remove the bar."""
        if self._bar:
            print("\r" + " " * (_BAR + 40) + "\r", end="", file=self._out, flush=True)
            self._bar = False
