"""The agent's time: the machine's clock, corrected by the indexer's when the two differ too much.

Owns the decision (docs/reliability.md). Lines are stamped by the machine's clock while it differs from the
indexer's by at most `agent.max_skew_s`; beyond that, by the indexer's. The indexer's time arrives with its
answers to heartbeats. A clock that never steps reveals steps of the machine's clock; after a step the
indexer's time is assumed to continue as before, until its next answer.

Thread-safe: heartbeats run in a thread of their own.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from statistics import median_low
from typing import Final

#: Smaller steps of the machine's clock are ignored: buckets have 10 s.
STEP_MS: Final = 1_000
#: The skew is the median of this many answers.
_ANSWERS: Final = 5
#: A slower answer is too imprecise to measure the time.
_MAX_TRIP_MS: Final = 2_500
#: Both clocks are read within this time, or again: a process may be stopped between the two.
_TOGETHER_MS: Final = 100
_LOOKS: Final = 5


def machine_ms() -> int:
    """Return the machine's Unix time in milliseconds."""
    return time.time_ns() // 1_000_000


def steady_ms() -> int:
    """Return milliseconds that no clock step changes, and that advance while the machine sleeps."""
    return time.clock_gettime_ns(time.CLOCK_BOOTTIME) // 1_000_000


class Clock:
    """The time to stamp lines with. `max_skew_ms` 0: always the machine's clock."""

    def __init__(
        self,
        max_skew_ms: int = 0,
        machine: Callable[[], int] = machine_ms,
        steady: Callable[[], int] = steady_ms,
    ) -> None:
        self._max_skew_ms = max_skew_ms
        self._machine = machine
        self._steady = steady
        self._lock = threading.Lock()
        self._apart_ms = self._look()
        self._answers = deque[int](maxlen=_ANSWERS)
        self._known = False  # whether any answer measured the skew
        #: Added to the steady clock, gives the time that lines are stamped with.
        self.base_ms = self._told_ms = self._apart_ms
        #: How far the machine's clock is ahead of the indexer's; 0 until measured.
        self.skew_ms = 0
        #: Subtracted from the machine's time.
        self.offset_ms = 0
        #: Detected steps of the machine's clock.
        self.steps = 0

    def now_ms(self) -> int:
        """Return Unix milliseconds to stamp lines with; steps only through `jump_ms` and `measured`."""
        return self._steady() + self.base_ms

    def machine_ms(self) -> int:
        """Return the machine's Unix milliseconds, right or wrong."""
        return self._machine()

    def measured(self, sent_ms: int, received_ms: int, theirs_ms: int) -> bool:
        """Record the send, receive and answer times of a heartbeat; return whether `now_ms` jumped."""
        if not 0 <= received_ms - sent_ms <= _MAX_TRIP_MS or not theirs_ms:
            return False
        with self._lock:
            if not self._stepped():  # otherwise the answer may have been timed with either clock
                self._answers.append((sent_ms + received_ms) // 2 - theirs_ms)
                self._known = True
                self.skew_ms = median_low(self._answers)
            self._settle()
            return abs(self.base_ms - self._told_ms) > STEP_MS

    def jump_ms(self) -> int:
        """Follow the machine's clock; return how far `now_ms` jumped since the last call, 0 if little."""
        with self._lock:
            self._stepped()
            self._settle()
            jump_ms, self._told_ms = self.base_ms - self._told_ms, self.base_ms
            return jump_ms if abs(jump_ms) > STEP_MS else 0

    def _stepped(self) -> bool:
        """Follow the machine's clock; return whether it stepped since the last look."""
        apart_ms = self._look()
        step_ms, self._apart_ms = apart_ms - self._apart_ms, apart_ms
        if abs(step_ms) <= STEP_MS:
            return False
        self.steps += 1
        if self._known:  # the indexer's clock did not step: its measured time still holds
            self.skew_ms += step_ms
            self._answers.clear()
        return True

    def _look(self) -> int:
        """Return how far the machine's clock is ahead of the steady one, both read at the same moment."""
        for _ in range(_LOOKS):
            began_ms = self._steady()
            wall_ms, ended_ms = self._machine(), self._steady()
            if ended_ms - began_ms <= _TOGETHER_MS:
                break
        return wall_ms - ended_ms

    def _settle(self) -> None:
        """Set the offset: correct beyond the bound, stop correcting below half of it."""
        bound_ms = self._max_skew_ms // 2 if self.offset_ms else self._max_skew_ms
        if abs(self.skew_ms) <= bound_ms or not self._max_skew_ms:
            self.offset_ms = 0
        elif abs(self.skew_ms - self.offset_ms) > STEP_MS:
            self.offset_ms = self.skew_ms
        self.base_ms = self._apart_ms - self.offset_ms
