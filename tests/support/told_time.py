"""An indexer that tells a time, for shims whose own clocks are wrong."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from shim.indexers.indexer_client import IndexerAnswer, IndexerClient
from shim.indexers.indexer_clock import IndexerClock
from shim.metrics import ShimMetrics
from shim.settings import IndexersSettings


class ToldTime(IndexerClient):
    """Answers with the time of `now_s`; `away` answers nothing."""

    def __init__(self, now_s: Callable[[], float]) -> None:
        super().__init__(IndexersSettings(urls=["http://indexer:8126"]))
        self._now_s = now_s
        self.away = False

    def ask(self, *_: Any, **__: Any) -> IndexerAnswer:
        """Tell the time. Raises OSError."""
        if self.away:
            raise ConnectionRefusedError
        return IndexerAnswer(200, b"ok\n", self._now_s())


def skewed_clock(now_s: Callable[[], float], skew_s: float) -> IndexerClock:
    """Return the time of ticks in a shim whose clock differs from the indexer's `now_s`."""
    clock = IndexerClock(ToldTime(now_s), ShimMetrics(), lambda: now_s() + skew_s, now_s)
    clock.look()
    return clock
