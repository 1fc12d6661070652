"""The agent's time: the machine's, put right by the indexer's when the two differ by much.

Owns the decision (docs/reliability.md): lines are stamped by the machine's clock while it differs from the
indexer's by at most `agent.max_skew_s`; beyond it, by the indexer's. The indexer's time comes with its
answers to heartbeats. A step of the machine's clock is noticed by a clock that no step moves; after one the
indexer's time is taken to go on as before, until its next answer.

Thread-safe: heartbeats have a thread of their own.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from statistics import median_low
from typing import Final

#: A smaller step of the machine's clock is no matter: buckets have 10 s.
STEP_MS: Final = 1_000
#: The skew is the median of so many answers.
_ANSWERS: Final = 5
#: An answer that took longer says too little about the time.
_MAX_TRIP_MS: Final = 2_500


def machine_ms() -> int:
    """Return the machine's Unix time in milliseconds."""
    return time.time_ns() // 1_000_000


def steady_ms() -> int:
    """Return milliseconds that no step of the clock changes, and that pass while the machine sleeps."""
    return time.clock_gettime_ns(time.CLOCK_BOOTTIME) // 1_000_000


class Clock:
    """`max_skew_ms` 0: the machine's clock counts, whatever the indexer says."""

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
        self._apart_ms = machine() - steady()
        self._answers = deque[int](maxlen=_ANSWERS)
        self._known = False  # the skew, from an answer of any time
        #: What is added to the steady clock to get the time that lines are stamped with.
        self.base_ms = self._told_ms = self._apart_ms
        #: What the machine's clock is ahead of the indexer's; 0 until an answer said so.
        self.skew_ms = 0
        #: What is taken off the machine's time.
        self.offset_ms = 0
        #: Steps of the machine's clock that were noticed.
        self.steps = 0

    def now_ms(self) -> int:
        """Return Unix milliseconds to stamp lines with. It steps by `jump_ms` and `measured` alone."""
        return self._steady() + self.base_ms

    def machine_ms(self) -> int:
        """Return the machine's Unix milliseconds, right or wrong."""
        return self._machine()

    def measured(self, sent_ms: int, received_ms: int, theirs_ms: int) -> bool:
        """Take the times around and in an answer; return whether `now_ms` jumped."""
        if not 0 <= received_ms - sent_ms <= _MAX_TRIP_MS or not theirs_ms:
            return False
        with self._lock:
            if not self._stepped():  # else it is not known which of both clocks the answer was timed with
                self._answers.append((sent_ms + received_ms) // 2 - theirs_ms)
                self._known = True
                self.skew_ms = median_low(self._answers)
            self._settle()
            return abs(self.base_ms - self._told_ms) > STEP_MS

    def jump_ms(self) -> int:
        """Follow the machine's clock; return how far `now_ms` jumped since the last call, 0 for little."""
        with self._lock:
            self._stepped()
            self._settle()
            jump_ms, self._told_ms = self.base_ms - self._told_ms, self.base_ms
            return jump_ms if abs(jump_ms) > STEP_MS else 0

    def _stepped(self) -> bool:
        """Follow the machine's clock; return whether it stepped since it was last looked at."""
        apart_ms = self._machine() - self._steady()
        step_ms, self._apart_ms = apart_ms - self._apart_ms, apart_ms
        if abs(step_ms) <= STEP_MS:
            return False
        self.steps += 1
        if self._known:  # the indexer's clock did not step: what was known of it still holds
            self.skew_ms += step_ms
            self._answers.clear()
        return True

    def _settle(self) -> None:
        """Follow the skew: from beyond the bound, until it is half of it again."""
        bound_ms = self._max_skew_ms // 2 if self.offset_ms else self._max_skew_ms
        if abs(self.skew_ms) <= bound_ms or not self._max_skew_ms:
            self.offset_ms = 0
        elif abs(self.skew_ms - self.offset_ms) > STEP_MS:
            self.offset_ms = self.skew_ms
        self.base_ms = self._apart_ms - self.offset_ms
