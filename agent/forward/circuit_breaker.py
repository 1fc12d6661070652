"""Decides when a try may start: backoff with jitter, then a single probe.

The longest wait is half the time since the first failure. So the wait doubles with an outage as it does with
each failure of an exponential backoff, but an outage of two seconds is noticed to be over within one. The
shortest is half of the first: hundreds of agents would otherwise try several times while the indexer starts
again on the same machine, and slow it down.

Pure: times are arguments.
"""

from __future__ import annotations

import random
from typing import Final

#: The longest wait, of the time since the first failure.
_SHARE: Final = 0.5
#: The shortest wait, of the first one's ceiling.
_SHORTEST: Final = 0.5


class CircuitBreaker:
    """Decides when the next try may start; times are of any monotonic clock, in seconds."""

    def __init__(self, base_s: float, max_s: float, rng: random.Random) -> None:
        self._base_s = base_s
        self._max_s = max_s
        self._rng = rng
        self._open_until_s = 0.0
        self._probing = False
        self._since_s = 0.0  # time of the first of them
        self.failures = 0  # in a row

    def wait_s(self, now_s: float) -> float:
        """Return 0 if a try may start now (call `begin`), else the time to wait before asking again."""
        if not self.failures:
            return 0.0
        if self._probing:
            return self._base_s
        return max(self._open_until_s - now_s, 0.0)

    def begin(self) -> None:
        """Record that a try starts. While there are failures it is the only one."""
        self._probing = bool(self.failures)

    def succeeded(self) -> None:
        """Record an answer of the indexer: all tries may continue."""
        self.failures = 0
        self._probing = False

    def hurry(self, until_s: float) -> None:
        """Let the next try start at `until_s` at the latest."""
        self._open_until_s = min(self._open_until_s, until_s)

    def abandoned(self) -> None:
        """Record that the try that began did not take place."""
        self._probing = False

    def failed(self, now_s: float, retry_after_s: float = 0.0, max_s: float | None = None) -> None:
        """Record a failure or "later": wait, longer with each failure. `max_s` overrides the longest wait."""
        longest = self._max_s if max_s is None else max_s
        if not self._probing and self.failures and now_s < self._open_until_s:
            return  # another try that was under way when the first failed: the same failure
        self._probing = False
        self.failures += 1
        if self.failures == 1:
            self._since_s = now_s
        ceiling = min(longest, max(self._base_s, _SHARE * (now_s - self._since_s)))
        wait_s = self._rng.uniform(min(_SHORTEST * self._base_s, ceiling), ceiling)
        self._open_until_s = now_s + max(wait_s, min(retry_after_s, longest))

    def jitter_s(self, ceiling_s: float) -> float:
        """Return any time up to the ceiling: full jitter."""
        return self._rng.uniform(0.0, ceiling_s)
