"""The time of ticks: that of the indexers, which agents follow, too (agent/runtime/clock.py).

Several shims then agree on which ticks have come, whatever their own clocks say. An indexer tells its time to
the second (`Date`), so a clock that is right within two seconds is left alone. Between two looks the time
goes on by a clock that does not step. In the process of an indexer, or without any, it is the wall clock.
"""

from __future__ import annotations

import http.client
import logging
import threading
import time
from collections.abc import Callable
from typing import Final, NamedTuple
from urllib.parse import urlsplit

from agent.runtime.clock import steady_ms
from shim.indexers.indexer_client import IndexerClient
from shim.metrics import ShimMetrics
from shim.model.errors import Unavailable

_log: Final = logging.getLogger("shim.clock")

_PATH: Final = "/healthz"
#: Seconds between two looks, between two while no indexer has answered, and that a look may take.
_EVERY_S: Final = 10.0
_FIRST_EVERY_S: Final = 0.5
_TIMEOUT_S: Final = 2.0
#: Differences up to this are not followed, and after a larger one those up to this: answers vary by a second.
_EXACT_S: Final = 2.0
_RIGHT_S: Final = 1.0


class _Anchor(NamedTuple):
    """The indexers' time at a moment of the steady clock."""

    time_s: float
    steady_s: float


def _steady_s() -> float:
    return steady_ms() / 1000


class IndexerClock:
    """Thread-safe. `client` None: the wall clock alone, `now_s`. `steady_s` never steps."""

    def __init__(
        self,
        client: IndexerClient | None,
        metrics: ShimMetrics,
        now_s: Callable[[], float] = time.time,
        steady_s: Callable[[], float] = _steady_s,
    ) -> None:
        self._client = client
        self._metrics = metrics
        self._wall_s = now_s
        self._steady_s = steady_s
        self._anchor: _Anchor | None = None
        self._differs = False
        self._ended = threading.Event()
        self._thread: threading.Thread | None = None

    def now_s(self) -> float:
        """Return the time in Unix seconds; the wall clock's until an indexer has told its own."""
        anchor = self._anchor
        if anchor is None:
            return self._wall_s()
        return anchor.time_s + self._steady_s() - anchor.steady_s

    def told_s(self) -> float:
        """Return the time as an indexer has told it. Raises Unavailable until one has."""
        if self._client is not None and self._anchor is None:
            raise Unavailable("no indexer of shim.indexers.urls has told its time: expected one that answers")
        return self.now_s()

    def look(self) -> None:
        """Ask the first indexer that answers."""
        for url in self._client.urls if self._client is not None else ():
            if self._ended.is_set():
                return
            began_s = self._steady_s()
            told_s = self._ask(url)
            took_s = self._steady_s() - began_s
            if told_s is None or took_s > _EXACT_S:
                continue
            told_s += took_s / 2  # the answer took the other half
            wall_s = self._wall_s()
            ahead_s = wall_s - told_s
            exact = abs(ahead_s) <= (_RIGHT_S if self._differs else _EXACT_S)
            if exact or abs(self.now_s() - told_s) > _EXACT_S or self._anchor is None:
                self._anchor = _Anchor(wall_s if exact else told_s, self._steady_s())
            self._metrics.clock_ahead.set(0.0 if exact else ahead_s)
            if self._differs is exact:
                self._differs = not exact
                _log.warning(
                    "event=%s ahead_s=%.0f indexer=%s text=rules and subscriptions follow the indexer's time",
                    "clock_right" if exact else "clock_differs", ahead_s, urlsplit(url).hostname,
                )  # fmt: skip
            return

    def start(self) -> None:
        """Begin to follow the indexers, if there are any."""
        if self._client is not None:
            self._thread = threading.Thread(target=self._run, name="indexer-clock", daemon=True)
            self._thread.start()

    def close(self) -> None:
        """End the thread."""
        self._ended.set()
        if self._thread is not None:
            self._thread.join(2 * _TIMEOUT_S)  # a name may hang for longer

    def _run(self) -> None:
        while not self._ended.is_set():
            self.look()
            self._ended.wait(_EVERY_S if self._anchor else _FIRST_EVERY_S)

    def _ask(self, url: str) -> float | None:
        assert self._client is not None
        try:
            return self._client.ask(url, _PATH, timeout_s=_TIMEOUT_S).time_s
        except (OSError, http.client.HTTPException, ValueError) as e:
            _log.debug("event=time_not_told indexer=%s error=%s", urlsplit(url).hostname, e)
            return None
